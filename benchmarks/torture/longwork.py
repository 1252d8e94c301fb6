"""Long work: thousands of units, a corpus of 200,000 utterances, a results folder of 10,000 records.

Each is done in a process of its own. Between the first and the last quarter of the units, memory may not grow by more
than 16 MiB, no file may stay open (medians), and a unit may not take half as long again (processor time of the fastest
tenth, which other work on the machine disturbs least). What a corpus and a results folder take is shown at a tenth of
the size and at the whole: ten times as many may take twelve times as long, and no more than what is stated of memory.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..performance.parts.records import make
from .children import Done, at_exit, call, typed
from .tally import Tally
from .works import TINY, settings, sound, write_corpus

SECONDS = 900
GIB = 8
GROWN_MIB = 16
SLOWER = 1.5
"""How much longer a unit may take in the end, as a factor."""
TENFOLD = 12.0
"""How much longer ten times as much may take, as a factor."""
MODELS = {
    "chance:random": ("--task", "emotion"),
    "linear": ("--task", "emotion", "--set", "model.feature=mel"),
    "deepemocluster": ("--task", "arousal", *settings(TINY, clusters="2")),
}
"""Models of which so many units are made: one without sound, one of scikit-learn, one of torch."""
NAMES = (*MODELS, "corpus", "records")
UNITS, ROWS, RECORDS = 200, 20_000, 1_000
"""What `rounds` is multiplied with: ten rounds make 2,000 units, 200,000 rows, 10,000 records."""


def tortured(place: Path, rounds: int, seed: int, names: list[str] | None = None) -> Iterator[Tally]:
    """Rows of units, of a corpus and of records."""
    for name in names or NAMES:
        if name in MODELS:
            yield units(place, name, max(40, UNITS * rounds))
        else:
            yield from {"corpus": corpus, "records": records}[name](
                place, {"corpus": ROWS, "records": RECORDS}[name] * rounds
            )


def units(place: Path, model: str, count: int) -> Tally:
    """So many units of a model in one process."""
    table, noted, folder = write_corpus(place / "corpus"), place / "units.json", place / "units"
    asked = ("--dataset", "table", "--root", str(table), "--subsets", "2", "--device", "cpu", *MODELS[model])
    line = ("run", "--model", model, *asked, "--trials", str(count), "--threads", "1")
    done = call(typed(line, lambda: _watched(noted)), folder, seconds=SECONDS, gib=GIB)
    sound(done, f"{count} units")
    notes = json.loads(noted.read_text())
    row = Tally(f"run {model}", f"{count} units in one process")
    row.add(*flat(notes[len(notes) // 10 :]))
    shutil.rmtree(folder)
    return row


def _watched(noted: Path) -> None:
    """Note processor time, memory and open files in this process whenever a record of a unit gets its name."""
    notes: list[tuple[float, float, int]] = []
    real = os.replace

    def replace(source: Any, target: Any, **more: Any) -> None:
        real(source, target, **more)
        if Path(target).name.startswith("unit-") and Path(target).suffix == ".json":
            notes.append((time.process_time(), resident_mib(), len(os.listdir("/proc/self/fd"))))

    os.replace = replace  # type: ignore[assignment]
    at_exit(lambda: noted.write_text(json.dumps(notes)))


def resident_mib() -> float:
    """Memory of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def flat(notes: Sequence[tuple[float, float, int]]) -> tuple[str, str]:
    """What the first and the last quarter took, and what is wrong with that."""
    quarter = len(notes) // 4
    (first, before, opened), (last, after, left) = (_middle(part) for part in (notes[:quarter], notes[-quarter:]))
    said = f"memory {before:.0f} then {after:.0f} MiB; open files {opened} then {left}; "
    said += f"{1000 * first:.1f} then {1000 * last:.1f} ms each"
    bad = after > before + GROWN_MIB or left > opened or last > SLOWER * first
    return said, f"not flat: {said}" if bad else ""


def _middle(notes: Sequence[tuple[float, float, int]]) -> tuple[float, float, int]:
    """Seconds from one to the next of the fastest tenth; medians of memory and of open files."""
    times, memory, files = zip(*notes, strict=True)
    return float(np.quantile(np.diff(times), 0.1)), statistics.median(memory), int(statistics.median(files))


def corpus(place: Path, count: int) -> Iterator[Tally]:
    """A table of so many rows, opened, planned, and run with a model that needs no sound; and a tenth of it."""
    opened: dict[str, list[Done]] = {}
    for rows in (count // 10, count):
        table = _table(place / f"rows-{rows}", rows)
        asked = ("--model", "chance", "--dataset", "table", "--root", str(table), "--task", "label", "--trials", "1")
        for name, line in (("plan", ("plan", *asked)), ("run chance", ("run", *asked))):
            done = call(typed(line), place / f"{name}-{rows}", seconds=SECONDS, gib=GIB)
            opened.setdefault(name, []).append(sound(done, f"{name} of {rows} rows"))
    for name, both in opened.items():
        yield _beside(name, f"a table of {count} rows", both, gib=2)


def _table(folder: Path, rows: int) -> Path:
    """A table of utterances by 50 speakers for each partition; no sound is there."""
    folder.mkdir()
    k = np.arange(rows)
    part = np.array(["train", "train", "dev", "test"])[k % 4]
    speaker = [f"{p}{n}" for p, n in zip(part, k // 4 % 50, strict=True)]
    columns = {"path": [f"{n}.wav" for n in k], "speaker": speaker, "partition": part}
    columns |= {"label": np.array(["ba", "di", "gu"])[k % 3], "arousal": k % 7}
    pd.DataFrame(columns).to_csv(folder / "x.csv", index=False)
    return folder / "x.csv"


def records(place: Path, count: int) -> Iterator[Tally]:
    """A results folder of so many records, listed, ranked and reported; and a tenth of it."""
    took: dict[str, list[Done]] = {}
    for many in (count // 10, count):
        make(str(place / f"records-{many}"), str(many))
        results = place / f"records-{many}" / "results"
        for name, body in readers(results).items():
            took.setdefault(name, []).append(sound(call(body, results.parent, seconds=SECONDS, gib=GIB), name))
        shutil.rmtree(results)
    for name, done in took.items():
        yield _beside(name, f"a results folder of {count} records", done, gib=2)


def readers(results: Path) -> dict[str, Callable[[], None]]:
    """What lists, ranks and reports."""
    given = ("--results", str(results))
    return {
        "list (runs_table)": lambda: _listed(results),
        "leaderboard": typed(("leaderboard", *given)),
        "report": typed(("report", *given, "--bootstrap", "0")),
    }


def _listed(results: Path) -> None:
    from ...results.record.folder import runs_table

    runs_table(results)


def _beside(name: str, what: str, done: Sequence[Done], gib: int) -> Tally:
    """A tenth beside the whole: processor seconds and memory."""
    few, many = done
    row = Tally(name, what)
    said = f"{many.seconds:.1f} s and {many.mib:.0f} MiB; of a tenth {few.seconds:.1f} s and {few.mib:.0f} MiB"
    bad = many.seconds > TENFOLD * max(few.seconds, 1.0) or many.mib > gib * 1024
    row.add(said, f"{name}, {what}: {said}" if bad else "")
    return row
