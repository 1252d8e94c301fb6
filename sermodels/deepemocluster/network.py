"""The network of DeepEmoCluster: that of its baselines, and a classifier of pseudo-labels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..chunked.network import ChunkNetwork, Head
from .config import Config


class ClusterNetwork(ChunkNetwork):
    """Encoder, emotion regressor and cluster classifier f_cltr."""

    def __init__(self, frames: int, bands: int, outputs: int, config: Config) -> None:
        super().__init__(frames, bands, outputs, config)
        self.cluster = Head(config.width, config.clusters)

    def points(self, hidden: Tensor, which: str) -> Tensor:
        """h (chunk, width) -> what is clustered, (chunk, width)."""
        return hidden if which == "h" else torch.as_tensor(self.cluster[0](hidden))

    @property
    def top(self) -> nn.Linear:
        """The classifier's last layer, one output per cluster."""
        layer = self.cluster[2]
        assert isinstance(layer, nn.Linear)
        return layer
