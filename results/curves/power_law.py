"""A power law of the amount of training data: score(n) = limit - scale * n ** -exponent.

Least squares over the sizes' mean scores: for each exponent limit and scale are a line, and the exponent is found by
scipy's bounded search on its logarithm. The limit is at most 1, the best that UAR and CCC know, and the scale not below
0: scores that fall with more data are a flat line. Three sizes or more are needed, and three fit exactly, whatever the
truth is. Hestness et al. (2017, arXiv 1712.00409) show such laws over orders of magnitude; what lies beyond the largest
size measured is extrapolated, and its interval knows the chance of trials and test subsets, not that the law may end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
LEAST_SIZES = 3
EXPONENTS = (0.02, 4.0)
RESAMPLES = 500


@dataclass(frozen=True)
class PowerLaw:
    """limit, scale (at the unit of n) and exponent; `error` is the root of the mean squared residual."""

    limit: float
    scale: float
    exponent: float
    error: float

    def at(self, n: npt.ArrayLike) -> Floats:
        """Scores at some sizes."""
        return np.asarray(self.limit - self.scale * np.asarray(n, dtype=np.float64) ** -self.exponent)


def fit(n: npt.ArrayLike, scores: npt.ArrayLike) -> PowerLaw | None:
    """The law of scores at sizes n; None for fewer than three sizes, or a score that is undefined."""
    from scipy.optimize import minimize_scalar

    sizes, y = np.asarray(n, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if len(np.unique(sizes)) < LEAST_SIZES or not np.isfinite(y).all():
        return None
    unit = sizes.max()

    def loss(log: float) -> float:
        return _line(sizes / unit, y, float(np.exp(log)))[2]

    found = minimize_scalar(loss, bounds=(np.log(EXPONENTS[0]), np.log(EXPONENTS[1])), method="bounded")
    exponent = float(np.exp(found.x))
    limit, scale, squares = _line(sizes / unit, y, exponent)
    return PowerLaw(limit, scale * unit**exponent, exponent, float(np.sqrt(squares / len(y))))


def _line(x: Floats, y: Floats, exponent: float) -> tuple[float, float, float]:
    """limit, scale and sum of squares at an exponent."""
    z = x**-exponent
    spread = z - z.mean()
    scale = max(0.0, -float(spread @ y) / float(spread @ spread))
    limit = float(y.mean() + scale * z.mean())
    if limit > 1:
        limit = 1.0
        scale = max(0.0, float((1 - y) @ z) / float(z @ z))
    return limit, scale, float(((y - limit + scale * z) ** 2).sum())


def extrapolated(
    n: npt.ArrayLike, tables: Floats, at: float, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Interval of the law at a size, by drawing trials and subsets anew, the same for all sizes.

    Parameters
    ----------
    tables : scores (size, trial, subset)
    """
    generator = np.random.default_rng([seed, 41])
    _, trials, subsets = tables.shape
    drawn = []
    for _ in range(RESAMPLES):
        t, s = generator.integers(trials, size=trials), generator.integers(subsets, size=subsets)
        law = fit(n, tables[:, t][:, :, s].mean(axis=(1, 2)))
        if law is not None:
            drawn.append(float(law.at(at)))
    if not drawn:
        return float("nan"), float("nan")
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
