"""Dynamic time warping: which frame belongs to which token, in one pass through both.

The recursion is that of Sakoe and Chiba (1978, doi 10.1109/TASSP.1978.1163055) with the steps (1, 1), (1, 0) and (0, 1)
of equal weight: a path goes from the first token at the first frame to the last token at the last one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
_BOTH, _TOKEN, _FRAME = 0, 1, 2


def warping_path(cost: Array) -> tuple[Indices, Indices]:
    """The path of least cost through a matrix (token, frame): token and frame of each of its steps.

    All cells of a diagonal at once; of steps that cost the same, the one that moves in both comes first, then the one
    to the next token.
    """
    tokens, frames = cost.shape
    step = np.zeros((tokens, frames), np.uint8)
    total = np.full((3, tokens + 1), np.inf)  # two diagonals before, one before, this one; by token, from 1
    total[0, 0] = 0.0
    for d in range(tokens + frames - 1):
        i = np.arange(max(0, d - frames + 1), min(tokens, d + 1))
        choices = np.stack([total[0, i], total[1, i], total[1, i + 1]])
        step[i, d - i] = choices.argmin(0)
        total[2] = np.inf
        total[2, i + 1] = choices.min(0) + cost[i, d - i]
        total[0], total[1] = total[1], total[2]
    return _backwards(step)


def first_frames(path: tuple[Indices, Indices]) -> Indices:
    """The frame at which each token of a path begins, (token,)."""
    tokens, frames = path
    return frames[np.flatnonzero(np.diff(tokens, prepend=-1))]


def _backwards(step: npt.NDArray[np.uint8]) -> tuple[Indices, Indices]:
    i, j = step.shape[0] - 1, step.shape[1] - 1
    path = [(i, j)]
    while i or j:
        taken = step[i, j]
        i, j = i - (taken != _FRAME), j - (taken != _TOKEN)
        path.append((i, j))
    tokens, frames = np.array(path[::-1], np.int64).T
    return tokens, frames
