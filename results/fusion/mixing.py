"""Weighted means of predictions: class scores, or values on the label scale, item by item (or frame by frame)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.schema.task import Task
from ..scores.scoring import class_indices, dev_score, gold_columns, key_columns


def mixed(tables: Sequence[pd.DataFrame], weights: Sequence[float], task: Task) -> pd.DataFrame:
    """One table of predictions out of several of the same task.

    Parameters
    ----------
    tables : predictions of one unit each, in the columns of a record; items (or frames) that one of them lacks are left
        out of all
    weights : one for each table; class scores of an item sum to the sum of the weights

    Raises
    ------
    SerbenchError
        Where class scores are not there, gold labels differ, or no item is left.
    """
    outputs = output_columns(task)
    sides = _aligned(tables, task)
    for side in sides:
        if lacking := [column for column in outputs if column not in side]:
            raise SerbenchError(
                f"the stored predictions lack {lacking[0]!r}. Expected records with the outputs of every class or "
                "target: one that was exported with --no-class-scores can't be mixed."
            )
    values = sum(w * side[outputs].to_numpy(dtype=np.float64) for w, side in zip(weights, sides, strict=True))
    kept = [c for c in ("id", "subset", "frame", *gold_columns(task)) if c in sides[0]]
    made = sides[0][kept].reset_index(drop=True)
    if task.kind == "classification":
        made["predicted"] = [task.labels[int(k)] for k in np.argmax(values, axis=1)]
    return made.assign(**dict(zip(outputs, np.asarray(values).T, strict=True)))


def output_columns(task: Task) -> list[str]:
    """Columns of a model's outputs: class scores, or values of the targets."""
    if task.kind == "classification":
        return [f"p_{label}" for label in task.labels]
    return [f"pred_{target}" for target in task.targets]


def dev_value(table: pd.DataFrame, task: Task) -> float:
    """What settings are selected by (UAR, or the mean CCC), of a table of predictions."""
    outputs = table[output_columns(task)].to_numpy(dtype=np.float64)
    if task.kind == "classification":
        return dev_score(task)(class_indices(table, "gold", task), outputs)
    gold = table[gold_columns(task)].to_numpy(dtype=np.float64)
    return dev_score(task)([gold], [outputs]) if task.kind == "continuous" else dev_score(task)(gold, outputs)


def best_weight(a: pd.DataFrame, b: pd.DataFrame, task: Task, steps: int) -> tuple[float, float]:
    """The weight of a, between 0 and 1 in so many steps, whose mixture with b is best on dev, and that dev score.

    Of several best ones the one nearest to a half: what dev does not tell apart is shared.
    """
    candidates = sorted((k / steps for k in range(steps + 1)), key=lambda w: (abs(w - 0.5), w))
    scored = [(dev_value(mixed([a, b], [w, 1 - w], task), task), w) for w in candidates]
    value, weight = max(scored, key=lambda one: one[0])  # the first of equal ones
    return weight, value


def _aligned(tables: Sequence[pd.DataFrame], task: Task) -> list[pd.DataFrame]:
    """The tables on the items (frames) that all of them have, in the order of the first one."""
    keys = [c for c in key_columns(tables[0]) if c != "trial"]
    indexed = [table.set_index(keys) for table in tables]
    common = indexed[0].index
    for other in indexed[1:]:
        common = common[common.isin(other.index)]
    if not len(common):
        raise SerbenchError("the runs have predicted no item in common. Expected runs over the same folds.")
    sides = [table.loc[common].reset_index() for table in indexed]
    for column in ("subset", *gold_columns(task)):
        if any(column not in side for side in sides):
            raise SerbenchError(f"the stored predictions lack {column!r}. Expected records that hold gold labels.")
        first = sides[0][column]
        for side in sides[1:]:
            if not (first.eq(side[column]) | (first.isna() & side[column].isna())).all():
                raise SerbenchError(f"the runs hold different values of {column!r} for the same items.")
    return sides
