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
    parts = [np.arange(k, min(k + _AT_ONCE, len(first))) for k in range(0, len(first), _AT_ONCE)]
    done = [_distances(sound, lengths, first[part], second[part]) for part in track(parts, "warping pairs of words")]
    return np.concatenate(done) if done else np.empty(0)


def _distances(
    sound: npt.NDArray[np.float32],
    lengths: npt.NDArray[np.int64],
    first: npt.NDArray[np.int64],
    second: npt.NDArray[np.int64],
) -> Array:
    norms = np.square(sound).sum(-1, dtype=np.float64)  # (word, frame)
    products = np.einsum("pic,pjc->pij", sound[first], sound[second], optimize=True)
    squares = norms[first][:, :, None] + norms[second][:, None] - 2 * products
    cost = np.sqrt(np.maximum(squares, 0)).transpose(1, 2, 0)  # (frame, frame, pair)
    total = np.full((cost.shape[0] + 1, cost.shape[1] + 1, len(first)), np.inf)
    total[0, 0] = 0
    for i in range(cost.shape[0]):
        for j in range(cost.shape[1]):
            before = np.minimum(np.minimum(total[i, j], total[i, j + 1]), total[i + 1, j])
            total[i + 1, j + 1] = cost[i, j] + before
    ends = total[lengths[first], lengths[second], np.arange(len(first))]
    return np.asarray(ends / (lengths[first] + lengths[second]))
