"""ESD: numbers and folders, speakers of two languages, transcripts in every encoding."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from serbench.benchmarks.corpora.doctor import _orphans
from serbench.datasets import esd
from serbench.datasets.core.errors import SerbenchError


@pytest.fixture(scope="module")
def plain(miniature: Callable[..., Path]) -> Path:
    return miniature("esd", utterances=100)


@pytest.fixture(scope="module")
def trapped(miniature: Callable[..., Path]) -> Path:
    return miniature("esd", utterances=100, traps=True)


@pytest.mark.parametrize(
    ("number", "emotion"),
    [(1, "neutral"), (350, "neutral"), (351, "anger"), (1050, "happiness"), (1051, "sadness"), (1750, "surprise")],
)
def test_the_number_says_the_emotion(tmp_path: Path, number: int, emotion: str) -> None:
    (tmp_path / f"0011_{number:06d}.wav").write_bytes(b"")
    corpus = esd.load(tmp_path)
    assert corpus.utterances["emotion"].tolist() == [emotion]
    assert corpus.utterances["sentence"].tolist() == [str((number - 1) % 350 + 1)]


def test_speakers(plain: Path) -> None:
    table = esd.load(plain).utterances.drop_duplicates("speaker").set_index("speaker")
    assert table.groupby(["language", "gender"]).size().to_dict() == {
        ("en", "female"): 5,
        ("en", "male"): 5,
        ("zh", "female"): 5,
        ("zh", "male"): 5,
    }
    assert table.loc["0012", ["language", "gender"]].tolist() == ["en", "male"]
    assert table.loc["0019", ["language", "gender"]].tolist() == ["en", "female"]
    for _, group in table.groupby("fold"):
        assert len(group.groupby(["language", "gender"])) == len(group) == 4


def test_one_language(plain: Path) -> None:
    corpus = esd.load(plain, language="en")
    assert set(corpus.utterances["language"]) == {"en"}
    assert (corpus.expected["utterances"], corpus.expected["speakers"]) == (17500, 10)
    assert _orphans(corpus, set(corpus.utterances["path"])) == []
    assert len(corpus.folds()) == 5
    with pytest.raises(SerbenchError, match="unknown value of language"):
        esd.load(plain, language="english")


def test_a_language_that_is_not_there(plain: Path, tmp_path: Path) -> None:
    shutil.copytree(plain / "0001", tmp_path / "0001")
    with pytest.raises(SerbenchError, match="no file of language=en"):
        esd.load(tmp_path, language="en")


def test_transcripts_in_three_encodings(trapped: Path) -> None:
    corpus = esd.load(trapped)
    found = [corpus.row(f"{speaker}_000001")["text"] for speaker in ("0001", "0002", "0011", "0012")]
    assert found == ["一句话 1.", "一句话 1.", "A sentence 1.", "A sentence 1."]
    assert {corpus.row("0001_000351")["path"]} == {"0001/Angry/train/0001_000351.wav"}
    assert "1 lines of the transcripts can't be read" in corpus.notes


def test_a_file_in_the_folder_of_another_emotion(plain: Path, tmp_path: Path) -> None:
    shutil.copytree(plain, tmp_path, dirs_exist_ok=True)
    (tmp_path / "0001/Angry/0001_000351.wav").rename(tmp_path / "0001/Sad/0001_000351.wav")
    with pytest.raises(SerbenchError, match="lies in 'Sad', but its number says 'Angry'"):
        esd.load(tmp_path)


def test_a_number_that_the_corpus_does_not_have(tmp_path: Path) -> None:
    (tmp_path / "0001_001751.wav").write_bytes(b"")
    with pytest.raises(SerbenchError, match="has the number 1751"):
        esd.load(tmp_path)
