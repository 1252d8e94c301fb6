"""Settings of models that learn from an unlabelled pool: how much of it is used, and what it weighs beside labels."""

from __future__ import annotations

from dataclasses import dataclass

from ...datasets.core.config import option
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


@dataclass(frozen=True)
class TwoStageConfig(PoolConfig):
    """Settings of the encoder and the pool, and of how long stage 2 is beside stage 1."""

    labelled_passes: int = option(
        1,
        "passes over the labelled chunks in stage 2; 0 = as many as give it the steps of stage 1",
        source="free choice",
        low=0,
        later=True,
    )


@dataclass(frozen=True)
class JointConfig(PoolConfig):
    """Settings of the encoder and the pool, and of the weight of the unsupervised loss."""

    unsupervised_weight: float = option(1.0, "weight of the unsupervised loss", source="free choice", low=0)
