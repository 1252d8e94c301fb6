"""How fast the cluster classifier of DeepEmoCluster can learn at the paper's step sizes and number of steps.

The estimate. With weights N(0, 0.01) all logits are near 0 and all classes at 1 / K, so plain SGD with step size r
moves the top layer's weights of class k by r / K (m_k - m) in each step, where m_k is the mean of the classifier's
hidden values over the chunks of cluster k and m that over all. After T steps the logits of two clusters differ by about
r T / K |m_k - m|^2. Momentum 0.9 makes r ten times as large. The layer is made anew in each stage, so T is the number
of steps of one stage and nothing adds up from stage to stage but what the hidden layer and the encoder learn, whose
gradients go through those new weights and point somewhere else in each stage.

The run. The classifier alone, on the latent h of an untrained network of the paper's size, for as many stages of as
many steps as are asked for. h holds still, which is the best case for a classifier.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...results.display.numbers import number
from ...results.display.table import Table
from ...sermodels.chunked.network import ChunkNetwork, EncoderConfig, Head, initialise
from ...sermodels.clustering.kmeans import kmeans
from ...sermodels.training.settings import make_optimiser
from .world import BANDS, FRAMES, World, planted

STEPS = (625, 536)
"""Steps of the two stages at the paper's scale: 40,000 unlabelled and 34,280 labelled sentences, 64 in each."""
BATCH = 64
CLUSTERS = 10


@dataclass(frozen=True)
class Rates:
    """Step sizes of the classifier's two layers, and the rule of the hidden one."""

    name: str
    top: float
    hidden: float
    rule: str = "sgd"
    momentum: float = 0.0


RATES = (
    Rates("the text: SGD 1e-3", 1e-3, 1e-3),
    Rates("with momentum 0.9", 1e-3, 1e-3, momentum=0.9),
    Rates("top layer 0.05, as released", 0.05, 1e-3),
    Rates("and Adam 5e-4 for the hidden layer", 0.05, 5e-4, "adam"),
)


@dataclass(frozen=True)
class Learnt:
    """Expected difference of two clusters' logits after a stage, steps until it is 1, and the run's loss per stage."""

    rates: Rates
    margin: float
    steps_to_one: float
    losses: tuple[float, ...]


def untrained_latents(seed: int, sentences: int = 300) -> tuple[Tensor, Tensor]:
    """h (chunk, width) of an untrained network of the paper's size in a planted world, and its clusters (chunk,)."""
    data = planted(World(pool=sentences), seed).pool
    network, generator = ChunkNetwork(FRAMES, BANDS, 1, EncoderConfig(dropout=0.0)), torch.Generator()
    initialise(network, generator.manual_seed(seed))
    maps = torch.from_numpy(np.stack([data.array(i) for i in range(len(data))]))
    network.normaliser.set(maps.mean((0, 1)).double().numpy(), 1 / maps.std((0, 1)).double().numpy())
    with torch.no_grad():
        h = network.latent(maps)  # in training mode: batch statistics, as at the start of a training
    return h, torch.from_numpy(kmeans(h, CLUSTERS, generator).assignment)


def learnt(rates: Rates, h: Tensor, labels: Tensor, epochs: int, seed: int, steps: Sequence[int] = STEPS) -> Learnt:
    """The estimate and the run, for so many epochs of two stages."""
    generator = torch.Generator().manual_seed(seed)
    head = Head(h.shape[1], CLUSTERS)
    initialise(head, generator)
    with torch.no_grad():
        values = functional.relu(head[0](h))
        means = torch.stack([values[labels == k].mean(0) for k in sorted(set(labels.tolist()))])
        squared = float((means - values.mean(0)).square().sum(1).mean())
    speed = rates.top / (1 - rates.momentum) / CLUSTERS * squared
    losses = tuple(_stage(head, rates, h, labels, count, generator) for _ in range(epochs) for count in steps)
    return Learnt(rates, speed * steps[0], 1 / speed, losses)


def _stage(head: Head, rates: Rates, h: Tensor, labels: Tensor, steps: int, generator: torch.Generator) -> float:
    """One stage with a new top layer; mean cross-entropy of its last tenth."""
    top = head[2]
    assert isinstance(top, nn.Linear)
    initialise(top, generator)
    optimisers = [
        make_optimiser("sgd", top.parameters(), rates.top, momentum=rates.momentum),
        make_optimiser(rates.rule, head[0].parameters(), rates.hidden, momentum=rates.momentum),
    ]
    share = 1 / torch.bincount(labels, minlength=CLUSTERS)[labels].double()  # each cluster is drawn as often
    ending = []
    for step in range(steps):
        chosen = torch.multinomial(share, BATCH, replacement=True, generator=generator)
        loss = functional.cross_entropy(head(h[chosen]), labels[chosen])
        loss.backward()  # type: ignore[no-untyped-call]
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad()
        if step >= int(0.9 * steps):
            ending.append(float(loss.detach()))
    return float(np.mean(ending))


def table(epochs: int = 10, seed: int = 0) -> Table:
    """All of `RATES`, at the paper's number of steps."""
    h, labels = untrained_latents(seed)
    rows = []
    for rates in RATES:
        outcome = learnt(rates, h, labels, epochs, seed)
        rows.append(
            {
                "model": rates.name,
                "margin": number(outcome.margin, ".1e"),
                "steps to 1": number(outcome.steps_to_one, ",.0f"),
                "loss, first stage": number(outcome.losses[0], ".4f"),
                "last stage": number(outcome.losses[-1], ".4f"),
            }
        )
    note = (
        f"margin: estimated difference of two clusters' logits after a stage of {STEPS[0]} steps; steps to 1: until "
        f"it is 1. Losses: at the end of a stage of a run of {epochs} epochs; ln {CLUSTERS} = "
        f"{math.log(CLUSTERS):.4f} is that of a classifier that knows nothing."
    )
    return Table("The cluster classifier at the paper's number of steps", rows, note)
