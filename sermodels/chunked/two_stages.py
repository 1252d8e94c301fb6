"""An epoch in two stages: one pass over the chunks of an unlabelled pool, if there is one, then one over labelled ones.

Section 4.2 of the DeepEmoCluster paper; its baselines with a decoder do the same, supervised and semi-supervised.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ..core.sermodel import Data, FitLog, Score
from ..inputs import unlabelled_pool
from ..inputs.chunks import ChunkSet
from ..training.training import Training
from .chunked_model import ChunkedModel, N


class TwoStageModel(ChunkedModel[N]):
    """Base of the models whose `Config` has a field `unlabelled`: how many sentences of the pool are used."""

    uses_unlabelled: ClassVar[bool] = True
    config: Any
    pool_chunks: ChunkSet | None
    """Chunks of the unlabelled pool, from `begin` on; None without a pool."""

    @abstractmethod
    def stage_one(self, training: Training[N], pool: ChunkSet, end: float) -> dict[str, float]:
        """The pass over the pool, which ends at this share of the epoch; returns the numbers to log."""

    @abstractmethod
    def stage_two(self, training: Training[N], start: float) -> dict[str, float]:
        """The pass over the labelled chunks, which begins at this share of the epoch; returns the numbers to log."""

    @classmethod
    def pool(cls, config: Any, ids: Sequence[str]) -> list[str]:
        """The ids of the unlabelled pool that are used."""
        return unlabelled_pool.chosen(ids, config.unlabelled)

    def fit(self, train: Data, dev: Data, score: Score, unlabelled: Data | None = None) -> FitLog:
        """Train as `TorchModel.fit`; sentences of the pool that are among the labelled ones are an error."""
        return super().fit(train, dev, score, unlabelled_pool.taken(unlabelled, (train, dev), self.config.unlabelled))

    def begin(self, training: Training[N]) -> None:
        """Lay out the labelled and the unlabelled chunks."""
        super().begin(training)
        pool = training.unlabelled
        self.pool_chunks = None if pool is None else self.chunk_set(pool)
        training.log.facts["unlabelled_sentences"] = 0 if pool is None else len(pool)

    def epoch(self, training: Training[N]) -> Mapping[str, float]:
        """Stage 1 on the pool, stage 2 on the labelled chunks."""
        total = len(self.train_chunks) + (0 if self.pool_chunks is None else len(self.pool_chunks))
        middle = 1 - len(self.train_chunks) / total
        rows = {} if self.pool_chunks is None else self.stage_one(training, self.pool_chunks, middle)
        return rows | self.stage_two(training, middle)
