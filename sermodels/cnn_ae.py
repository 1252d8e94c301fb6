"""CNN-AE: the DeepEmoCluster encoder with an emotion head and a decoder that rebuilds the input from the bottleneck.

The second baseline of Lin, Sridhar and Busso (ICASSP 2021, DOI 10.1109/ICASSP39728.2021.9414035), section 5.1,
supervised and semi-supervised; `chunked/autoencoder.py` holds the epoch and what the paper leaves open. The bottleneck
is the latent h, so its size is `model.width`.

Presets:

- `paper`: section 5.1: 64 sentences per step, Adam 5e-4 for the head, plain SGD 1e-3 for the encoder and, as for the
  cluster classifier that it takes the place of, for the decoder.
- `default`: the same network, but Adam 5e-4 for all of it and 16 sentences per step, so that small corpora train too.
- `small`: `default` with the narrow network of `cnn-regressor:small`, for a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .chunked.autoencoder import AutoencoderConfig, AutoencoderModel
from .training.training import TrainConfig


@dataclass(frozen=True)
class Config(AutoencoderConfig):
    """Settings of `cnn-ae`: those of the encoder, the decoder and the reconstruction."""


PRESETS: dict[str, Config] = {
    "default": Config(),
    "paper": Config(
        train=TrainConfig(batch_size=64),
        encoder_optimiser="sgd",
        encoder_rate=1e-3,
        decoder_optimiser="sgd",
        decoder_rate=1e-3,
    ),
    "small": Config(
        train=TrainConfig(epochs=10, patience=4, learning_rate=1e-3),
        max_seconds=3.0,
        channels=(16, 32, 32, 64, 64),
        strides=(2, 2, 1, 2, 2),
        width=128,
    ),
}
TINY = Config(
    train=TrainConfig(epochs=60, patience=0, batch_size=4, learning_rate=3e-3),
    chunk_seconds=0.25,
    max_seconds=0.5,
    channels=(4, 8),
    strides=(4, 2),
    width=16,
    dropout=0.0,
    reconstruction_weight=0.1,
)
SEARCH = {"train.learning_rate": "1e-4..3e-3:log", "model.reconstruction_weight": "0.1..10:log"}
"""For tests: trains in about a second on a few short utterances."""


class Model(AutoencoderModel):
    """Encoder, emotion head and decoder."""

    name: ClassVar[str] = "cnn-ae"
