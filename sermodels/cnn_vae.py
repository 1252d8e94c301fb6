"""CNN-VAE: the DeepEmoCluster encoder with an emotion head and a decoder that rebuilds the input from a drawn code.

The third baseline of Lin, Sridhar and Busso (ICASSP 2021, DOI 10.1109/ICASSP39728.2021.9414035), section 5.1,
supervised and semi-supervised; `chunked/autoencoder.py` holds the epoch and most of what the paper leaves open. Two
linear layers over the latent h give mean and log-variance of a normal distribution; the decoder reads z = mean + std *
noise (Kingma and Welling 2014, arXiv 1312.6114, section 2.4), in evaluation the mean.

The unsupervised loss is the reconstruction error, averaged over the D values of a chunk, plus `kl_weight` times
KL(N(mean, var) || N(0, 1)), summed over the code, averaged over the chunks, and multiplied by 2 / D with the squared
error (1 / D with the others). With that factor, weight 1 is the negative evidence lower bound of a decoder of unit
scale (normal, or Laplace for l1), in units of the error per value.

Presets: `default`, `paper` and `small`, with the settings of those of `cnn-ae`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..datasets.core.config import option
from .chunked.autoencoder import AutoencoderConfig, AutoencoderModel, AutoencoderNetwork, Code
from .chunked.network import Head, paper, small, tiny
from .training.training import Training

EVIDENCE = {"mse": 2.0, "l1": 1.0, "smooth-l1": 1.0}
"""What the divergence per value is multiplied by, so that weight 1 is the evidence lower bound."""
LARGEST_LOG_VARIANCE = 20.0
"""Log-variances are kept in -20..20, where their exponentials are finite."""


@dataclass(frozen=True)
class Config(AutoencoderConfig):
    """Settings of `cnn-vae`: those of `cnn-ae`, and of the code's distribution."""

    latent_size: int | None = option(None, "width of the code; none = model.width", source="free choice", low=1)
    kl_weight: float = option(1.0, "weight of the divergence; 1 = evidence lower bound", source="free choice", low=0)
    kl_epochs: int = option(0, "epochs in which that weight rises from 0; 0 = at once", source="free choice", low=0)
    regress_from: str = option(
        "h",
        "what the emotion head reads: the latent h, the code's mean, or the drawn code",
        source="free choice",
        choices=("h", "mean", "sample"),
    )


GROUP = "baselines"
CITES = ("lin2021deepemocluster", "kingma2014auto")
PRESETS: dict[str, Config] = {
    "default": Config(),
    "paper": paper(Config(decoder_optimiser="sgd", decoder_rate=1e-3)),
    "small": small(Config()),
}
TINY = tiny(Config(reconstruction_weight=0.1, latent_size=8, kl_epochs=2))
SEARCH = {
    "train.learning_rate": "1e-4..3e-3:log",
    "model.reconstruction_weight": "0.1..10:log",
    "model.kl_weight": "0.01..1:log",
}


class VariationalNetwork(AutoencoderNetwork):
    """Encoder, emotion head, the code's distribution, decoder."""

    def __init__(self, frames: int, bands: int, outputs: int, config: Config) -> None:
        super().__init__(frames, bands, outputs, config)
        size = self.code_size(config)
        self.mean, self.log_variance = nn.Linear(config.width, size), nn.Linear(config.width, size)
        self.regress_from = config.regress_from
        if config.regress_from != "h":
            self.emotion = Head(size, outputs)

    def code_size(self, config: AutoencoderConfig) -> int:
        """Width of the code."""
        assert isinstance(config, Config)
        return config.width if config.latent_size is None else config.latent_size

    def code(self, hidden: Tensor) -> Code:
        """The encoder's output (chunk, width) -> the drawn code (its mean, in evaluation) and the divergence."""
        dropped = self.dropout(hidden)
        read = dropped if self.decode_dropout else hidden
        mean = self.mean(read).float()
        log_variance = self.log_variance(read).float().clamp(-LARGEST_LOG_VARIANCE, LARGEST_LOG_VARIANCE)
        sample = mean + torch.exp(log_variance / 2) * torch.randn_like(mean) if self.training else mean
        regressed = {"h": dropped, "mean": mean, "sample": sample}[self.regress_from]
        return Code(sample, regressed, divergence(mean, log_variance))


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, diag exp(log_variance)) || N(0, 1)) of each row, (row,), in nats."""
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2


class Model(AutoencoderModel):
    """Encoder, emotion head, variational code and decoder."""

    name: ClassVar[str] = "cnn-vae"
    network_class: ClassVar[type[AutoencoderNetwork]] = VariationalNetwork
    config: Config

    def unsupervised(self, training: Training[AutoencoderNetwork], chunks: Tensor, code: Code) -> dict[str, Tensor]:
        """Reconstruction error plus weighted divergence."""
        losses, c = super().unsupervised(training, chunks, code), self.config
        assert code.divergence is not None
        nats = code.divergence.mean()
        share = min(1.0, training.epoch / c.kl_epochs) if c.kl_epochs else 1.0
        scale = c.kl_weight * share * EVIDENCE[c.reconstruction] / chunks[0].numel()
        return {**losses, "loss": losses["loss"] + scale * nats, "divergence": nats}
