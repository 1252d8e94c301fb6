"""Standardisation fitted on the training rows, with a rule for constant columns and for missing values.

- a value that is not finite becomes the training mean of its column (0 after standardisation), and is counted;
- standardised values are limited to a number of standard deviations that the model states: some functionals divide by
  means near zero (eGeMAPS `*_stddevNorm`), and one such utterance would decide a linear model by itself;
- a column that is constant in training (or has no finite value there) says nothing: it becomes 0 everywhere, also where
  other data differ in it, and is counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...datasets.core.errors import SerbenchError

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scaler:
    """Column means and inverse standard deviations, (dim,) float64; the inverse of a constant column is 0."""

    mean: Matrix
    inverse: Matrix

    @classmethod
    def fit(cls, rows: Matrix) -> Scaler:
        """Fit on (row, dim); population standard deviation over the finite values of each column."""
        if not len(rows):
            raise SerbenchError("the training set is empty. Expected at least one labelled training item.")
        finite = np.isfinite(rows)
        count = np.maximum(finite.sum(axis=0), 1)
        mean = np.where(finite, rows, 0.0).sum(axis=0) / count
        deviation = np.where(finite, rows - mean, 0.0)
        variance = (deviation**2).sum(axis=0) / count
        eps = np.finfo(np.float64).eps
        constant = variance <= count * eps * variance + (count * eps * mean) ** 2  # rounding of equal values
        return cls(mean, np.where(constant, 0.0, 1.0 / np.sqrt(np.where(constant, 1.0, variance))))

    def transform(self, rows: Matrix, clip: float | None = None) -> Matrix:
        """Standardised copy of (row, dim), all finite, limited to -clip .. clip."""
        if rows.shape[1] != len(self.mean):
            raise SerbenchError(
                f"the features have {rows.shape[1]} columns. Expected {len(self.mean)}, as in training: "
                "give the feature and the settings that the model was trained with."
            )
        standard = np.asarray(np.where(np.isfinite(rows), rows - self.mean, 0.0) * self.inverse)
        return standard if clip is None else np.clip(standard, -clip, clip)

    @property
    def varying(self) -> int:
        """Number of columns that are not constant in training."""
        return int(np.count_nonzero(self.inverse))

    def facts(self, train: Matrix, dev: Matrix) -> dict[str, Any]:
        """What the record says of the two rules: `constant_features`, `missing_values` {train, dev}."""
        missing = {"train": _missing(train), "dev": _missing(dev)}
        return {"constant_features": len(self.mean) - self.varying, "missing_values": missing}


def _missing(rows: Matrix) -> int:
    return int(rows.size - np.count_nonzero(np.isfinite(rows)))
