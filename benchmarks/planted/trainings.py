"""Trainings in planted worlds, with the pool and without it.

The network is narrow (8, 16 and 16 channels, width 32), so that a training takes a second or two. Who has no pool may
train as long as who has one: the rival of a training with a pool is the best on dev data of three supervised ones, with
as many epochs; with as many steps; and with as many steps and no cluster loss.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ...datasets.core.config import override
from ...results.scores.metrics import ccc
from ...sermodels import registry
from ...sermodels.core.sermodel import Resources
from .world import VALUE, Planted

NETWORK: Mapping[str, Any] = {"max_seconds": 1.0, "channels": (8, 16, 16), "strides": (2, 2, 2), "width": 32}
"""Settings of every encoder in a planted world."""
TRAINING: Mapping[str, Any] = {"patience": 0, "batch_size": 32, "learning_rate": 2e-3, "micro_batch": 64}
"""Settings of every training; no patience, since steps are what is compared."""
CLUSTERS = 6
EPOCHS = 12


@dataclass(frozen=True)
class Variant:
    """One way to train: its name, a registered model, a preset, and settings as they are typed after `--set`."""

    name: str
    model: str = "deepemocluster"
    preset: str = "default"
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Trained:
    """One training: CCC of the best dev epoch and of the test data, processor seconds, the log's facts and last row."""

    dev: float
    test: float
    seconds: float
    facts: Mapping[str, Any]
    last: Mapping[str, float]


def configured(variant: Variant, epochs: int) -> Any:
    """The configuration of a variant: its preset on the narrow network, then its own settings."""
    preset = registry.load(variant.model).PRESETS[variant.preset]
    more = {"clusters": CLUSTERS} if "clusters" in {f.name for f in fields(preset)} else {}
    config = replace(preset, **NETWORK, **more, train=replace(preset.train, **TRAINING, epochs=epochs))
    own, inner = dict(variant.settings), {}
    for key in [key for key in own if key.startswith("train.")]:
        inner[key.removeprefix("train.")] = own.pop(key)
    config = override(config, {key.removeprefix("model."): value for key, value in own.items()}, "model.")
    return replace(config, train=override(config.train, inner, "train."))


def train(variant: Variant, world: Planted, seed: int, epochs: int = EPOCHS, *, pool: bool = True) -> Trained:
    """Train a variant in a world, with or without its pool."""
    model = registry.load(variant.model).Model(configured(variant, epochs), VALUE, Resources(seed=seed))
    begun = time.process_time()
    log = model.fit(world.train, world.dev, score, world.pool if pool and model.uses_unlabelled else None)
    tested = score(world.test.labels, model.predict(replace(world.test, labels=None)))
    best = max(row["dev_score"] for row in log.epochs)
    return Trained(best, tested, time.process_time() - begun, log.facts, log.epochs[-1])


def rivals(world: Planted) -> tuple[Variant, ...]:
    """Supervised trainings as long as one with the pool; their steps count stage 1's, and stage 2's as many again."""
    size = int(TRAINING["batch_size"])
    pool, labelled = (math.ceil(len(part) / size) for part in (world.pool, world.train))
    passes = {"model.labelled_passes": str(max(1, round(2 * pool / labelled)))}
    return (
        Variant("supervised, as many epochs"),
        Variant("supervised, as many steps", settings=passes),
        Variant("supervised, as many steps, no clusters", settings={**passes, "model.cluster_weight": "0"}),
    )


def supervised(world: Planted, seed: int, epochs: int = EPOCHS) -> Trained:
    """The best on dev data of the `rivals`."""
    trained = [train(one, world, seed, epochs, pool=False) for one in rivals(world)]
    return max(trained, key=lambda one: one.dev)


def score(gold: npt.NDArray[Any], predicted: Any) -> float:
    """CCC of the one target."""
    return float(ccc(gold[:, 0], np.asarray(predicted)[:, 0]))
