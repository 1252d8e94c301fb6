"""What is measured of each group, as functions of sums over its items, so that resampling is matrix products.

Beside the task's own score: the share that is wrong, and how far class probabilities are from the share that is right
(expected calibration error, Naeini et al. 2015, in ten bins of equal width), for classes; the root mean squared error
and the bias at equal gold for values. That bias is the mean of prediction minus gold within fifths of the gold values
of all items, averaged over the fifths that every group has with the weights that they have among all items: two groups
that are labelled differently are compared at the same labels (direct standardisation).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...datasets.schema.task import Task
from ..scores.sums import metric_sums, sides

Floats = npt.NDArray[np.float64]
BINS = 10
FIFTHS = 5
ROUNDING = 1e-3
"""Class scores that sum to 1 within this are probabilities."""


@dataclass(frozen=True)
class Measure:
    """A measure of one target: its name, summands (row, column), how sums (..., group, column) become values.

    `best` is 1 where more is better, -1 where less is, 0 where what is next to 0 is best.
    """

    name: str
    target: str
    table: Floats
    value: Callable[[Floats], Floats]
    best: int


def measures(predictions: pd.DataFrame, task: Task) -> list[Measure]:
    """All measures of a run's predictions, the task's own score of each target first."""
    if task.kind == "classification":
        return _of_classes(predictions, task)
    return [one for target in task.targets for one in _of_values(predictions, task, target)]


def probabilities(predictions: pd.DataFrame, task: Task) -> Floats | None:
    """Class probabilities, (row, class); None where a model gave none, or scores that are no probabilities."""
    columns = [f"p_{label}" for label in task.labels]
    if not set(columns) <= set(predictions):
        return None
    table: Floats = predictions[columns].to_numpy(dtype=np.float64)
    fits = np.isfinite(table).all() and table.min() >= 0 and np.abs(table.sum(axis=1) - 1).max() < ROUNDING
    return table if fits else None


def _of_classes(predictions: pd.DataFrame, task: Task) -> list[Measure]:
    target = task.targets[0]
    gold, guess, _ = sides(predictions, task, target)
    own, accuracy = metric_sums(task.metric, task), metric_sums("WA", task)
    table = own.columns(gold, guess, len(task.labels))
    listed = [
        Measure(task.metric, target, table, own.value, 1),
        Measure("error", target, table, lambda sums: 1 - accuracy.value(sums), -1),
    ]
    scores = probabilities(predictions, task)
    if scores is not None:
        listed.append(Measure("ECE", target, _calibration(scores, gold), calibration_error, -1))
    return listed


def _of_values(predictions: pd.DataFrame, task: Task, target: str) -> list[Measure]:
    gold, guess, labelled = sides(predictions, task, target)
    listed = []
    for name, best in ((task.metric, 1), ("RMSE", -1)):
        metric = metric_sums(name, task)
        table = np.where(labelled[:, None], metric.columns(gold, guess, 0), 0.0)
        listed.append(Measure(name, target, table, metric.value, best))
    rated = gold[labelled] if labelled.any() else np.zeros(1)
    fifth = np.searchsorted(np.quantile(rated, np.arange(1, FIFTHS) / FIFTHS), gold)
    bins = (labelled[:, None] & (fifth[:, None] == np.arange(FIFTHS))).astype(np.float64)
    table = np.concatenate([bins, bins * (guess - gold)[:, None]], axis=1)
    shares = bins.sum(axis=0)
    return [*listed, Measure("bias", target, table, lambda sums: _bias(sums, shares), 0)]


def _calibration(scores: Floats, gold: Floats) -> Floats:
    """Of each bin of confidence: a 1, the confidence, whether it was right; (row, 3 x bin)."""
    chosen = scores.argmax(axis=1)
    confidence = scores[np.arange(len(scores)), chosen]
    place = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    bins = (place[:, None] == np.arange(BINS)).astype(np.float64)
    return np.concatenate([bins, bins * confidence[:, None], bins * (chosen == gold)[:, None]], axis=1)


def calibration_error(sums: Floats) -> Floats:
    """Expected calibration error from the sums of `_calibration`, (..., 3 x bin) -> (...)."""
    count, confidence, right = np.split(sums, 3, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.abs(confidence - right).sum(axis=-1) / count.sum(axis=-1))


def _bias(sums: Floats, shares: Floats) -> Floats:
    """Mean error over the fifths that all groups have, each with its share among all items: (..., group, column)."""
    count, error = np.split(sums, 2, axis=-1)
    common = (count > 0).all(axis=-2, keepdims=True) * shares
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(count > 0, error / np.where(count > 0, count, 1.0), 0.0)
        return np.asarray((mean * common).sum(axis=-1) / common.sum(axis=-1))
