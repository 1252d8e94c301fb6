"""The first pass of an epoch of MAEC: steps of the discriminator (Eq. 6), and the encoder's loss against it (Eq. 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..training.training import Training
from .config import Config
from .losses import Prior, accuracy, discriminator_loss, drawn_loss, encoded_loss, encoder_loss
from .network import MaecNetwork, Turn


def adversarial_losses(
    training: Training[MaecNetwork], turns: Sequence[Turn], prior: Prior, draws: torch.Generator, config: Config
) -> Mapping[str, Tensor]:
    """Steps of the discriminator, then the encoder's loss against it (first term of Eq. 8).

    In a pass of the discriminator alone its last step is left to the caller, and nothing reaches the encoder.
    """
    network = training.network
    with torch.set_grad_enabled(config.first_pass == "adversarial"):
        latent, _ = network.encode(turns)
    drawn = prior.draw(len(latent), latent.shape[1], draws).to(latent)
    real, fake = network.judge(drawn).float(), network.judge(latent.detach()).float()
    numbers = {"loss_discriminator": discriminator_loss(real, fake), "discriminator_accuracy": accuracy(real, fake)}
    loss = numbers["loss_discriminator"]
    if config.split_steps:
        _step(training, drawn_loss(real))
        loss = encoded_loss(network.judge(latent.detach()).float())
    if config.first_pass == "discriminator":
        return {"loss": loss, **numbers}
    _step(training, loss)
    adversarial = encoder_loss(network.judge(latent).float(), config.saturating)
    return {"loss": adversarial, "loss_adversarial": adversarial, **numbers}


def _step(training: Training[MaecNetwork], loss: Tensor) -> None:
    """Let the discriminator step on a loss."""
    training.backward(loss)
    training.update([training.optimisers["discriminator"]])
