"""Which of some rows are nearest to others: a part of the model `nearest`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.floating[Any]]


def neighbours(rows: Matrix, known: Matrix, k: int) -> npt.NDArray[np.intp]:
    """Positions of the k nearest of `known` (n, dim) for each of `rows` (m, dim), as (m, k)."""
    distances = ((rows[:, None] - known[None]) ** 2).sum(axis=2)
    return np.argsort(distances, axis=1, kind="stable")[:, :k]
