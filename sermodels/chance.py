"""Chance: predictions that know the training labels and nothing of the speech; the floor of every leaderboard.

Two strategies. "majority" predicts the most frequent training class (of equally frequent ones the first in the task's
order), or the mean training label of each target. "random" draws: a class by the training frequencies, or, for each
target by itself, one of the training labels; for a time-continuous task one per label frame. Class scores are one-hot
rows. A draw depends on the seed and the id of the utterance alone, so neither the order nor the company of the
utterances changes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..datasets.core.config import option
from ..datasets.core.errors import SerbenchError
from ..datasets.schema.task import Task
from ..features.core.feature_request import FeatureRequest
from .core.persist import expect
from .core.rows import Matrix, frame_counts, label_rows, shape_rows
from .core.sermodel import Data, FitLog, Predictions, Score, SERModel

KEPT = 10_000
"""Labels kept of each target to draw from; of more, that many evenly spaced order statistics are kept."""


@dataclass(frozen=True)
class Config:
    """Settings of `chance`."""

    strategy: str = option(
        "majority",
        "majority: the majority class, or the label mean; random: draws from the training labels",
        source="free choice",
        choices=("majority", "random"),
    )


GROUP = "baselines"
PRESETS = {"default": Config(), "random": Config(strategy="random")}


class Model(SERModel):
    """Majority class or label mean, or draws from the training labels."""

    name = "chance"
    kinds = frozenset({"classification", "regression", "continuous"})
    refits = nests = True

    @classmethod
    def requests(cls, config: Config, task: Task) -> dict[str, FeatureRequest]:
        """No features at all."""
        return {}

    @classmethod
    def deterministic(cls, config: Config) -> bool:
        """Where nothing is drawn."""
        return config.strategy == "majority"

    def fit(self, train: Data, dev: Data, score: Score, unlabelled: Data | None = None) -> FitLog:
        """Count or average the training labels; label frames that are NaN don't count."""
        return FitLog(facts=self.refit(train))

    def fit_nested(self, train: Data, score: Score) -> FitLog:
        """There is nothing to choose."""
        return FitLog(facts=self.refit(train))

    def refit(self, both: Data) -> dict[str, Any]:
        """Count or average the labels."""
        if not len(both):
            raise SerbenchError("the training set is empty. Expected at least one labelled training item.")
        self._seed = self.resources.seed
        if self.task.kind == "classification":
            self._labels = [class_frequencies(both.labels, self.task.n_outputs)]
            self._constant = one_hot(self._labels[0].argmax(), self.task.n_outputs)
        else:
            rows = label_rows(both)
            self._labels = [kept_labels(rows[:, t], name) for t, name in enumerate(self.task.targets)]
            self._constant = np.nanmean(rows, axis=0)
        return {"strategy": self.config.strategy}

    def predict(self, data: Data) -> Predictions:
        """Class scores (utterance, class), values (utterance, target), or one (frame, target) array per recording."""
        counts = frame_counts(data) if data.task.kind == "continuous" else [1] * len(data)
        blocks = [np.empty((0, self.task.n_outputs))]
        blocks += [self._rows(item, count) for item, count in zip(data.ids, counts, strict=True)]
        return shape_rows(np.concatenate(blocks), data)

    def _rows(self, item: str, count: int) -> Matrix:
        """Predictions of one item, (count, output)."""
        if self.config.strategy == "majority":
            return np.tile(self._constant, (count, 1))
        generator = item_generator(self._seed, item)
        if self.task.kind == "classification":
            return one_hot(generator.choice(self.task.n_outputs, size=count, p=self._labels[0]), self.task.n_outputs)
        return np.stack([generator.choice(labels, size=count) for labels in self._labels], axis=1)

    def state(self) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """The constant prediction, (output,); class frequencies or the labels to draw from; and the seed."""
        drawn = {f"labels.{t}": labels for t, labels in enumerate(self._labels)}
        return {"constant": self._constant, **drawn}, {"seed": self._seed}

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]], facts: Mapping[str, Any]) -> None:
        """Inverse of `state`; the seed of the training goes on deciding the draws."""
        self._seed = int(facts["seed"])
        self._constant = expect(arrays, "constant", (self.task.n_outputs,))
        length = self.task.n_outputs if self.task.kind == "classification" else None
        self._labels = [expect(arrays, f"labels.{t}", (length,)) for t in range(len(self.task.targets))]

    def multiply_accumulates(self, rows: int) -> int:
        """None at all."""
        return 0

    @property
    def parameters(self) -> int:
        """Length of the constant prediction, or the number of frequencies or labels to draw from."""
        random = self.config.strategy == "random"
        return sum(len(labels) for labels in self._labels) if random else len(self._constant)


def one_hot(classes: Any, n_classes: int) -> Matrix:
    """Class scores that are 1 for the given classes, with one more axis than `classes`."""
    return np.asarray(np.eye(n_classes)[classes])


def class_frequencies(classes: npt.NDArray[np.int64], n_classes: int) -> Matrix:
    """Share of each class, (class,) float64, summing to 1."""
    return np.asarray(np.bincount(classes, minlength=n_classes) / len(classes))


def kept_labels(labels: Matrix, target: str) -> Matrix:
    """Sorted labels that are not NaN, thinned to at most `KEPT` evenly spaced order statistics.

    Raises
    ------
    SerbenchError
        If there is none.
    """
    known = np.sort(labels[np.isfinite(labels)])
    if not len(known):
        raise SerbenchError(f"no training item has a label of {target!r}. Expected at least one.")
    if len(known) <= KEPT:
        return np.asarray(known)
    return np.asarray(known[np.rint(np.linspace(0, len(known) - 1, KEPT)).astype(int)])


def item_generator(seed: int, item: str) -> np.random.Generator:
    """Generator that the seed and the item's id alone decide."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(f"{seed}\n{item}".encode()).digest()[:16], "big"))
