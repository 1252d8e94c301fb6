"""Class scores against all that raters said of an item, not against its most frequent answer alone.

With p the model's probabilities and q the raters' shares of the task's classes, (item, class):

- soft cross-entropy, -sum q log p in nats; its least value is the entropy of q;
- Jensen-Shannon divergence in bits, 0 to 1 (Lin 1991, doi 10.1109/18.61115);
- soft F1, macro over classes: 2 sum pq / (sum p + sum q), the sums over items: F1 with shares as degrees of membership;
- set F1, macro: the classes above 1/C are the several answers of the model, and of the raters.
"""

from __future__ import annotations

import numpy as np

from .votes import Floats

FLOOR = 1e-15
"""Probabilities below count as this."""


def soft_cross_entropy(p: Floats, q: Floats) -> float:
    """Mean over items, in nats."""
    return float(-(q * np.log(np.maximum(p, FLOOR))).sum(axis=1).mean())


def entropy(q: Floats) -> float:
    """Mean entropy of the shares, in nats: the least soft cross-entropy."""
    return soft_cross_entropy(q, q)


def jensen_shannon(p: Floats, q: Floats) -> float:
    """Mean Jensen-Shannon divergence, in bits."""
    middle = (p + q) / 2
    return (_kullback_leibler(p, middle) + _kullback_leibler(q, middle)) / 2


def soft_f1(p: Floats, q: Floats) -> float:
    """Macro F1 with shares as degrees of membership; classes that neither side names are left out."""
    both, either = (p * q).sum(axis=0), (p + q).sum(axis=0)
    named = either > 0
    return float((2 * both[named] / either[named]).mean()) if named.any() else float("nan")


def set_f1(p: Floats, q: Floats) -> float:
    """Macro F1 of the sets of classes above 1/C."""
    return soft_f1(*((side > 1 / side.shape[1]).astype(np.float64) for side in (p, q)))


def _kullback_leibler(p: Floats, q: Floats) -> float:
    """Mean over items, in bits; 0 log 0 is 0."""
    ratio = np.log2(np.maximum(p, FLOOR) / np.maximum(q, FLOOR))
    return float((np.where(p > 0, p, 0.0) * ratio).sum(axis=1).mean())
