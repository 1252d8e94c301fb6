"""CNN-regressor: the DeepEmoCluster encoder with its emotion head, trained by supervision alone.

The first baseline of Lin, Sridhar and Busso (ICASSP 2021, DOI 10.1109/ICASSP39728.2021.9414035), section 5.1: feature
encoder and emotional regressor, nothing else. The authors released no code of it; encoder and head are those of
`chunked/network.py`. For classification, our addition, the head has one output per class and the loss is cross-entropy.

Presets:

- `paper`: section 5.1: 64 sentences per step, Adam 5e-4 for the head, plain SGD 1e-3 for the encoder. With that an
  encoder hardly moves in the few hundred steps that a small corpus gives.
- `default`: the same network, but Adam 5e-4 for all of it and 16 sentences per step, so that small corpora train too.
- `small`: for a CPU: five narrow convolutions, 3 chunks of 1 s, Adam 1e-3, at most 10 epochs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .chunked.chunked_model import ChunkedModel
from .chunked.network import ChunkNetwork, EncoderConfig, paper, small, tiny


@dataclass(frozen=True)
class Config(EncoderConfig):
    """Settings of `cnn-regressor`: those of the encoder."""


GROUP = "baselines"
CITES = ("lin2021deepemocluster",)
PRESETS: dict[str, Config] = {"default": Config(), "paper": paper(Config()), "small": small(Config())}
TINY = tiny(Config())
SEARCH = {"train.learning_rate": "1e-4..3e-3:log", "train.batch_size": "8,16,32", "model.dropout": "0.2..0.6"}


class Model(ChunkedModel[ChunkNetwork]):
    """Encoder and emotion head."""

    name: ClassVar[str] = "cnn-regressor"
