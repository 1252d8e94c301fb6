"""Files: written whole or not at all, by one writer or several; a disk that fails is said; checksums."""

from __future__ import annotations

import errno
import io
import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from torch import nn

from serbench.benchmarks.core.progress import harmless_output
from serbench.datasets.core import files
from serbench.datasets.core.errors import SerbenchError, StorageError, printable
from serbench.datasets.core.files import (
    atomic_write,
    checksum,
    discard,
    intact,
    replacing,
    sealed,
    unsealed,
    write_bytes,
    write_text,
)
from serbench.datasets.reading.label_files import read_columns
from serbench.features.core import course


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_next_writer_takes_over_what_a_killed_one_has_left(tmp_path: Path) -> None:
    (tmp_path / ".a.json.part").write_text("half of something longer than what comes")
    write_text(tmp_path / "a.json", "whole")
    assert names(tmp_path) == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "whole"


def test_two_writers_at_once_have_two_names_and_the_last_one_stays(tmp_path: Path) -> None:
    with replacing(tmp_path / "a") as first:
        first.write_text("first")
        with replacing(tmp_path / "a") as second:
            second.write_text("second")
            assert first != second
            assert names(tmp_path) == sorted([first.name, second.name])
        assert (tmp_path / "a").read_text() == "second"
    assert (tmp_path / "a").read_text() == "first"
    assert names(tmp_path) == ["a"]


def test_more_writers_than_there_are_names_have_random_ones(tmp_path: Path) -> None:
    def nested(count: int) -> None:
        with replacing(tmp_path / "a") as part:
            part.write_text(str(count))
            if count:
                nested(count - 1)

    nested(20)
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "20"


def test_without_locks_every_writer_has_a_random_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    with replacing(tmp_path / "a") as first, replacing(tmp_path / "a") as second:
        assert len({first.name, second.name, ".a.part"}) == 3
        assert names(tmp_path) == sorted([first.name, second.name])
    assert names(tmp_path) == ["a"]


def test_discarding_leaves_what_a_living_writer_writes(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"x")
    (tmp_path / ".a.1.part").write_text("of a killed one")
    with replacing(tmp_path / "a") as part:
        discard(tmp_path / "a")
        assert names(tmp_path) == [part.name]
    assert names(tmp_path) == ["a"]


def test_discarding_leaves_the_state_of_a_training_that_is_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library that puts a file of its own in the place of the locked one would lose it here."""
    training, state = course.Course(), tmp_path / "training.safetensors"
    training.network, training.optimisers, training.best = nn.Linear(1, 1), {}, {}
    training.epoch = training.best_epoch = 1
    replace = os.replace

    def after_another_has_ended(part: Path, path: Path) -> None:
        course.remove_state(state)
        replace(part, path)

    monkeypatch.setattr(files.os, "replace", after_another_has_ended)
    training.save_state(state, "one", {}, {})
    assert training.take_up(state, "one") is not None


def test_the_mode_is_that_of_any_other_new_file(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    write_bytes(tmp_path / "a", b"x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "other").stat().st_mode


def full(stream: IO[bytes]) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def missing(stream: IO[bytes]) -> None:
    Path("/nowhere/at/all").read_bytes()


def test_a_full_disk_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"old")
    with pytest.raises(
        StorageError, match=r"a' can't be written: No space left on device. Expected .* same command"
    ) as e:
        atomic_write(tmp_path / "a", full)
    assert isinstance(e.value, SerbenchError)
    assert e.value.errno == errno.ENOSPC
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


@pytest.mark.parametrize("write", [missing, lambda stream: 1 / 0])
def test_what_is_not_about_the_file_stays_what_it_is(tmp_path: Path, write: Callable[[IO[bytes]], object]) -> None:
    with pytest.raises((FileNotFoundError, ZeroDivisionError)) as caught:
        atomic_write(tmp_path / "a", write)
    assert not isinstance(caught.value, SerbenchError)
    assert names(tmp_path) == []


def test_a_parent_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="can't be written"):
        write_bytes(tmp_path / "file" / "a", b"x")


def test_the_checksum_is_crc_32_of_the_text_the_names_and_the_arrays_in_order() -> None:
    arrays = {"b": np.arange(3, dtype="<f4"), "a": np.array(2, dtype="<i8")}
    whole = b'{"k":1}' + b"a" + arrays["a"].tobytes() + b"b" + arrays["b"].tobytes()
    assert checksum({"k": 1}, arrays) == f"{zlib.crc32(whole):08x}"
    assert checksum({"k": 1}, dict(reversed(arrays.items()))) == checksum({"k": 1}, arrays)
    assert checksum({"k": 1}, {**arrays, "none": np.empty((0, 2))}) != checksum({"k": 1}, arrays)


def test_control_characters_are_printed_as_their_escapes() -> None:
    assert printable("a\x1b[2J\x07b\n\tä 🙂") == "a\\x1b[2J\\x07b\n\tä 🙂"


SHOWN = [(True, "\x1b[1ma\x1b[0m\\x1b]0;x\\x07 ä\n"), (False, "\\x1b[1ma\\x1b[0m\\x1b]0;x\\x07 ä\n")]


@pytest.mark.parametrize(("terminal", "expected"), SHOWN)
def test_standard_output_passes_colours_to_terminals_alone(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, expected: str
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    monkeypatch.setattr("sys.stdout", stream)
    with harmless_output():
        print("\x1b[1ma\x1b[0m\x1b]0;x\x07 ä")
    print("after")
    assert stream.getvalue() == expected + "after\n"


def test_a_label_file_commands_nothing_but_its_paths_stay(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path,label,speaker\na\x1b.wav,x\x1b[2J,ä\nb.wav,y,\n", encoding="utf-8")
    table = read_columns(tmp_path / "a.csv", ["path"])
    assert table["path"].tolist() == ["a\x1b.wav", "b.wav"]
    assert table["label"].tolist() == ["x\\x1b[2J", "y"]
    assert table["speaker"].isna().tolist() == [False, True]


def test_no_flipped_bit_hides_a_checksum() -> None:
    """Not even one in its own name, which makes the data look like those of a version that had none."""
    head = {"k": 1, "status": "done", "seed": "0badcafe"}
    written = json.dumps({**head, "checksum": checksum(head, {})}).encode()
    assert intact(json.loads(written), {})
    assert intact(dict(head), {})  # of an older version
    for bit in range(8 * len(written)):
        changed = bytearray(written)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            read = json.loads(changed)
        except ValueError:
            continue
        assert read == json.loads(written) or not intact(read, {}), bit


@pytest.mark.parametrize("data", [b"", b"[1, 2]", bytes(range(256))])
def test_every_flipped_bit_and_every_cut_of_sealed_bytes_is_found(data: bytes) -> None:
    whole = sealed(data)
    assert whole == data + b"\n" + f"{zlib.crc32(data):08x}\n".encode()
    assert unsealed(whole) == data
    flipped = [int.from_bytes(whole, "big") ^ 1 << bit for bit in range(8 * len(whole))]
    for other in (*(number.to_bytes(len(whole), "big") for number in flipped), *(whole[:n] for n in range(len(whole)))):
        with pytest.raises(ValueError, match="checksum"):
            unsealed(other)
