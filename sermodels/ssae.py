"""SS-AE: an autoencoder over the DeepEmoCluster encoder, to whose classifier unlabelled speech is a class of its own.

Deng, Xu, Zhang, Frühholz and Schuller, "Semisupervised autoencoders for speech emotion recognition", IEEE/ACM
Transactions on Audio, Speech, and Language Processing 26(1), 2018, 31-43, DOI 10.1109/TASLP.2017.2759338. A
semi-supervised baseline on the encoder and features of `deepemocluster`; no code is followed. The article's text was
not at hand, so what follows is its idea as its abstract and later articles tell it: an autoencoder whose code feeds a
classifier of the emotions and of one class more, which all unlabelled data belong to, with the two errors minimised
together over labelled and unlabelled data.

L = L_emotion + unknown_weight * L_unlabelled + w * reconstruction. For classification the first two are one
cross-entropy over K + 1 classes, of labelled and of unlabelled chunks. Predictions are the probabilities of the K
emotions given that it is one of them. For regression, our addition, there are no classes to add one to: the first is
1 - CCC, and the second the cross-entropy of a logistic unit that tells unlabelled from labelled chunks.

Differences. Layers are convolutions and the input is a spectrum, not functionals; the decoder is that of `cnn-ae`. The
input is corrupted by setting values to 0, as a denoising autoencoder has it. The variant with connections from encoder
to decoder layers is not here.

Presets: `default`; `small`, with the narrow network of `cnn-regressor:small`, for a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..datasets.core.config import option
from .chunked.decoder import Decoder, initialise_decoder
from .chunked.joint import JointModel
from .chunked.network import ChunkNetwork, small, tiny
from .chunked.pool_config import JointConfig
from .training.training import Training


@dataclass(frozen=True)
class Config(JointConfig):
    """Settings of `ssae`: those of encoder and pool, of the corruption and of the class of unlabelled chunks."""

    corruption: float = option(0.1, "share of the input's values set to 0", source="free choice", low=0, high=0.95)
    unknown_weight: float = option(0.1, "weight of the class of unlabelled chunks", source="free choice", low=0)


GROUP = "baselines"
CITES = ("deng2018ssae",)
PRESETS: dict[str, Config] = {"default": Config(), "small": small(Config())}
TINY = tiny(Config(unsupervised_weight=0.1))
SEARCH = {
    "train.learning_rate": "1e-4..3e-3:log",
    "model.unsupervised_weight": "0.1..10:log",
    "model.unknown_weight": "0.01..1:log",
}


class AutoencoderNetwork(ChunkNetwork):
    """Encoder, emotion head with one more unit for unlabelled chunks, decoder."""

    def __init__(self, frames: int, bands: int, outputs: int, config: Config) -> None:
        super().__init__(frames, bands, outputs, config)
        self.unknown = nn.Linear(config.width, 1)
        self.decoder = Decoder(config.width, frames, bands, config.channels, config.strides)

    def outputs(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """h (chunk, width) -> emotion outputs (chunk, output), and the unit of unlabelled chunks (chunk, 1)."""
        linear, relu, last = self.emotion
        features = relu(linear(hidden))
        return last(features), self.unknown(features)


class Model(JointModel[AutoencoderNetwork]):
    """Encoder, decoder, and a head that knows unlabelled chunks as such."""

    name: ClassVar[str] = "ssae"
    network_class: ClassVar[type[Any]] = AutoencoderNetwork
    config: Config

    def build(self, sizes: Mapping[str, Any], generator: torch.Generator) -> AutoencoderNetwork:
        """The network: encoder and heads as in the release, the decoder like the layers that it mirrors."""
        network = super().build(sizes, generator)
        initialise_decoder(network.decoder, generator)
        return network

    def step_losses(
        self, training: Training[AutoencoderNetwork], chunks: Tensor, targets: Tensor, unlabelled: Tensor, weight: float
    ) -> Mapping[str, Tensor]:
        """Emotion, class of unlabelled chunks, reconstruction."""
        network, count = training.network, len(chunks)
        maps = network.normaliser(torch.cat([chunks, unlabelled]))
        kept = torch.rand_like(maps) >= self.config.corruption
        hidden = network.encoder(maps * kept)
        outputs, unknown = network.outputs(hidden)
        if self.task.kind == "classification":
            outputs = torch.cat([outputs, unknown], 1)
        named = self.emotion_losses(outputs[:count], targets)
        emotion, other = named.pop("loss"), self.unknown_loss(outputs, unknown, count)
        rebuilt = functional.mse_loss(network.decoder(hidden).float(), maps)
        total = emotion + self.config.unknown_weight * other + weight * rebuilt
        return {"loss": total, "emotion_loss": emotion, "unknown_loss": other, "reconstruction_loss": rebuilt, **named}

    def unknown_loss(self, outputs: Tensor, unknown: Tensor, count: int) -> Tensor:
        """How badly unlabelled chunks, those from `count` on, are known as such; 0 where there are none.

        `outputs` are K + 1 logits (classification); `unknown` (chunk, 1) is the unit by itself.
        """
        if count == len(outputs):
            return outputs.new_zeros(())
        if self.task.kind == "classification":
            here = outputs[count:].float()
            return functional.cross_entropy(here, here.new_full((len(here),), here.shape[1] - 1, dtype=torch.int64))
        truth = torch.arange(len(unknown), device=unknown.device) >= count
        share = truth.float().mean()  # each side weighs the same, whatever their numbers
        weights = torch.where(truth, 0.5 / share, 0.5 / (1 - share))
        return functional.binary_cross_entropy_with_logits(unknown[:, 0].float(), truth.float(), weights)
