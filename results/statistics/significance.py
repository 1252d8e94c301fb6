"""Significance: pure functions from paired scores to tests, intervals and effect sizes.

The protocol's test is the two-tailed paired t-test over the 4 x 5 scores (Lin, Sridhar and Busso 2021, section 4). The
scores of one trial come from one trained model and those of one subset from the same utterances, so they are not
independent and that test rejects too easily. Beside it stand the same test over the trial means, which are
independent given the test set, and Wilcoxon's signed-rank test, which asks for no normal differences.

Conventions: arrays are aligned, differences are a - b; identical samples have p = 1 and effect 0; a difference that is
constant and not zero has p = 0; a score that is not finite, or fewer than two pairs, leaves p undefined (NaN). No
warning is raised. Holm (1979, Scand. J. Statist. 6:65) is taken over the defined p-values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ...datasets.core.errors import SerbenchError

Floats = npt.NDArray[np.float64]
NAN = float("nan")
SIGNED = 13
"""Of so many differences with ties or zeros all choices of signs are counted, as scipy does."""


@dataclass(frozen=True)
class PairedTest:
    """A paired comparison of two samples.

    Attributes
    ----------
    n : number of pairs
    difference : mean of a - b
    low, high : confidence interval of the mean difference
    t, p : statistic and two-tailed p-value of the paired t-test, n - 1 degrees of freedom
    dz : Cohen's d for pairs, the mean difference over the standard deviation of the differences
    """

    n: int
    difference: float
    low: float
    high: float
    t: float
    p: float
    dz: float


def paired_t(a: npt.ArrayLike, b: npt.ArrayLike, level: float = 0.95) -> PairedTest:
    """Two-tailed paired t-test of aligned samples, with the interval of the mean difference and Cohen's d for pairs."""
    d = _differences(a, b)
    n, mean = len(d), _mean(d)
    low, high = mean_interval(d, level)
    dz = _standardised(d)
    if n < 2 or math.isnan(mean):
        return PairedTest(n, mean, low, high, NAN, NAN, dz)
    t = dz * math.sqrt(n)
    return PairedTest(n, mean, low, high, t, _two_tailed(t, n - 1), dz)


def paired_over_trials(a: npt.ArrayLike, b: npt.ArrayLike, trials: npt.ArrayLike, level: float = 0.95) -> PairedTest:
    """`paired_t` over the means of each trial; `trials` holds the trial of each pair.

    Where the trials repeat one another (both models train deterministically, so every trial has the same non-zero mean
    difference) they hold no information about training: t, p and d are undefined.
    """
    d, labels = _differences(a, b), np.asarray(trials)
    if labels.shape != d.shape:
        raise SerbenchError(f"there are {len(d)} pairs and {labels.size} trial labels. Expected one label per pair.")
    means = np.array([np.mean(d[labels == trial]) for trial in np.unique(labels)], dtype=np.float64)
    test = paired_t(means, np.zeros_like(means), level)
    repeated = len(means) > 1 and np.isfinite(means).all() and np.ptp(means) <= 1e-12 * np.abs(means).max()
    return replace(test, t=NAN, p=NAN, dz=NAN) if repeated and means.any() else test


def wilcoxon(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Two-tailed p-value of Wilcoxon's signed-rank test; zero differences are dropped, as Wilcoxon did.

    Exact up to 50 pairs without ties or zeros, and over all choices of signs up to `SIGNED` pairs with them; else by
    the normal approximation.
    """
    d = _differences(a, b)
    if not len(d) or not np.isfinite(d).all():
        return NAN
    if not d.any():
        return 1.0
    import warnings

    from scipy import stats

    kept = d[d != 0]
    if len(d) <= SIGNED and len(np.unique(np.abs(kept))) < len(d):
        return _over_signs(d)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(stats.wilcoxon(d).pvalue)


def _over_signs(d: Floats) -> float:
    """Wilcoxon's test over all 2^n choices of signs at once; scipy's own calls a function for each of them."""
    from scipy import stats

    ranks = np.where(d == 0, 0.0, stats.rankdata(np.abs(d)) - np.count_nonzero(d == 0))

    def positive(flipped: Floats, axis: int) -> Floats:
        return np.asarray(np.sum(ranks * (flipped > 0), axis=axis))

    test = stats.permutation_test((d,), positive, permutation_type="samples", n_resamples=2**SIGNED, vectorized=True)
    return float(test.pvalue)


def cohen_dz(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Cohen's d for pairs: mean over standard deviation (n - 1) of the differences; 0 for identical samples."""
    return _standardised(_differences(a, b))


def mean_interval(x: npt.ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Student's t interval of a mean; undefined for fewer than two values or values that are not finite."""
    values = np.asarray(x, dtype=np.float64)
    if not 0 < level < 1:
        raise SerbenchError(f"level={level} is out of range. Expected a share such as 0.95.")
    if len(values) < 2 or not np.isfinite(values).all():
        return NAN, NAN
    from scipy.special import stdtrit

    half = float(stdtrit(len(values) - 1, (1 + level) / 2)) * _deviation(values) / math.sqrt(len(values))
    return _mean(values) - half, _mean(values) + half


def holm(p_values: npt.ArrayLike) -> Floats:
    """Holm's adjusted p-values, in the given order; undefined ones stay undefined and are not counted as tests."""
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(p.shape, NAN)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def _differences(a: npt.ArrayLike, b: npt.ArrayLike) -> Floats:
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise SerbenchError(f"the samples have shapes {x.shape} and {y.shape}. Expected two aligned lists of scores.")
    with np.errstate(invalid="ignore"):
        return x - y


def _mean(x: Floats) -> float:
    return float(np.mean(x)) if len(x) and np.isfinite(x).all() else NAN


def _deviation(x: Floats) -> float:
    """Sample standard deviation; exactly 0 for constant values, whatever rounding does to their mean."""
    return 0.0 if x.max() == x.min() else float(np.std(x, ddof=1))


def _standardised(d: Floats) -> float:
    mean = _mean(d)
    if len(d) < 2 or math.isnan(mean):
        return NAN
    deviation = _deviation(d)
    if deviation == 0:
        return 0.0 if d[0] == 0 else math.copysign(math.inf, mean)
    return mean / deviation


def _two_tailed(t: float, degrees: int) -> float:
    if math.isinf(t):
        return 0.0
    from scipy.special import stdtr

    return min(1.0, 2.0 * float(stdtr(degrees, -abs(t))))
