"""Pseudo-label: the DeepEmoCluster encoder, trained on its own confident predictions of unlabelled speech.

Lee, "Pseudo-label: the simple and efficient semi-supervised learning method for deep neural networks", ICML 2013
workshop on challenges in representation learning. A semi-supervised baseline on the encoder and features of
`deepemocluster`; no code is followed.

Each step predicts a batch of unlabelled chunks with the weights of that moment and takes the predictions for labels:
L = L_labelled + w L_pseudo (Eq. 15). The weight w is 0 in the first `start_epochs`, then rises in a straight line for
`rise_epochs` (Eq. 16).

Differences. The paper takes all predictions; those below a confidence don't count here, as in later work (Sohn et al.,
"FixMatch", NeurIPS 2020, Eq. 4). Confidence is the highest class probability, without dropout. For regression, our
addition, the pseudo-label is the mean over `draws` passes with dropout, and it counts where their standard deviation is
at most `spread` times that of the pseudo-labels of the batch, which early outputs, all alike, don't reach; its loss is
1 - CCC like that of true labels, over the chunks that count (no loss where fewer than three do). With model.dropout=0
all of them count.

Presets: `default`; `small`, with the narrow network of `cnn-regressor:small`, for a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ..datasets.core.config import option
from .chunked.joint import JointModel
from .chunked.network import ChunkNetwork, small, tiny
from .chunked.pool_config import JointConfig
from .training.losses import ccc_losses
from .training.training import Training

FEWEST = 3
"""Chunks that a CCC of pseudo-labels needs."""


@dataclass(frozen=True)
class Config(JointConfig):
    """Settings of `pseudo-label`: those of the encoder and the pool, the ramp of the weight, and the confidence."""

    start_epochs: int = option(3, "T1, epochs on the labelled sentences alone", source="Eq. 16", low=0)
    rise_epochs: int = option(5, "T2 - T1, epochs in which the weight then rises", source="Eq. 16", low=0)
    confidence: float = option(0.8, "least probability of a pseudo-class", source="free choice", low=0, high=1)
    spread: float = option(
        0.5, "largest sd of a pseudo-value, in sd of those of the batch", source="free choice", low=0
    )
    draws: int = option(4, "passes with dropout that a pseudo-value is the mean of", source="free choice", low=2)


GROUP = "baselines"
CITES = ("lee2013pseudo",)
PRESETS: dict[str, Config] = {"default": Config(), "small": small(Config())}
TINY = tiny(Config(unsupervised_weight=0.1))
SEARCH = {"train.learning_rate": "1e-4..3e-3:log", "model.unsupervised_weight": "0.1..3:log"}


def rise(done: float, start: int, epochs: int) -> float:
    """The factor of Eq. 16 after some (broken) number of epochs: 0 before `start`, then a straight line up to 1."""
    if done < start:
        return 0.0
    return min((done - start) / epochs, 1.0) if epochs else 1.0


class Model(JointModel[ChunkNetwork]):
    """Encoder and emotion head, trained on true and on pseudo-labels."""

    name: ClassVar[str] = "pseudo-label"
    config: Config

    def factor(self, done: float) -> float:
        """The course of Eq. 16."""
        return rise(done, self.config.start_epochs, self.config.rise_epochs)

    def step_losses(
        self, training: Training[ChunkNetwork], chunks: Tensor, targets: Tensor, unlabelled: Tensor, weight: float
    ) -> Mapping[str, Tensor]:
        """Eq. 15; without a pool, or while its weight is 0, the supervised loss alone."""
        network = training.network
        named = self.emotion_losses(network(chunks), targets)
        emotion = named.pop("loss")
        pseudo, share = emotion.new_zeros(()), emotion.new_zeros(())
        if len(unlabelled) and weight > 0:
            labels, counts = self.pseudo_labels(network, unlabelled)
            pseudo, share = self.pseudo_loss(network(unlabelled), labels, counts), counts.float().mean()
        return {
            "loss": emotion + weight * pseudo,
            "emotion_loss": emotion,
            "pseudo_loss": pseudo,
            "confident": share,
            **named,
        }

    def pseudo_labels(self, network: ChunkNetwork, chunks: Tensor) -> tuple[Tensor, Tensor]:
        """Labels of raw chunks (chunk, time, mel) and whether each counts.

        Classes (chunk,) and bool (chunk,), or z-scores (chunk, target) and bool (chunk, target). The network's running
        statistics stay as they are.
        """
        network.eval()
        with torch.no_grad():
            if self.task.kind == "classification":
                confidence, labels = network(chunks).float().softmax(1).max(1)
                network.train()
                return labels, confidence >= self.config.confidence
            hidden = network.latent(chunks)  # (chunk, width); dropout is the encoder's last layer
            rate = self.config.dropout
            draws = [network.emotion(functional.dropout(hidden, rate)).float() for _ in range(self.config.draws)]
        network.train()
        several = torch.stack(draws)  # (draw, chunk, target)
        means = several.mean(0)
        return means, several.std(0) <= self.config.spread * means.std(0)

    def pseudo_loss(self, outputs: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
        """Loss of outputs (chunk, output) against pseudo-labels, over those that count."""
        if self.task.kind == "classification":
            each = functional.cross_entropy(outputs.float(), labels, reduction="none")
            return (each * counts).mean()
        each = ccc_losses(outputs, labels, counts, epsilon=self.config.ccc_epsilon)
        return torch.where(counts.sum(0) >= FEWEST, each, 0.0).mean()
