"""Learning curves as tables: scores by share of the training set, and the law that they follow, extrapolated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...datasets.core.stages import track
from ...datasets.schema.task import Task
from ..display.numbers import interval, number
from ..display.table import Cell, Table, records
from ..record.pairing import load_scored
from ..record.run import Run
from ..tables.pair_tests import Resampling, score_intervals
from .power_law import PowerLaw, extrapolated, fit

FURTHER = (2.0, 5.0)
"""Multiples of the largest training set that the law is carried to."""
INTERVALS = 2000
NOTE = (
    "Same folds and test items at every share; training items and speakers are means over folds. Intervals: bootstrap "
    "over test speakers and trials. The speakers of a share are one draw: --seed makes another."
)
LAW_NOTE = (
    "score(n) = limit - scale n^-exponent over n training items, least squares; error: root of the mean squared "
    "residual. EXTRAPOLATED: what the law says of 2 and 5 times the training set, which nothing has shown, with the "
    "95 % interval over trials and test subsets."
)


@dataclass(frozen=True)
class Point:
    """A run of a curve: the model's name, the share, and the training items and speakers of its folds on average."""

    run: Run
    model: str
    share: float
    items: float
    speakers: float


@dataclass(frozen=True)
class Curve:
    """`points`, a row per model, target and share; `laws`, a row per model and target (none for fewer than three)."""

    dataset: str
    task: str
    metric: str
    points: pd.DataFrame
    laws: pd.DataFrame


def learning_curve(points: Sequence[Point]) -> Curve:
    """Scores of some runs by share, with intervals, and the laws that they follow."""
    first = points[0].run
    rows, tables = [], {}
    for point in track(list(points), "scores by share"):
        scored = load_scored(point.run)
        intervals, _ = score_intervals(point.run, options=Resampling(bootstrap=INTERVALS))
        scores = scored.scores[scored.scores["metric"].eq(first.task.metric)]
        for target, part in scores.groupby("target", sort=False):
            one = intervals[str(target)]
            rows.append(
                {
                    "model": point.model,
                    "target": str(target),
                    "share": point.share,
                    "items": point.items,
                    "speakers": point.speakers,
                    "mean": float(part["value"].mean(skipna=False)),
                    "low": one.low,
                    "high": one.high,
                    "signature": point.run.signature,
                    "run_id": point.run.run_id,
                }
            )
            tables[point.model, str(target), point.share] = part.pivot(index="trial", columns="subset", values="value")
    frame = pd.DataFrame(rows)
    laws = [law for key, part in frame.groupby(["model", "target"], sort=False) if (law := _law(key, part, tables))]
    dataset = str(first.spec["dataset"]["name"])
    return Curve(dataset, first.task.name, first.task.metric, frame, pd.DataFrame(laws))


def _law(key: Any, part: pd.DataFrame, tables: dict[Any, pd.DataFrame]) -> dict[str, Any] | None:
    """The law of a model and target with what it says of more data."""
    n, model, target = part["items"].to_numpy(dtype=np.float64), str(key[0]), str(key[1])
    law = fit(n, part["mean"].to_numpy())
    if law is None:
        return None
    row: dict[str, Any] = {"model": model, "target": target}
    row |= {"limit": law.limit, "scale": law.scale, "exponent": law.exponent, "error": law.error}
    cells = [tables[model, target, share] for share in part["share"]]
    whole = len({cell.shape for cell in cells}) == 1
    for times in FURTHER:
        at = times * float(n.max())
        low, high = extrapolated(n, np.stack([c.to_numpy() for c in cells]), at) if whole else (np.nan, np.nan)
        row |= {f"x{times:g}": float(law.at(at)), f"x{times:g}_low": low, f"x{times:g}_high": high}
    return row


def read_curve(folder: Path, dataset: str, task: Task) -> Curve | None:
    """The curve whose tables lie in a folder; None where there is none."""
    files = [folder / f"curve_{dataset}_{task.name}{end}.csv" for end in ("", "_law")]
    if not files[0].is_file():
        return None
    laws = pd.read_csv(files[1]) if files[1].is_file() else pd.DataFrame()
    return Curve(dataset, task.name, task.metric, pd.read_csv(files[0]), laws)


def law_of(row: dict[str, Any]) -> PowerLaw:
    """The law that a row of `laws` holds."""
    return PowerLaw(row["limit"], row["scale"], row["exponent"], row["error"])


def tables(done: Curve) -> list[Table]:
    """The scores, and the laws where there are any."""
    title, name = f"{done.dataset}, {done.task}", f"curve_{done.dataset}_{done.task}"
    rows = [_point_cells(row, done.metric) for row in records(done.points)]
    shown = [Table(f"{title}: learning curve", rows, NOTE, (), name, done.points)]
    if len(done.laws):
        laws = [_law_cells(row) for row in records(done.laws)]
        shown.append(Table(f"{title}: power law of the training items", laws, LAW_NOTE, (), f"{name}_law", done.laws))
    return shown


def _point_cells(row: dict[str, Any], metric: str) -> dict[str, Cell | str]:
    return {
        "model": row["model"],
        "target": row["target"],
        "share": Cell(f"{row['share']:g}", row["share"]),
        "items": Cell(f"{row['items']:.0f}", row["items"]),
        "speakers": Cell(f"{row['speakers']:.1f}", row["speakers"]),
        metric: Cell(number(row["mean"]), row["mean"]),
        "95 % interval": interval(row["low"], row["high"]),
    }


def _law_cells(row: dict[str, Any]) -> dict[str, Cell | str]:
    cells: dict[str, Cell | str] = {"model": row["model"], "target": row["target"]}
    cells |= {key: Cell(number(row[key]), row[key]) for key in ("limit", "exponent", "error")}
    for times in FURTHER:
        key = f"x{times:g}"
        text = f"{number(row[key])} ({interval(row[f'{key}_low'], row[f'{key}_high'])})"
        cells[f"EXTRAPOLATED x{times:g}"] = Cell(text, row[key])
    return cells
