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
from .chunked.network import paper, small, tiny


@dataclass(frozen=True)
class Config(AutoencoderConfig):
    """Settings of `cnn-ae`: those of the encoder, the decoder and the reconstruction."""


GROUP = "baselines"
CITES = ("lin2021deepemocluster",)
PRESETS: dict[str, Config] = {
    "default": Config(),
    "paper": paper(Config(decoder_optimiser="sgd", decoder_rate=1e-3)),
    "small": small(Config()),
}
TINY = tiny(Config(reconstruction_weight=0.1))
SEARCH = {"train.learning_rate": "1e-4..3e-3:log", "model.reconstruction_weight": "0.1..10:log"}


class Model(AutoencoderModel):
    """Encoder, emotion head and decoder."""

    name: ClassVar[str] = "cnn-ae"
