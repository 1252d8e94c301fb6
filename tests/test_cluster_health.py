"""What a training says of its clusters: a classifier that learns nothing, one cluster, clusters that don't last."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from serbench.benchmarks.core.progress import Terminal
from serbench.benchmarks.planted.classifier import RATES, learnt, untrained_latents
from serbench.benchmarks.planted.trainings import Variant, configured, train
from serbench.benchmarks.planted.world import World, planted
from serbench.sermodels.clustering.health import chance_nmi, findings
from serbench.sermodels.clustering.partitions import nmi, sizes

SOUND = {"unlabelled_loss": 1.2, "cluster_loss": 1.1, "unlabelled_nmi": 0.6, "labelled_nmi": 0.7}
EVEN = {"unlabelled": [[50, 50, 50, 50]] * 6, "labelled": [[5, 5, 5, 5]] * 6}


def test_chance_is_the_mean_over_independent_assignments() -> None:
    numbers = np.random.default_rng(0)
    pairs = [(numbers.integers(0, 5, 200), numbers.choice(4, 200, p=[0.4, 0.3, 0.2, 0.1])) for _ in range(200)]
    mean = np.mean([nmi(a, b) for a, b in pairs])
    guessed = chance_nmi(sizes(pairs[0][0], 5).tolist(), sizes(pairs[0][1], 4).tolist())
    assert guessed == pytest.approx(mean, rel=0.1)
    assert chance_nmi([10, 0], [10, 0]) == 1.0


def test_a_sound_training_says_nothing() -> None:
    assert findings([SOUND] * 6, EVEN) == []


@pytest.mark.parametrize(
    ("row", "counts", "said"),
    [
        ({"unlabelled_loss": math.log(4) - 1e-3}, EVEN, "unlabelled chunks' clusters has learnt nothing"),
        ({"cluster_loss": math.log(4) + 1e-3}, EVEN, "labelled chunks' clusters has learnt nothing"),
        ({}, {**EVEN, "unlabelled": [[50] * 4] * 5 + [[196, 2, 1, 1]]}, "collapsed: one of 4 holds 98% of the chunks"),
        ({"unlabelled_nmi": 0.03}, EVEN, "change from epoch to epoch.*0.03, by chance it is 0.02"),
    ],
)
def test_each_fault_is_said_once(row: dict[str, float], counts: dict[str, list[list[int]]], said: str) -> None:
    (found,) = findings([{**SOUND, **row}] * 6, counts)
    import re

    assert re.search(said, found)


def test_one_epoch_that_learns_is_enough_and_few_epochs_tell_no_agreement() -> None:
    dead = {**SOUND, "unlabelled_loss": math.log(4)}
    assert findings([dead] * 5 + [SOUND], EVEN) == []
    assert findings([{**SOUND, "unlabelled_nmi": 0.0}] * 4, EVEN) == []


def test_the_text_s_classifier_is_dead_at_the_paper_s_number_of_steps_and_the_preset_s_lives() -> None:
    h, labels = untrained_latents(0, sentences=100)
    text, released, adam = (
        learnt(RATES[i], h, labels, 1, 0, steps) for i, steps in ((0, (625,)), (2, (300,)), (3, (300,)))
    )
    nothing = math.log(10)
    assert min(text.losses) > 0.999 * nothing
    assert min(released.losses) > 0.99 * nothing, "a faster top layer alone is not enough"
    assert max(adam.losses) < 0.5 * nothing
    assert text.margin < 0.01
    assert text.steps_to_one > 100 * 625


def test_the_estimate_is_that_of_the_gradient() -> None:
    """One step of SGD on all chunks, by autograd, moves the difference of two logits by as much as is estimated."""
    import torch

    h, labels = untrained_latents(1, sentences=60)
    rates = replace(RATES[0], top=0.5, hidden=0.0)
    found = learnt(rates, h, labels, 1, 1, steps=(1,))
    from serbench.sermodels.chunked.network import Head, initialise

    head = Head(h.shape[1], 10)
    initialise(head, torch.Generator().manual_seed(1))
    torch.nn.init.zeros_(head[2].weight)
    share = 1 / torch.bincount(labels, minlength=10)[labels].float()
    losses = torch.nn.functional.cross_entropy(head(h), labels, reduction="none")
    (losses * share / share.sum()).sum().backward()
    with torch.no_grad():
        values = torch.relu(head[0](h))
        moved = values @ (-0.5 * head[2].weight.grad).T  # (chunk, class)
        centred = moved - moved.mean(1, keepdim=True)
        own = torch.stack([centred[labels == k, k].mean() for k in range(10)]).mean()
    assert found.margin == pytest.approx(float(own), rel=0.5)


def test_a_dead_classifier_is_in_the_facts_and_on_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"model.cluster_optimiser": "sgd", "model.cluster_rate": "1e-3", "model.top_rate": "1e-3"}
    world = planted(World(pool=48, dev=12, test=12), 0)
    dead = Variant("text", preset="paper", settings=settings)
    assert configured(dead, 2).top_rate == 1e-3
    facts = train(dead, world, 0, epochs=2).facts
    assert any("learnt nothing" in warning for warning in facts["warnings"])
    terminal = Terminal()
    with terminal.units("run", 1) as shown:
        shown.done("trial 0", {"status": "done", "seconds": 1.0, "dev_score": 0.5, "facts": facts})
    assert "has learnt nothing" in " ".join(capsys.readouterr().err.split())
