"""CNN-regressor: the DeepEmoCluster encoder with its emotion head, trained by supervision alone.

The first baseline of Lin, Sridhar and Busso (ICASSP 2021, DOI 10.1109/ICASSP39728.2021.9414035), section 5.1: "the
feature encoder and emotional regressor". The authors released no code of it; encoder and head are those of
`_emocluster`. For classification, our addition, the head has one output per class and the loss is cross-entropy.

Presets: `paper` has the paper's optimisers (Adam 5e-4 for the head, plain SGD 1e-3 for the encoder) and batch size; on
a corpus of a few hundred sentences the encoder then hardly moves. `default` trains the encoder with Adam too, in
smaller batches. `small` is a narrow, strided net with fewer chunks, for CPUs and quick looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from ._chunked import ChunkedModel
from ._emocluster import ChunkNetwork, EncoderConfig, initialise
from ._training import TrainConfig


@dataclass(frozen=True)
class Config(EncoderConfig):
    """Settings of `cnn-regressor`: those of the encoder."""


DEFAULT = Config(train=TrainConfig(batch_size=16))
PRESETS: dict[str, Config] = {
    "default": DEFAULT,
    "paper": Config(train=TrainConfig(batch_size=64), encoder_optimiser="sgd", encoder_rate=1e-3),
}
TINY = Config()


class Model(ChunkedModel):
    """Encoder and emotion head."""

    name: ClassVar[str] = "cnn-regressor"

    def build(self, sizes: Mapping[str, Any], generator: torch.Generator) -> nn.Module:
        """The network, initialised as in the release."""
        network = ChunkNetwork(sizes["frames"], sizes["bands"], self.task.n_outputs, self.config)
        initialise(network, generator)
        return network
