"""Metrics: pure functions from gold labels and predictions to one number.

Sources: CCC is Lin (1989, Biometrics 45:255, doi:10.2307/2532051) with population moments (divided by n, not n - 1);
UAR, the unweighted average recall, is the mean of the per-class recalls (Schuller et al., Interspeech 2009 challenge);
WA, the weighted accuracy of the field, is the plain share of correct utterances.

Conventions, the same for every function:

- gold comes first; both arguments are one-dimensional and of one length, anything else is a `SerbenchError`;
- class labels are whole numbers 0 .. n_classes - 1;
- a frame or utterance whose *gold* is NaN carries no label and is left out of a continuous metric;
- a NaN or an infinity among the *predictions* makes the score undefined: leaving the pair out would reward it;
- an undefined score is NaN, and no warning is raised. Nothing to score is undefined.

| case | answer |
|---|---|
| CCC, one side constant | 0, by the formula |
| CCC, both constant, different values | 0, by the formula |
| CCC, both constant and equal | undefined (0/0): nothing varies, so no agreement was shown |
| PCC, a side constant | undefined |
| UAR, a class absent from gold | mean over the classes that gold has |
| F1, a class neither in gold nor predicted | left out of the mean; predicted but never gold: 0 |
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ...datasets.core.errors import SerbenchError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
NAN = float("nan")


def ccc(gold: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Concordance correlation coefficient, -1 .. 1 (Lin 1989, eq. 1).

    2 cov(g, p) / (var(g) + var(p) + (mean(g) - mean(p))^2), all moments of the population.
    """
    pairs = _pairs(gold, predicted)
    if pairs is None:
        return NAN
    (mean_g, g), (mean_p, p) = _centred(pairs[0]), _centred(pairs[1])
    with np.errstate(over="ignore", invalid="ignore"):
        shift = mean_g - mean_p
        return _ratio(2 * _mean(g * p), _mean(g * g) + _mean(p * p) + shift * shift)


def ccc_avec(gold: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """CCC as the AVEC challenges scored it: the covariance divided by n, the variances by n - 1.

    Source: the scorer of the AVEC 2019 package (Ringeval et al., doi 10.1145/3347320.3357688). With d the squared
    distance of the means it is smaller than `ccc` by the factor 1 + (var(g) + var(p)) / ((n - 1) (var(g) + var(p) +
    d)): at most n / (n - 1), nothing beside the noise of a training. It serves to repeat published numbers; scores and
    rankings use `ccc`. One pair alone is undefined.
    """
    pairs = _pairs(gold, predicted)
    if pairs is None or len(pairs[0]) < 2:
        return NAN
    (mean_g, g), (mean_p, p) = _centred(pairs[0]), _centred(pairs[1])
    with np.errstate(over="ignore", invalid="ignore"):
        shift, freedom = mean_g - mean_p, len(g) - 1
        return _ratio(2 * _mean(g * p), float(np.sum(g * g) + np.sum(p * p)) / freedom + shift * shift)


def pcc(gold: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Pearson correlation coefficient, -1 .. 1."""
    pairs = _pairs(gold, predicted)
    if pairs is None:
        return NAN
    (_, g), (_, p) = _centred(pairs[0]), _centred(pairs[1])
    with np.errstate(over="ignore", invalid="ignore"):
        return _ratio(_mean(g * p), math.sqrt(_mean(g * g)) * math.sqrt(_mean(p * p)))


def rmse(gold: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Root of the mean squared error, on the label scale; lower is better."""
    pairs = _pairs(gold, predicted)
    if pairs is None:
        return NAN
    with np.errstate(over="ignore"):
        return _finite(math.sqrt(_mean((pairs[0] - pairs[1]) ** 2)))


def confusion(gold: npt.ArrayLike, predicted: npt.ArrayLike, n_classes: int) -> Integers:
    """Counts, (gold class, predicted class) int64."""
    g, p = _classes(gold, "gold", n_classes), _classes(predicted, "predicted", n_classes)
    _same_length(g, p)
    counts = np.bincount(g * n_classes + p, minlength=n_classes * n_classes)
    return counts.reshape(n_classes, n_classes).astype(np.int64)


def recall_per_class(gold: npt.ArrayLike, predicted: npt.ArrayLike, n_classes: int) -> Floats:
    """Recall of each class, (class,); NaN for a class that gold lacks."""
    counts = confusion(gold, predicted, n_classes)
    return _share(np.diagonal(counts), counts.sum(axis=1))


def f1_per_class(gold: npt.ArrayLike, predicted: npt.ArrayLike, n_classes: int) -> Floats:
    """F1 = 2 TP / (2 TP + FP + FN) of each class, (class,); NaN for a class neither in gold nor predicted."""
    counts = confusion(gold, predicted, n_classes)
    return _share(2 * np.diagonal(counts), counts.sum(axis=1) + counts.sum(axis=0))


def uar(gold: npt.ArrayLike, predicted: npt.ArrayLike, n_classes: int) -> float:
    """Unweighted average recall, 0 .. 1: the mean recall over the classes that gold has."""
    return _mean_defined(recall_per_class(gold, predicted, n_classes))


def accuracy(gold: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Weighted accuracy (WA), 0 .. 1: the share of correct utterances."""
    g, p = _classes(gold, "gold", None), _classes(predicted, "predicted", None)
    _same_length(g, p)
    return float(np.mean(g == p)) if len(g) else NAN


def macro_f1(gold: npt.ArrayLike, predicted: npt.ArrayLike, n_classes: int) -> float:
    """Mean F1, 0 .. 1, over the classes that occur in gold or among the predictions."""
    return _mean_defined(f1_per_class(gold, predicted, n_classes))


def weighted_f1(gold: npt.ArrayLike, predicted: npt.ArrayLike, n_classes: int) -> float:
    """F1 of each class weighted by its share of gold, 0 .. 1. It hides small classes: read it beside the macro F1."""
    f1 = f1_per_class(gold, predicted, n_classes)
    support = np.bincount(_classes(gold, "gold", n_classes), minlength=n_classes)
    present = support > 0
    return _ratio(float(np.sum(f1[present] * support[present])), float(support.sum()))


def _pairs(gold: npt.ArrayLike, predicted: npt.ArrayLike) -> tuple[Floats, Floats] | None:
    """Both sides as float64 without the pairs that have no gold; None where every score is undefined."""
    g, p = np.asarray(gold, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    _same_length(g, p)
    labelled = ~np.isnan(g)
    if not labelled.all():
        g, p = g[labelled], p[labelled]
    return (g, p) if len(g) and bool(np.isfinite(g).all() and np.isfinite(p).all()) else None


def _centred(x: Floats) -> tuple[float, Floats]:
    """Mean and deviations from it; a constant gives exact zeros, whatever rounding does to its mean."""
    if x.max() == x.min():
        return float(x[0]), np.zeros_like(x)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(np.mean(x))
        return mean, x - mean


def _classes(values: npt.ArrayLike, side: str, n_classes: int | None) -> Integers:
    array = np.asarray(values)
    if array.size == 0:
        return np.zeros(0, dtype=np.int64)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise SerbenchError(
            f"{side} has shape {array.shape} and type {array.dtype}. Expected one class index (whole number) per item."
        )
    if array.min() < 0 or (n_classes is not None and array.max() >= n_classes):
        top = "" if n_classes is None else f" .. {n_classes - 1}"
        raise SerbenchError(f"{side} holds class indices {array.min()} .. {array.max()}. Expected 0{top}.")
    return array.astype(np.int64)


def _same_length(g: npt.NDArray[Any], p: npt.NDArray[Any]) -> None:
    if g.ndim != 1 or g.shape != p.shape:
        raise SerbenchError(f"gold has shape {g.shape}, predicted {p.shape}. Expected two lists of one length.")


def _share(part: Integers, whole: Integers) -> Floats:
    out = np.full(len(whole), NAN)
    np.divide(part, whole, out=out, where=whole > 0)
    return out


def _mean_defined(values: Floats) -> float:
    defined = values[~np.isnan(values)]
    return float(np.mean(defined)) if len(defined) else NAN


def _mean(x: Floats) -> float:
    return float(np.mean(x))


def _ratio(numerator: float, denominator: float) -> float:
    if denominator == 0 or not (math.isfinite(numerator) and math.isfinite(denominator)):
        return NAN
    return min(1.0, max(-1.0, float(numerator / denominator)))


def _finite(value: float) -> float:
    return float(value) if math.isfinite(value) else NAN
