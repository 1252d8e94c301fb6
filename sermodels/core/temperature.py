"""Temperature scaling of class probabilities (Guo, Pleiss, Sun and Weinberger, ICML 2017, section 4.2).

One number T > 0 divides the logits of all classes: p becomes p ** (1/T), made to sum to 1 again. T above 1 makes a
model less sure, T below 1 surer; the likeliest class stays. T is where the negative log-likelihood of held-out labels
is least; as that is convex in 1/T there is one such T. Scores of 0 stay 0; in the likelihood they count as 1e-15.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .sermodel import Predictions

BOUNDS = (0.05, 20.0)
"""T is looked for between these: labels that are all right, or all wrong, would take it to 0 or to infinity."""
FLOOR = 1e-15


def fit_temperature(scores: npt.NDArray[Any], labels: npt.NDArray[Any]) -> float:
    """The temperature at which class scores (item, class) give class indices (item,) the largest likelihood."""
    from scipy.optimize import minimize_scalar

    logits = np.log(np.maximum(np.asarray(scores, dtype=np.float64), FLOOR))
    gold = np.asarray(labels, dtype=np.int64)

    def loss(log: float) -> float:
        z = logits * np.exp(-log)
        z -= z.max(axis=1, keepdims=True)
        return float((np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(gold)), gold]).mean())

    low, high = np.log(BOUNDS)
    return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-8}).x))


def at_temperature(scores: npt.NDArray[Any], temperature: float) -> npt.NDArray[np.float64]:
    """Class scores (item, class) at a temperature; rows sum to 1."""
    values = np.asarray(scores, dtype=np.float64)
    powers: npt.NDArray[np.float64] = (values / values.max(axis=1, keepdims=True)) ** (1 / temperature)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def scaled(predictions: Predictions, temperature: float | None) -> Predictions:
    """Class scores at a temperature; predictions as they are where there is none."""
    return predictions if temperature is None else at_temperature(np.asarray(predictions), temperature)
