"""Calibration of class probabilities: reliability in bins of equal size, and proper scores.

The reliability of Nguyen and O'Connor (EMNLP 2015): predictions sorted by confidence are cut into bins of nearly equal
size, and in each the mean confidence stands against the share that is right; the expected calibration error (ECE) is
the mean distance, weighted by size. Bins of equal size have no empty or tiny bin, which those of equal width have where
a model is sure of nearly everything. Of the 15 bins of Guo et al. (ICML 2017), so many are taken that each holds ten
predictions.

The Brier score (1950) is the squared distance between the probabilities and the one-hot label, summed over classes: 0
is perfect, 2 the worst. The negative log-likelihood is in nats, probabilities below 1e-15 count as that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
BINS = 15
LEAST = 10
"""Predictions of a bin at least."""
FLOOR = 1e-15


@dataclass(frozen=True)
class Reliability:
    """Of each bin: mean confidence, share that is right, number of predictions; (bin,) each."""

    confidence: Floats
    right: Floats
    count: Integers

    @property
    def error(self) -> float:
        """Expected calibration error."""
        return float(np.average(np.abs(self.confidence - self.right), weights=self.count))

    @property
    def over(self) -> float:
        """Mean confidence minus the share that is right: above 0, the model is too sure."""
        return float(np.average(self.confidence - self.right, weights=self.count))


def reliability(scores: Floats, gold: Integers, bins: int = BINS) -> Reliability:
    """Reliability of probabilities (prediction, class) against class indices (prediction,).

    Predictions of one confidence stay in one bin, so that their order in the table plays no part.
    """
    sure, right = confidence(scores), (scores.argmax(axis=1) == gold).astype(np.float64)
    number = max(1, min(bins, len(sure) // LEAST))
    edges = np.quantile(sure, np.arange(1, number) / number)
    place = np.searchsorted(edges, sure, side="right")
    used, place = np.unique(place, return_inverse=True)
    count = np.bincount(place, minlength=len(used))
    return Reliability(np.bincount(place, sure) / count, np.bincount(place, right) / count, count.astype(np.int64))


def confidence(scores: Floats) -> Floats:
    """The largest probability of each prediction."""
    return np.asarray(scores.max(axis=1))


def brier(scores: Floats, gold: Integers) -> float:
    """Mean over predictions of the squared distance to the one-hot label, summed over classes."""
    return float(((scores - np.eye(scores.shape[1])[gold]) ** 2).sum(axis=1).mean())


def log_loss(scores: Floats, gold: Integers) -> float:
    """Mean negative log-likelihood, in nats."""
    return float(-np.log(np.maximum(scores[np.arange(len(gold)), gold], FLOOR)).mean())
