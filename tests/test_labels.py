"""Label vocabularies, shared label sets, soft labels, scales, and a task carried to another corpus."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.corpus import EMOTIONS, OFFICIAL, Corpus, make_table
from serbench.datasets.schema.labels import (
    SETS,
    VOCABULARIES,
    WORDS,
    canonical,
    canonical_words,
    emotion_task,
    label_set,
    mapping_report,
    rescale,
    rescaled,
    soft_labels,
    transfer,
)
from serbench.datasets.schema.task import Task, attribute_tasks


def corpus(emotions: list[str | None], name: str = "other", **extra: object) -> Corpus:
    rows = [{"id": f"u{i}", "path": f"u{i}.wav", "emotion": e, "partition": "test"} for i, e in enumerate(emotions)]
    table = make_table(pd.DataFrame(rows).assign(**{k: v for k, v in extra.items() if k in ("arousal", "valence")}))
    scales = {k: v for k, v in extra.items() if k == "scales"}
    return Corpus(name, "", Path(), table, (emotion_task("emotion-4"),), {"official": (OFFICIAL,)}, **scales)


def test_every_vocabulary_and_word_leads_to_a_canonical_emotion() -> None:
    for known in VOCABULARIES.values():
        assert {e for e in known.values() if e} <= set(EMOTIONS)
    assert set(WORDS) == set(EMOTIONS)
    words = [w for many in WORDS.values() for w in many]
    assert len(words) == len(set(words)), "a word that means two emotions"


SIZES = {
    "emotion-4": (4, True),
    "emotion-4-unmerged": (4, False),
    "emotion-6": (6, False),
    "emotion-7": (7, True),
    "emotion-8": (8, True),
}
"""Label set -> number of its classes, and whether excitement is merged with happiness."""


@pytest.mark.parametrize("name", SETS)
def test_label_sets_have_their_classes_in_order_and_merge_excitement_only_where_they_say_so(name: str) -> None:
    chosen, (size, merged) = label_set(name), SIZES[name]
    assert len(chosen.labels) == size
    assert list(chosen.labels) == sorted(chosen.labels)
    assert set(chosen.mapping.values()) == set(chosen.labels)
    if "excitement" in chosen.labels:
        assert chosen.mapping["excitement"] == "excitement"
    else:
        assert chosen.mapping.get("excitement") == ("happiness" if merged else None)
    assert "other" not in chosen.mapping


def test_iemocap_codes() -> None:
    raw = pd.Series(["ang", "exc", "xxx", "oth", None], index=list("abcde"))
    got = canonical(raw, "iemocap")
    assert got.fillna("-").tolist() == ["anger", "excitement", "-", "other", "-"]


def test_unknown_class_is_named_with_its_row_and_the_known_ones() -> None:
    raw = pd.Series(["A", "Q", "Q"], index=["x", "y", "z"])
    with pytest.raises(SerbenchError, match=r"unknown class 'Q' of 'y' in labels.csv \(2 such rows\).*A, S, H"):
        canonical(raw, "msp-podcast", "labels.csv")
    with pytest.raises(SerbenchError, match="label vocabulary 'msp-podcas'"):
        canonical(raw, "msp-podcas")


def test_raters_words_are_compared_by_prefix_of_other_and_without_case() -> None:
    raw = pd.Series(["Angry", "HAPPY", "Other-bored; so bored", "Other (sleepy)", "Neutral state", "Zorn", None])
    got = canonical_words(raw)
    assert got.fillna("-").tolist() == ["anger", "happiness", "other", "other", "neutral", "-", "-"]
    again = canonical_words(raw.astype("category"))
    assert again.astype("string").fillna("-").tolist() == got.fillna("-").tolist()


def test_soft_labels_against_a_plain_count() -> None:
    rng = np.random.default_rng(3)
    emotions = ["anger", "neutral", "sadness"]
    votes = pd.DataFrame(
        {
            "id": rng.choice(["b", "a", "c"], 40),
            "emotion": rng.choice([*emotions, "fear"], 40),
            "weight": rng.choice([0.5, 1.0], 40),
        }
    )
    totals: dict[str, Counter[str]] = defaultdict(Counter)
    for row in votes.itertuples():
        if row.emotion in emotions:
            totals[row.id][row.emotion] += row.weight
    got = soft_labels(votes, emotions)
    for item, counter in totals.items():
        for emotion in emotions:
            assert got.loc[item, f"soft_{emotion}"] == pytest.approx(counter[emotion] / counter.total(), abs=1e-12)
    as_categories = soft_labels(votes.astype({"id": "category", "emotion": "category"}), emotions)
    pd.testing.assert_frame_equal(as_categories.sort_index(), got.sort_index(), check_index_type=False)


def test_soft_labels_are_missing_where_no_vote_is_usable() -> None:
    got = soft_labels(pd.DataFrame({"id": ["a", "b"], "emotion": ["anger", None]}), ["anger"])
    assert got.loc["a", "soft_anger"] == 1.0
    assert np.isnan(got.loc["b", "soft_anger"])


def test_rescale_takes_ends_to_ends_and_back() -> None:
    assert rescale(1.0, (1.0, 7.0), (-1.0, 1.0)) == -1.0
    assert rescale(7.0, (1.0, 7.0), (-1.0, 1.0)) == 1.0
    assert rescale(4.0, (1.0, 7.0), (1.0, 5.0)) == 3.0
    x = pd.Series(np.linspace(1, 7, 13))
    there = rescale(x, (1.0, 7.0), (0.0, 1.0))
    np.testing.assert_allclose(there, (x - 1) / 6, atol=1e-15)
    np.testing.assert_allclose(rescale(there, (0.0, 1.0), (1.0, 7.0)), x, atol=1e-12)
    with pytest.raises(SerbenchError, match="lowest, highest"):
        rescale(1.0, (1.0, 1.0), (0.0, 1.0))


def test_rescaled_changes_only_what_both_scales_name() -> None:
    table = pd.DataFrame({"arousal": [1.0, 5.0], "valence": [1.0, 5.0], "text": ["a", "b"]})
    got = rescaled(table, {"arousal": (1.0, 5.0)}, {"arousal": (1.0, 7.0), "valence": (1.0, 7.0)})
    assert got["arousal"].tolist() == [1.0, 7.0]
    assert got["valence"].tolist() == [1.0, 5.0]
    assert table["arousal"].tolist() == [1.0, 5.0]


def test_mapping_report_says_what_is_merged_and_dropped() -> None:
    c = corpus(["anger", "happiness", "excitement", "excitement", "fear", None])
    assert mapping_report(emotion_task("emotion-4"), c.utterances) == (
        "anger: 1",
        "happiness: 3 = excitement 2 + happiness 1",
        "neutral: 0",
        "sadness: 0",
        "dropped: fear 1, no label 1",
    )
    assert mapping_report(emotion_task("emotion-4-unmerged"), c.utterances)[-1] == (
        "dropped: excitement 2, fear 1, no label 1"
    )


def test_transfer_of_a_classification_keeps_the_classes_and_drops_conditions_that_the_other_corpus_lacks() -> None:
    task = emotion_task("emotion-4", where={"scenario": ("improvised",)})
    other = corpus(["anger", "surprise", "excitement", None])
    asked, same, notes = transfer(task, other)
    assert same is other
    assert asked.labels == task.labels
    assert asked.where == {}
    assert list(asked.select(other.utterances).index) == ["u0", "u2"]
    assert asked.encode(asked.select(other.utterances)).tolist() == [0, 1]
    assert "scenario" in notes[0]
    assert notes[-1] == "dropped: no label 1, surprise 1"


def test_transfer_refuses_a_corpus_without_any_of_the_classes() -> None:
    with pytest.raises(SerbenchError, match=r"no utterance of the classes .* it has: boredom"):
        transfer(emotion_task("emotion-4"), corpus(["boredom", None]))
    gender = Task("gender", "classification", ("gender",), ("female", "male"), column="sex")
    with pytest.raises(SerbenchError, match="no such labels"):
        transfer(gender, corpus(["anger"]))


def test_transfer_of_attributes_carries_the_other_corpus_to_the_tasks_scale() -> None:
    scales = {"arousal": (1.0, 7.0), "valence": (1.0, 7.0)}
    task = attribute_tasks(("arousal", "valence"), scales)[0]
    other = corpus(["anger", "anger"], arousal=[1.0, 5.0], valence=[3.0, 2.0], scales=dict.fromkeys(scales, (1.0, 5.0)))
    asked, moved, notes = transfer(task, other)
    np.testing.assert_allclose(asked.encode(moved.utterances), [[1.0, 4.0], [7.0, 2.5]])
    assert moved.scales["arousal"] == (1.0, 7.0)
    assert other.utterances["arousal"].tolist() == [1.0, 5.0], "the corpus itself must not change"
    assert notes == (
        "arousal: other's scale 1 .. 5 carried to 1 .. 7",
        "valence: other's scale 1 .. 5 carried to 1 .. 7",
    )
    assert moved.digest() != other.digest()


def test_transfer_refuses_attributes_that_the_other_corpus_lacks() -> None:
    task = attribute_tasks(("arousal",), {"arousal": (1.0, 7.0)})[0]
    with pytest.raises(SerbenchError, match="has no arousal; it has: no attributes"):
        transfer(task, corpus(["anger"]))


def test_transfer_of_a_trace_rescales_its_frames() -> None:
    task = Task("trace", "continuous", ("arousal",), scales={"arousal": (1.0, 7.0)}, frame_seconds=0.1)
    base = corpus(["anger"], scales={"arousal": (-1.0, 1.0)})
    frames = pd.DataFrame({"time": [0.0, 0.1], "arousal": [-1.0, 0.5]})
    traced = Corpus(
        "traced",
        "",
        Path(),
        base.utterances,
        base.tasks,
        base.splits,
        base.scales,
        recordings=base.utterances,
        trace_source=lambda item: frames,
    )
    _, moved, _ = transfer(task, traced)
    np.testing.assert_allclose(moved.trace("u0")["arousal"], [1.0, 5.5])
    np.testing.assert_allclose(moved.trace("u0")["time"], [0.0, 0.1])
    with pytest.raises(SerbenchError, match="no time-continuous labels"):
        transfer(task, base)
