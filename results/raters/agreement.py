"""How far raters agree: Krippendorff's alpha and intraclass correlations.

Alpha is Krippendorff's (2011, "Computing Krippendorff's alpha-reliability"), by the library of that name, nominal for
classes and interval for values; it takes any number of raters per item. The intraclass correlations are those of Shrout
and Fleiss (1979, doi 10.1037/0033-2909.86.2.420): ICC(1,1) and ICC(1,k), of raters drawn anew for each item, from a
one-way analysis of variance that also takes unequal numbers of raters (with the average number n0 of Snedecor and
Cochran); ICC(2,1) and ICC(3,1) where the same raters rated every item.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...datasets.core.libraries import library
from .votes import Answers, Floats

NAN = float("nan")


@dataclass(frozen=True)
class Reliability:
    """Variance between items and within (of one rater's answers about one item), and the mean number of raters.

    `raters` is the harmonic mean: the variance of an item's mean answer is `within` / `raters` on average.
    """

    between: float
    within: float
    raters: float

    @property
    def single(self) -> float:
        """ICC(1,1), the reliability of one rater."""
        whole = self.between + self.within
        return self.between / whole if whole > 0 else NAN

    @property
    def mean(self) -> float:
        """ICC(1,k), the reliability of the raters' mean; never below 0."""
        whole = self.between + self.within / self.raters
        return max(0.0, self.between / whole) if whole > 0 else NAN


def reliability(values: Floats, item: np.ndarray) -> Reliability:
    """One-way random effects of values (answer,) about items (answer,); NaN values are no answers.

    Items with one rater count for the variance between items alone. Undefined (NaN) without two answers about some
    item, and for fewer than two items.
    """
    known = np.isfinite(values)
    values, (_, place) = values[known], np.unique(item[known], return_inverse=True)
    n = np.bincount(place).astype(np.float64)
    if len(n) < 2 or n.max() < 2:
        return Reliability(NAN, NAN, NAN)
    mean = np.bincount(place, values) / n
    inner = float(((values - mean[place]) ** 2).sum() / (n.sum() - len(n)))
    outer = float((n * (mean - values.mean()) ** 2).sum() / (len(n) - 1))
    average = (n.sum() - (n**2).sum() / n.sum()) / (len(n) - 1)
    return Reliability((outer - inner) / average, inner, len(n) / float((1 / n).sum()))


def crossed_reliability(table: Floats) -> tuple[float, float]:
    """ICC(2,1) and ICC(3,1) of a complete table (item, rater): agreement in value, and apart from raters' habits."""
    n, k = table.shape
    if n < 2 or k < 2 or not np.isfinite(table).all():
        return NAN, NAN
    mean, rows, columns = table.mean(), table.mean(axis=1), table.mean(axis=0)
    items = k * float(((rows - mean) ** 2).sum()) / (n - 1)
    raters = n * float(((columns - mean) ** 2).sum()) / (k - 1)
    rest = float(((table - rows[:, None] - columns + mean) ** 2).sum()) / ((n - 1) * (k - 1))
    consistent = items + (k - 1) * rest
    absolute = consistent + k * (raters - rest) / n
    return ((items - rest) / absolute if absolute else NAN), ((items - rest) / consistent if consistent else NAN)


def complete_table(answers: Answers, column: int) -> Floats | None:
    """Values of a column as (item, rater), where the same named raters answered every item; else None."""
    names, who = np.unique(answers.rater, return_inverse=True)
    if not answers.named or len(names) < 2 or len(answers.item) != len(names) * len(answers.items):
        return None
    table = np.full((len(answers.items), len(names)), np.nan)
    table[answers.item, who] = answers.own[:, column]
    return table if np.isfinite(table).all() else None


def alpha_of_classes(answers: Answers) -> float:
    """Krippendorff's alpha of the classes that raters named first; answers outside of the task are a class too.

    Raises
    ------
    LibraryError
        If krippendorff is not there.
    """
    columns = answers.own.shape[1]
    counts = np.zeros((len(answers.items), columns), dtype=np.int64)
    np.add.at(counts, (answers.item, answers.first), 1)
    return _alpha(counts, np.arange(columns), "nominal")


def alpha_of_values(answers: Answers, column: int) -> float:
    """Krippendorff's alpha of the values of a column, on an interval scale."""
    known = np.isfinite(answers.own[:, column])
    values, code = np.unique(answers.own[known, column], return_inverse=True)
    counts = np.zeros((len(answers.items), len(values)), dtype=np.int64)
    np.add.at(counts, (answers.item[known], code), 1)
    return _alpha(counts, values, "interval")


def _alpha(counts: np.ndarray, domain: np.ndarray, level: str) -> float:
    """Undefined (NaN) where no item has two answers, or all answers are one."""
    pairable = counts[counts.sum(axis=1) > 1]
    if len(pairable) == 0 or (pairable.sum(axis=0) > 0).sum() < 2:
        return NAN
    computed = library("krippendorff", "Krippendorff's alpha")
    return float(computed.alpha(value_counts=pairable, value_domain=domain, level_of_measurement=level))
