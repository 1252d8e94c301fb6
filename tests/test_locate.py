"""Finding folders and files, reading label tables: variants of names, and what each kind of bad input is told."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.core.files import inside
from serbench.datasets.reading.label_files import numbers, read_columns, refuse_doubles
from serbench.datasets.reading.locate import (
    files_in,
    find,
    find_root,
    missing,
    need_root,
    packed_archives,
    refuse_escapes,
    relative,
    require,
    visible,
)


def touch(path: Path, data: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_names_are_compared_without_case_and_in_order_of_preference(tmp_path: Path) -> None:
    (tmp_path / "AUDIO").mkdir()
    assert find(tmp_path, ("audios", "audio")) == tmp_path / "AUDIO"
    (tmp_path / "Audios").mkdir()
    assert find(tmp_path, ("audios", "audio")) == tmp_path / "Audios"
    assert find(tmp_path, ("labels",)) is None
    assert find(tmp_path / "nowhere", ("labels",)) is None


def test_wildcards_serve_two_spellings(tmp_path: Path) -> None:
    touch(tmp_path / "labels_concensus.csv")
    assert find(tmp_path, ("labels_con[cs]ensus.csv",), "file") == tmp_path / "labels_concensus.csv"


def test_two_entries_for_one_name_are_refused(tmp_path: Path) -> None:
    touch(tmp_path / "labels_concensus.csv")
    touch(tmp_path / "labels_consensus.csv")
    with pytest.raises(SerbenchError, match=r"2 files for one: labels_concensus.csv, labels_consensus.csv"):
        find(tmp_path, ("labels_con[cs]ensus.csv",), "file")


def test_a_folder_that_repeats_its_name_inside_counts_as_one(tmp_path: Path) -> None:
    touch(tmp_path / "Transcripts/transcripts/a.txt")
    touch(tmp_path / "Transcripts/._transcripts")
    assert find(tmp_path, ("transcripts",)) == tmp_path / "Transcripts/transcripts"
    touch(tmp_path / "Transcripts/b.txt")
    assert find(tmp_path, ("transcripts",)) == tmp_path / "Transcripts"


def test_appledouble_stubs_are_never_seen(tmp_path: Path) -> None:
    touch(tmp_path / "._a.wav")
    touch(tmp_path / "b.WAV")
    touch(tmp_path / "c.txt")
    assert [e.name for e in visible(tmp_path)] == ["b.WAV", "c.txt"]
    assert files_in(tmp_path, ".wav") == [tmp_path / "b.WAV"]
    assert find(tmp_path, ("*.wav",), "file") == tmp_path / "b.WAV"


def test_nothing_found_says_what_was_looked_for_and_what_is_there(tmp_path: Path) -> None:
    touch(tmp_path / "holiday.jpg")
    (tmp_path / "Sounds").mkdir()
    with pytest.raises(SerbenchError) as caught:
        require(tmp_path, ("Labels", "Label"), dataset="corpus")
    text = str(caught.value)
    assert "looked for the folder Labels or Label" in text
    assert "found Sounds/, holiday.jpg" in text
    assert "--root" in text
    assert "an empty folder" in str(missing("corpus", tmp_path / "Sounds", "labels"))
    assert "no such folder" in str(missing("corpus", tmp_path / "gone", "labels"))


def test_a_zip_not_unpacked_is_named_in_the_remedy(tmp_path: Path) -> None:
    touch(tmp_path / "Labels.zip")
    touch(tmp_path / "Sounds.tar.gz")
    with pytest.raises(SerbenchError, match=r"Unpack Labels\.zip there first"):
        require(tmp_path, ("Labels",), dataset="corpus")
    assert packed_archives(tmp_path) == ["Labels.zip", "Sounds.tar.gz"]
    assert packed_archives(tmp_path, ("sounds",)) == ["Sounds.tar.gz"]


def test_need_root(tmp_path: Path) -> None:
    with pytest.raises(SerbenchError, match=r"needs --root: the folder with things"):
        need_root(None, "corpus", "the folder with things")
    with pytest.raises(SerbenchError, match="is not a folder"):
        need_root(tmp_path / "nowhere", "corpus", "the folder with things")
    with pytest.raises(SerbenchError, match=r"is an archive\. Unpack it"):
        need_root(touch(tmp_path / "corpus.tar.gz"), "corpus", "the folder with things")
    assert need_root(tmp_path, "corpus", "it") == tmp_path


def test_find_root_looks_one_level_down_and_never_where_it_must_not(tmp_path: Path) -> None:
    def recognise(folder: Path) -> bool:
        return find(folder, ("labels",)) is not None

    def ask(folder: Path) -> Path:
        return find_root(folder, recognise, dataset="corpus", looked_for="Labels", avoid={"old"})

    (tmp_path / "old/Labels").mkdir(parents=True)
    with pytest.raises(SerbenchError, match="looked for Labels"):
        ask(tmp_path)
    (tmp_path / "release/Labels").mkdir(parents=True)
    assert ask(tmp_path) == tmp_path / "release"
    assert ask(tmp_path / "release") == tmp_path / "release"
    (tmp_path / "second/Labels").mkdir(parents=True)
    with pytest.raises(SerbenchError, match=r"several copies of corpus: release, second"):
        ask(tmp_path)


@pytest.mark.parametrize("name", ["../a.wav", "/etc/passwd", "x/../../a.wav", "..\\a.wav", "C:/a.wav", "x/.."])
def test_paths_that_leave_the_root_are_refused(name: str) -> None:
    with pytest.raises(SerbenchError, match=r"in labels\.csv leaves the corpus root"):
        refuse_escapes(pd.Series(["good.wav", name]), "labels.csv")


def test_paths_with_dots_in_their_names_are_no_escape() -> None:
    refuse_escapes(pd.Series(["a..b.wav", "x/...y/z.wav", "a.wav", None], dtype="string"), "labels.csv")


def test_relative_has_forward_slashes(tmp_path: Path) -> None:
    assert relative(tmp_path, tmp_path / "a" / "b.wav") == "a/b.wav"


@pytest.mark.parametrize("rows", ["1,2,3\n4,5,6\n", "1,2,3\n", "1,2\n3,4,5,6\n", "1,2,3,4\n"])
def test_read_columns_refuses_rows_with_more_cells_than_the_header(tmp_path: Path, rows: str) -> None:
    (tmp_path / "x.csv").write_text(f"a,b\n{rows}")
    with pytest.raises(SerbenchError, match=r"x.csv' (has more cells than its header|can't be read as a table)"):
        read_columns(tmp_path / "x.csv", ("a",))


def test_read_columns_takes_a_byte_order_mark_and_blanks_in_the_header(tmp_path: Path) -> None:
    path = touch(tmp_path / "a.csv", "\ufeffFileName, Value\na,1\nb,\n".encode())
    table = read_columns(path, ("FileName", "Value"))
    assert table["FileName"].tolist() == ["a", "b"]
    assert table["Value"].isna().tolist() == [False, True]


def test_label_file_with_a_missing_column(tmp_path: Path) -> None:
    path = touch(tmp_path / "a.csv", b"FileName,B\na,1\n")
    with pytest.raises(SerbenchError, match=r"lacks the column\(s\) EmoAct; it has: FileName, B"):
        read_columns(path, ("FileName", "EmoAct"))


@pytest.mark.parametrize("data", [b"", b"\xff\xfe\x00a", b'a,b\n"1,2\n'])
def test_label_file_that_is_no_table(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(SerbenchError, match="can't be read as a table"):
        read_columns(touch(tmp_path / "a.csv", data), ("a",))


def test_a_number_that_is_none() -> None:
    good = numbers(pd.Series(["1", " 2.5 ", None, "nan", ""], dtype="string", name="EmoAct"), "labels.csv")
    np.testing.assert_array_equal(good, [1.0, 2.5, np.nan, np.nan, np.nan])
    bad = pd.Series(["1", "3,5"], index=["x", "y"], dtype="string", name="EmoAct")
    with pytest.raises(SerbenchError, match=r"EmoAct of 'y' in labels.csv is '3,5' \(1 such rows\)"):
        numbers(bad, "labels.csv")


def test_two_rows_for_one_id() -> None:
    refuse_doubles(pd.Index(["a", "b"]), "labels.csv")
    with pytest.raises(SerbenchError, match=r"labels\.csv has two rows for one id: 'b'"):
        refuse_doubles(pd.Index(["a", "b", "b"]), "labels.csv")


@pytest.mark.parametrize("root", [".", "data", "/data", "data/.."])
@pytest.mark.parametrize("path", ["a.wav", "x/../a.wav", "./a.wav", "x/y/../../a.wav"])
def test_paths_inside_a_root_however_the_root_is_written(root: str, path: str) -> None:
    assert os.path.abspath(inside(Path(root), path)) == os.path.abspath(os.path.join(root, "a.wav"))


@pytest.mark.parametrize("root", [".", "data", "/data", "data/.."])
@pytest.mark.parametrize("path", ["..", "../a.wav", "x/../../a.wav", "/etc/passwd", "../data2/a.wav"])
def test_paths_that_leave_a_root_are_refused_however_the_root_is_written(root: str, path: str) -> None:
    with pytest.raises(SerbenchError, match="leaves the corpus root"):
        inside(Path(root), path)
