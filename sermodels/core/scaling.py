"""Standardisation fitted on the training rows, with a rule for constant columns and for missing values.

- a value that is not finite becomes the training mean of its column (0 after standardisation), and is counted;
- standardised values are limited to a number of standard deviations that the model states: some functionals divide by
  means near zero (eGeMAPS `*_stddevNorm`), and one such utterance would decide a linear model by itself;
- a column that is constant in training (or has no finite value there) says nothing: it becomes 0 everywhere, also where
  other data differ in it, and is counted.

Functionals may be normalised by speaker before that: each column less the speaker's mean, over the speaker's standard
deviation, as is common in the literature on functionals (Schuller et al. 2010, IEEE TAC 1(2),
doi:10.1109/T-AFFC.2010.8, section 2.2, among others). The moments are those of all utterances of the speaker that
features are at hand of, test items included: no label is used, but the audio of the test speakers is, which a score's
signature has to say (`TRANSDUCTIVE`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...datasets.core.config import option
from ...datasets.core.errors import SerbenchError
from .rows import Matrix, table_matrix, utterance_matrix
from .sermodel import Data

TRANSDUCTIVE = "transductive: features z-normalised by speaker"
NORMALISED = ("train", "speaker")


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


def normalise_option() -> Any:
    """The field `normalise` of a `Config`."""
    doc = "train: standardised on train; speaker: by speaker before that, which is transductive (`core/scaling.py`)"
    return option(NORMALISED[0], doc, source="free choice", choices=NORMALISED, later=True)


def normalisation_labels(normalise: str) -> tuple[str, ...]:
    """What a signature says of a normalisation: that one by speaker hears the test speakers."""
    return (TRANSDUCTIVE,) if normalise == "speaker" else ()


def normalised_matrix(data: Data, normalise: str) -> Matrix:
    """`utterance_matrix`, normalised by speaker where that is asked for."""
    return speaker_matrix(data) if normalise == "speaker" else utterance_matrix(data)


def speaker_matrix(data: Data) -> Matrix:
    """`utterance_matrix` normalised by speaker; values that are not finite are the speaker's mean.

    Raises
    ------
    SerbenchError
        Where the speaker of an utterance is unknown.
    """
    rows = utterance_matrix(data)
    own = data.items["speaker"]
    if own.isna().any():
        raise SerbenchError(
            f"model.normalise=speaker needs the speaker of every utterance; that of {own.index[own.isna()][0]!r} is "
            "unknown. Expected model.normalise=train, or a corpus that names its speakers."
        )
    table = data.features["input"]
    known = data.items if data.turns is None else data.turns
    spoken: dict[str, list[str]] = {}
    for item, speaker in known["speaker"].dropna().items():
        if str(item) in table:
            spoken.setdefault(str(speaker), []).append(str(item))
    for speaker in own.astype(str).unique():
        mine = np.flatnonzero(own.astype(str).eq(speaker).to_numpy())
        rows[mine] = Scaler.fit(table_matrix(table, spoken[speaker])).transform(rows[mine])
    return rows


def _missing(rows: Matrix) -> int:
    return int(rows.size - np.count_nonzero(np.isfinite(rows)))
