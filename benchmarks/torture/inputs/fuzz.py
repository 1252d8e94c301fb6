"""Fuzz: every kind of file that serbench reads, mutated at random and read again.

A reader may read the file, warn, or refuse it in words (`SerbenchError`). It may not raise anything else, hang, crash
the process, or take gigabytes. Files are read in forked children, a hundred in each; the one that a child dies of is
known by a note that it leaves before.

Rows that were lost in silence: a label file in which a cell was changed, or in which lines have changed places, and a
file that was renamed, hold the same utterances; an adapter that gives fewer of them has to say so, by an error, a
warning or a note of the corpus. Features of a corpus are made of every file, or it is listed with its reason.
"""

from __future__ import annotations

import json
import resource
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from ....datasets.core.errors import SerbenchError
from ..children import call
from ..tally import Tally
from .mutations import mutated, renamed
from .readers import TEXT, Target, makers

BATCH = 100
SLOW = 10
"""Processor time [s] that one file may take."""
GIB = 2
"""Memory [GiB] that it may take."""
COUNTED = ("cell", "lines")
"""Mutations after which the same utterances are there."""


def tortured(place: Path, rounds: int, seed: int, names: list[str] | None = None) -> Iterator[Tally]:
    """A row for each kind of file, with `rounds` mutated ones, of sound several times as many."""
    every = makers()
    for name in names or every:
        target = every[name](place / "fuzz")
        row, whole = fuzzed(target, place, rounds, seed), call(partial(_whole, target), place / "in")
        if whole.status != 0:
            row.wrong.append(f"{name}: not read when it is whole: {whole.said[-200:]}")
        yield row


def fuzzed(target: Target, place: Path, rounds: int, seed: int) -> Tally:
    """`rounds` mutations of a target's files, in children."""
    row, done, rounds = Tally(target.name, f"mutated {'names of ' * target.named}files"), 0, rounds * target.weight
    log, whole = place / "outcomes.jsonl", {file: file.read_bytes() for file in target.files}
    while done < rounds:
        log.write_text("")
        numbers = range(done, min(rounds, done + BATCH))
        ended = call(partial(_batch, target, numbers, seed, log), place / "in", seconds=SLOW * BATCH, gib=GIB)
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        for line in lines:
            if "outcome" in line:
                row.add(line["outcome"], line["wrong"])
        if len(lines) % 2 or not lines:  # it died of the last one that it had begun
            begun = lines[-1]["begun"] if lines else "before the first"
            row.add("", f"{target.name}, {begun}: {ended.problem or ended.status}: {ended.said[-200:]}")
            _restore(whole)
        done += (len(lines) + 1) // 2 or BATCH
    return row


def _whole(target: Target) -> None:
    for file in target.files[:3]:
        target.read(file)


def _restore(whole: Mapping[Path, bytes]) -> None:
    """Put files back as they were; what has another name now goes."""
    for folder in {file.parent for file in whole}:
        for file in folder.iterdir():
            if file.suffix in {known.suffix for known in whole} and file not in whole:
                file.unlink()
    for file, data in whole.items():
        file.write_bytes(data)


def _batch(target: Target, numbers: range, seed: int, log: Path) -> None:
    """Mutate and read one file after the other; each is as it was afterwards."""
    signal.signal(signal.SIGALRM, _too_slow)
    with log.open("a", encoding="utf-8", buffering=1) as notes:
        for number in numbers:
            rng = Random(f"{target.name} {seed} {number}")
            file = target.files[rng.randrange(len(target.files))]
            with (_other_name if target.named else _other_bytes)(file, rng) as (now, how):
                what = f"{how} of {file.name} (number {number})"
                notes.write(json.dumps({"begun": what}) + "\n")
                outcome, wrong = _read(target.read, now, how, counted=target.named or how in COUNTED)
            wrong = f"{target.name}, {what}: {wrong}" if wrong else ""
            notes.write(json.dumps({"outcome": outcome, "wrong": wrong}) + "\n")


@contextmanager
def _other_bytes(file: Path, rng: Random) -> Iterator[tuple[Path, str]]:
    whole = file.read_bytes()
    data, how = mutated(whole, rng, text=file.suffix.lower() in TEXT)
    file.write_bytes(data)
    try:
        yield file, how
    finally:
        file.write_bytes(whole)


@contextmanager
def _other_name(file: Path, rng: Random) -> Iterator[tuple[Path, str]]:
    other, how = renamed(file, rng)
    file.rename(other)
    try:
        yield other, how
    finally:
        other.rename(file)


class TooSlow(BaseException):
    """A file took longer than it may."""


def _too_slow(number: int, frame: Any) -> None:
    raise TooSlow


def _read(read: Callable[[Path], object], file: Path, how: str, *, counted: bool) -> tuple[str, str]:
    signal.setitimer(signal.ITIMER_REAL, 6 * SLOW)
    began = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            lost = read(file)
        if type(lost) is int and lost > 0 and counted and not warned:
            return "", f"{lost} utterances were lost in silence"
        if resource.getrusage(resource.RUSAGE_SELF).ru_utime - began > SLOW:
            return "", f"more than {SLOW} s"
        return "read", ""
    except SerbenchError as error:
        return "refused", "" if str(error).strip() else "refused without a word"
    except (Exception, TooSlow) as error:
        return "", f"{type(error).__name__}: {str(error)[:160]} ({_place(error)})"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _place(error: BaseException) -> str:
    """File and line of ours that an error comes from."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/torture/inputs/" not in f.filename and "site-packages" not in f.filename]
    last = ([f for f in ours if "/lib/python" not in f.filename] or frames)[-1]
    return f"{Path(last.filename).name}, line {last.lineno}"
