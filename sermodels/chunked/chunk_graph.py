"""The part of a chunked model that is a function of arrays alone: chunks of sentences to predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..core.graph import Graph


class SentenceMeans(nn.Module):
    """The network on every chunk, the mean over a sentence's chunks, then class scores or the label scale."""

    def __init__(self, network: Any, *, classes: bool) -> None:
        super().__init__()
        self.network, self.classes = network, classes

    def forward(self, chunks: Tensor) -> Tensor:
        """(sentence, chunk, time, mel) -> (sentence, output), float64."""
        outputs: Tensor = self.network(chunks.flatten(0, 1)).float()
        means = outputs.reshape(-1, chunks.shape[1], outputs.shape[-1]).mean(1).double()
        if self.classes:
            return torch.softmax(means, 1)
        values: Tensor = means * self.network.label_std + self.network.label_mean
        return values


def of_chunks(network: Any, sizes: Mapping[str, Any], *, classes: bool) -> Graph:
    """The graph of a trained network; `sizes` are those of `ChunkedModel.sizes`."""
    shape = (sizes["chunks"], sizes["frames"], sizes["bands"])
    says = f"chunks (utterance, {', '.join(map(str, shape))}), as `serbench.sermodels.inputs.chunks` cuts the feature,"
    return Graph(SentenceMeans(network, classes=classes).eval(), "chunks", np.zeros((2, *shape), np.float32), says)
