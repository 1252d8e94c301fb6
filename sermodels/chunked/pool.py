"""What models that learn from an unlabelled pool share: how much of it is used, and that nothing of it is labelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ...datasets.core.config import option
from ..core.sermodel import Data, FitLog, Score
from ..inputs import unlabelled_pool
from ..inputs.chunks import ChunkSet
from ..training.training import Training
from .chunked_model import ChunkedModel, N
from .network import EncoderConfig


@dataclass(frozen=True)
class PoolConfig(EncoderConfig):
    """Settings of the encoder, and of how much of the pool is used."""

    unlabelled: int | None = option(
        None,
        "sentences of the unlabelled pool; 0 = supervised, none = all of it, at most 40,000",
        source="section 5.3",
        low=0,
    )


class PoolModel(ChunkedModel[N]):
    """Base of the models that an unlabelled pool helps to train."""

    uses_unlabelled: ClassVar[bool] = True
    config: PoolConfig
    pool_chunks: ChunkSet | None
    """Chunks of the unlabelled pool, from `begin` on; None without a pool."""

    @classmethod
    def pool(cls, config: PoolConfig, ids: Sequence[str]) -> list[str]:
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
