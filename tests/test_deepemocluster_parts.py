"""DeepEmoCluster's parts without a training: draws, matching of clusters, optimisers, presets, the pool's choice."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.task import Task
from serbench.features.core.feature_table import FeatureTable
from serbench.sermodels.clustering.points import HeldPoints
from serbench.sermodels.clustering.pseudo_labels import SAMPLERS, matched, share_of_draws
from serbench.sermodels.clustering.step import ClusterConfig, cluster, cluster_means
from serbench.sermodels.core.sermodel import Data
from serbench.sermodels.deepemocluster import model as dec
from serbench.sermodels.deepemocluster.model import PRESETS, TINY, Model
from serbench.sermodels.deepemocluster.network import ClusterNetwork
from serbench.sermodels.inputs import unlabelled_pool
from serbench.sermodels.training.training import Training

SINGLE = Task("arousal", "regression", ("arousal",), scales={"arousal": (1.0, 7.0)})
HOP = 256 / 16000


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def two_utterances() -> Data:
    """What a training needs to exist; nothing here looks at it."""
    table = FeatureTable.from_arrays({name: np.ones((50, 16), np.float32) for name in "ab"}, HOP)
    return Data(SINGLE, pd.DataFrame(index=pd.Index(["a", "b"], name="id")), {"input": table}, None)


# What is drawn

SHARES = (0.30, 0.20, 0.15, 0.10, 0.08, 0.06, 0.05, 0.03, 0.02, 0.01)


def uneven(n: int = 14_080) -> np.ndarray:
    return np.random.default_rng(3).permutation(np.repeat(np.arange(10), np.round(np.array(SHARES) * n).astype(int)))


def test_balanced_draws_give_every_cluster_its_share() -> None:
    labels = uneven()
    labels[labels == 4] = 5  # an empty cluster takes no share
    drawn = SAMPLERS["balanced"](labels, seeded())
    assert len(drawn) == len(labels)
    counts = np.bincount(labels[drawn], minlength=10)
    assert counts.max() <= share_of_draws(len(labels), 9) == 1565
    assert counts[4] == 0
    assert counts[[k for k in range(10) if k != 4]].min() >= 1565 - 9
    for k in (0, 1, 2):  # clusters larger than their share: no chunk twice
        assert len(np.unique(drawn[labels[drawn] == k])) == counts[k]
    halves = [np.bincount(labels[half], minlength=10) for half in np.array_split(drawn, 2)]
    assert np.abs(halves[0] - halves[1]).max() < 200, "the draws are shuffled"


def test_the_release_s_draws_written_a_second_time() -> None:
    """A list of (chunk, label) sorted by label, indexed with numbers of the original order."""
    labels = uneven()
    meant = SAMPLERS["balanced"](labels, seeded(4))
    stored = [(chunk, label) for label in range(10) for chunk in range(len(labels)) if labels[chunk] == label]
    pairs = [stored[index] for index in meant]
    drawn = SAMPLERS["stored-order"](labels, seeded(4))
    assert drawn.tolist() == [chunk for chunk, _ in pairs]
    assert all(labels[chunk] == label for chunk, label in pairs[:500])
    found = np.bincount(labels[drawn], minlength=10) / len(drawn)
    reported = (0.295, 0.194, 0.147, 0.105, 0.085, 0.062, 0.049, 0.031, 0.018, 0.014)
    np.testing.assert_allclose(found, reported, atol=0.015)  # one draw of random shares near these, with the release
    seen = sum(0.1 if s > 0.1 else s * (1 - math.exp(-0.1 / s)) for s in SHARES)
    assert len(np.unique(drawn)) / len(labels) == pytest.approx(seen, abs=0.01), "large ones once, others with repeats"


# What is minimised


def test_both_optimisers_of_the_release_step_on_one_gradient() -> None:
    """w is moved by SGD 1e-3, then by Adam 5e-4 whose first step is 5e-4 times the gradient's sign."""
    config = replace(PRESETS["released"], channels=(2,), strides=(4,), width=4)
    model = Model(config, SINGLE)
    network = ClusterNetwork(16, 16, 1, config)
    chosen = list(model.optimisers(network).values())
    held = {id(p): name for name, p in network.named_parameters()}
    for optimiser in chosen:
        names = {held[id(p)] for group in optimiser.param_groups for p in group["params"]}
        assert names == {n for n in held.values() if not n.startswith("cluster.2")}
    data, device = two_utterances(), torch.device("cpu")
    training = Training("x", network, config.train, device, 0, data, data, None, dict(zip("ab", chosen, strict=True)))
    training.epoch = 1
    before = {k: v.detach().clone() for k, v in network.named_parameters()}
    network(torch.rand(6, 16, 16, generator=seeded())).pow(2).sum().backward()
    gradients = {k: p.grad.clone() for k, p in network.named_parameters() if p.grad is not None}
    training.update()
    for name, gradient in gradients.items():
        expected = before[name] - 1e-3 * gradient - 5e-4 * gradient / (gradient.abs() + 1e-8)
        torch.testing.assert_close(network.get_parameter(name).detach(), expected, rtol=1e-4, atol=1e-7)
    assert all(p.grad is None for p in network.parameters())


def test_parts_have_one_optimiser_each() -> None:
    for preset in ("paper", "fixed"):
        network = ClusterNetwork(62, 128, 1, PRESETS[preset])
        chosen = Model(PRESETS[preset], SINGLE).optimisers(network)
        parts = {"encoder": network.encoder, "cluster": network.cluster[0], "emotion": network.emotion}
        for name, optimiser in chosen.items():
            found = [id(p) for group in optimiser.param_groups for p in group["params"]]
            assert sorted(found) == sorted(id(p) for p in parts[name].parameters())
    kinds = {
        name: (type(o).__name__, o.param_groups[0]["lr"])
        for name, o in Model(PRESETS["paper"], SINGLE).optimisers(network).items()
    }
    assert kinds == {"encoder": ("SGD", 1e-3), "cluster": ("Adam", 5e-4), "emotion": ("Adam", 5e-4)}


@pytest.mark.parametrize("name", ["paper", "released", "fixed"])
def test_presets_have_the_published_settings(name: str) -> None:
    config = PRESETS[name]
    assert (config.chunk_seconds, config.max_seconds) == (1.0, 11.0)
    assert (config.clusters, config.cluster_weight, config.kmeans_iterations) == (10, 1.0, 20)
    assert config.train.learning_rate == 5e-4
    assert PRESETS["default"] == PRESETS["fixed"]
    network = ClusterNetwork(62, 128, 1, config)
    assert sum(p.numel() for p in network.parameters()) == 831_979


# Clustering


@pytest.mark.parametrize("which", ["classifier", "h"])
def test_what_is_clustered_is_the_evaluated_network(which: str) -> None:
    network = ClusterNetwork(16, 16, 1, TINY)
    for norm in network.encoder.norms:
        torch.nn.init.uniform_(norm.running_var, 0.5, 2.0)
    network.eval()
    chunks = torch.rand(5, 16, 16, generator=seeded())
    maps = chunks.clamp(-3, 3)[:, None]
    for convolution, norm in zip(network.encoder.convolutions, network.encoder.norms, strict=True):
        maps = functional.relu(norm(convolution(maps)))
    h = functional.relu(network.encoder.latent(maps.flatten(1)))
    expected = h if which == "h" else functional.linear(h, network.cluster[0].weight, network.cluster[0].bias)
    torch.testing.assert_close(network.points(network.latent(chunks), which), expected, atol=1e-6, rtol=1e-5)


def a_training() -> Training:
    data = two_utterances()
    return Training("x", torch.nn.Linear(1, 1), TINY.train, torch.device("cpu"), 0, data, data, None, {})


def test_a_warm_start_keeps_the_numbers_of_the_clusters() -> None:
    generator = np.random.default_rng(0)
    centres = np.repeat(generator.normal(size=(6, 4)) * 30, 20, axis=0)
    points = [
        HeldPoints(torch.from_numpy((centres + generator.normal(size=centres.shape) + e).astype("f4")))
        for e in range(4)
    ]
    agreement = {}
    for warm in (False, True):
        training, found = a_training(), []
        for epoch in range(4):
            training.epoch = epoch
            found.append(cluster(training, "labelled", points[epoch], ClusterConfig(clusters=6, warm_start=warm))[0])
        agreement[warm] = min(float((found[0] == later).mean()) for later in found[1:])
    assert agreement[True] == 1.0
    assert agreement[False] < 0.8


def test_matching_is_the_best_of_all_permutations() -> None:
    generator = np.random.default_rng(1)
    for _ in range(5):
        old, new = generator.normal(size=(5, 3)), generator.normal(size=(5, 3))
        costs = {p: ((new - old[list(p)]) ** 2).sum() for p in itertools.permutations(range(5))}
        assert tuple(matched(torch.from_numpy(old), torch.from_numpy(new))) == min(costs, key=lambda p: costs[p])
    points = torch.from_numpy(generator.normal(size=(30, 2)).astype("f4"))
    labels = generator.integers(3, size=30)
    expected = [points[labels == k].mean(0).tolist() if k < 3 else [0.0, 0.0] for k in range(4)]
    np.testing.assert_allclose(cluster_means(HeldPoints(points), labels, 4), expected, atol=1e-6)


# The unlabelled pool


def test_the_pool_s_choice_is_nested_and_does_not_depend_on_the_order() -> None:
    ids = [f"p{i}" for i in range(50)]
    some, more = Model.pool(replace(TINY, unlabelled=10), ids), Model.pool(replace(TINY, unlabelled=20), ids[::-1])
    assert len(set(some)) == 10
    assert more[:10] == some
    assert some != sorted(some)
    assert sorted(Model.pool(TINY, ids)) == sorted(ids)
    assert Model.pool(replace(TINY, unlabelled=0), ids) == []
    assert len(unlabelled_pool.chosen([str(i) for i in range(40_010)], None)) == 40_000
    with pytest.raises(SerbenchError, match=r"unlabelled=60, .* has 50 sentences.*--set model.unlabelled=50"):
        Model.pool(replace(TINY, unlabelled=60), ids)


# Bad input


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"draw": "sentences"}, "--set model.sampler=all"),
        ({"whiten": 17}, "model.width=16"),
        ({"optimisers": "released", "train": replace(TINY.train, amp="fp16")}, "train.amp=bf16"),
    ],
)
def test_settings_that_do_not_go_together(changes: dict[str, Any], remedy: str) -> None:
    with pytest.raises(SerbenchError, match=remedy):
        replace(TINY, **changes)


def test_module_docstring_names_the_defects_that_the_release_has() -> None:
    released, fixed = PRESETS["released"], PRESETS["fixed"]
    for field in ("regressor", "sampler", "optimisers", "selection"):
        assert getattr(released, field) != getattr(fixed, field)
        assert f"`{field}`" in (dec.__doc__ or "")
