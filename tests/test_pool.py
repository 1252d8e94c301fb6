"""An unlabelled pool that shares recordings, speakers or dialogues with what is selected on or tested."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from serbench.benchmarks.grid.training import plan_training
from serbench.benchmarks.protocol.guards import Side, guard_pool
from serbench.benchmarks.protocol.request import Place, Request
from serbench.benchmarks.protocol.setting import Corpora
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.corpus import OFFICIAL, Corpus, make_table
from serbench.datasets.schema.task import Task

EMOTION = Task("emotion", "classification", ("emotion",), labels=("anger", "neutral"))
PARTS = ("train", "dev", "test", "unlabelled")


def sound(path: Path, seed: int) -> None:
    noise = np.random.default_rng(seed).uniform(-0.3, 0.3, 1600)
    soundfile.write(path, noise.astype(np.float32), 16000)


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A `table` corpus of 32 short files, eight of them in the pool; u02 is the first test item, u03 of the pool."""
    rows = [
        {
            "path": f"u{i:02}.wav",
            "speaker": f"s{i}",
            "dialogue": f"d{i}",
            "partition": PARTS[i % 4],
            "emotion": ("anger", "neutral")[i // 4 % 2],
        }
        for i in range(32)
    ]
    for i, row in enumerate(rows):
        sound(tmp_path / str(row["path"]), i)
    table = pd.DataFrame(rows)
    table.loc[table["partition"].eq("unlabelled"), "emotion"] = None
    table.to_csv(tmp_path / "toy.csv", index=False)
    return tmp_path / "toy.csv"


def changed(file: Path, row: int, **columns: str) -> None:
    table = pd.read_csv(file)
    for column, value in columns.items():
        table.loc[row, column] = value
    table.to_csv(file, index=False)


def labels(file: Path, model: str = "deepemocluster", test: Place | None = None, **more: object) -> list[str]:
    request = Request(model, "table", root=str(file), test=test, **more)  # type: ignore[arg-type]
    return list(plan_training([request], Corpora()).parts[0].spec["labels"])


def test_a_pool_of_other_speech_needs_no_label(toy: Path) -> None:
    assert labels(toy) == []


def test_test_audio_in_the_pool_is_refused_or_labelled(toy: Path) -> None:
    sound(toy.parent / "u03.wav", 2)
    with pytest.raises(SerbenchError, match=r"1 test items of table \(such as 'u02.wav'\) are in the unlabelled pool"):
        labels(toy)
    assert not (toy.parent / "results").exists()
    assert labels(toy, allow_leak=True) == ["leak:pool-audio"]
    assert labels(toy, "cnn-regressor") == [], "a model without a pool never meets it"
    assert labels(toy, settings={"model.unlabelled": "0"}) == []


def test_speakers_and_dialogues_of_the_pool_are_labelled(toy: Path) -> None:
    changed(toy, 3, speaker="s2")
    assert labels(toy) == ["pool:speaker"]
    changed(toy, 7, dialogue="d6")
    assert labels(toy) == ["pool:speaker", "pool:dialogue"]
    changed(toy, 11, speaker="s1")
    assert labels(toy) == ["pool:speaker", "pool:dialogue", "pool-dev:speaker"]
    sound(toy.parent / "u03.wav", 1)
    assert labels(toy)[2:] == ["pool-dev:speaker", "pool-dev:audio"]


def test_only_the_part_of_the_pool_that_is_used_counts(toy: Path) -> None:
    """Four of the eight sentences are drawn; which ones does not depend on what they share."""
    found = []
    for row in range(3, 32, 4):
        changed(toy, row, speaker="s2")
        found.append(labels(toy, settings={"model.unlabelled": "4"}))
        changed(toy, row, speaker=f"s{row}")
    assert sorted(map(tuple, found)) == [()] * 4 + [("pool:speaker",)] * 4


def test_the_pool_is_held_against_another_corpus_that_is_tested(toy: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    table = pd.read_csv(toy).assign(speaker=lambda t: "x" + t["speaker"], dialogue=lambda t: "x" + t["dialogue"])
    for i, path in enumerate(table["path"]):
        sound(other / path, 100 + i)
    table.to_csv(other / "toy.csv", index=False)
    place = Place("table", str(other / "toy.csv"))
    assert labels(toy, test=place) == []
    sound(other / "u02.wav", 3)
    with pytest.raises(SerbenchError, match="in the unlabelled pool of table too"):
        labels(toy, test=place)


def test_an_utterance_that_is_both_is_found_without_audio(tmp_path: Path) -> None:
    rows = [{"id": f"u{i}", "path": f"u{i}.wav", "speaker": None, "partition": PARTS[i % 4]} for i in range(8)]
    one = Corpus("toy", "", tmp_path, make_table(pd.DataFrame(rows)), (EMOTION,), {"official": (OFFICIAL,)})
    pool, dev, tested = (Side(one, one.utterances.iloc[rows]) for rows in ([3, 7], [1, 5], [2, 7]))
    with pytest.raises(SerbenchError, match=r"such as 'u7'"):
        guard_pool(pool, dev, tested)
    assert guard_pool(pool, dev, tested, allow_leak=True) == ["leak:pool-audio"]


def test_more_of_the_pool_than_there_is_ends_before_any_work(toy: Path) -> None:
    with pytest.raises(SerbenchError, match=r"model\.unlabelled=9, but the unlabelled pool has 8"):
        labels(toy, settings={"model.unlabelled": "9"})
    assert not (toy.parent / "results").exists()
