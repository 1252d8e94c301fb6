"""Losses of the torch models: 1 - CCC per target, and the weights of a class-balanced cross-entropy.

The concordance correlation coefficient is Lin's (1989, Biometrics 45:255-268), with population moments over the first
axis. A small epsilon in the denominator makes the loss of a batch without any variance 1 instead of 0/0.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

EPSILON = 1e-8


def ccc_losses(
    prediction: Tensor, target: Tensor, mask: Tensor | None = None, *, epsilon: float = EPSILON, correction: int = 0
) -> Tensor:
    """1 - CCC of each target.

    Parameters
    ----------
    prediction, target : (item, target); moments are taken over all items of the batch
    mask : (item, target) or (item, 1) bool, False where an item does not count (padding, missing label); its target
        may be NaN there. None = all count
    epsilon : added to the denominator, in squared label units
    correction : 1 divides the two variances (not the covariance) by n - 1, as some published code does; 0 is Lin's

    Returns
    -------
    (target,) float32 in 0..2; 1 where a target has no variance, or no item at all
    """
    prediction, target = prediction.float(), target.float()
    weight = torch.ones_like(target) if mask is None else mask.expand_as(target).float()
    target = target if mask is None else torch.where(weight > 0, target, 0.0)
    n = weight.sum(0).clamp(min=1)
    mean_p, mean_t = (weight * prediction).sum(0) / n, (weight * target).sum(0) / n
    p, t = weight * (prediction - mean_p), weight * (target - mean_t)
    scale = n / (n - correction).clamp(min=1)
    variances = (p.square().sum(0) + t.square().sum(0)) / n * scale
    covariance = (p * t).sum(0) / n
    return 1 - 2 * covariance / (variances + (mean_p - mean_t).square() + epsilon)


def balanced_weights(labels: npt.NDArray[np.integer], n_classes: int) -> npt.NDArray[np.float32]:
    """Cross-entropy weights n / (classes present * count), (class,) float32: each class present weighs the same in sum.

    A class that is absent from `labels` has weight 0; it can't occur in the loss.
    """
    counts = np.bincount(labels, minlength=n_classes).astype(np.float64)
    present = counts > 0
    weights = np.divide(len(labels), present.sum() * counts, out=np.zeros(n_classes), where=present)
    return np.asarray(weights, dtype=np.float32)
