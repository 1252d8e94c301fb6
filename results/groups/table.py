"""Fairness of a run as tables: values of all groups, and the gaps with their tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.core.stages import stage
from ..display.numbers import interval, number, p_value
from ..display.table import Cell, Table, records
from ..record.folder import Run
from ..statistics.significance import holm
from .gaps import LEAST_SPEAKERS, Resamples, gap_of, group_values, sums_of
from .grouping import SPEAKER, groupings
from .measures import measures

NOTE = (
    "Gap between the best and the worst group, its interval over speakers and trials, p by dealing groups among "
    f"speakers (or within them), Holm over the groupings of a measure. Groups of fewer than {LEAST_SPEAKERS} speakers "
    "are shown and not tested."
)


@dataclass(frozen=True)
class Fairness:
    """What was found: `groups`, a row per measure, target, grouping and group; `gaps`, a row per tested grouping."""

    run: Run
    groups: pd.DataFrame
    gaps: pd.DataFrame


def fairness(run: Run, only: Sequence[str] = (), how: Resamples | None = None) -> Fairness:
    """Values of a run by groups of its test items, and the gaps between them.

    Parameters
    ----------
    only : groupings (gender, age, language, role, session, speaker, duration, loudness); none = all that the items hold
    how : numbers of resamples and deals, level, seed

    Raises
    ------
    SerbenchError
        When no trial is complete, or nothing is known of the test items that makes two groups.
    """
    items = run.items()
    if items is None:
        raise SerbenchError(f"{run.path}: the record holds no items. To add them, type: {run.fill_line(5)}")
    predictions = run.looked_into()
    chosen = groupings(items.loc[items.index.isin(predictions["id"])], only)
    who = items["speaker"] if "speaker" in items else pd.Series(items.index, items.index)
    groups, gaps = [], []
    listed = measures(predictions, run.task)
    with stage("gaps between groups", len(listed) * len(chosen)) as at:
        for done, (measure, name) in enumerate(product(listed, chosen), 1):
            key = {"measure": measure.name, "target": measure.target, "grouping": name}
            sums = sums_of(measure, predictions, who, chosen[name])
            groups += [key | asdict(value) for value in group_values(sums, measure)]
            gap = None if name == SPEAKER else gap_of(sums, measure, how or Resamples())
            gaps += [] if gap is None else [key | asdict(gap)]
            at(done)
    return Fairness(run, pd.DataFrame(groups), _adjusted(pd.DataFrame(gaps)))


def _adjusted(gaps: pd.DataFrame) -> pd.DataFrame:
    if gaps.empty:
        return gaps
    return gaps.assign(p_holm=gaps.groupby("measure")["p"].transform(lambda p: pd.Series(holm(p), p.index)))


def tables(done: Fairness) -> list[Table]:
    """The gaps as one table, the values of groups as another; speakers are summed up as their lowest and highest."""
    run, about = done.run, f"{done.run.name} on {done.run.spec['dataset']['name']}, {done.run.task.name}"
    name = f"fairness_{run.run_id}"
    gaps = Table(f"{about}: gaps", [_gap_row(row) for row in records(done.gaps)], NOTE, (), name, done.gaps)
    return [gaps, Table(f"{about}: groups", _group_rows(done.groups), "", (), f"{name}_groups", done.groups)]


def _gap_row(row: dict[str, Any]) -> dict[str, Cell | str]:
    def value(key: str) -> float:
        return float(str(row[key]))

    return {
        "measure": f"{row['measure']} {row['target']}",
        "by": str(row["grouping"]),
        "best": str(row["best"]),
        "worst": str(row["worst"]),
        "gap": Cell(number(value("gap")), value("gap")),
        "interval": interval(value("low"), value("high")),
        "p": Cell(p_value(value("p")), value("p")),
        "Holm": Cell(p_value(value("p_holm")), value("p_holm")),
    }


def _group_rows(groups: pd.DataFrame) -> list[dict[str, Cell | str]]:
    rows = []
    for (measure, target, grouping), part in groups.groupby(["measure", "target", "grouping"], sort=False):
        shown = (
            part if grouping != SPEAKER else part.iloc[_lowest_and_highest(part["value"].to_numpy(dtype=np.float64))]
        )
        rows += [
            {
                "measure": f"{measure} {target}",
                "by": str(grouping),
                "group": str(row["group"]),
                "value": Cell(number(float(row["value"])), float(row["value"])),
                "items": Cell(str(row["items"]), int(row["items"])),
                "speakers": Cell(str(row["speakers"]), int(row["speakers"])),
                "": "" if row["tested"] or grouping == SPEAKER else "not tested",
            }
            for row in shown.to_dict("records")
        ]
    return rows


def _lowest_and_highest(values: np.ndarray) -> list[int]:
    """Places of the lowest and the highest value that is defined."""
    order = np.argsort(values)[: int(np.isfinite(values).sum())]
    return [int(order[0]), int(order[-1])] if len(order) > 1 else list(map(int, order))
