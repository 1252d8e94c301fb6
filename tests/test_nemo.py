"""nEMO: the table and its odd cells, missing and unlisted sound files, bad rows."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from serbench.benchmarks.corpora import doctor
from serbench.datasets import nemo
from serbench.datasets.core.errors import SerbenchError

HEADER = "file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage\n"
ROW = "{name}\t{emotion}\tZdanie.\tzdanie\t        {speaker}\tfemale\t27\n"


@pytest.fixture
def root(miniature: Callable[..., Path], tmp_path: Path) -> Path:
    shutil.copytree(miniature("nemo", utterances=54), tmp_path, dirs_exist_ok=True)
    return tmp_path


def written(folder: Path, *rows: str) -> Path:
    (folder / "samples").mkdir()
    (folder / "data.tsv").write_text(HEADER + "".join(rows), encoding="utf-8")
    return folder


def row(name: str = "EB0_anger_1.wav", emotion: str = "anger", speaker: str = "EB0") -> str:
    return ROW.format(name=name, emotion=emotion, speaker=speaker)


def test_a_row_of_the_table(tmp_path: Path) -> None:
    corpus = nemo.load(written(tmp_path, row("EB0_surprised_64.wav", "surprised")))
    found = corpus.row("EB0_surprised_64")
    assert (found["speaker"], found["gender"], found["age"], found["language"]) == ("EB0", "female", 27, "pl")
    assert (found["raw_emotion"], found["emotion"], found["text"]) == ("surprised", "surprise", "Zdanie.")
    assert (found["path"], found["sentence"]) == ("samples/EB0_surprised_64.wav", "64")


def test_nine_folds_of_one_speaker(root: Path) -> None:
    corpus = nemo.load(root)
    assert [fold.test["speaker"] for fold in corpus.folds()] == [
        (s,) for s in ("EB0", "IC0", "KD0", "KS0", "MK0", "MP0", "SM0", "TP0", "WR0")
    ]
    assert corpus.utterances.groupby("gender")["speaker"].nunique().to_dict() == {"female": 4, "male": 5}


def test_a_missing_sound_file_stays_in_the_table_and_is_told(miniature: Callable[..., Path]) -> None:
    corpus = nemo.load(miniature("nemo", utterances=54, traps=True))
    findings = doctor.check(corpus)
    missing = findings[findings["kind"] == "missing"]
    assert missing["id"].tolist() == ["EB0_anger_1"]
    assert findings[findings["kind"] == "orphan"]["path"].tolist() == ["samples/EB0_anger_999.wav"]
    assert any("EB0_anger_999.wav" in note for note in corpus.notes)


def test_the_table_needs_no_sound(root: Path) -> None:
    whole = nemo.load(root).digest()
    for file in (root / "samples").iterdir():
        file.unlink()
    assert nemo.load(root).digest() == whole


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((row("EB0_boredom_1.wav", "boredom"),), "unknown class 'boredom' of 'EB0_boredom_1'"),
        ((row(), row()), "two rows for one id: 'EB0_anger_1.wav'"),
        ((row("../EB0_anger_1.wav"),), "leaves the corpus root"),
        ((row("take one.wav"),), "row 1 of .* has the file 'take one.wav'"),
        ((row(speaker="WR0"),), "of the speaker 'WR0'"),
    ],
)
def test_bad_rows(tmp_path: Path, rows: tuple[str, ...], message: str) -> None:
    with pytest.raises(SerbenchError, match=message):
        nemo.load(written(tmp_path, *rows))


def test_a_table_of_other_columns(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    (tmp_path / "data.tsv").write_text("file\temotion\na.wav\tanger\n")
    with pytest.raises(SerbenchError, match=r"lacks the column\(s\) file_id, raw_text"):
        nemo.load(tmp_path)


def test_published_counts_are_those_of_the_whole_table() -> None:
    emotions = {key: n for key, n in nemo.EXPECTED.items() if key.startswith("emotion=")}
    assert sum(emotions.values()) == nemo.EXPECTED["utterances"] == 4481
    assert pd.Index(emotions).str.removeprefix("emotion=").tolist() == list(nemo.LABELS)


def test_a_row_that_breaks_off_is_refused(tmp_path: Path) -> None:
    whole = row("EB0_anger_1.wav")
    with pytest.raises(SerbenchError, match=r"row 2 .* has the file 'EB0_anger_2.wav'"):
        nemo.load(written(tmp_path, whole, "EB0_anger_2.wav\tanger\tZdanie.\n"))
