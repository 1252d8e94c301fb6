"""Calibration of values: slope of gold on prediction, and whether the spread over trials covers the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """Least squares of gold on prediction: a slope of 1 and an intercept of 0 are calibrated.

    Below 1, predictions are spread too widely for what they know; above 1, too narrowly, as after shrinking to the
    mean.
    """

    slope: float
    intercept: float


def line(gold: Floats, predicted: Floats) -> Line:
    """The line of gold on prediction, (item,) each; undefined (NaN) where all predictions are one."""
    spread = predicted - predicted.mean()
    if not len(gold) or np.ptp(predicted) == 0:
        return Line(float("nan"), float("nan"))
    slope = float(spread @ gold / (spread @ spread))
    return Line(slope, float(gold.mean() - slope * predicted.mean()))


def coverage(gold: Floats, predicted: Floats, level: float = 0.9) -> float:
    """Share of items whose gold lies in the prediction interval of the trials, (item,) and (trial, item).

    The interval is Student's, for one further draw: mean +- t s sqrt(1 + 1/n). What trials disagree about is the
    training's chance alone, so a share near `level` is more than can be hoped for; how far it is below says how little
    of the error the spread of trials stands for. Undefined (NaN) for fewer than two trials.
    """
    n = len(predicted)
    if n < 2:
        return float("nan")
    from scipy.special import stdtrit

    half = float(stdtrit(n - 1, (1 + level) / 2)) * predicted.std(axis=0, ddof=1) * np.sqrt(1 + 1 / n)
    return float((np.abs(gold - predicted.mean(axis=0)) <= half).mean())
