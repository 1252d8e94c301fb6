"""Noise ceilings: what the spread of raters leaves for any model to reach.

Values. A label is the mean of n raters, y = t + e, with the variance of t between items and that of e the variance
within an item over n; R = var(t) / var(y) is ICC(1,k). A prediction that is t itself has the CCC
2 var(t) / (var(t) + var(y)) = 2 R / (1 + R). Spread out by the factor 1 / sqrt(R), as the labels are, it has sqrt(R),
which no function of t exceeds: it is the largest correlation, and CCC is never above it.

Classes. What raters would say of an item is a distribution p over classes, of which n votes were drawn. Shares of few
votes are more extreme than p, so they are not taken for it: the p of all items are a Dirichlet distribution whose mean
is the share of all votes and whose concentration is fitted by maximum likelihood (Dirichlet-multinomial). From each
item's posterior p is drawn, and from p as many new votes as there were. Who knows p answers its most likely class, and
is scored against the most frequent of the new votes, ties and answers outside of the task left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..scores.metrics import uar
from .agreement import Reliability
from .votes import Answers, Floats, plurality

SIMULATED = 200


@dataclass(frozen=True)
class Ceiling:
    """CCC of a prediction that is what raters would say on average, and the most that any function of it reaches."""

    truth: float
    best: float


def ccc_ceiling(found: Reliability) -> Ceiling:
    """From the reliability of the mean of the raters."""
    return Ceiling(2 * found.mean / (1 + found.mean), float(np.sqrt(found.mean)))


def uar_ceiling(answers: Answers, seed: int = 0, simulated: int = SIMULATED) -> float:
    """Mean UAR of who knows each item's distribution; NaN where no item has two raters."""
    votes = answers.total[answers.per_item() > 1]
    if len(votes) == 0:
        return float("nan")
    whole, share = np.rint(votes.sum(axis=1)).astype(np.int64), votes.sum(axis=0) / votes.sum()
    used = share > 0
    prior = concentration(votes[:, used]) * share[used]
    generator, classes = np.random.default_rng([seed, 31]), np.flatnonzero(used)
    number, scores = votes.shape[1] - 1, []
    for _ in range(simulated):
        drawn = generator.standard_gamma(prior + votes[:, used])
        p = drawn / np.maximum(drawn.sum(axis=1, keepdims=True), 1e-300)
        again = np.zeros_like(votes)
        again[:, used] = generator.multinomial(whole, p)
        gold, guess = plurality(again), _most_likely(p, classes, number)
        kept = (gold >= 0) & (gold < number)
        scores.append(uar(gold[kept], guess[kept], number))
    return float(np.nanmean(scores))


def concentration(votes: Floats) -> float:
    """Maximum-likelihood concentration of a Dirichlet-multinomial of votes (item, class) with the mean of all votes."""
    from scipy.optimize import minimize_scalar
    from scipy.special import gammaln

    mean, whole = votes.sum(axis=0) / votes.sum(), votes.sum(axis=1)

    def loss(log: float) -> float:
        a = float(np.exp(log))
        items = gammaln(a) - gammaln(a + whole) + (gammaln(a * mean + votes) - gammaln(a * mean)).sum(axis=1)
        return -float(items.sum())

    return float(np.exp(minimize_scalar(loss, bounds=(-6.0, 10.0), method="bounded").x))


def _most_likely(p: Floats, classes: np.ndarray, number: int) -> np.ndarray:
    """The most likely class of the task, (item,); answers outside of it can't be given."""
    inside = classes < number
    return np.asarray(classes[inside][p[:, inside].argmax(axis=1)])
