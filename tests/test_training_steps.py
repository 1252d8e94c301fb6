"""The steps of a training pass: what moves, clipping, the gradient itself, and the course of the step size."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from serbench.sermodels.inputs.batches import Batch
from serbench.sermodels.training.settings import TrainConfig, make_optimiser, rate_factor
from serbench.sermodels.training.training import Training

DATA: Any = None
"""Nothing of a step looks at the training's data: it is given batches."""


def started(config: TrainConfig | None = None) -> Training:
    """A training of a body with dropout and batch normalisation, and a head."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3))
    network = nn.Sequential(OrderedDict(body=body, head=nn.Linear(8, 2)))
    optimisers = {k: make_optimiser("sgd", getattr(network, k).parameters(), 0.1) for k in ("body", "head")}
    cpu = torch.device("cpu")
    training = Training("m", network, config or TrainConfig(), cpu, 0, DATA, DATA, None, optimisers)
    training.begin_epoch()
    return training


def snapshot(network: nn.Module) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in network.named_parameters()}


BATCH: list[Batch] = [(torch.randn(9, 6, generator=torch.Generator().manual_seed(0)), torch.zeros(9, 2))]


def square(training: Training) -> Callable[[Batch], dict[str, Tensor]]:
    return lambda batch: {"loss": (training.network(batch[0]) - batch[1] - 1).square().mean()}


def test_a_pass_moves_only_what_its_optimisers_hold() -> None:
    training = started()
    before = snapshot(training.network)
    training.sweep("stage 1", BATCH * 3, square(training), [training.optimisers["body"]])
    moved = {k for k, v in training.network.named_parameters() if not torch.equal(v, before[k])}
    assert moved
    assert all(k.startswith("body.") for k in moved)
    assert all(p.grad is None for p in training.network.parameters()), "no gradient is left for the next stage"
    training.sweep("stage 2", BATCH, square(training))
    assert not torch.equal(training.network.head.weight, before["head.weight"])  # type: ignore[union-attr]


def test_gradients_are_clipped_to_their_common_norm() -> None:
    training = started(TrainConfig(clip_norm=0.01))
    before = snapshot(training.network)
    training.sweep("train", BATCH, square(training))
    squares = sum(float(((v.detach() - before[k]) ** 2).sum()) for k, v in training.network.named_parameters())
    assert squares**0.5 == pytest.approx(0.1 * 0.01, rel=1e-3), "step size times the largest norm"


def test_a_step_of_sgd_is_the_gradient() -> None:
    training = started()
    before = snapshot(training.network)
    torch.manual_seed(5)
    gradients = torch.autograd.grad(square(training)(BATCH[0])["loss"], list(training.network.parameters()))
    torch.manual_seed(5)
    training.sweep("train", BATCH, square(training))
    for (k, v), g in zip(training.network.named_parameters(), gradients, strict=True):
        torch.testing.assert_close(v.detach(), before[k] - 0.1 * g, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("changes", "at", "expected"),
    [
        ({}, 7.3, 1.0),
        ({"warmup_epochs": 2.0}, 0.5, 0.25),
        ({"warmup_epochs": 2.0}, 2.0, 1.0),
        ({"schedule": "linear"}, 2.5, 0.75),
        ({"schedule": "linear", "warmup_epochs": 2.0}, 6.0, 0.5),
        ({"schedule": "cosine"}, 5.0, 0.5),
        ({"schedule": "cosine"}, 2.5, (1 + math.sqrt(0.5)) / 2),
        ({"schedule": "cosine", "warmup_epochs": 10.0}, 10.0, 0.0),
    ],
)
def test_course_of_the_step_size(changes: dict[str, Any], at: float, expected: float) -> None:
    assert rate_factor(TrainConfig(epochs=10, **changes), at) == pytest.approx(expected)


def test_the_schedule_sets_the_step_size_of_each_step() -> None:
    training = started(TrainConfig(epochs=4, schedule="linear"))
    rates = []
    for _ in range(4):
        for part in range(2):
            span = (part / 2, (part + 1) / 2)
            training.sweep("x", BATCH, square(training), span=span)
            rates.append(training.optimisers["head"].param_groups[0]["lr"])
        training.begin_epoch()
    assert rates == pytest.approx([0.1 * (1 - (k + 0.5) / 8) for k in range(8)])
