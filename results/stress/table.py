"""Robustness of runs as tables: scores by level, areas by kind, differences of drops; columns of the leaderboard."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ...datasets.core.stages import track
from ..display.numbers import interval, number, p_value
from ..display.table import Cell, Table, records, task_and_target
from ..groups.gaps import Resamples
from ..record.folder import Run
from ..record.identity import signature
from ..scores.scoring import scored_targets
from ..statistics.significance import holm
from .curves import Curve, curve
from .records import CLEAN, Series, series_of

CURVE_NOTE = (
    "95 % intervals by bootstrap over {clusters}s and trials, levels under the same draws. p: crossed t-test of the "
    "drop over trials and subsets; boot: what the bootstrap implies; both adjusted by Holm over the levels and kinds "
    "of this table."
)
AREA_NOTE = (
    "Area under the curve over the clean score: 1 where nothing is lost, else the mean share that is left; levels at "
    "equal distances. Drop: the mean over the levels."
)
BETWEEN_NOTE = (
    "Difference of the mean drops over the levels (below 0: a loses less), 95 % interval by bootstrap over speakers "
    "(or items) and trials. p as in compare: paired t over the scores, crossed t, bootstrap; Holm over this table."
)
PREFIX = "stress_"
"""Begin of the leaderboard's columns, before the name of a kind."""


@dataclass(frozen=True)
class Robustness:
    """A run under perturbations: `levels`, a row per target, kind and level, and `areas`, a row per target and kind."""

    run: Run
    curves: tuple[Curve, ...]
    levels: pd.DataFrame
    areas: pd.DataFrame


def robustness(run: Run, how: Resamples | None = None, kinds: Sequence[str] = ()) -> Robustness | None:
    """What the records of a run's perturbed test audio say; None where there is none.

    Parameters
    ----------
    how : number of resamples (0: no intervals), level, seed
    kinds : kinds of perturbation; none = all that there are
    """
    chosen = how or Resamples()
    found = [one for one in series_of(run) if not kinds or one.kind in kinds]
    if not found:
        return None
    made = [curve(one, chosen) for one in track(found, "resampling levels of")]
    levels, areas = [], []
    for target in scored_targets(run.task):
        for one in made:
            key = {"target": target, "kind": one.series.kind, "unit": one.series.unit}
            levels += [key | row for row in one.rows(target, chosen)]
            areas.append(key | one.summary(target, chosen))
    frame = pd.DataFrame(levels)
    for test in ("p", "p_crossed", "p_bootstrap"):
        frame[f"{test}_holm"] = frame.groupby("target")[test].transform(lambda p: pd.Series(holm(p), p.index))
    return Robustness(run, tuple(made), frame, pd.DataFrame(areas))


def tables(done: Robustness) -> list[Table]:
    """Areas by kind as one table, scores by level as another."""
    run, name = done.run, f"stress_{done.run.run_id}"
    about = f"{run.name} on {run.spec['dataset']['name']}, {run.task.name} ({run.task.metric})"
    note = CURVE_NOTE.format(clusters=done.curves[0].clusters.name)
    lost = {one.series.kind: one.left_out for one in done.curves if one.left_out}
    note += "".join(f" {count} items are left out of {kind}." for kind, count in lost.items())
    note += f" {signature(run.spec)}"
    several = len(scored_targets(run.task)) > 1
    areas = [_area_row(row, several) for row in records(done.areas)]
    levels = [_level_row(row, several) for row in records(done.levels)]
    identified = {"run": run.run_id}
    return [
        Table(f"{about}: area by perturbation", areas, AREA_NOTE, (), name, done.areas.assign(**identified)),
        Table(f"{about}: scores by level", levels, note, (), f"{name}_levels", done.levels.assign(**identified)),
    ]


def between_table(frame: pd.DataFrame, stem: str) -> Table | None:
    """What `robustness.between` found as a table; None where it found nothing."""
    if frame.empty:
        return None
    first = frame.iloc[0]
    several = frame["target"].nunique() > 1
    rows = [_pair_row(row, several) for row in records(frame)]
    return Table(f"{first['dataset']}, {first['task']}: who is more robust", rows, BETWEEN_NOTE, (), stem, frame)


def with_stress(frame: pd.DataFrame, runs: Iterable[Run]) -> pd.DataFrame:
    """The leaderboard with a column `stress_KIND`, the area, for each kind that some run was tested with.

    Areas over other levels can't be compared: they are over those that all tested runs of a ranking have.
    """
    columns: dict[str, dict[tuple[str, str], float]] = {}
    wanted = set(frame["run_id"])
    found: dict[tuple[str, str], list[Series]] = {}
    for run in (run for run in runs if run.run_id in wanted):
        for series in series_of(run):
            found.setdefault((run.protocol_digest, series.kind), []).append(series)
    for (_, kind), alike in found.items():
        shared = set.intersection(*(set(series.levels) for series in alike))
        for series in alike if len(shared) > 1 else ():
            one = curve(series.only(shared), Resamples(0))
            for target in scored_targets(series.run.task):
                columns.setdefault(PREFIX + kind, {})[series.run.run_id, target] = one.area(target)
    keys = list(zip(frame["run_id"], frame["target"], strict=True))
    areas = {name: [columns[name].get(key, float("nan")) for key in keys] for name in sorted(columns)}
    whole = pd.concat([frame, pd.DataFrame(areas, index=frame.index)], axis=1) if areas else frame
    whole.attrs = dict(frame.attrs)
    return whole


def board_tables(frame: pd.DataFrame) -> list[Table]:
    """Of a leaderboard `with_stress`: what is left under each kind, a table of each dataset, task and target."""
    made = []
    for (dataset, task, target), group in frame.groupby(["dataset", "task", "target"], sort=False):
        kinds = [str(name) for name in group if str(name).startswith(PREFIX) and group[name].notna().any()]
        tested = group[group[kinds].notna().any(axis=1)]
        rows = [
            {"model": row["name"], **{kind.removeprefix(PREFIX): number(float(row[kind]), ".2f") for kind in kinds}}
            for row in records(tested)
        ]
        if rows:
            made.append(Table(f"{dataset}, {task_and_target(task, target)}: robustness", rows, AREA_NOTE))
    return made


def _cell(value: Any, form: str = ".3f") -> Cell:
    return Cell(number(float(value), form), float(value))


def _p(value: Any) -> Cell:
    return Cell(p_value(float(value)), float(value))


def _of(row: dict[str, Any], several: bool) -> str:
    return task_and_target(row["kind"], row["target"]) if several else str(row["kind"])


def _area_row(row: dict[str, Any], several: bool) -> dict[str, Cell | str]:
    return {
        "measure": _of(row, several),
        "area": _cell(row["area"]),
        "interval": interval(row["low"], row["high"]),
        "clean": _cell(row["clean"]),
        "drop": _cell(row["mean_drop"], "+.3f"),
        "worst": f"{row['worst']} {row['unit']}: {number(row['worst_score'])}",
    }


def _level_row(row: dict[str, Any], several: bool) -> dict[str, Cell | str]:
    clean = row["level"] == CLEAN
    return {
        "measure": _of(row, several),
        "level": CLEAN if clean else f"{row['level']} {row['unit']}",
        "score": _cell(row["score"]),
        "interval": interval(row["low"], row["high"]),
        "drop": "" if clean else _cell(row["drop"], "+.3f"),
        "of drop": "" if clean else interval(row["drop_low"], row["drop_high"], "+.3f"),
        "p": "" if clean else _p(row["p_crossed_holm"]),
        "boot": "" if clean else _p(row["p_bootstrap_holm"]),
    }


def _pair_row(row: dict[str, Any], several: bool) -> dict[str, Cell | str]:
    return {
        "measure": _of(row, several),
        "a": f"{row['a']} {number(row['drop_a'], '+.3f')}",
        "b": f"{row['b']} {number(row['drop_b'], '+.3f')}",
        "a - b": _cell(row["difference"], "+.3f"),
        "interval": interval(row["low"], row["high"], "+.3f"),
        "p": _p(row["p_holm"]),
        "crossed": _p(row["p_crossed_holm"]),
        "boot": _p(row["p_bootstrap_holm"]),
    }
