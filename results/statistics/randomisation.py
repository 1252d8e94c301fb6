"""Approximate randomisation: a test on the predictions themselves, without any assumption of a distribution.

If two models did not differ, their predictions could be swapped. Whole clusters (speakers, recordings or utterances)
are swapped at random, in all trials at once, and p is the share of swaps whose difference is as large as the observed
one (Noreen 1989; Yeh 2000, COLING; Dietterich 1998 on why trials are no sample of utterances). The difference is the
one that is printed: the mean over the cells (trial, subset). The trained models are taken as they are: the test says
whether *these* models differ on other clusters of the same kind, not whether other seeds would.

Up to `clusters` whose swaps can all be counted within the number asked for, they are, and p is exact.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.core.stages import stage
from ...datasets.schema.task import Task
from ..scores.scoring import MEAN, check_predictions, scored_targets
from ..scores.sums import CellSums, Floats
from .bootstrap import BLOCK, paired_sums

ROUNDING = 1e-12


def approximate_randomisation(
    a: pd.DataFrame,
    b: pd.DataFrame,
    task: Task,
    metric: str | None = None,
    clusters: pd.Series[str] | None = None,
    *,
    swaps: int = 10_000,
    seed: int = 0,
) -> dict[str, float]:
    """Two-tailed p-value of the difference of two runs over the same items and trials, per target.

    Parameters
    ----------
    a, b : predictions of the same complete trials, as `Run.scored_predictions` gives them
    clusters : id -> speaker, recording ...; None swaps utterances one by one
    swaps : number of random swaps; the smallest p is 1 / (swaps + 1), or 2 / 2^clusters where all are counted
    """
    if swaps < 1:
        raise SerbenchError(f"swaps={swaps} is out of range. Expected 1 or more, such as 10000.")
    name = metric or task.metric
    check_predictions(a, task)
    check_predictions(b, task)
    draws, observed = {}, {}
    for target in task.targets:
        pair = paired_sums(a, b, task, name, target, clusters)
        draws[target] = swapped_differences(*pair, swaps, seed)
        observed[target] = pair[0].score() - pair[1].score()
    if len(task.targets) > 1:
        draws[MEAN] = np.mean([draws[t] for t in task.targets], axis=0)
        observed[MEAN] = float(np.mean([observed[t] for t in task.targets]))
    exact = pair[0].n_clusters <= _countable(swaps)
    return {t: _p_value(draws[t], observed[t], exact) for t in scored_targets(task)}


def swapped_differences(a: CellSums, b: CellSums, swaps: int, seed: int = 0) -> Floats:
    """Difference of the scores after each swap, (swap,)."""
    differences: list[Floats] = []
    with stage("swaps", swaps) as at:
        for swapped in _patterns(a.n_clusters, swaps, seed):
            differences.append(_differences(a, b, swapped))
            at(sum(map(len, differences)))
    return np.concatenate(differences)


def _differences(a: CellSums, b: CellSums, swapped: Floats) -> Floats:
    """Difference of the scores after each swap (swap, cluster) of a block, (swap,)."""
    difference = np.zeros(len(swapped))
    for row_a, row_b in zip(a.cells, b.cells, strict=True):
        for (span, cell_a), (_, cell_b) in zip(row_a, row_b, strict=True):
            moved = swapped[:, span] @ np.asfortranarray(cell_b - cell_a)
            difference += a.metric.value(cell_a.sum(axis=0) + moved) - a.metric.value(cell_b.sum(axis=0) - moved)
    return np.asarray(difference / sum(len(row) for row in a.cells))


def _patterns(n: int, swaps: int, seed: int) -> Iterator[Floats]:
    """Blocks of swaps, (swap, cluster) of 0 and 1: all of them where that is no more than was asked for."""
    rows = max(1, BLOCK // n)
    if n <= _countable(swaps):
        # the last cluster never swaps: swapping all the others instead gives the same difference with the other sign
        everything = (np.arange(2 ** (n - 1))[:, None] >> np.arange(n) & 1).astype(np.float64)
        yield from (everything[i : i + rows] for i in range(0, len(everything), rows))
        return
    generator = np.random.Generator(np.random.SFC64(seed))
    for start in range(0, swaps, rows):
        size = min(rows, swaps - start)
        bits = np.frombuffer(generator.bytes(size * -(-n // 8)), dtype=np.uint8).reshape(size, -1)
        yield np.unpackbits(bits, axis=1)[:, :n].astype(np.float64)


def _countable(swaps: int) -> int:
    return int(np.log2(swaps)) + 1


def _p_value(draws: Floats, observed: float, exact: bool) -> float:
    """Share of swaps that are as far from 0 as the observed difference; the observed one counts as a swap."""
    if not np.isfinite(observed):
        return float("nan")
    defined = draws[np.isfinite(draws)]
    extreme = int((np.abs(defined) >= abs(observed) - ROUNDING).sum())
    return extreme / len(defined) if exact else (extreme + 1) / (len(defined) + 1)
