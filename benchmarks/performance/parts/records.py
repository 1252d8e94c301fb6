"""What many records cost: listing, ranking, a report and a site of 10,000 runs.

    python -m serbench.benchmarks.performance.parts.records [--out FILE.json]
    python -m serbench.benchmarks.performance.parts.records --run some --argument count=1000

The records are generated: 40 test utterances of each of `RANKINGS` corpora, two trials, random scores around one that
differs from run to run. Each command is a process of its own with one thread, its start and imports counted.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ....datasets.schema.task import Task
from ....results.record.folder import Run
from ..measure import SERBENCH, measure, timed
from ..rows import Facts, Row, main, row

COUNT, RANKINGS, ITEMS, TRIALS = 10_000, 50, 40, 2
LABELS = ("anger", "happiness", "neutral", "sadness")
TASK = Task("emotion", "classification", ("emotion",), LABELS)
COMMANDS = {
    "ranking": ["leaderboard"],
    "a report without resampling": ["report", "--bootstrap", "0"],
    "a site": ["site"],
}
LISTING = "from serbench.results.record.folder import runs_table; print(len(runs_table('results')))"


def specification(corpus: int, number: int) -> dict[str, Any]:
    """A run of its own: the corpus by its number, the model by a setting; one in each corpus is chance."""
    model = {"name": "chance" if number == 0 else "linear", "preset": "default", "config": {"number": number}}
    folds = {
        "folds": ["official"],
        "sizes": {"official": [80, 20, ITEMS]},
        "subsets": 4,
        "seed": 0,
        "split": "official",
    }
    return {
        "schema": 1,
        "arguments": {"trials": TRIALS, "dataset": f"corpus{corpus}", "settings": {}},
        "model": model,
        "features": {},
        "dataset": {
            "name": f"corpus{corpus}",
            "release": "1",
            "digest": f"{corpus:016x}",
            "licence": "",
            "citation": "",
        },
        "task": TASK.to_dict(),
        "protocol": {"name": "4x5", "group": "none", **folds},
        "labels": [],
        "command": f"serbench run --model linear --dataset corpus{corpus} --set model.number={number}",
        "serbench": "0",
    }


def make(folder: str, count: str = str(COUNT)) -> Facts:
    """Write the records of `folder`/results; what it takes is measured too."""
    with timed() as spent:
        for number in range(int(count)):
            _record(Path(folder) / "results", number % RANKINGS, number // RANKINGS)
    return spent


def rows(count: int = COUNT) -> list[Row]:
    """A row for each command on `count` records, and for their writing."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shown = [row(f"writing {count:,} records", make(name, str(count)))]
        env = {"PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1", "SERBENCH_CONFIG": ""}
        listing = [SERBENCH[0], "-c", LISTING]
        commands = {"listing as a table": listing, **{n: [*SERBENCH, *words] for n, words in COMMANDS.items()}}
        for title, command in commands.items():
            words = [*command, "results"] if command[-1] == "site" else command
            shown.append(
                row(f"{title} of {count:,} records in {RANKINGS} rankings", measure(words, cwd=folder, env=env))
            )
    return shown


def _record(results: Path, corpus: int, number: int) -> None:
    """One run with its units: as many of the answers are right as its number says, the others are drawn."""
    run = Run.create(results, specification(corpus, number))
    truth = np.arange(ITEMS) % len(LABELS)
    for trial in range(TRIALS):
        generator = np.random.default_rng([corpus, number, trial])
        right = generator.random(ITEMS) < 0.2 + 0.5 * (number % 97) / 97
        answers = np.where(right, truth, generator.integers(0, len(LABELS), ITEMS))
        table = {"id": [f"u{i}" for i in range(ITEMS)], "subset": np.arange(ITEMS) // (ITEMS // 4)}
        table |= {"gold": np.take(LABELS, truth), "predicted": np.take(LABELS, answers)}
        table |= {f"p_{label}": (answers == k).astype(float) for k, label in enumerate(LABELS)}
        facts: dict[str, Any] = {"status": "done", "error": None, "seed": trial, "seconds": 1.0, "cpu_seconds": 1.0}
        facts |= {"parameters": 10, "counts": {"train": 80, "dev": 20, "test": ITEMS}}
        facts["finished"] = f"2026-01-{1 + number % 28:02}T00:00:00"
        run.write_unit(trial, "official", facts, pd.DataFrame(table))


def some(count: str) -> Facts:
    """The rows of another number of records."""
    return {"rows": rows(int(count))}


RUNS: dict[str, Callable[..., Facts]] = {"make": make, "some": some}

if __name__ == "__main__":
    main(__doc__, rows, RUNS)
