"""Settings that every torch model shares, and the optimisers and step sizes that follow from them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.optim import Optimizer

from ...datasets.core.config import option
from .device import AMP


@dataclass(frozen=True)
class TrainConfig:
    """Settings that every torch model shares: `--set train.KEY=VALUE`."""

    epochs: int = option(50, "most epochs", low=1)
    patience: int = option(10, "epochs without a better dev score after which training stops; 0 = never", low=0)
    batch_size: int = option(16, "utterances (of all their chunks) per training step", low=1)
    learning_rate: float = option(5e-4, "step size", low=0)
    optimiser: str = option("adam", "rule of the step", choices=("adam", "adamw", "sgd"))
    momentum: float = option(0.0, "momentum of sgd", low=0, high=1)
    weight_decay: float = option(0.0, "L2 penalty (adam, sgd) or decoupled decay (adamw)", low=0)
    schedule: str = option(
        "constant", "course of the step size", choices=("constant", "linear", "cosine", "late-linear")
    )
    warmup_epochs: float = option(0.0, "epochs in which the step size rises from 0", low=0)
    clip_norm: float = option(0.0, "largest norm of all gradients together; 0 = unlimited", low=0)
    amp: str = option("off", "number format of products and convolutions; fp16 needs a CUDA card", choices=AMP)
    deterministic: bool = option(True, "same seed and machine give the same bits; false may be faster on a card")
    micro_batch: int = option(0, "utterances at once in passes without training; 0 = by the device", low=0)
    keep_mb: int = option(512, "megabytes of features held between training batches", low=0)
    checkpoint_epochs: int = option(1, "epochs between two saved states; 0 = none", low=0)


FINE_TUNING = TrainConfig(
    batch_size=16,
    learning_rate=1e-3,
    optimiser="adamw",
    weight_decay=0.01,
    schedule="linear",
    warmup_epochs=1.0,
    clip_norm=1.0,
)
"""For a new head on an encoder that was trained before; the encoder's own step size is a setting of the model."""


def make_optimiser(
    kind: str, parameters: Iterable[nn.Parameter], rate: float, weight_decay: float = 0.0, momentum: float = 0.0
) -> Optimizer:
    """An "adam", "adamw" or "sgd" optimiser; on a CUDA card one kernel updates all parameters."""
    trained = list(parameters)
    fused = bool(trained) and trained[0].device.type == "cuda"
    if kind == "sgd":
        return torch.optim.SGD(trained, lr=rate, momentum=momentum, weight_decay=weight_decay, fused=fused)
    rule = torch.optim.AdamW if kind == "adamw" else torch.optim.Adam
    return rule(trained, lr=rate, weight_decay=weight_decay, fused=fused)


def rate_factor(settings: TrainConfig, epochs_done: float) -> float:
    """Factor on every step size after some (broken) number of epochs: warm-up, then the schedule down to 0.

    "late-linear" is "linear" as a scheduler gives it that is asked at the end of each epoch, and begins to count there:
    the first epoch has the full step, the second that of the beginning, which is none where there is a warm-up.
    """
    if settings.schedule == "late-linear":
        if epochs_done < 1:
            return 1.0
        return rate_factor(replace(settings, schedule="linear"), math.floor(epochs_done) - 1)
    if epochs_done < settings.warmup_epochs:
        return epochs_done / settings.warmup_epochs
    left = settings.epochs - settings.warmup_epochs
    share = (epochs_done - settings.warmup_epochs) / left if left > 0 else 1.0
    if settings.schedule == "linear":
        return 1 - share
    return (1 + math.cos(math.pi * share)) / 2 if settings.schedule == "cosine" else 1.0
