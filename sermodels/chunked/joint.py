"""Labelled and unlabelled chunks in every step: the epoch of the semi-supervised baselines of `deepemocluster`.

Each step takes a batch of labelled and one of unlabelled chunks and minimises L + w U, with the supervised loss L (1 -
CCC, or cross-entropy) of the labelled ones and an unsupervised loss U. An epoch is one pass over the larger of the two
sets; of the smaller one, passes are repeated in new orders. Without a pool U is that of the labelled chunks, so each
model is a supervised one too.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..inputs.batches import Batch, Batches
from ..inputs.chunks import ChunkSet
from ..training.training import Training
from .chunked_model import N, PoolModel
from .pool_config import JointConfig

Indices = npt.NDArray[np.int64]


class JointModel(PoolModel[N]):
    """Base of the models whose steps see labelled and unlabelled chunks together."""

    config: JointConfig

    @abstractmethod
    def step_losses(
        self, training: Training[N], chunks: Tensor, targets: Tensor, unlabelled: Tensor, weight: float
    ) -> Mapping[str, Tensor]:
        """The losses of a step, "loss" being the one to minimise.

        Parameters
        ----------
        chunks, targets : labelled raw features (chunk, time, mel), and what they are trained on
        unlabelled : raw features (chunk, time, mel) of the pool; (0, time, mel) without one
        weight : of the unsupervised loss in this step, its `factor` included
        """

    def factor(self, done: float) -> float:
        """Factor on the weight of the unsupervised loss after some (broken) number of epochs; by default 1."""
        return 1.0

    def after_step(self, training: Training[N], steps: int) -> None:
        """Called after each step, with the number of steps since the training began; by default nothing."""

    def epoch(self, training: Training[N]) -> Mapping[str, float]:
        """One pass over the larger of the two sets."""
        labelled, pool = self._orders(training)
        steps, done = len(labelled), 0
        before = (training.epoch - 1) * steps

        def load(numbers: Indices) -> Batch:
            (step,) = numbers.tolist()
            chunks, targets = self._load(labelled[step])
            held = self.pool_chunks
            other = chunks[:0] if held is None else torch.from_numpy(held.gather(pool[step]))
            return chunks, targets, other

        def losses(batch: Batch) -> Mapping[str, Tensor]:
            nonlocal done
            if done:
                self.after_step(training, before + done)
            share = training.epoch - 1 + done / steps
            done += 1
            weight = self.config.unsupervised_weight * self.factor(share)
            chunks, targets, unlabelled = batch
            return self.step_losses(training, chunks, targets, unlabelled, weight)

        numbers = [np.array([step]) for step in range(steps)]
        row = training.sweep("train", Batches(numbers, load, training.device), losses)
        self.after_step(training, before + steps)
        return row

    def _orders(self, training: Training[N]) -> tuple[list[Indices], list[Indices]]:
        """The chunk numbers of each step's labelled and unlabelled batch, as many of each."""
        sets = {"order": self.train_chunks}
        if self.pool_chunks is not None:
            sets["order, unlabelled"] = self.pool_chunks
        passes = {purpose: self.draws(chunks, training.generator(purpose)) for purpose, chunks in sets.items()}
        steps = max(len(batches) for batches in passes.values())
        drawn = [self._repeated(training, purpose, sets[purpose], passes[purpose], steps) for purpose in sets]
        return drawn[0], drawn[1] if len(drawn) > 1 else []

    def _repeated(
        self, training: Training[N], purpose: str, chunks: ChunkSet, first: list[Indices], steps: int
    ) -> list[Indices]:
        """The batches of a first pass, and of as many more passes as fill so many steps."""
        batches, number = list(first), 2
        while len(batches) < steps:
            batches += self.draws(chunks, training.generator(f"{purpose}, pass {number}"))
            number += 1
        return batches[:steps]
