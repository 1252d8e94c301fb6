"""Abstention: the risk of what is left when a model passes on what it is least sure of (El-Yaniv and Wiener 2010).

Predictions are answered from the surest on; after each, the coverage is the share answered and the risk the mean loss
of those. The area under that curve (AURC) is the mean of the risks over all coverages (Geifman, Uziel and El-Yaniv
2019); of a confidence that knows nothing it is the plain mean loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Coverage and risk, (prediction,) each, from the surest prediction on."""

    coverage: Floats
    risk: Floats

    @property
    def area(self) -> float:
        """AURC: mean risk over all coverages; less is better."""
        return float(self.risk.mean())

    @property
    def loss(self) -> float:
        """Risk where everything is answered."""
        return float(self.risk[-1])

    def at(self, coverage: float) -> float:
        """Risk where this share, or the next larger one, is answered."""
        return float(self.risk[np.searchsorted(self.coverage, coverage - 1e-12)])


def risk_coverage(sure: Floats, loss: Floats) -> Curve:
    """The curve of confidences and losses, (prediction,) each; equally sure predictions share their mean loss.

    So the curve does not depend on the order of the table.
    """
    order = np.argsort(-sure, kind="stable")
    _, tied = np.unique(-sure[order], return_inverse=True)
    mean = (np.bincount(tied, loss[order]) / np.bincount(tied))[tied]
    answered = np.arange(1, len(sure) + 1)
    return Curve(answered / len(sure), np.cumsum(mean) / answered)


def least_area(loss: Floats) -> float:
    """AURC of a confidence that puts every better prediction before every worse one: what could be reached."""
    return risk_coverage(-loss, loss).area
