"""What the record says of a MAEC training: its bags and context, who is known, and whether it collapsed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...datasets.schema.task import Task
from ..inputs.turns import CONTEXT
from ..training.gender import genders
from .instances import Bags
from .network import NetworkConfig

SURE = 0.999
"""A discriminator that is right at least so often in the second half of the epochs teaches the encoder nothing."""
FLAT = 1e-3
"""Predictions whose spread is below this share of the labels' spread are constant."""


def training_facts(bags: Bags, config: NetworkConfig, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Bags, context, gender and normalisation of the training data, for the record."""
    table, items = bags.data.features["input"], len(bags.data)
    raw = [config.count(-(-table.frames(i) // config.pool)) for i in bags.data.ids]
    known = int((genders(bags.data) >= 0).sum())
    return {
        "instances": {
            "mean": round(float(np.mean([min(n, config.instances) for n in raw])), 3),
            "cut_bags": sum(n > config.instances for n in raw),
            "single": sum(n == 1 for n in raw),
        },
        "context": _context(bags, config) if sizes["context"] else _no_context(config),
        "gender": f"known for {known} of {items} training items; "
        + ("a second task" if sizes["gender"] else "not a task: " + _no_gender(config)),
        "normalisation": config.normalise,
    }


def collapses(
    task: Task, epochs: Sequence[Mapping[str, float]], predictions: npt.NDArray[np.floating], labels: npt.NDArray[Any]
) -> list[str]:
    """Sentences that say what collapsed; empty when nothing did.

    Parameters
    ----------
    epochs : the rows of the training log
    predictions : of the dev data at the best epoch, (item, class) scores or (item, target)
    labels : of the training data
    """
    sentences = []
    if task.kind == "classification":
        classes = np.unique(predictions.argmax(axis=1))
        if len(classes) == 1 and len(predictions) > 1 and len(np.unique(labels)) > 1:
            sentences.append(f"every dev item is predicted as {task.labels[int(classes[0])]!r}")
    else:
        spread, wanted = predictions.std(axis=0), labels.std(axis=0)
        for target, have, want in zip(task.targets, spread, wanted, strict=True):
            if len(predictions) > 1 and have < FLAT * want:
                sentences.append(f"{target} is predicted as a constant")
    judged = [row["discriminator_accuracy"] for row in epochs if "discriminator_accuracy" in row]
    late = judged[len(judged) // 2 :]  # it starts from nothing
    if late and min(late) >= SURE:
        since = len(judged) - len(late) + 1
        sentences.append(f"the discriminator is right {SURE:.1%} of the time or more from epoch {since} on")
    return sentences


def _context(bags: Bags, config: NetworkConfig) -> str:
    items = len(bags.data)
    counts = [sum(item is not None for item in turns) for turns in bags.turns[1:]]
    shares = ", ".join(f"{name} turn of {n} of {items}" for name, n in zip(CONTEXT, counts, strict=True))
    return f"{shares} training items; a missing turn is {'left out' if config.masked else 'a bag of zeros'}"


def _no_context(config: NetworkConfig) -> str:
    why = "the training data hold no context turns" if config.context else "model.context is off"
    return f"none, the current turn alone: {why}"


def _no_gender(config: NetworkConfig) -> str:
    return "not both genders are known" if config.gender else "model.gender is off"
