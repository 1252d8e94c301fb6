"""What the presets of DeepEmoCluster and its three baselines have in common."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from ..training.settings import TrainConfig
from .network import EncoderConfig

C = TypeVar("C", bound=EncoderConfig)


def paper(config: C) -> C:
    """Section 5.1: 64 sentences per step, Adam 5e-4 for the head, plain SGD 1e-3 for the encoder."""
    return replace(config, train=TrainConfig(batch_size=64), encoder_optimiser="sgd", encoder_rate=1e-3)


def small(config: C) -> C:
    """For a CPU: five narrow convolutions, 3 chunks of 1 s, Adam 1e-3, at most 10 epochs."""
    return replace(
        config,
        train=TrainConfig(epochs=10, patience=4, learning_rate=1e-3),
        max_seconds=3.0,
        channels=(16, 32, 32, 64, 64),
        strides=(2, 2, 1, 2, 2),
        width=128,
    )


def tiny(config: C) -> C:
    """For tests: trains in about a second on a few short utterances."""
    return replace(
        config,
        train=TrainConfig(epochs=60, patience=0, batch_size=4, learning_rate=3e-3),
        chunk_seconds=0.25,
        max_seconds=0.5,
        channels=(4, 8),
        strides=(4, 2),
        width=16,
        dropout=0.0,
    )
