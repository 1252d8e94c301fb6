"""Mean teacher: the DeepEmoCluster encoder, made to agree on unlabelled speech with a slow average of itself.

Tarvainen and Valpola, "Mean teachers are better role models: weight-averaged consistency targets improve
semi-supervised deep learning results", NeurIPS 2017, arXiv 1703.01780. A semi-supervised baseline on the encoder and
features of `deepemocluster`; no code is followed.

The student is trained; the teacher's weights are the running mean theta' <- a theta' + (1 - a) theta of the student's
after each step (Eq. 2), with a = min(1 - 1 / (step + 1), decay), so that the first steps are forgotten (section 3.4).
The consistency J is the squared difference of the two outputs under different noise (Eq. 1), over labelled and
unlabelled chunks, and its weight rises as exp(-5 (1 - t)^2) (section 3.1). Predictions are the teacher's.

Differences. The noise is added to the normalised spectrum, since translations and flips of images mean nothing here;
dropout is the encoder's. For regression, our addition, outputs are z-scores and J is their squared difference; for
classification that of the class probabilities, as in the paper. Both networks normalise by the statistics of the batch
while training; the teacher's own running statistics are used in prediction.

Presets: `default`; `small`, with the narrow network of `cnn-regressor:small`, for a CPU.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim import Optimizer

from ..datasets.core.config import option
from .chunked.joint import JointModel
from .chunked.network import ChunkNetwork, small, tiny
from .chunked.pool_config import JointConfig
from .training.training import Training


@dataclass(frozen=True)
class Config(JointConfig):
    """Settings of `mean-teacher`: those of the encoder and the pool, of the teacher and of the noise."""

    decay: float = option(0.99, "a, share of its weights that the teacher keeps", source="section 3.4", low=0, high=1)
    noise: float = option(0.15, "sd of the noise on the normalised spectrum", source="section 3.1", low=0)
    ramp_epochs: int = option(5, "epochs in which the weight of the consistency rises", source="section 3.1", low=0)


GROUP = "baselines"
CITES = ("tarvainen2017mean",)
PRESETS: dict[str, Config] = {"default": Config(), "small": small(Config())}
TINY = tiny(Config(decay=0.9))
SEARCH = {"train.learning_rate": "1e-4..3e-3:log", "model.unsupervised_weight": "0.1..10:log"}


def ramp(done: float, epochs: int) -> float:
    """The factor exp(-5 (1 - t)^2) at `done` of so many epochs, t growing to 1; 1 where there is no ramp."""
    return math.exp(-5 * (1 - min(done / epochs, 1.0)) ** 2) if epochs else 1.0


class TeacherNetwork(ChunkNetwork):
    """The teacher, which predicts, and the student, which is trained."""

    def __init__(self, frames: int, bands: int, outputs: int, config: Config) -> None:
        super().__init__(frames, bands, outputs, config)
        self.student = ChunkNetwork(frames, bands, outputs, config)
        self.normaliser = self.student.normaliser
        for part in (self.encoder, self.emotion):
            part.requires_grad_(False)

    def follow(self, decay: float) -> None:
        """One step of the running mean (Eq. 2); 0 copies the student."""
        with torch.no_grad():
            for mine, theirs in ((self.encoder, self.student.encoder), (self.emotion, self.student.emotion)):
                for own, other in zip(mine.parameters(), theirs.parameters(), strict=True):
                    own.lerp_(other, 1 - decay)


class Model(JointModel[TeacherNetwork]):
    """Student, teacher, and the consistency of the two."""

    name: ClassVar[str] = "mean-teacher"
    network_class: ClassVar[type[Any]] = TeacherNetwork
    config: Config

    def build(self, sizes: Mapping[str, Any], generator: torch.Generator) -> TeacherNetwork:
        """Two networks of the same initial weights."""
        network = super().build(sizes, generator)
        network.follow(0.0)
        return network

    def optimisers(self, network: TeacherNetwork) -> dict[str, Optimizer]:
        """One for the student's encoder, one for its head."""
        c, student = self.config, network.student
        return {
            "encoder": self.optimiser(student.encoder.parameters(), c.encoder_optimiser, c.encoder_rate),
            "heads": self.optimiser(student.emotion.parameters()),
        }

    def factor(self, done: float) -> float:
        """The course of section 3.1."""
        return ramp(done, self.config.ramp_epochs)

    def after_step(self, training: Training[TeacherNetwork], steps: int) -> None:
        """The teacher follows the student."""
        training.network.follow(min(1 - 1 / (steps + 1), self.config.decay))

    def step_losses(
        self, training: Training[TeacherNetwork], chunks: Tensor, targets: Tensor, unlabelled: Tensor, weight: float
    ) -> Mapping[str, Tensor]:
        """L + w J (section 2): the student's loss on labelled chunks, its distance from the teacher on all."""
        network, count = training.network, len(chunks)
        maps = network.normaliser(torch.cat([chunks, unlabelled]))
        student, teacher = network.student, network
        learnt = student.emotion(student.encoder(self.noisy(maps)))
        with torch.no_grad():
            taught = teacher.emotion(teacher.encoder(self.noisy(maps)))
        named = self.emotion_losses(learnt[:count], targets)
        emotion, consistency = named.pop("loss"), self.distance(learnt, taught)
        return {"loss": emotion + weight * consistency, "emotion_loss": emotion, "consistency": consistency, **named}

    def noisy(self, maps: Tensor) -> Tensor:
        """Normalised chunks (chunk, time, mel) with noise, the same shape."""
        return maps + self.config.noise * torch.randn_like(maps)

    def distance(self, learnt: Tensor, taught: Tensor) -> Tensor:
        """Mean squared difference of two outputs (chunk, output): of z-scores, or of class probabilities."""
        if self.task.kind == "classification":
            learnt, taught = learnt.float().softmax(1), taught.float().softmax(1)
        return functional.mse_loss(learnt.float(), taught.float())
