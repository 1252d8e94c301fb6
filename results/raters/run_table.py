"""Runs beside the raters of their test items: against a human, where raters agree, against all that raters said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ...datasets.core.stages import track
from ..display.numbers import interval, number, p_value
from ..display.table import Cell, Table, records
from ..groups.gaps import Resamples, gap_of, group_values, sums_of
from ..groups.measures import measures, probabilities
from ..record.run import Run
from ..record.test_items import Ratings, read_ratings
from ..scores.scoring import class_indices
from ..statistics.significance import holm
from .distribution import entropy, jensen_shannon, set_f1, soft_cross_entropy, soft_f1
from .human import Human, against, human, summary, tested_items
from .votes import agreement, answers_of, shares

TERCILES = ("low", "middle", "high")
HUMAN_NOTE = (
    "Both against the same references: {who}. Difference: model minus human, interval and p by the crossed t-test over "
    "draws and subsets, Holm over this table."
)
TERCILE_NOTE = (
    "Score on the items about which raters agree least, middling and most, mean over trials. p: whether the largest "
    "gap is chance, by dealing the terciles within speakers; undefined for fewer than five speakers."
)
DISTRIBUTION_NOTE = (
    "Against the shares of all raters' answers among the task's classes. CE: soft cross-entropy in nats, and the least "
    "that is possible (the shares' entropy). JS: Jensen-Shannon divergence in bits. Soft F1: F1 with shares as degrees "
    "of membership; set F1: classes above 1/C as several answers. Means over trials."
)


@dataclass(frozen=True)
class Rated:
    """A run with the answers of the raters of its test items, and what it is called in tables."""

    run: Run
    name: str
    ratings: Ratings


def rated_runs(runs: Sequence[Run], names: Sequence[str] | None = None) -> list[Rated]:
    """Those of some runs that have a complete trial, and answers of raters in their records."""
    found = []
    for run, name in zip(runs, names or [run.name for run in runs], strict=True):
        ratings = read_ratings(run.path) if run.complete_trials() else None
        if ratings is not None:
            found.append(Rated(run, name, ratings))
    return found


def run_tables(rated: Sequence[Rated], how: Resamples | None = None) -> list[Table]:
    """The tables of runs on one task of one corpus."""
    if not rated:
        return []
    task, dataset = rated[0].run.task, rated[0].run.spec["dataset"]["name"]
    people: list[dict[str, Any]] = []
    by_agreement: list[dict[str, Any]] = []
    spread: list[dict[str, Any]] = []
    who = ""
    for one in track(list(rated), "runs beside raters"):
        predictions = one.run.looked_into()
        items = tested_items(predictions, task)
        drawn = human(one.ratings, items, task)
        if drawn is not None:
            who = drawn.text
            people += _against(one.name, drawn, predictions)
        by_agreement += _by_agreement(one, predictions, items, how or Resamples())
        spread += _distribution(one, predictions)
    title, stem = f"{dataset}, {task.name}", f"raters_{dataset}_{task.name}"
    frames = {"human": _adjusted(people), "agreement": pd.DataFrame(by_agreement), "distribution": pd.DataFrame(spread)}
    notes = {"human": HUMAN_NOTE.format(who=who), "agreement": TERCILE_NOTE, "distribution": DISTRIBUTION_NOTE}
    titles = {
        "human": "models and a human",
        "agreement": f"{task.metric} by agreement of raters",
        "distribution": "models against all answers of raters",
    }
    cells = {"human": _human_cells, "agreement": _tercile_cells, "distribution": _distribution_cells}
    return [
        Table(
            f"{title}: {titles[key]}", [cells[key](r) for r in records(frame)], notes[key], (), f"{stem}_{key}", frame
        )
        for key, frame in frames.items()
        if len(frame)
    ]


def _against(name: str, drawn: Human, predictions: pd.DataFrame) -> list[dict[str, Any]]:
    """The differences of a run, by target."""
    people = summary(drawn.scores())
    return [
        {
            "model": name,
            "target": target,
            "score": people[target].mean + test.difference,
            "human": people[target].mean,
            "difference": test.difference,
            "low": test.low,
            "high": test.high,
            "p": test.p,
        }
        for target, test in against(drawn, predictions).items()
    ]


def _adjusted(rows: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    return frame.assign(p_holm=holm(frame["p"])) if len(frame) else frame


def _by_agreement(one: Rated, predictions: pd.DataFrame, items: pd.DataFrame, how: Resamples) -> list[dict[str, Any]]:
    """The task's own score in each tercile of agreement, and whether the gap is chance."""
    groups = terciles(agreement(answers_of(one.ratings.table, one.run.task, tuple(items["id"])), one.run.task))
    of = pd.Series(groups, items["id"].to_numpy(), dtype="string").dropna()
    if of.nunique() < 2:
        return []
    known = one.run.items()
    speaker = pd.Series(of.index, of.index) if known is None or "speaker" not in known else known["speaker"]
    rows: list[dict[str, Any]] = []
    for measure in (m for m in measures(predictions, one.run.task) if m.name == one.run.task.metric):
        sums = sums_of(measure, predictions, speaker, of)
        values = {v.group: v for v in group_values(sums, measure)}
        row: dict[str, Any] = {"model": one.name, "target": measure.target}
        row |= {name: values[name].value if name in values else float("nan") for name in TERCILES}
        row |= {f"items {name}": values[name].items if name in values else 0 for name in TERCILES}
        gap = gap_of(sums, measure, how)
        rows.append(row | {"p": float("nan") if gap is None else gap.p})
    return rows


def terciles(values: np.ndarray) -> list[str | None]:
    """low, middle or high of each value, equal values in one group, None where undefined.

    Where a third or more share the largest value, they are the high group.
    """
    known = values[np.isfinite(values)]
    if not len(known):
        return [None] * len(values)
    first, second = np.quantile(known, [1 / 3, 2 / 3])
    whole = second == known.max()
    names: list[str | None] = []
    for value in values:
        if not np.isfinite(value):
            names.append(None)
        elif value > second or (whole and value == second):
            names.append(TERCILES[2])
        else:
            names.append(TERCILES[0] if value <= first and not (whole and first == second) else TERCILES[1])
    return names


def _distribution(one: Rated, predictions: pd.DataFrame) -> list[dict[str, Any]]:
    """Scores against the shares of answers; none for values, and for models without probabilities."""
    task = one.run.task
    p = probabilities(predictions, task) if task.kind == "classification" else None
    if p is None:
        return []
    ids = tuple(dict.fromkeys(predictions["id"]))
    q = shares(answers_of(one.ratings.table, task, ids))[pd.Index(ids).get_indexer(pd.Index(predictions["id"]))]
    known, trials = np.isfinite(q).all(axis=1), predictions["trial"].to_numpy()
    if not known.any():
        return []
    parts = [(p[rows], q[rows]) for trial in np.unique(trials) if (rows := known & (trials == trial)).any()]
    scores = {"CE": soft_cross_entropy, "JS": jensen_shannon, "soft F1": soft_f1, "set F1": set_f1}
    row: dict[str, Any] = {"model": one.name}
    row |= {name: float(np.mean([score(*part) for part in parts])) for name, score in scores.items()}
    gold = class_indices(predictions, "gold", task)[known]
    hard = float(-np.log(np.maximum(p[known][np.arange(len(gold)), gold], 1e-15)).mean())
    return [row | {"least CE": entropy(q[known]), "CE of gold": hard}]


def _human_cells(row: Mapping[str, Any]) -> dict[str, Cell | str]:
    numbers = {key: _number(row[key]) for key in ("score", "human")}
    return {
        "model": row["model"],
        "target": row["target"],
        **numbers,
        "difference": _number(row["difference"], "+.3f"),
        "95 % interval": interval(row["low"], row["high"], "+.3f"),
        "p": Cell(p_value(row["p_holm"]), row["p_holm"]),
    }


def _tercile_cells(row: Mapping[str, Any]) -> dict[str, Cell | str]:
    scores = {f"{name} ({row[f'items {name}']})": _number(row[name]) for name in TERCILES}
    return {"model": row["model"], "target": row["target"], **scores, "p": Cell(p_value(row["p"]), row["p"])}


def _distribution_cells(row: Mapping[str, Any]) -> dict[str, Cell | str]:
    return {key: _number(value) if isinstance(value, float) else str(value) for key, value in row.items()}


def _number(value: float, form: str = ".3f") -> Cell:
    return Cell(number(value, form), value)
