"""What the outputs of a network are trained on, and what becomes of them, for all three kinds of task in one place.

Classification: cross-entropy, class scores by softmax. Regression and time-continuous tasks: 1 - CCC, averaged over the
targets, on labels that are z-scores with the moments of the training labels, which the CCC does not see; predictions
are put back on the label scale. Of traces the frames without a label, NaN, count nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...datasets.schema.task import Task
from .losses import balanced_weights, ccc_losses

Array = npt.NDArray[np.float64]


class LabelScale(nn.Module):
    """Base of networks that carry the moments of their training labels, each (target,)."""

    label_mean: Tensor
    label_std: Tensor

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.register_buffer("label_mean", torch.zeros(outputs))
        self.register_buffer("label_std", torch.ones(outputs))


class Objective:
    """Targets, losses and predictions of one task.

    Parameters
    ----------
    task : what is predicted
    class_weights : "balanced" weighs each class inversely to its training frequency, "none" does not
    smoothing : share of a class's target that is spread over all classes
    """

    def __init__(self, task: Task, class_weights: str = "none", smoothing: float = 0.0) -> None:
        self.task, self._balanced, self._smoothing = task, class_weights == "balanced", smoothing
        self._weights: Tensor | None = None

    def calibrate(self, network: LabelScale, labels: Any) -> None:
        """Put the moments of the training labels into the network."""
        if self.task.kind == "classification":
            return
        rows = np.concatenate(labels) if isinstance(labels, list) else labels
        mean, std = np.nanmean(rows, axis=0), np.nanstd(rows, axis=0)
        network.label_mean.copy_(torch.from_numpy(mean))
        network.label_std.copy_(torch.from_numpy(np.where(std > 0, std, 1.0)))

    def begin(self, labels: Any) -> None:
        """Take the class weights from the training labels."""
        if self.task.kind == "classification" and self._balanced:
            self._weights = torch.from_numpy(balanced_weights(labels, self.task.n_outputs))

    def targets(self, network: LabelScale, labels: Any) -> Tensor:
        """Labels of some utterances, or of a trace (frame, target), as the loss takes them."""
        if self.task.kind == "classification":
            return torch.tensor(labels, dtype=torch.int64)
        mean, std = _scale(network)
        return torch.tensor((labels - mean) / std, dtype=torch.float32)

    def losses(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Losses of a batch: "loss", and one for each target where there are several.

        Outputs are (utterance, output) or (utterance, frame, output), targets (utterance,) classes or the outputs'
        shape, NaN where there is no label.
        """
        if self.task.kind == "classification":
            weights = None if self._weights is None else self._weights.to(outputs.device)
            loss = functional.cross_entropy(outputs.float(), targets, weights, label_smoothing=self._smoothing)
            return {"loss": loss}
        outputs, targets = outputs.flatten(0, -2), targets.flatten(0, -2)
        each = ccc_losses(outputs, targets, ~torch.isnan(targets))
        several = {f"loss_{name}": loss for name, loss in zip(self.task.targets, each, strict=True)}
        return {"loss": each.mean(), **(several if len(several) > 1 else {})}

    @property
    def decomposes(self) -> bool:
        """Whether the loss of a batch is a weighted mean over its items."""
        return self.task.kind == "classification"

    def weight(self, targets: Tensor) -> Tensor:
        """The weight of some items in such a mean: their number, or the sum of their classes' weights."""
        if self._weights is None:
            return torch.tensor(float(len(targets)), device=targets.device)
        return self._weights.to(targets.device)[targets].sum()

    def empty_traces(self, counts: Sequence[int]) -> list[npt.NDArray[np.floating[Any]]]:
        """Arrays (frame, target) to be filled with the predictions of recordings with so many label frames."""
        return [np.full((count, self.task.n_outputs), np.nan) for count in counts]

    def predictions(self, network: LabelScale, outputs: Array) -> Array:
        """Class scores, or values on the label scale, from outputs (row, output)."""
        if self.task.kind == "classification":
            return np.asarray(torch.softmax(torch.from_numpy(outputs), dim=-1).numpy())
        mean, std = _scale(network)
        return outputs * std + mean


def _scale(network: LabelScale) -> tuple[Array, Array]:
    return network.label_mean.cpu().double().numpy(), network.label_std.cpu().double().numpy()
