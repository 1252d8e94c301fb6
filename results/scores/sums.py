"""Metrics as functions of sums: what resampling needs, so that a million resamples are matrix products.

Every metric of `scoring` is a function of a few sums over utterances (or frames). Summed per cluster (a speaker, a
recording, one utterance), a resample that takes cluster c w_c times has the sums `w @ sums`, and the metric follows
from them for all resamples at once. `columns` makes the summands of each row, (row, column); `value` turns sums
(..., column) into scores (...). The conventions are those of `metrics`: rows without gold don't count, undefined is
NaN.

CCC (Lin 1989): 2 cov / (var g + var p + (mean g - mean p)^2) = 2 (E gp - Eg Ep) / (E(g^2 + p^2) - 2 Eg Ep).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...datasets.core.errors import SerbenchError, unknown
from ...datasets.schema.task import Task
from .scoring import class_indices

Floats = npt.NDArray[np.float64]
Columns = Callable[[Floats, Floats, int], Floats]
TINY = 1e-12
"""A variance below this share of the second moment is rounding: what it stands in is undefined."""


@dataclass(frozen=True)
class Metric:
    """One metric: `columns` (gold, predicted, number of classes) -> (row, column), `value` (..., column) -> (...)."""

    columns: Columns
    value: Callable[[Floats], Floats]


@dataclass(frozen=True)
class CellSums:
    """Sums of one run and target, per cell (trial, subset) and cluster.

    Attributes
    ----------
    cells : per trial, the cells that have rows: (span, sums), where the span is the range of clusters that holds all
        rows of the subset, and the sums are (cluster of the span, column)
    n_clusters : number of clusters
    metric : how sums become scores
    """

    cells: Sequence[Sequence[tuple[slice, Floats]]]
    n_clusters: int
    metric: Metric

    def score(self) -> float:
        """The mean score over the cells, every cluster once: what the leaderboard prints."""
        values = [self.metric.value(cell.sum(axis=0)) for row in self.cells for _, cell in row]
        return float(np.mean(values))


def metric_sums(name: str, task: Task) -> Metric:
    """The metric of that name for a task's kind."""
    known = CLASSES if task.kind == "classification" else VALUES
    if name not in known:
        raise unknown(f"metric of the task {task.name!r}", name, known)
    return known[name]


def cell_sums(
    predictions: pd.DataFrame, task: Task, metric: str, target: str, clusters: pd.Series[str] | None = None
) -> CellSums:
    """Sums of a table of predictions of complete trials, per (trial, subset) and cluster.

    `clusters` is id -> cluster; None makes every id a cluster of its own. Clusters are ordered by their first subset
    and name, so that two runs over the same ids have the same order.
    """
    chosen = metric_sums(metric, task)
    gold, predicted, labelled = sides(predictions, task, target)
    table = chosen.columns(gold, predicted, len(task.labels))
    table[~labelled] = 0.0
    trials, trial_codes = np.unique(predictions["trial"].to_numpy(), return_inverse=True)
    subsets, subset_codes = np.unique(predictions["subset"].to_numpy(), return_inverse=True)
    codes, n = cluster_codes(predictions, clusters)
    spans = [_span(codes[subset_codes == s]) for s in range(len(subsets))]
    cells = []
    for t in range(len(trials)):
        row = []
        for s, span in enumerate(spans):
            rows = (trial_codes == t) & (subset_codes == s)
            if rows.any():
                row.append((span, _sum_by(codes[rows] - span.start, table[rows], span.stop - span.start)))
        cells.append(row)
    return CellSums(cells, n, chosen)


def cluster_codes(predictions: pd.DataFrame, clusters: pd.Series[str] | None) -> tuple[npt.NDArray[np.intp], int]:
    """Cluster number of each row, ordered by first subset and name, and the number of clusters.

    Raises `SerbenchError` when `clusters` does not know an id.
    """
    rows, ids = pd.factorize(predictions["id"])
    names = pd.Series(ids) if clusters is None else clusters.reindex(ids)
    if names.isna().any():
        lost = ids[names.isna().to_numpy()]
        raise SerbenchError(f"{len(lost)} items have no cluster, such as {lost[0]!r}. Expected one for every id.")
    of_id, known = pd.factorize(names)
    codes = of_id[rows]
    first = np.full(len(known), np.inf)
    np.minimum.at(first, codes, predictions["subset"].to_numpy(dtype=np.float64))
    order = np.lexsort((np.asarray(known), first))
    rank = np.empty(len(known), dtype=np.intp)
    rank[order] = np.arange(len(known))
    return rank[codes], len(known)


def sides(predictions: pd.DataFrame, task: Task, target: str) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """Gold and predictions as numbers, (row,) each, and which rows are labelled.

    Values of gold are shifted to mean 0 and predictions with them, which no metric sees and rounding likes.
    """
    if task.kind == "classification":
        gold, predicted = (class_indices(predictions, side, task).astype(np.float64) for side in ("gold", "predicted"))
        return gold, predicted, np.ones(len(gold), dtype=bool)
    gold = predictions[f"gold_{target}"].to_numpy(dtype=np.float64)
    predicted = predictions[f"pred_{target}"].to_numpy(dtype=np.float64)
    labelled = ~np.isnan(gold)
    shift = float(np.mean(gold[labelled])) if labelled.any() else 0.0
    return np.where(labelled, gold, 0.0) - shift, predicted - shift, labelled


def _span(codes: npt.NDArray[np.intp]) -> slice:
    return slice(int(codes.min()), int(codes.max()) + 1)


def _sum_by(codes: npt.NDArray[np.intp], table: Floats, n: int) -> Floats:
    return np.stack([np.bincount(codes, table[:, j], minlength=n) for j in range(table.shape[1])], axis=1)


def _ratio(numerator: Floats, denominator: Floats, scale: Floats | float) -> Floats:
    """A ratio, NaN where its denominator is nothing but rounding."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator > TINY * scale, numerator / denominator, np.nan)


def _ccc_columns(g: Floats, p: Floats, _: int) -> Floats:
    return np.stack([np.ones_like(g), g, p, g * p, g * g + p * p], axis=1)


def _ccc(sums: Floats) -> Floats:
    n, g, p, gp, squares = (sums[..., j] for j in range(5))
    with np.errstate(divide="ignore", invalid="ignore"):
        product = g * p / n
        return np.clip(_ratio(2 * (gp - product), squares - 2 * product, squares), -1.0, 1.0)


def _pcc_columns(g: Floats, p: Floats, _: int) -> Floats:
    return np.stack([np.ones_like(g), g, p, g * p, g * g, p * p], axis=1)


def _pcc(sums: Floats) -> Floats:
    n, g, p, gp, gg, pp = (sums[..., j] for j in range(6))
    with np.errstate(divide="ignore", invalid="ignore"):
        spread_g, spread_p = gg - g * g / n, pp - p * p / n
        defined = (spread_g > TINY * gg) & (spread_p > TINY * pp)
        return np.where(defined, np.clip((gp - g * p / n) / np.sqrt(np.abs(spread_g * spread_p)), -1.0, 1.0), np.nan)


def _rmse_columns(g: Floats, p: Floats, _: int) -> Floats:
    return np.stack([np.ones_like(g), (g - p) ** 2], axis=1)


def _rmse(sums: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(sums[..., 0] > 0, np.sqrt(np.maximum(sums[..., 1], 0.0) / sums[..., 0]), np.nan)


def _class_columns(g: Floats, p: Floats, n_classes: int) -> Floats:
    """One-hot gold, one-hot correct, one-hot predicted: (row, 3 x class)."""
    classes = np.arange(n_classes)
    gold, predicted = g[:, None] == classes, p[:, None] == classes
    return np.concatenate([gold, gold & predicted, predicted], axis=1).astype(np.float64)


def _uar(sums: Floats) -> Floats:
    gold, correct, _ = np.split(sums, 3, axis=-1)
    return _mean_present(correct, gold)


def _wa(sums: Floats) -> Floats:
    gold, correct, _ = np.split(sums, 3, axis=-1)
    return _ratio(correct.sum(axis=-1), gold.sum(axis=-1), 1.0)


def _macro_f1(sums: Floats) -> Floats:
    gold, correct, predicted = np.split(sums, 3, axis=-1)
    return _mean_present(2 * correct, gold + predicted)


def _weighted_f1(sums: Floats) -> Floats:
    gold, correct, predicted = np.split(sums, 3, axis=-1)
    f1 = np.nan_to_num(_ratio(2 * correct, gold + predicted, 1.0))
    return _ratio((f1 * gold).sum(axis=-1), gold.sum(axis=-1), 1.0)


def _mean_present(part: Floats, whole: Floats) -> Floats:
    """Mean share over the classes whose whole is not 0."""
    present = whole > TINY
    shares = np.where(present, part / np.where(present, whole, 1.0), 0.0)
    return _ratio(shares.sum(axis=-1), present.sum(axis=-1).astype(np.float64), 1.0)


CLASSES = {
    "UAR": Metric(_class_columns, _uar),
    "WA": Metric(_class_columns, _wa),
    "macroF1": Metric(_class_columns, _macro_f1),
    "weightedF1": Metric(_class_columns, _weighted_f1),
}
VALUES = {"CCC": Metric(_ccc_columns, _ccc), "PCC": Metric(_pcc_columns, _pcc), "RMSE": Metric(_rmse_columns, _rmse)}
