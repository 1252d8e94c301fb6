"""An epoch in two stages: one pass over the chunks of an unlabelled pool, if there is one, then over labelled ones.

Section 4.2 of the DeepEmoCluster paper; its baselines with a decoder do the same, supervised and semi-supervised.

The paper has 40,000 unlabelled and 34,280 labelled sentences, so that both stages take about as many steps. With few
labelled sentences one pass of stage 2 can't make good what the many steps of stage 1 did to the encoder under the
regressor; `labelled_passes` repeats it.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ..inputs.chunks import ChunkSet
from ..training.training import Training
from .chunked_model import N, PoolModel
from .pool_config import TwoStageConfig


class TwoStageModel(PoolModel[N]):
    """Base of the models whose epoch has two stages."""

    config: TwoStageConfig

    @abstractmethod
    def stage_one(self, training: Training[N], pool: ChunkSet, end: float) -> dict[str, float]:
        """The pass over the pool, which ends at this share of the epoch; returns the numbers to log."""

    @abstractmethod
    def stage_two(self, training: Training[N], start: float) -> dict[str, float]:
        """The pass over the labelled chunks, which begins at this share of the epoch; returns the numbers to log."""

    @property
    def passes(self) -> int:
        """How often stage 2 goes through the labelled chunks."""
        if self.config.labelled_passes or self.pool_chunks is None:
            return max(1, self.config.labelled_passes)
        size = self.train_config.batch_size
        pool, labelled = (math.ceil(len(c) / c.chunking.count / size) for c in (self.pool_chunks, self.train_chunks))
        return max(1, round(pool / labelled))

    def labelled_draws(self, training: Training[N]) -> list[npt.NDArray[np.int64]]:
        """The chunk numbers of each batch of stage 2: as `draws` gives them, once for each pass."""
        drawn = []
        for number in range(self.passes):
            purpose = "order" if number == 0 else f"order, pass {number + 1}"
            drawn += self.draws(self.train_chunks, training.generator(purpose))
        return drawn

    def epoch(self, training: Training[N]) -> Mapping[str, float]:
        """Stage 1 on the pool, stage 2 on the labelled chunks."""
        labelled = self.passes * len(self.train_chunks)
        total = labelled + (0 if self.pool_chunks is None else len(self.pool_chunks))
        middle = 1 - labelled / total
        rows = {} if self.pool_chunks is None else self.stage_one(training, self.pool_chunks, middle)
        return rows | self.stage_two(training, middle)
