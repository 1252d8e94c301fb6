"""Bootstrap intervals of scores and of paired differences, over speakers (or recordings, utterances) and trials.

The predictions of a run are crossed: every trial predicts every utterance, and the utterances of one speaker belong
together. Both are resampled at once: the clusters with one draw and the trials with another, and a prediction counts
the product of its two weights (the pigeonhole bootstrap of Owen 2007, doi:10.1214/07-AOAS122). Only whole clusters
are drawn, not utterances within them (Davison and Hinkley 1997, section 3.8). Of n clusters (trials) n - 1 are drawn
with replacement, which makes the variance of a mean unbiased where n is small (McCarthy and Snowden 1985; Rao and Wu
1988).

A score is what the leaderboard prints: the mean over the cells (trial, subset). Two runs are resampled with the same
draws, so that what is hard for both cancels; draws depend on the seed and on the numbers of clusters and trials alone.

How it is fast: metrics are functions of sums (`scores/sums.py`), so a block of resamples is a matrix product of
multinomial counts and cluster sums. Above `ROTATE_FROM` clusters the counts themselves are what costs. There clusters
stand in a random order, and each vector of counts is used in all its rotations: multinomial counts are exchangeable, so
every rotation is a draw from the same distribution, and the sums of all n rotations are one circular correlation, which
the Fourier transform gives in n log n. Memory is bounded by `BLOCK` whatever the number of resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.core.stages import stage
from ...datasets.schema.task import Task
from ..scores.scoring import MEAN, check_predictions, scored_targets
from ..scores.sums import CellSums, Floats, cell_sums

BLOCK = 1 << 17
"""Numbers in one block of weights (1 MiB): it stays in the processor's cache, below what BLAS splits over threads."""
ROTATE_FROM = 1000
NAN = float("nan")


@dataclass(frozen=True)
class Interval:
    """A bootstrap interval.

    Attributes
    ----------
    estimate : the score (or difference) itself
    low, high : percentile interval at `level`
    se : standard deviation over the resamples
    p : two-tailed p-value that the percentile interval implies for 0; of use for differences only
    resamples, undefined : number of resamples, and how many of them had no defined score (they are left out)
    clusters, trials : numbers of what was drawn from
    level : share that the interval covers
    """

    estimate: float
    low: float
    high: float
    se: float
    p: float
    resamples: int
    undefined: int
    clusters: int
    trials: int
    level: float = 0.95


def bootstrap_scores(
    predictions: pd.DataFrame,
    task: Task,
    metric: str | None = None,
    clusters: pd.Series[str] | None = None,
    *,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Interval of a run's score, per target (the mean over several targets included).

    Parameters
    ----------
    predictions : the complete trials of a run, as `Run.scored_predictions` gives them
    metric : default: the task's primary one
    clusters : id -> speaker, recording ...; None draws utterances one by one
    """
    name = metric or task.metric
    check_predictions(predictions, task)
    sums = {t: cell_sums(predictions, task, name, t, clusters) for t in task.targets}
    draws = {t: replicates([s], resamples, seed)[0] for t, s in sums.items()}
    estimates = {t: s.score() for t, s in sums.items()}
    return _intervals(draws, estimates, next(iter(sums.values())), task, level)


def bootstrap_difference(
    a: pd.DataFrame,
    b: pd.DataFrame,
    task: Task,
    metric: str | None = None,
    clusters: pd.Series[str] | None = None,
    *,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Interval and p-value of the difference a - b of two runs over the same items and trials, per target."""
    name = metric or task.metric
    check_predictions(a, task)
    check_predictions(b, task)
    pairs = {t: paired_sums(a, b, task, name, t, clusters) for t in task.targets}
    draws, estimates = {}, {}
    for target, pair in pairs.items():
        left, right = replicates(pair, resamples, seed)
        draws[target], estimates[target] = left - right, pair[0].score() - pair[1].score()
    return _intervals(draws, estimates, next(iter(pairs.values()))[0], task, level)


def paired_sums(
    a: pd.DataFrame, b: pd.DataFrame, task: Task, metric: str, target: str, clusters: pd.Series[str] | None
) -> tuple[CellSums, CellSums]:
    """The sums of two runs over the same items; raises `SerbenchError` when they are not the same."""
    left, right = (cell_sums(side, task, metric, target, clusters) for side in (a, b))
    if _layout(left) != _layout(right):
        raise SerbenchError(
            "the two tables of predictions hold other items, trials or subsets. Expected the same ones; "
            "results.compare pairs two runs so."
        )
    return left, right


def replicates(sums: Sequence[CellSums], resamples: int, seed: int = 0) -> list[Floats]:
    """Resampled scores of one or several runs under the same draws, (resample,) each."""
    if resamples < 1:
        raise SerbenchError(f"resamples={resamples} is out of range. Expected 1 or more, such as 10000.")
    generator = np.random.Generator(np.random.SFC64(seed))
    n_clusters, n_trials = sums[0].n_clusters, len(sums[0].cells)
    draws = (Rotations if n_clusters > ROTATE_FROM else Products)(n_clusters, generator)
    prepared = [[[draws.prepare(*cell) for cell in row] for row in one.cells] for one in sums]
    drawn = [np.empty(resamples) for _ in sums]
    done = 0
    with stage("resamples", resamples) as at:
        for size in draws.blocks(resamples):
            trials = generator.multinomial(max(1, n_trials - 1), np.full(n_trials, 1 / n_trials), size=size)
            for out, one, cells in zip(drawn, sums, prepared, strict=True):
                out[done : done + size] = _scores(one, cells, draws.sums, trials)
            done += size
            at(done)
    return drawn


class Products:
    """Blocks of multinomial counts of clusters; sums are matrix products."""

    def __init__(self, n: int, generator: np.random.Generator) -> None:
        self.n, self.generator = n, generator
        self.counts = np.zeros((0, n))

    def blocks(self, resamples: int) -> Iterator[int]:
        """Draw block after block; yields the size of each."""
        largest = max(1, BLOCK // self.n)
        for start in range(0, resamples, largest):
            size = min(largest, resamples - start)
            self.counts = draw_counts(self.n, size, self.generator)
            yield size

    def prepare(self, span: slice, cell: Floats) -> tuple[slice, Any]:
        """What `sums` takes of a cell, (cluster of the span, column); tall products are several times faster in this
        order."""
        return span, np.asfortranarray(cell)

    def sums(self, prepared: tuple[slice, Any]) -> Floats:
        """Sums of a cell under the block's draws, (resample, column)."""
        span, cell = prepared
        summed: Floats = self.counts[:, span] @ cell
        return summed


class Rotations:
    """Blocks of all rotations of one vector of multinomial counts; sums are circular correlations."""

    LEAST = 8
    """Vectors of counts at least, however few resamples are asked for."""

    def __init__(self, n: int, generator: np.random.Generator) -> None:
        self.n, self.generator = n, generator
        self.order = generator.permutation(n)
        self.size, self.spectrum = 0, np.zeros(0, dtype=np.complex128)

    def blocks(self, resamples: int) -> Iterator[int]:
        """Draw vector after vector; yields how many of its rotations count."""
        largest = min(self.n, -(-resamples // self.LEAST))
        for start in range(0, resamples, largest):
            self.size = min(largest, resamples - start)
            counts = draw_counts(self.n, 1, self.generator)[0]
            self.spectrum = np.fft.rfft(counts)[:, None].conj()
            yield self.size

    def prepare(self, span: slice, cell: Floats) -> tuple[slice, Any]:
        """The transform of a cell in the random order of clusters."""
        whole = np.zeros((self.n, cell.shape[1]))
        whole[span] = cell
        return span, np.fft.rfft(whole[self.order], axis=0)

    def sums(self, prepared: tuple[slice, Any]) -> Floats:
        """Sums of a cell under the block's rotations, (resample, column)."""
        correlated: Floats = np.fft.irfft(self.spectrum * prepared[1], self.n, axis=0)
        return correlated[: self.size]


def draw_counts(n: int, size: int, generator: np.random.Generator) -> Floats:
    """How often each of n clusters is taken when n - 1 (at least one) are drawn with replacement: (resample,
    cluster)."""
    drawn = generator.integers(0, n, size=(size, max(1, n - 1)))
    drawn += np.arange(size)[:, None] * n
    return np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)


def _scores(one: CellSums, cells: Sequence[Sequence[Any]], sums: Callable[[Any], Floats], trials: Any) -> Floats:
    """Score of each resample: subsets are averaged within a trial, trials with their counts.

    A subset of which no cluster was drawn has no score, and the others' mean stands.
    """
    total = np.zeros(len(trials))
    for row, counts in zip(cells, trials.T, strict=True):
        values = np.stack([one.metric.value(sums(cell)) for cell in row])
        defined = np.isfinite(values)
        with np.errstate(invalid="ignore"):
            score = np.where(defined, values, 0.0).sum(axis=0) / defined.sum(axis=0)
        total += np.where(counts > 0, counts * score, 0.0)
    return np.asarray(total / trials.sum(axis=1))


def _layout(sums: CellSums) -> list[list[tuple[int, int]]]:
    return [[(span.start, span.stop) for span, _ in row] for row in sums.cells]


def _intervals(
    draws: Mapping[str, Floats], estimates: Mapping[str, float], sums: CellSums, task: Task, level: float
) -> dict[str, Interval]:
    if not 0 < level < 1:
        raise SerbenchError(f"level={level} is out of range. Expected a share such as 0.95.")
    draws, estimates = dict(draws), dict(estimates)
    if len(task.targets) > 1:
        draws[MEAN] = np.mean([draws[t] for t in task.targets], axis=0)
        estimates[MEAN] = float(np.mean([estimates[t] for t in task.targets]))
    size = sums.n_clusters, len(sums.cells)
    return {t: summarise(draws[t], estimates[t], *size, level=level) for t in scored_targets(task)}


def summarise(draws: Floats, estimate: float, clusters: int, trials: int, level: float = 0.95) -> Interval:
    """Percentile interval of resampled scores, and the p-value at which it would just hold 0."""
    defined = draws[np.isfinite(draws)]
    lost = len(draws) - len(defined)
    if not len(defined) or not np.isfinite(estimate):
        return Interval(estimate, NAN, NAN, NAN, NAN, len(draws), lost, clusters, trials, level)
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    least = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    p = min(1.0, 2 * (least + 1) / (len(defined) + 1))
    return Interval(
        estimate,
        float(low),
        float(high),
        float(np.std(defined, ddof=1)) if len(defined) > 1 else NAN,
        p,
        len(draws),
        lost,
        clusters,
        trials,
        level,
    )
