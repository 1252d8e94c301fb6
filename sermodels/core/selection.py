"""Choice among candidates by the protocol's dev metric.

Candidates stand in the order of their grid. The highest score wins; of equal scores the first; a score that is not
finite never wins against one that is (if none is, the first candidate is taken).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...datasets.core.errors import SerbenchError
from ...datasets.schema.task import Task
from .rows import shape_rows
from .sermodel import Data, Score

Matrix = npt.NDArray[np.float64]


INNER = 5
"""Inner folds of a nested choice."""
Metric = Callable[[Matrix], float]
"""Predicted dev rows (row, output) -> the protocol's dev metric; higher is better."""


def best(scores: Sequence[float]) -> int:
    """Index of the winning score."""
    ranks = [score if math.isfinite(score) else -math.inf for score in scores]
    return ranks.index(max(ranks))


def best_per_target(candidates: Sequence[Matrix], metric: Metric) -> tuple[list[int], list[float]]:
    """Choose a candidate for each target.

    One winner for all targets comes first; then, target after target, its column is exchanged for each candidate's and
    the highest score wins. For a metric that is a mean over targets (mean CCC) that is the choice per target; for any
    other it is never worse than the common winner.

    Parameters
    ----------
    candidates : predictions of each candidate, (row, target)
    metric : predictions (row, target) -> dev metric

    Returns
    -------
    index of the winner for each target, and the scores of the candidates taken for all targets at once
    """
    scores = [metric(candidate) for candidate in candidates]
    targets = candidates[0].shape[1]
    chosen = [best(scores)] * targets
    if targets > 1:
        current = candidates[chosen[0]].copy()
        for t in range(targets):
            chosen[t] = best([metric(_exchanged(current, t, c)) for c in candidates])
            current[:, t] = candidates[chosen[t]][:, t]
    return chosen, scores


def best_of(candidates: Sequence[Matrix], task: Task, metric: Metric) -> tuple[list[int], list[float]]:
    """`best_per_target`, or the one winner of a classification, whose columns belong together."""
    if task.kind != "classification":
        return best_per_target(candidates, metric)
    scores = [metric(candidate) for candidate in candidates]
    return [best(scores)], scores


def dev_metric(dev: Data, score: Score) -> Metric:
    """The protocol's metric of predicted dev rows, (row, output) -> score; NaN where there are no dev data."""
    return lambda rows: score(dev.labels, shape_rows(rows, dev)) if len(dev) else math.nan


def check_dev(model: str, setting: str, candidates: int, dev_items: int) -> None:
    """Refuse a choice among several candidates without dev data."""
    if candidates > 1 and not dev_items:
        raise SerbenchError(
            f"{model} has no dev data to choose among {candidates} candidates. Expected a dev set in every fold, or a "
            f"single value: --set model.{setting}."
        )


def inner_folds(train: Data) -> list[npt.NDArray[np.bool_]]:
    """Rows that are held out in each of `INNER` inner folds, (row,) bool; every row is held out once.

    Speakers stay whole where at least `INNER` are known, dealt out in the order of their numbers of rows; else rows are
    dealt out class by class. One fold for each speaker or row where there are fewer.
    """
    speakers = train.items["speaker"]
    if not speakers.isna().any() and speakers.nunique() >= INNER:
        counts = speakers.astype(str).value_counts()
        order = sorted(counts.index, key=lambda name: (-int(counts[name]), name))
        number = {name: k % INNER for k, name in enumerate(order)}
        part = speakers.astype(str).map(number).to_numpy()
    else:
        classes = train.labels if train.task.kind == "classification" else np.zeros(len(train), dtype=np.int64)
        part = np.empty(len(train), dtype=np.int64)
        part[np.argsort(classes, kind="stable")] = np.arange(len(train)) % INNER
    return [part == k for k in range(INNER) if (part == k).any()]


def inner_predictions(
    train: Data, rows: Matrix, candidates: int, outputs: int, predict: Callable[[Matrix, Any, Matrix], Sequence[Matrix]]
) -> list[Matrix]:
    """What each candidate predicts of training rows that it was not fitted on, (row, output).

    `predict` fits all candidates on (rows, labels) and predicts further rows. Utterance tasks only.
    """
    predicted = [np.zeros((len(rows), outputs)) for _ in range(candidates)]
    folds = inner_folds(train)
    if len(folds) < 2:
        raise SerbenchError(f"{len(train)} training items are too few for --dev nested. Expected two or more.")
    for held in folds:
        made = predict(rows[~held], train.labels[~held], rows[held])
        for mine, those in zip(predicted, made, strict=True):
            mine[held] = those
    return predicted


def plain(score: float) -> float | None:
    """A score for a record: None where it is not finite."""
    return float(score) if math.isfinite(score) else None


def _exchanged(current: Matrix, target: int, candidate: Matrix) -> Matrix:
    changed = current.copy()
    changed[:, target] = candidate[:, target]
    return changed
