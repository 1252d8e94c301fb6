"""What of a trained model is a function of arrays alone, so that other programs can compute it (ONNX)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Graph:
    """A trained model from prepared features to predictions.

    Attributes
    ----------
    module : a torch module in evaluation mode that takes one array and gives what `predict` gives
    input : name of the array
    example : such an array, float32; the first axis is utterances, and may have any length
    says : what goes in and what comes out, with shapes, for who uses it
    """

    module: Any
    input: str
    example: Array
    says: str


def affine(
    mean: Array, inverse: Array, clip: float | None, coefficients: Array, intercept: Array, *, classes: bool
) -> Graph:
    """Standardisation with the rules of `core/scaling.py`, then rows @ coefficients + intercept, in float64.

    Parameters
    ----------
    mean, inverse : (dim,)
    coefficients, intercept : (dim, output) and (output,)
    classes : whether outputs are logits
    """
    import torch

    class Affine(torch.nn.Module):
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            """(utterance, dim) -> (utterance, output)."""
            rows = rows.double()
            missing = torch.isnan(rows) | torch.isinf(rows)
            rows = torch.where(missing, 0.0, rows - torch.from_numpy(mean)) * torch.from_numpy(inverse)
            rows = rows if clip is None else rows.clamp(-clip, clip)
            outputs = rows @ torch.from_numpy(coefficients) + torch.from_numpy(intercept)
            return outputs.softmax(1) if classes else outputs

    example = np.zeros((2, len(mean)), dtype=np.float32)
    says = f"features (utterance, {len(mean)}), as the extractor makes them,"
    return Graph(Affine().eval(), "features", example, says)
