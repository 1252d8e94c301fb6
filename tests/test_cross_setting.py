"""What a cross-corpus run asks: test items, classes, scales, unions of corpora, and requests that make no sense."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from serbench.benchmarks.core.progress import Silent
from serbench.benchmarks.grid import grid
from serbench.benchmarks.protocol import setting
from serbench.benchmarks.protocol.protocol import Protocol
from serbench.benchmarks.protocol.request import Place, Request
from serbench.benchmarks.protocol.setting import resolve
from serbench.benchmarks.protocol.shared_tasks import task_of
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.corpus import OFFICIAL, Corpus, make_table
from serbench.datasets.schema.labels import emotion_task
from serbench.datasets.schema.task import Task
from serbench.datasets.schema.union import join
from serbench.results.record.folder import Run

FOUR = ("anger", "happiness", "neutral", "sadness")


def setting_of(trained: str, test: str, **more: Any) -> setting.Setting:
    first, *also = (Place(name) for name in trained.split("+"))
    return resolve(Request("chance", first.name, also=tuple(also), test=Place(test), **more))


def predictions(one: Run) -> pd.DataFrame:
    return one.predictions().sort_values(["trial", "id"]).reset_index(drop=True)


# ---- what is asked --------------------------------------------------------------------------------------------------


def test_test_items_are_the_second_corpus_own_test_set(toys: dict[str, Corpus]) -> None:
    found = setting_of("alpha", "beta", task="emotion-4")
    table = toys["beta"].utterances
    asked = table[table["partition"].eq("test") & table["emotion"].ne("fear")]
    assert set(found.subsets) == set(asked.index)
    assert set(setting_of("beta", "alpha", task="emotion-4").subsets) == set(toys["alpha"].utterances.index)


@pytest.mark.parametrize("task", ["emotion-4", "arousal"])
@pytest.mark.parametrize(("trained", "test"), [("alpha", "beta"), ("gamma", "beta"), ("gamma", "alpha")])
def test_each_test_item_is_dealt_to_one_fold_model_in_equal_parts(
    toys: dict[str, Corpus], trained: str, test: str, task: str
) -> None:
    found = setting_of(trained, test, task=task)
    dealt = [i for d in found.divisions for i in d.test]
    assert sorted(dealt) == sorted(found.subsets)
    assert len(found.divisions) == len(toys[trained].folds())
    labels = toys[test].utterances["emotion"] if task == "emotion-4" else pd.Series("all", toys[test].utterances.index)
    merged = labels.replace("excitement", "happiness")
    for subset in range(4):
        sizes = [Counter(merged[i] for i in d.test if found.subsets[i] == subset) for d in found.divisions]
        for label in set(merged[dealt]):
            counts = [size[label] for size in sizes]
            assert max(counts) - min(counts) <= 1
    sizes = [len(d.test) for d in found.divisions]
    assert max(sizes) - min(sizes) <= 1


def test_training_is_that_of_the_first_corpus_alone(toys: dict[str, Corpus]) -> None:
    own, crossed = resolve(Request("chance", "alpha", task="emotion-4")), setting_of("alpha", "beta", task="emotion-4")
    assert [(d.fold, d.train, d.dev) for d in own.divisions] == [(d.fold, d.train, d.dev) for d in crossed.divisions]


def test_subsets_are_those_of_the_tested_corpus(toys: dict[str, Corpus]) -> None:
    for task in ("emotion-4", "arousal"):
        own = resolve(Request("chance", "beta", task=task))
        for trained in ("alpha", "gamma"):
            subsets = setting_of(trained, "beta", task=task).subsets
            assert subsets == {i: own.subsets[i] for i in subsets}
            assert trained == "gamma" or len(subsets) == len(own.subsets)


def test_items_of_a_class_that_was_never_trained_are_left_out_and_counted(toys: dict[str, Corpus]) -> None:
    found = setting_of("gamma", "beta", task="emotion-4")  # gamma has no happiness; excitement is merged with it
    table = toys["beta"].utterances
    lost = table["partition"].eq("test") & table["emotion"].isin(["happiness", "excitement"])
    assert found.left_out == {"happiness": int(lost.sum())}
    assert not set(found.subsets) & set(table.index[lost])
    assert any("20 test items of the class happiness, which gamma has no training item of" in n for n in found.notes)


def test_a_class_that_is_never_tested_stays_a_wrong_answer(toys: dict[str, Corpus], tmp_path: Path) -> None:
    found = setting_of("beta", "gamma", task="emotion-4")
    assert found.asked.labels == FOUR
    assert any(note.startswith("happiness never occurs in the test set") for note in found.notes)
    (run,) = grid.run("chance:random", "beta", test_dataset="gamma", task="emotion-4", results=tmp_path, trials=1)
    table = predictions(run)
    assert "happiness" in set(table["predicted"])
    assert "happiness" not in set(table["gold"])
    scores = run.scores()
    for subset, part in table.groupby("subset"):
        gold, predicted = part["gold"].to_numpy(), part["predicted"].to_numpy()
        recalls = [np.mean(predicted[gold == label] == label) for label in sorted(set(gold))]
        uar = scores[scores["metric"].eq("UAR") & scores["subset"].eq(subset)]["value"].item()
        assert uar == pytest.approx(np.mean(recalls))


def test_mapping_and_losses_are_printed_and_recorded(toys: dict[str, Corpus], tmp_path: Path) -> None:
    said: list[str] = []
    display = Silent()
    display.message = said.append  # type: ignore[method-assign]
    common = {"task": "emotion-4", "results": tmp_path, "trials": 1, "display": display}
    (run,) = grid.run("chance", "alpha", test_dataset="beta", **common)
    lines = [line.strip() for line in said]
    assert lines.count("alpha>beta, task emotion-4:") == 1  # for three rows of models
    assert "tested on beta: happiness: 20 = excitement 10 + happiness 10" in lines
    assert "tested on beta: dropped: fear 10" in lines
    assert "trained on alpha: dropped: nothing" in lines
    recorded = run.spec["transfer"]
    assert [f"{note}" for note in recorded["notes"]] == [line for line in lines if " on " in line and ":" in line]
    assert recorded["trained_on"]["name"] == "alpha"
    assert recorded["tested_on"]["digest"] == toys["beta"].digest()
    assert recorded["task"]["labels"] == list(FOUR)


def test_conditions_on_columns_that_are_not_there_fall(toys: dict[str, Corpus]) -> None:
    one = toys["alpha"]
    table = one.utterances.assign(scenario=["improvised"] * 60 + ["scripted"] * 60)
    task = emotion_task("emotion-4", "improvised", where={"scenario": ("improvised",)})
    toys["alpha"] = replace(one, utterances=table, tasks=(*one.tasks, task))
    found = setting_of("alpha", "beta", task="improvised")
    assert len({i for d in found.divisions for i in d.train}) == 60
    assert found.asked.where == {}
    assert "the condition on 'scenario' falls: beta has no such column" in found.notes


def test_the_tested_corpus_own_task_of_the_name_is_asked_if_it_is_the_same(toys: dict[str, Corpus]) -> None:
    own = Task("perceived", "classification", ("emotion",), FOUR, "heard", where={"certain": ("yes",)})
    n = len(toys["beta"].utterances)
    table = toys["beta"].utterances.assign(heard=[FOUR[i % 4] for i in range(n)], certain="yes")
    toys["beta"] = replace(toys["beta"], utterances=table, tasks=(own,))
    plain = Task("perceived", "classification", ("emotion",), FOUR)
    toys["alpha"] = replace(toys["alpha"], tasks=(plain,))
    found = setting_of("alpha", "beta")
    assert found.asked is own
    assert found.task is plain


def test_attributes_are_carried_between_scales(toys: dict[str, Corpus], tmp_path: Path) -> None:
    (run,) = grid.run("chance", "alpha", test_dataset="beta", task="arousal", results=tmp_path, trials=1)
    table = predictions(run).set_index("id")
    truth = toys["beta"].utterances["arousal"]
    np.testing.assert_array_equal(table["gold_arousal"], truth[table.index])
    for division in setting_of("alpha", "beta", task="arousal").divisions:
        mean = toys["alpha"].utterances.loc[list(division.train), "arousal"].mean()  # what the chance model says
        np.testing.assert_allclose(table.loc[list(division.test), "pred_arousal"], (mean - 1) / 4 * 6 + 1)
    assert run.spec["task"]["scales"] == {"arousal": [1.0, 7.0]}
    assert "arousal: predictions on 1 .. 5 carried to 1 .. 7" in run.spec["transfer"]["notes"]


def test_traces_are_carried_and_their_hops_must_agree(toys: dict[str, Corpus], tmp_path: Path) -> None:
    def traced(name: str, scale: tuple[float, float], hop: float) -> Corpus:
        task = Task("traces", "continuous", ("arousal",), scales={"arousal": scale}, frame_seconds=hop)
        rows = [
            {"id": f"{name}{i}", "path": f"{i}.wav", "partition": ("train", "dev", "test", "test")[i % 4]}
            for i in range(16)
        ]
        level = (scale[0] + scale[1]) / 2 + 0.25 * (scale[1] - scale[0])
        frames = pd.DataFrame({"time": np.arange(5) * hop, "arousal": [level] * 5})
        return replace(
            toys["alpha"],
            name=name,
            tasks=(task,),
            splits={"official": (OFFICIAL,)},
            scales={"arousal": scale},
            recordings=make_table(rows),
            trace_source=lambda _: frames,
        )

    toys["alpha"], toys["beta"] = traced("alpha", (-1.0, 1.0), 0.1), traced("beta", (1.0, 9.0), 0.1)
    (run,) = grid.run("chance", "alpha", test_dataset="beta", results=tmp_path, trials=1)
    table = predictions(run)
    assert len(table) == 8 * 5
    np.testing.assert_allclose(table["pred_arousal"], table["gold_arousal"])  # three quarters up, on either scale
    np.testing.assert_allclose(table["gold_arousal"], 7.0)
    toys["beta"] = traced("beta", (1.0, 9.0), 0.04)
    with pytest.raises(SerbenchError, match=r"a label every 0\.04 s, 'traces' one every 0\.1 s"):
        setting_of("alpha", "beta")


def test_a_shared_label_set_is_a_task_of_every_corpus(toys: dict[str, Corpus]) -> None:
    task = task_of(toys["beta"], "emotion-4")
    assert dict(task.mapping)["excitement"] == "happiness"
    assert task_of(toys["beta"], "emotion").labels == ("anger", "excitement", "fear", "happiness", "neutral", "sadness")
    some = task_of(toys["beta"], "emotion-4", ("sadness", "anger"))
    assert (some.name, some.labels) == ("emotion-4:anger+sadness", ("anger", "sadness"))
    assert set(some.select(toys["beta"].utterances)["emotion"]) == {"anger", "sadness"}
    assert task_of(toys["beta"], "emotion-4", FOUR) == task


@pytest.mark.parametrize(
    ("trained", "test", "more", "said"),
    [
        ("alpha", "beta", {"task": "emotoin"}, "Did you mean 'emotion'"),
        ("alpha", "beta", {"task": "emotion-4", "classes": ("anger", "rage")}, "class of emotion-4"),
        ("alpha", "beta", {"task": "arousal", "classes": ("anger",)}, "has no classes"),
        ("alpha+beta", "beta", {"task": "emotion-4"}, "trained on and tested"),
        ("alpha+alpha", "beta", {"task": "emotion-4"}, "names a corpus twice"),
        ("alpha+beta", "gamma", {"task": "arousal", "protocol": Protocol(split="official")}, "--split"),
    ],
)
def test_bad_requests_say_what_to_do(toys: dict[str, Corpus], trained: str, test: str, more: dict, said: str) -> None:
    with pytest.raises(SerbenchError, match=said):
        setting_of(trained, test, **more)


def test_corpora_that_share_too_little_are_refused(
    toys: dict[str, Corpus], silent_corpus: Callable[..., Corpus]
) -> None:
    toys["gamma"] = silent_corpus("gamma", 100, ("fear", "boredom"))
    with pytest.raises(SerbenchError, match="gamma has no utterance of the classes"):
        setting_of("alpha", "gamma", task="emotion-4")
    toys["gamma"] = silent_corpus("gamma", 100, ("fear", "anger"))
    with pytest.raises(SerbenchError, match=r"share 1 classes .* trained on anger, happiness, .*, tested anger"):
        setting_of("alpha", "gamma", task="emotion-4")
    toys["gamma"] = replace(silent_corpus("gamma", 100), scales={}, tasks=(task_of(toys["alpha"], "emotion"),))
    with pytest.raises(SerbenchError, match="gamma has no arousal"):
        setting_of("alpha", "gamma", task="arousal")
    with pytest.raises(SerbenchError, match="Name a --test-dataset"):
        resolve(Request("chance", "alpha", also=(Place("beta"),)))
    toys["beta"] = silent_corpus("beta", 5)
    with pytest.raises(SerbenchError, match=r"2 items .* fewer than the 4 models of a trial"):
        setting_of("alpha", "beta", task="arousal")


# ---- several corpora together ---------------------------------------------------------------------------------------


def test_a_union_keeps_names_apart_and_carries_labels(silent_corpora: dict[str, Corpus]) -> None:
    alpha, beta = silent_corpora["alpha"], silent_corpora["beta"]
    table = beta.utterances.assign(dialogue="d1", previous=[pd.NA, *beta.utterances.index[:-1]])
    beta = replace(beta, utterances=table, word_source=lambda item: pd.DataFrame({"word": [item]}))
    union, task = join([(alpha, alpha.task("arousal")), (beta, beta.task("arousal"))])
    joined = union.utterances
    assert (union.name, len(joined)) == ("alpha+beta", 270)
    assert union.root == Path("/nowhere")
    assert joined.loc["beta/beta007", "path"] == "beta/7.wav"
    assert joined.loc["beta/beta007", "speaker"] == "beta/" + beta.utterances.loc["beta007", "speaker"]
    assert joined.loc["beta/beta007", "previous"] == "beta/beta006"
    assert joined.loc["beta/beta007", "dialogue"] == "beta/d1"
    carried = (beta.utterances["arousal"] - 1) / 6 * 4 + 1
    np.testing.assert_allclose(joined.filter(like="beta/", axis=0)["arousal"], carried)
    np.testing.assert_array_equal(joined.filter(like="alpha/", axis=0)["arousal"], alpha.utterances["arousal"])
    assert task.scales == {"arousal": (1.0, 5.0)}
    assert union.words("beta/beta003")["word"].tolist() == ["beta003"]
    merged, four = join([(c, emotion_task("emotion-4", "emotion-4")) for c in (alpha, beta)])
    excited = beta.utterances.index[beta.utterances["emotion"] == "excitement"]
    assert set(merged.utterances.loc[[f"beta/{i}" for i in excited], four.column]) == {"happiness"}
    assert len(merged.items(four)) == 120 + 125


def test_a_union_decodes_clips_of_the_corpus_that_has_them_and_stays_inside_the_roots(
    tmp_path: Path, silent_corpora: dict[str, Corpus]
) -> None:
    roots = {name: tmp_path / name for name in ("alpha", "beta")}
    alpha, beta = (replace(silent_corpora[name], root=roots[name]) for name in ("alpha", "beta"))
    table = beta.utterances.copy()
    table.loc["beta001", "path"] = "../alpha/1.wav"
    beta = replace(beta, utterances=table, audio_source=lambda p: p.with_suffix(".flac"))
    union, _ = join([(alpha, alpha.task("arousal")), (beta, beta.task("arousal"))])
    assert union.audio_path("beta/beta002") == roots["beta"] / "2.flac"
    assert union.audio_path("alpha/alpha002") == roots["alpha"] / "2.wav"
    with pytest.raises(SerbenchError, match="leaves the corpus root"):
        union.audio_path("beta/beta001")
