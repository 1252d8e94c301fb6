"""Tests for scores that are not independent, correction for many tests, and effect sizes.

The 4 x 5 differences d[t, s] of two models have one trained pair of models per trial t and the same utterances per
subset s: d[t, s] = mean + trial effect + subset effect + rest. The plain t-test takes all 20 for independent.

- `crossed_t` estimates the variance of the mean from the two-way table, (MS_trial + MS_subset - MS_rest) / (T S), with
  Satterthwaite's degrees of freedom: the quasi-F of Clark (1973, doi:10.1016/S0022-5371(73)80014-3) for one contrast,
  with both trials and utterances as random samples. It is the one test here that holds for other seeds *and* other
  utterances.
- `corrected_t` is Nadeau and Bengio (2003, doi:10.1023/A:1024068626366, eq. 3 of the corrected resampled t-test): the
  variance of the mean is (1/n + test/train) s^2. It was made for random train/test splits; here it is a rule of
  thumb.
- `paired_over_trials` (in `significance`) holds for other seeds on the same test utterances.

Conventions are those of `significance`: differences are a - b, identical samples have p = 1, undefined is NaN, no
warnings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...datasets.core.errors import SerbenchError
from .significance import NAN, Floats, PairedTest, cohen_dz, paired_t

LEAST_SHARE = 1e-12
"""A mean square below this share of the largest one is rounding."""


@dataclass(frozen=True)
class Components:
    """Variance components of a two-way table of differences, each a variance on the metric's own scale squared.

    Attributes
    ----------
    mean : mean difference
    trial, subset, rest : between trials, between subsets, and what is left (interaction and noise); never below 0
    trials, subsets : size of the table
    """

    mean: float
    trial: float
    subset: float
    rest: float
    trials: int
    subsets: int

    def variance_of_mean(self, trials: int | None = None, subsets: int | None = None) -> float:
        """Variance of the mean of a table of that many trials and subsets (of the same size each)."""
        t, s = trials or self.trials, subsets or self.subsets
        return self.trial / t + self.subset / s + self.rest / (t * s)


def crossed_t(
    a: npt.ArrayLike, b: npt.ArrayLike, trials: npt.ArrayLike, subsets: npt.ArrayLike, level: float = 0.95
) -> PairedTest:
    """Two-tailed test of the mean difference with trials and subsets as crossed random samples.

    Where there is one trial or one subset, or where trials do not differ at all (deterministic models), it is the
    t-test over the other factor's means. `n` is Satterthwaite's degrees of freedom plus 1, rounded down.
    """
    table = two_way(a, b, trials, subsets)
    mean = float(table.mean()) if table.size and np.isfinite(table).all() else NAN
    if math.isnan(mean) or table.size < 2:
        return PairedTest(table.size, mean, NAN, NAN, NAN, NAN, cohen_dz(table.ravel(), np.zeros(table.size)))
    variance, degrees = _variance_of_mean(table)
    return _student(mean, variance, degrees, level, cohen_dz(table.ravel(), np.zeros(table.size)))


def corrected_t(a: npt.ArrayLike, b: npt.ArrayLike, ratio: float, level: float = 0.95) -> PairedTest:
    """Nadeau and Bengio's corrected resampled t-test; `ratio` is test items per score over training items."""
    plain = paired_t(a, b, level)
    if not (math.isfinite(ratio) and ratio >= 0):
        return PairedTest(plain.n, plain.difference, NAN, NAN, NAN, NAN, plain.dz)
    if math.isnan(plain.p) or plain.dz == 0 or math.isinf(plain.dz):
        return plain
    variance = (1 / plain.n + ratio) * (plain.difference / plain.dz) ** 2
    return _student(plain.difference, variance, plain.n - 1, level, plain.dz)


def components(a: npt.ArrayLike, b: npt.ArrayLike, trials: npt.ArrayLike, subsets: npt.ArrayLike) -> Components:
    """Analysis-of-variance estimates of the components of a complete table; undefined ones are NaN."""
    table = two_way(a, b, trials, subsets)
    t, s = table.shape
    if min(t, s) < 2 or not np.isfinite(table).all():
        return Components(float(np.mean(table)) if table.size else NAN, NAN, NAN, NAN, t, s)
    trial, subset, rest = _mean_squares(table)
    return Components(float(table.mean()), max(0.0, (trial - rest) / s), max(0.0, (subset - rest) / t), rest, t, s)


def two_way(a: npt.ArrayLike, b: npt.ArrayLike, trials: npt.ArrayLike, subsets: npt.ArrayLike) -> Floats:
    """Differences a - b as a (trial, subset) table, in the order of the labels.

    Raises
    ------
    SerbenchError
        When the four are not aligned, or a combination is missing or occurs twice.
    """
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    t, s = np.asarray(trials), np.asarray(subsets)
    if not (x.ndim == 1 and x.shape == y.shape == t.shape == s.shape):
        raise SerbenchError(
            f"scores have shapes {x.shape} and {y.shape}, trials {t.shape}, subsets {s.shape}. Expected one length."
        )
    rows, columns = np.unique(t, return_inverse=True), np.unique(s, return_inverse=True)
    shape = len(rows[0]), len(columns[0])
    cells = rows[1] * shape[1] + columns[1]
    if len(np.unique(cells)) != len(x) or len(x) != shape[0] * shape[1]:
        raise SerbenchError(
            f"{len(x)} scores don't fill {shape[0]} trials x {shape[1]} subsets. Expected one score for each of both."
        )
    table = np.empty(shape)
    with np.errstate(invalid="ignore"):
        table.ravel()[cells] = x - y
    return table


def benjamini_hochberg(p_values: npt.ArrayLike) -> Floats:
    """Benjamini and Hochberg's (1995) adjusted p-values: the false discovery rate at which each would be rejected.

    In the given order; undefined ones stay undefined and are not counted as tests.
    """
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(p.shape, NAN)
    tested = ~np.isnan(p)
    if tested.any():
        from scipy.stats import false_discovery_control

        adjusted[tested] = false_discovery_control(p[tested])
    return adjusted


@dataclass(frozen=True)
class EffectSizes:
    """How large a difference is, in words other than the metric's own scale.

    Attributes
    ----------
    dz : Cohen's d for pairs, mean over standard deviation of the differences
    gz : dz without its small-sample bias (Hedges 1981)
    dav : mean difference over the average standard deviation of the two samples (Cumming 2012): the one to compare
        across studies, since dz grows with the correlation of the pairs
    superiority : share of pairs in which a is above b, ties counted half
    """

    dz: float
    gz: float
    dav: float
    superiority: float


def effect_sizes(a: npt.ArrayLike, b: npt.ArrayLike) -> EffectSizes:
    """Effect sizes of two aligned samples; identical samples have 0, 0, 0 and 0.5."""
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    dz = cohen_dz(x, y)
    if math.isnan(dz):
        return EffectSizes(NAN, NAN, NAN, NAN)
    d = x - y
    spread = math.sqrt((np.var(x, ddof=1) + np.var(y, ddof=1)) / 2)
    mean = 0.0 if dz == 0 else float(np.mean(d))
    dav = mean / spread if spread else (math.copysign(math.inf, mean) if mean else 0.0)
    superiority = float(np.mean((d > 0) + 0.5 * (d == 0)))
    return EffectSizes(dz, dz * hedges_factor(len(d) - 1), dav, superiority)


def hedges_factor(degrees: int) -> float:
    """Hedges' (1981) exact correction of a standardised difference: gamma(m/2) / (sqrt(m/2) gamma((m - 1)/2))."""
    if degrees < 2:
        return NAN
    return math.exp(math.lgamma(degrees / 2) - math.lgamma((degrees - 1) / 2)) / math.sqrt(degrees / 2)


def _mean_squares(table: Floats) -> tuple[float, float, float]:
    """Mean squares of trials, subsets and the rest of a (trial, subset) table; rounding counts as 0."""
    t, s = table.shape
    rows, columns, mean = table.mean(axis=1), table.mean(axis=0), table.mean()
    residual = table - rows[:, None] - columns[None, :] + mean
    squares = (
        s * float(np.sum((rows - mean) ** 2)) / (t - 1),
        t * float(np.sum((columns - mean) ** 2)) / (s - 1),
        float(np.sum(residual**2)) / ((t - 1) * (s - 1)),
    )
    floor = LEAST_SHARE * max(*squares, float(np.max(table**2)) * LEAST_SHARE)
    return (_above(squares[0], floor), _above(squares[1], floor), _above(squares[2], floor))


def _above(value: float, floor: float) -> float:
    return value if value > floor else 0.0


def _variance_of_mean(table: Floats) -> tuple[float, float]:
    """Variance of the mean of a (trial, subset) table, and its degrees of freedom."""
    t, s = table.shape
    if min(t, s) == 1:
        values = table.ravel()
        return float(np.var(values, ddof=1)) / len(values) if values.max() > values.min() else 0.0, len(values) - 1
    trial, subset, rest = _mean_squares(table)
    parts = [(ms, (ms - rest), df) for ms, df in ((trial, t - 1), (subset, s - 1)) if ms > rest]
    total = sum(ms for ms, _, _ in parts) - rest * (len(parts) - 1)
    if total <= 0:
        return 0.0, t * s - 1
    spread = sum(ms * ms / df for ms, _, df in parts) + (len(parts) - 1) ** 2 * rest * rest / ((t - 1) * (s - 1))
    return total / (t * s), total * total / spread


def _student(mean: float, variance: float, degrees: float, level: float, dz: float) -> PairedTest:
    from scipy.special import stdtr, stdtrit

    n = math.floor(degrees) + 1
    if variance == 0:
        return PairedTest(n, mean, mean, mean, math.copysign(math.inf, mean) if mean else 0.0, float(mean == 0), dz)
    error = math.sqrt(variance)
    t = mean / error
    half = float(stdtrit(degrees, (1 + level) / 2)) * error
    return PairedTest(n, mean, mean - half, mean + half, t, min(1.0, 2 * float(stdtr(degrees, -abs(t)))), dz)
