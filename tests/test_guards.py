"""What may not cross from training to test: speakers, sessions, dialogues, identical audio, transcripts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from serbench.benchmarks.grid import grid
from serbench.benchmarks.protocol.guards import Crossing, Side, guard, leaks, plain_text, sides
from serbench.benchmarks.protocol.protocol import Protocol, divide
from serbench.datasets import emodb
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.meld import reader as meld
from serbench.datasets.schema.corpus import OFFICIAL, Corpus, Fold, make_table, rotation
from serbench.datasets.schema.task import Task
from serbench.results.record.folder import load_runs
from serbench.sermodels.chance import Model as Chance

EMOTION = Task("emotion", "classification", ("emotion",), labels=("anger", "neutral"))
SENTENCES = ("the bus stops at the corner", "he put the box on the table", "it is ten past four now")


def corpus(root: Path, n: int = 24, **columns: list[object]) -> Corpus:
    """n items of n speakers, a third each for training, selection and test; no audio."""
    table = pd.DataFrame(
        {
            "id": [f"u{i:02}" for i in range(n)],
            "path": [f"u{i:02}.wav" for i in range(n)],
            "speaker": [f"s{i}" for i in range(n)],
            "partition": [("train", "dev", "test")[i % 3] for i in range(n)],
            "emotion": [("anger", "neutral")[i // 3 % 2] for i in range(n)],
            **columns,
        }
    )
    return Corpus("toy", "", root, make_table(table), (EMOTION,), {"official": (OFFICIAL,)})


def pairs(one: Corpus) -> list[tuple[Side, Side]]:
    return sides(one, divide(one, EMOTION, Protocol()), one.items(EMOTION))


def sound(path: Path, seed: int, seconds: float = 0.1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).uniform(-0.3, 0.3, int(16000 * seconds))
    soundfile.write(path, noise.astype(np.float32), 16000)


def sounds(one: Corpus, same: dict[str, str] | None = None) -> None:
    """A file of its own for every row; `same` gives a row the content of another one's."""
    names = list(one.utterances.index)
    for item, path in one.utterances["path"].items():
        sound(one.root / path, names.index((same or {}).get(str(item), str(item))))


# ---- columns --------------------------------------------------------------------------------------------------------


def test_nothing_crosses_in_a_sound_corpus(tmp_path: Path) -> None:
    one = corpus(tmp_path)
    sounds(one)
    assert leaks(pairs(one), texts=True) == {}
    assert guard(pairs(one), texts=True) == []


@pytest.mark.parametrize("column", ["speaker", "dialogue", "session"])
def test_a_value_in_training_and_test_is_refused_labelled_or_declared(tmp_path: Path, column: str) -> None:
    values = [f"v{i}" for i in range(24)]
    values[2] = values[0]  # test and train
    values[5] = values[1]  # test and dev
    one = corpus(tmp_path, **{column: values})
    assert leaks(pairs(one)) == {column: Crossing(2, "'v0'")}
    with pytest.raises(SerbenchError, match=rf"2 {column}s \(such as 'v0'\) of toy stand both .* --allow-leak"):
        guard(pairs(one))
    assert guard(pairs(one), allow_leak=True) == [f"leak:{column}"]
    assert guard(pairs(replace(one, shared=(column,)))) == [f"shared:{column}"]


def test_the_worst_fold_counts_and_dev_of_the_same_speaker_does_not(tmp_path: Path) -> None:
    groups = [f"g{i % 4}" for i in range(24)]
    one = replace(corpus(tmp_path, speaker=groups), splits={"groups": rotation("speaker", ["g0", "g1", "g2", "g3"])})
    assert leaks(pairs(one)) == {}
    halves = Fold("halves", test={"half": ("a",)}, dev={"half": ("b",)})
    more = Fold("more", test={"half": ("c",)}, dev={"half": ("b",)})
    table = one.utterances.assign(half=[("a", "b", "c", "d")[i // 6] for i in range(24)])
    leaky = replace(one, utterances=table, splits={"halves": (halves, more)})
    assert leaks(pairs(leaky))["speaker"].count == 4


def test_unknown_speakers_are_labelled(tmp_path: Path) -> None:
    assert guard(pairs(corpus(tmp_path, speaker=[None] * 24))) == ["speakers-unknown"]
    assert guard(pairs(corpus(tmp_path, speaker=[None, *[f"s{i}" for i in range(23)]]))) == ["speakers-partly-unknown"]


# ---- audio ----------------------------------------------------------------------------------------------------------


def test_identical_audio_under_another_name_is_a_leak(tmp_path: Path) -> None:
    one = corpus(tmp_path)
    sounds(one, same={"u02": "u00", "u08": "u07"})
    assert leaks(pairs(one)) == {"audio": Crossing(2, "'u02'")}
    with pytest.raises(SerbenchError, match=r"2 identical recordings \(such as 'u02'\)"):
        guard(pairs(one))
    assert guard(pairs(one), allow_leak=True) == ["leak:audio"]
    assert guard(pairs(replace(one, shared=("audio",)))) == ["shared:audio"]


def test_equal_size_is_not_equal_content(tmp_path: Path) -> None:
    one = corpus(tmp_path)
    sounds(one)
    assert len({p.stat().st_size for p in tmp_path.glob("*.wav")}) == 1
    assert leaks(pairs(one)) == {}
    data = bytearray((tmp_path / "u00.wav").read_bytes())
    (tmp_path / "u02.wav").write_bytes(data)
    data[60] ^= 1  # one bit, far from where the files are compared first
    (tmp_path / "u05.wav").write_bytes(data)
    assert leaks(pairs(one)) == {"audio": Crossing(1, "'u02'")}


def test_identical_audio_within_training_or_within_test_is_none(tmp_path: Path) -> None:
    one = corpus(tmp_path)
    sounds(one, same={"u03": "u00", "u05": "u02", "u01": "u00"})
    assert leaks(pairs(one)) == {}


def test_missing_audio_and_paths_that_leave_the_root_are_passed_over(tmp_path: Path) -> None:
    paths = [f"u{i:02}.wav" for i in range(24)]
    paths[0] = paths[2] = "../outside.wav"
    sound(tmp_path / "outside.wav", 1)
    one = corpus(tmp_path / "root", path=paths)
    assert leaks(pairs(one)) == {}
    paths[0] = paths[2] = "not_there.wav"
    assert leaks(pairs(corpus(tmp_path / "root", path=paths)))["audio"].count == 1  # one path is one file


@pytest.mark.parametrize(
    ("first", "second", "leak"),
    [
        ((0.0, 1.0), (1.0, 2.0), False),
        ((0.0, 1.0), (0.7, 1.7), False),  # 0.3 of 1 s
        ((0.0, 1.0), (0.5, 1.5), True),  # half of it
        ((0.0, 4.0), (1.0, 1.5), True),  # the shorter one lies inside
        ((None, None), (1.0, 2.0), True),
        ((None, None), (None, None), True),
    ],
)
def test_segments_of_one_file_leak_where_they_overlap(tmp_path: Path, first, second, leak: bool) -> None:
    paths = [f"u{i:02}.wav" for i in range(24)]
    paths[2] = paths[0]
    spans = [(None, None)] * 24
    spans[0], spans[2] = first, second
    one = corpus(tmp_path, path=paths, start=[a for a, _ in spans], end=[b for _, b in spans])
    assert ("audio" in leaks(pairs(one))) == leak


def test_a_file_that_was_changed_is_looked_at_again(tmp_path: Path) -> None:
    one = corpus(tmp_path)
    sounds(one, same={"u02": "u00"})
    assert leaks(pairs(one))["audio"].count == 1
    sound(tmp_path / "u02.wav", 99)
    assert leaks(pairs(one)) == {}


# ---- transcripts ----------------------------------------------------------------------------------------------------


def test_transcripts_matter_for_models_that_use_words_only(tmp_path: Path) -> None:
    one = corpus(tmp_path, text=[SENTENCES[i % 2] for i in range(24)])
    assert leaks(pairs(one)) == {}
    assert leaks(pairs(one), texts=True)["text"].count == 8
    with pytest.raises(SerbenchError, match=r"8 transcripts .* The model reads transcripts"):
        guard(pairs(one), texts=True)
    assert guard(pairs(one), texts=True, allow_leak=True) == ["leak:text"]
    assert guard(pairs(replace(one, shared=("text",))), texts=True) == ["shared:text"]


def test_case_and_punctuation_hide_no_transcript(tmp_path: Path) -> None:
    texts = [f"sentence number {i} of many" for i in range(24)]
    texts[2] = "  Sentence   NUMBER 0 -- of many!"
    found = leaks(pairs(corpus(tmp_path, text=texts)), texts=True)
    assert found == {"text": Crossing(1, "'sentence number 0 of many'")}


def test_short_transcripts_recur_in_natural_speech(tmp_path: Path) -> None:
    texts = [f"sentence number {i} of many" for i in range(24)]
    for i in (0, 2, 5, 8, 11):  # a train item, and half of the test items
        texts[i] = "Oh, my god!"
    assert leaks(pairs(corpus(tmp_path, text=texts)), texts=True) == {}
    texts[14] = "oh my god"  # more than half
    assert leaks(pairs(corpus(tmp_path, text=texts)), texts=True)["text"].count == 5


def test_empty_transcripts_are_none(tmp_path: Path) -> None:
    texts: list[object] = [None if i % 2 else "..." for i in range(24)]
    assert leaks(pairs(corpus(tmp_path, text=texts)), texts=True) == {}
    plain = plain_text(pd.Series(["A  b_c,\nD", "...", None], dtype="string"))
    assert plain.isna().tolist() == [False, True, True]
    assert plain[0] == "a bc d"


# ---- across corpora -------------------------------------------------------------------------------------------------


def test_across_corpora_names_mean_nothing_but_content_does(tmp_path: Path) -> None:
    a, b = corpus(tmp_path / "a"), replace(corpus(tmp_path / "b"), name="other")
    for one in (a, b):
        sounds(one)
    sound(b.root / "u01.wav", 4)  # as u04 of the other corpus
    table = b.utterances
    for item, path in table["path"].items():
        if item != "u01":
            sound(b.root / path, 100 + int(str(item)[1:]))
    crossing = [(Side(a, a.utterances), Side(b, b.utterances))]
    assert leaks(crossing) == {"audio": Crossing(1, "'u01'")}
    with pytest.raises(SerbenchError, match=r"of other \(tested\) and toy \(trained on\) .* another --test-dataset"):
        guard(crossing)
    assert guard(crossing, allow_leak=True) == ["leak:audio"]
    declared = [(Side(a, a.utterances), Side(replace(b, shared=("audio",)), b.utterances))]
    assert guard(declared, allow_leak=True) == ["leak:audio"]  # a corpus can speak for its own split alone


def test_two_releases_of_one_corpus_share_their_speakers(tmp_path: Path) -> None:
    a, b = corpus(tmp_path / "a"), replace(corpus(tmp_path / "b"), release="2")
    assert leaks([(Side(a, a.utterances), Side(b, b.utterances))])["speaker"].count == 24
    a, b = replace(a, name="table", generic=True), replace(b, name="table", generic=True)
    assert leaks([(Side(a, a.utterances), Side(b, b.utterances))]) == {}
    b = replace(b, root=a.root)
    found = leaks([(Side(a, a.utterances), Side(b, b.utterances))])
    assert found["speaker"].count == 24


# ---- in a run -------------------------------------------------------------------------------------------------------


@pytest.fixture
def table_file(tmp_path: Path) -> Path:
    one = corpus(tmp_path, text=[SENTENCES[i % 3 % 2] for i in range(24)])
    sounds(one, same={"u02": "u00"})
    columns = ["path", "speaker", "partition", "emotion", "text"]
    one.utterances[columns].to_csv(tmp_path / "toy.csv", index=False)
    return tmp_path / "toy.csv"


def test_a_run_refuses_or_labels_identical_audio(table_file: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    with pytest.raises(SerbenchError, match=r"1 identical recordings \(such as 'u02.wav'\) of table .* --allow-leak"):
        grid.run("chance", "table", root=table_file, results=results, trials=1)
    assert not results.exists()
    (done,) = grid.run("chance", "table", root=table_file, results=results, trials=1, allow_leak=True)
    assert "|labels:leak:audio" in done.signature
    assert done.units()[0]["status"] == "done"


def test_a_run_refuses_repeated_texts_for_models_that_use_words(
    table_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound(tmp_path / "u02.wav", 500)
    results = tmp_path / "results"
    grid.run("chance", "table", root=table_file, results=results, trials=1)
    monkeypatch.setattr(Chance, "uses_words", True)
    with pytest.raises(SerbenchError, match="transcripts"):
        grid.run("chance", "table", root=table_file, results=tmp_path / "b", trials=1)
    (done,) = grid.run("chance", "table", root=table_file, results=tmp_path / "b", trials=1, allow_leak=True)
    assert "leak:text" in done.signature
    assert all("leak" not in run.signature for run in load_runs(results))


def test_meld_shares_what_its_published_label_files_share(test_data: Path) -> None:
    real = meld.load(test_data / "meld_csv")
    task = real.task("emotion")
    both = sides(real, divide(real, task, Protocol()), real.items(task))
    texts = real.utterances["text"].str.casefold().str.replace(r"[^\w\s]", "", regex=True).str.split()
    long = texts[texts.str.len() >= 4].str.join(" ")
    part = real.utterances["partition"][long.index]
    met = set(long[part.isin(["train", "dev"])])
    assert leaks(both, texts=True)["text"].count == sum(text in met for text in long[part.eq("test")]) == 26
    assert guard(both, texts=True) == ["shared:speaker", "shared:text"]
    assert guard(both) == ["shared:speaker"]


def test_ten_fixed_sentences_matter_for_models_that_read_only(test_data: Path) -> None:
    real = emodb.load(test_data / "emodb")
    task = real.task("emotion")
    both = sides(real, divide(real, task, Protocol()), real.items(task))
    assert guard(both) == []
    with pytest.raises(SerbenchError, match="The model reads transcripts"):
        guard(both, texts=True)
