"""A trained support vector machine: what it predicts, from support vectors, dual coefficients and intercepts alone."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .rows import Matrix

ROWS_AT_ONCE = 1024
"""Rows of a kernel matrix that are held in memory together."""


@dataclass(frozen=True)
class Machine:
    """One trained machine.

    Attributes
    ----------
    gamma : exponent of the RBF kernel; None for the linear kernel
    vectors : support vectors, (vector, dim), ordered by class
    dual : dual coefficients, (classes - 1, vector) as in libsvm, (1, vector) for regression
    intercept : (pairs of classes,), (1,) for regression
    counts : support vectors of each class, (class,); empty for regression
    """

    gamma: float | None
    vectors: Matrix
    dual: Matrix
    intercept: Matrix
    counts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, fitted: Any, gamma: float | None) -> Machine:
        """The trained parts of scikit-learn's SVC or SVR."""
        classes = getattr(fitted, "classes_", ())
        counts = np.asarray(fitted.n_support_, dtype=np.int64) if len(classes) else np.empty(0, dtype=np.int64)
        flip = -1.0 if len(classes) == 2 else 1.0  # scikit-learn turns the sign of a two-class machine round
        dual, intercept = np.ascontiguousarray(flip * fitted.dual_coef_), np.asarray(flip * fitted.intercept_)
        return cls(gamma, np.ascontiguousarray(fitted.support_vectors_), dual, intercept, counts)

    def values(self, rows: Matrix) -> Matrix:
        """Regression values, (row,)."""
        blocks = [self._kernel(block) @ self.dual[0] for block in _blocks(rows)]
        return np.asarray(np.concatenate([*blocks, np.empty(0)]) + self.intercept[0])

    def decisions(self, rows: Matrix) -> Matrix:
        """One-vs-rest decision values, (row, class): votes of the pairs plus squashed sums of their margins."""
        blocks = [one_vs_rest(self._pairs(self._kernel(block)), len(self.counts)) for block in _blocks(rows)]
        return np.concatenate([*blocks, np.empty((0, len(self.counts)))])

    def _pairs(self, kernel: Matrix) -> Matrix:
        """Margins of each pair of classes i < j, (row, pair); positive means i."""
        edges = np.concatenate([[0], np.cumsum(self.counts)])
        columns = []
        for (i, j), offset in zip(itertools.combinations(range(len(self.counts)), 2), self.intercept, strict=True):
            of_i, of_j = slice(edges[i], edges[i + 1]), slice(edges[j], edges[j + 1])
            margin = kernel[:, of_i] @ self.dual[j - 1, of_i] + kernel[:, of_j] @ self.dual[i, of_j]
            columns.append(margin + offset)
        return np.stack(columns, axis=1)

    def _kernel(self, rows: Matrix) -> Matrix:
        products = rows @ self.vectors.T
        if self.gamma is None:
            return np.asarray(products)
        distances = (rows**2).sum(axis=1)[:, None] + (self.vectors**2).sum(axis=1) - 2 * products
        return np.asarray(np.exp(-self.gamma * np.maximum(distances, 0.0)))


def one_vs_rest(margins: Matrix, n_classes: int) -> Matrix:
    """Decision values per class from the margins of the pairs i < j, as scikit-learn's SVC gives them.

    A pair's margin m votes for i if m >= 0, else for j. The value of a class is its number of votes plus
    s / (3 (|s| + 1)), where s sums its margins (so the sum decides between equal votes alone). Two classes have one
    margin, given as (0, -m): its softmax is the logistic function of the margin.
    """
    if n_classes == 2:
        return np.hstack([np.zeros_like(margins), -margins])
    votes, sums = np.zeros((2, len(margins), n_classes))
    for k, (i, j) in enumerate(itertools.combinations(range(n_classes), 2)):
        sums[:, i] += margins[:, k]
        sums[:, j] -= margins[:, k]
        votes[:, i] += margins[:, k] >= 0
        votes[:, j] += margins[:, k] < 0
    return np.asarray(votes + sums / (3 * (np.abs(sums) + 1)))


def _blocks(rows: Matrix) -> list[Matrix]:
    return [rows[i : i + ROWS_AT_ONCE] for i in range(0, len(rows), ROWS_AT_ONCE)]
