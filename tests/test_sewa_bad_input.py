"""SEWA: what wrong label, turn, transcription and alignment files, archives and options are told."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.mocks import sewa as mock_sewa
from serbench.datasets.sewa import reader as sewa

RELEASES = ("2017", "2018", "2019")


@pytest.fixture(scope="module")
def roots(miniature: Callable[..., Path]) -> dict[str, Path]:
    return {release: miniature("sewa", release=release, utterances=48) for release in RELEASES}


@pytest.fixture
def package(roots: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the package of 2017, without sound, that a test may spoil."""
    for folder in ("labels", "turns", "transcriptions"):
        shutil.copytree(roots["2017"] / folder, tmp_path / folder)
    return tmp_path


def _edit(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")


def test_wrong_root_says_what_was_looked_for_and_found(tmp_path: Path) -> None:
    (tmp_path / "video").mkdir()
    with pytest.raises(SerbenchError, match=r"looked for the folder labels.*Train_DE_01\.csv.* found video/"):
        sewa.load(tmp_path)
    with pytest.raises(SerbenchError, match="needs --root"):
        sewa.load(None)


def test_archive_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / "AVEC_17_Emotion_Sub-Challenge.zip").write_bytes(b"")
    with pytest.raises(SerbenchError, match=r"Unpack AVEC_17_Emotion_Sub-Challenge\.zip"):
        sewa.load(tmp_path)


def test_missing_column(roots: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(roots["2019"] / "AVEC2019_CES_traindevel/labels", tmp_path / "labels")
    path = tmp_path / "labels/Train_DE_01.csv"
    _edit(path, lambda lines: [line.rsplit(";", 1)[0] for line in lines])
    with pytest.raises(SerbenchError, match=r"Train_DE_01\.csv' lacks the column\(s\) liking; it has: name, timestamp"):
        sewa.load(tmp_path)


def test_missing_column_without_a_header(package: Path) -> None:
    _edit(package / "labels/Train_01.csv", lambda lines: [line.rsplit(";", 1)[0] for line in lines])
    with pytest.raises(SerbenchError, match=r"label row 1 of .* has 4 cells.*Expected 5"):
        sewa.load(package)


def test_number_that_is_none(package: Path) -> None:
    _edit(package / "labels/Train_01.csv", lambda lines: [*lines[:3], "'Train_01';0.300000;high;0;0", *lines[4:]])
    with pytest.raises(SerbenchError, match=r"arousal of 'Train_01, row 4' in .*Train_01\.csv is 'high'"):
        sewa.load(package)


def test_number_that_lacks(package: Path) -> None:
    _edit(package / "labels/Train_01.csv", lambda lines: [*lines[:3], "'Train_01';0.300000;;0;0", *lines[4:]])
    with pytest.raises(SerbenchError, match="lacks a number"):
        sewa.load(package)


def test_gap_in_the_times(package: Path) -> None:
    _edit(package / "labels/Train_01.csv", lambda lines: lines[:10] + lines[14:])
    with pytest.raises(SerbenchError, match=r"advances by 0\.500 s at Train_01, row 11"):
        sewa.load(package)


def test_label_file_of_another_recording(package: Path) -> None:
    shutil.copy(package / "labels/Train_02.csv", package / "labels/Train_01.csv")
    with pytest.raises(SerbenchError, match=r"holds rows of 'Train_02'\. Expected those of Train_01"):
        sewa.load(package)


def test_two_files_for_one_id(package: Path) -> None:
    shutil.copy(package / "labels/Train_01.csv", package / "labels/train_01.CSV")
    with pytest.raises(SerbenchError, match="two files for one id, Train_01"):
        sewa.load(package)


def test_empty_label_file(package: Path) -> None:
    (package / "labels/Train_01.csv").write_text("")
    with pytest.raises(SerbenchError, match="is empty"):
        sewa.load(package)


def test_turn_that_is_no_time(package: Path) -> None:
    _edit(package / "turns/Train_01.csv", lambda lines: ["from;to", *lines])
    with pytest.raises(SerbenchError, match=r"line 1 of .*turns/Train_01\.csv' can't be read: 'from;to'"):
        sewa.load(package)


@pytest.mark.parametrize("end", ["inf", "nan", "1e999", "-1", "99999999999999999999"])
def test_turn_that_no_recording_has(package: Path, end: str) -> None:
    _edit(package / "turns/Train_01.csv", lambda lines: [f"{lines[0].split(';')[0]};{end}", *lines[1:]])
    with pytest.raises(SerbenchError, match=f"line 1 of .* can't be read: .*{end}'.* 0 to 86400"):
        sewa.load(package)


def test_two_turns_in_one_line(package: Path) -> None:
    _edit(package / "turns/Train_01.csv", lambda lines: [*lines[:-2], f"{lines[-2]};{lines[-1].split(';')[1]}"])
    with pytest.raises(SerbenchError, match=r"line \d+ of .* has 3 cells, the first one 2. Are two lines joined"):
        sewa.load(package)


def test_transcription_without_text(package: Path) -> None:
    _edit(package / "transcriptions/Train_01.csv", lambda lines: [lines[0].rsplit(";", 1)[0], *lines[1:]])
    with pytest.raises(SerbenchError, match="Expected start;end;'text'"):
        sewa.load(package)


def test_transcription_in_another_encoding(package: Path) -> None:
    (package / "transcriptions/Train_01.csv").write_bytes("0;1;'schön'\n".encode("latin-1"))
    with pytest.raises(SerbenchError, match="is not UTF-8"):
        sewa.load(package)


def test_mixed_releases(package: Path, roots: dict[str, Path]) -> None:
    shutil.copy(roots["2018"] / "labels/Train_DE_01.csv", package / "labels")
    with pytest.raises(SerbenchError, match="mixes files of several releases"):
        sewa.load(package)


def test_release_that_the_files_contradict(roots: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(SerbenchError, match=r"release 2019 was asked for, but .* are of 2018"):
        sewa.load(roots["2018"], "2019")
    with pytest.raises(SerbenchError, match="unknown release of sewa '2016'"):
        sewa.load(roots["2018"], "2016")
    with pytest.raises(SerbenchError, match="unknown release"):
        mock_sewa.write(tmp_path, release="2016")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"units": "words"}, "unknown value of units"),
        ({"segment_seconds": 0.0}, "segment_seconds=0.0 is out of range"),
        ({"segment_seconds": "four"}, "segment_seconds='four' is out of range"),
        ({"alignment": Path("nowhere")}, "'nowhere' is not a folder"),
    ],
)
def test_bad_options(roots: dict[str, Path], options: dict[str, Any], message: str) -> None:
    with pytest.raises(SerbenchError, match=message):
        sewa.load(roots["2017"], **options)


def test_alignment_folder_without_alignments(package: Path) -> None:
    (package / "aligned").mkdir()
    with pytest.raises(SerbenchError, match=r"looked for alignment files.*an empty folder"):
        sewa.load(package, alignment=package / "aligned")
    (package / "aligned/Train_01.csv").write_text("word,start\nja,1\n")
    with pytest.raises(SerbenchError, match=r"lacks the column\(s\) end"):
        sewa.load(package, alignment=package / "aligned")
