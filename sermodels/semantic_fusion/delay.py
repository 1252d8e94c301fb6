"""How late the annotators of a trace react, estimated before training.

A trace follows what is heard by a second or more: the label at time t belongs to the sound at t - delay. The baselines
of the challenges on SEWA take it to be 2.0 s (Ringeval et al., AVEC 2018 and 2019), the release of Tzirakis et al. 2021
takes no account of it. Here it is chosen by a cheap stand-in for the network: for each candidate a ridge regression on
loudness and its running means over 0.5 and 2 s, fitted to the shifted labels of the training data (widths and penalty
are free choices). The candidate with the highest correlation on the dev data, averaged over targets, is taken, the
smallest of equal ones. Test data never come here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .frames import Frames

Array = npt.NDArray[np.float64]
RIDGE = 1e-2
"""Weight of the penalty, relative to features of variance 1."""
WINDOWS_SECONDS = (0.5, 2.0)
FLOOR = 1e-4
"""Added to the root mean square before its logarithm is taken; silence is finite."""


def loudness(frames: Frames, position: int) -> Array:
    """Log energy of the person and of others in each frame, and centred running means of both: (frame, feature)."""
    count = frames.counts[position]
    sound = frames.audio(position, 0, count).reshape(count, 2, -1)
    level = np.log(FLOOR + np.sqrt(np.square(sound, dtype=np.float64).mean(axis=2)))
    widths = [max(1, round(seconds / frames.hop_seconds)) for seconds in WINDOWS_SECONDS]
    return np.hstack([level, *(running_mean(level, width) for width in widths)])


def running_mean(values: Array, width: int) -> Array:
    """Mean of (frame, feature) over the `width` frames around each frame, as far as they are there."""
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    at = np.arange(len(values))
    low, high = np.maximum(at - width // 2, 0), np.minimum(at + (width + 1) // 2, len(values))
    return np.asarray((sums[high] - sums[low]) / (high - low)[:, None])


def shifted(labels: Array, delay: int) -> Array:
    """Labels (frame, target) moved forward by `delay` frames: what frame k led to; NaN at the end."""
    if not delay:
        return labels
    return np.concatenate([labels[delay:], np.full((min(delay, len(labels)), labels.shape[1]), np.nan)])


def delayed(predictions: Array, delay: int) -> Array:
    """Predictions (frame, target) moved back by `delay` frames; the first one stands for what is before it."""
    return predictions[np.maximum(np.arange(len(predictions)) - delay, 0)]


def delay_scores(
    train: tuple[Sequence[Array], Sequence[Array]],
    dev: tuple[Sequence[Array], Sequence[Array]],
    candidates: Sequence[int],
) -> list[float]:
    """Mean correlation on the dev data for each delay in frames; (features, labels) of the recordings of each role."""
    mean = np.concatenate(train[0]).mean(axis=0)
    scale = np.concatenate(train[0]).std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    x_train, x_dev = ([(x - mean) / scale for x in features] for features in (train[0], dev[0]))
    scores = []
    for delay in candidates:
        weights = _ridge(*_rows(x_train, train[1], delay))
        x, y = _rows(x_dev, dev[1], delay)
        scores.append(_correlation(_with_one(x) @ weights, y))
    return scores


def best_delay(scores: Sequence[float], candidates: Sequence[int]) -> int:
    """The candidate with the highest score; the first of equal ones, and the first of all where none is defined."""
    return candidates[int(np.argmax(np.nan_to_num(scores, nan=-np.inf)))]


def _rows(features: Sequence[Array], labels: Sequence[Array], delay: int) -> tuple[Array, Array]:
    """Frames with labels on all targets, features beside labels."""
    x, y = np.concatenate(features), np.concatenate([shifted(trace, delay) for trace in labels])
    known = np.isfinite(y).all(axis=1)
    return x[known], y[known]


def _with_one(x: Array) -> Array:
    return np.hstack([x, np.ones((len(x), 1))])


def _ridge(x: Array, y: Array) -> Array:
    """Weights (feature + 1, target); the constant is not held back."""
    full = _with_one(x)
    penalty = RIDGE * max(len(x), 1) * np.eye(full.shape[1])
    penalty[-1, -1] = 1e-12
    return np.asarray(np.linalg.solve(full.T @ full + penalty, full.T @ y))


def _correlation(predictions: Array, labels: Array) -> float:
    """Pearson's correlation, averaged over the targets that vary; NaN where none does."""
    p, g = predictions - predictions.mean(axis=0), labels - labels.mean(axis=0)
    below = np.sqrt((p * p).sum(axis=0) * (g * g).sum(axis=0))
    with np.errstate(invalid="ignore", divide="ignore"):
        each = np.where(below > 0, (p * g).sum(axis=0) / below, np.nan)
    return float(np.nanmean(each)) if np.isfinite(each).any() else float("nan")
