"""Mean and population standard deviation of features, accumulated one utterance at a time in float64.

Memory is that of one utterance, whatever the size of the corpus. Blocks are merged by the pairwise update of Chan,
Golub and LeVeque (1983, The American Statistician 37:242-247), which does not cancel as sums of squares do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Per column: count of finite values, their mean, and their sum of squared deviations, each (dim,) float64."""

    count: Vector
    mean: Vector
    squares: Vector

    @property
    def std(self) -> Vector:
        """Population standard deviation (ddof 0), (dim,)."""
        return np.sqrt(self.squares / np.maximum(self.count, 1))

    def merge(self, other: Moments) -> Moments:
        """Moments of both blocks together."""
        count = self.count + other.count
        share = np.divide(other.count, count, out=np.zeros_like(count), where=count > 0)
        gap = other.mean - self.mean
        return Moments(count, self.mean + gap * share, self.squares + other.squares + gap**2 * self.count * share)


def block_moments(rows: npt.NDArray[np.floating]) -> Moments:
    """Moments of one block (row, dim); values that are not finite don't count."""
    values = rows.astype(np.float64)
    if np.isfinite(values.sum()):
        mean = values.mean(axis=0) if len(values) else np.zeros(values.shape[1])
        return Moments(np.full(values.shape[1], float(len(values))), mean, ((values - mean) ** 2).sum(axis=0))
    finite = np.isfinite(values)
    count = finite.sum(axis=0).astype(np.float64)
    mean = np.where(finite, values, 0.0).sum(axis=0) / np.maximum(count, 1)
    return Moments(count, mean, (np.where(finite, values - mean, 0.0) ** 2).sum(axis=0))


def moments(blocks: Iterable[npt.NDArray[np.floating]], dim: int) -> Moments:
    """Moments over all rows of all blocks, each (row, dim); the blocks are read once, in order."""
    total = Moments(np.zeros(dim), np.zeros(dim), np.zeros(dim))
    for block in blocks:
        total = total.merge(block_moments(block))
    return total


def inverse_std(given: Moments) -> Vector:
    """1 / standard deviation, (dim,); 0 for a column that is constant, so that it is 0 after z-normalisation."""
    noise = np.finfo(np.float32).eps * np.abs(given.mean)  # what rounding to float32 leaves of equal values
    varies = given.std > noise
    return np.divide(1.0, given.std, out=np.zeros_like(given.std), where=varies)
