"""Distance of spoken words by dynamic time warping of their MFCCs, many pairs at once.

The recursion is that of `words/warping.py`; a pair's distance is the cost of the best path by the frames of both words.
The cost of two frames is their Euclidean distance.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...datasets.core.stages import track
from .precision import Array

_AT_ONCE = 20_000


def warped_distances(
    sound: npt.NDArray[np.float32],
    lengths: npt.NDArray[np.int64],
    first: npt.NDArray[np.int64],
    second: npt.NDArray[np.int64],
) -> Array:
    """Distances (pair,) of words (word, frame, coefficient) of so many frames (word,); pairs are rows of words."""
    done = []
    for k in track(range(0, len(first), _AT_ONCE), "warping pairs of words"):
        one, other = first[k : k + _AT_ONCE], second[k : k + _AT_ONCE]
        done.append(_least(_costs(sound[one], sound[other]), lengths[one], lengths[other]))
    return np.concatenate(done) if done else np.empty(0)


def _costs(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> Array:
    """Distances (frame, frame, pair) of the frames of two words, each (pair, frame, coefficient)."""
    norms = [np.square(sound).sum(-1, dtype=np.float64) for sound in (one, other)]  # (pair, frame)
    products = np.einsum("pic,pjc->pij", one, other, optimize=True)
    squares = norms[0][:, :, None] + norms[1][:, None] - 2 * products
    return np.asarray(np.sqrt(np.maximum(squares, 0)).transpose(1, 2, 0))


def _least(cost: Array, one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> Array:
    """Cost by frames (pair,) of the best path to the ends of both words, of so many frames (pair,) each."""
    total = np.full((cost.shape[0] + 1, cost.shape[1] + 1, cost.shape[2]), np.inf)
    total[0, 0] = 0
    for i in range(cost.shape[0]):
        for j in range(cost.shape[1]):
            before = np.minimum(np.minimum(total[i, j], total[i, j + 1]), total[i + 1, j])
            total[i + 1, j + 1] = cost[i, j] + before
    ends = total[one, other, np.arange(len(one))]
    return np.asarray(ends / (one + other))
