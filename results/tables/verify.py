"""Does leaderboard.csv follow from the stored predictions? Every score and test is computed again and compared.

Nothing of the CSV is trusted but the run ids: predictions are read (and checked against their digests), scored,
tested and ranked as `leaderboard` does, and every cell is compared. What does not follow is named with what was found
and what it should be.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ...datasets.core.errors import SerbenchError
from ..record.folder import Run, Runs, load_runs
from ..stress.table import PREFIX, with_stress
from .beside_human import HUMAN
from .leaderboard import COLUMNS, leaderboard, with_intervals
from .pair_tests import Resampling

KEY = ["run_id", "target"]
RELATIVE, ABSOLUTE = 1e-9, 1e-12
"""Two numbers are the same below these differences: other versions of a library may sum in another order."""
REMEDY = "Type 'serbench leaderboard' to write it again."


@dataclass(frozen=True)
class Verification:
    """What was compared: `rows` of the CSV, `runs` behind them, and a line per cell or row that does not follow."""

    rows: int
    runs: int
    problems: tuple[str, ...]


def verify_leaderboard(results: Path, path: Path | None = None) -> Verification:
    """Compute every row of `results`/leaderboard.csv (or another file) again.

    Raises
    ------
    SerbenchError
        When there is no such file, or it is no leaderboard.
    """
    file = Path(path) if path is not None else Path(results) / "leaderboard.csv"
    written = _read(file)
    runs = load_runs(Path(results))
    wanted = set(written["run_id"])
    chosen = [run for run in runs if run.run_id in wanted]
    problems = [*_unreadable(runs, wanted), *_doubled(written), *_absent(runs, written)]
    if chosen:
        problems += _differing(written, _recomputed(written, chosen))
    return Verification(len(written), len(chosen), tuple(dict.fromkeys(problems)))


def _read(file: Path) -> pd.DataFrame:
    if not file.is_file():
        raise SerbenchError(f"there is no {file}. {REMEDY}")
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8")
    except (ValueError, UnicodeDecodeError) as error:
        raise SerbenchError(f"{file} can't be read as CSV: {error}. {REMEDY}") from error
    needed = COLUMNS if set(HUMAN) & set(table) else [column for column in COLUMNS if column not in HUMAN]
    if lost := [column for column in needed if column not in table]:
        raise SerbenchError(f"{file} is no leaderboard: it lacks the column(s) {', '.join(lost)}. {REMEDY}")
    return table


def _recomputed(written: pd.DataFrame, chosen: Sequence[Run]) -> pd.DataFrame:
    """The leaderboard of the runs that the CSV names; with bootstrap intervals and a human where it has them."""
    frame = leaderboard(chosen)
    if not set(HUMAN) & set(written):  # written before there was a human row
        frame = frame.drop(columns=list(HUMAN))
    if any(str(column).startswith(PREFIX) for column in written):
        frame = with_stress(frame, chosen)
    if "boot_resamples" not in written:
        return frame
    asked = written.iloc[0]
    try:
        options = Resampling(bootstrap=int(asked["boot_resamples"]), cluster=asked["boot_asked"])
        return with_intervals(frame, chosen, options)
    except (ValueError, KeyError, SerbenchError):
        return frame


def _unreadable(runs: Runs, wanted: set[str]) -> Iterator[str]:
    there = {run.run_id for run in runs}
    broken = {path.name: reason for path, reason in runs.problems.items()}
    for run_id in sorted(wanted - there):
        yield f"{run_id}: {broken.get(run_id, 'there is no such run folder')}"


def _doubled(written: pd.DataFrame) -> Iterator[str]:
    for run_id, target in written.loc[written.duplicated(KEY), KEY].itertuples(index=False):
        yield f"{run_id}, {target}: the row occurs more than once"


def _absent(runs: Runs, written: pd.DataFrame) -> Iterator[str]:
    """Runs that belong into a ranking of the CSV and are not in it: ranks and corrections depend on them."""
    held = set(zip(written["dataset"], written["task"], written["protocol_digest"], strict=True))
    for run in runs:
        key = run.spec["dataset"]["name"], run.task.name, run.protocol_digest
        if key in held and run.run_id not in set(written["run_id"]) and run.complete_trials():
            yield f"{run.run_id}: the run is not in the file, though its ranking is. {REMEDY}"


def _differing(written: pd.DataFrame, computed: pd.DataFrame) -> Iterator[str]:
    truth = {(row["run_id"], row["target"]): row for row in computed.to_dict("records")}
    for row in written.drop_duplicates(KEY).to_dict("records"):
        name = f"{row['run_id']}, {row['target']}"
        expected = truth.pop((row["run_id"], row["target"]), None)
        if expected is None:
            if any(run_id == row["run_id"] for run_id, _ in truth) or row["run_id"] in set(computed["run_id"]):
                yield f"{name}: the run has no such target"
            elif reason := computed.attrs.get("problems", {}).get(row["run_id"]):
                yield f"{name}: {reason}"
            continue
        wrong = [
            f"{c} is {row[c] or 'empty'}, expected {_text(v)}"
            for c, v in expected.items()
            if c in row and not _same(str(row[c]), v)
        ]
        missing = [f"{c} is not there" for c in expected if c not in row]
        if wrong or missing:
            yield f"{name}: {'; '.join([*wrong, *missing])}"
    for run_id, target in truth:
        yield f"{run_id}, {target}: the row is missing"


def _same(text: str, value: Any) -> bool:
    """Whether a cell of the CSV holds a value."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return text == _text(value)
    try:
        number = float(text) if text else math.nan
    except ValueError:
        return False
    if math.isnan(number) or math.isnan(value):
        return math.isnan(number) and math.isnan(value)
    return math.isclose(number, value, rel_tol=RELATIVE, abs_tol=ABSOLUTE)


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(value)
