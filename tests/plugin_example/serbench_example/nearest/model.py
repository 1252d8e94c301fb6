"""Nearest neighbours of an utterance's mean features vote (Cover and Hart 1967, doi 10.1109/TIT.1967.1053964)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serbench.datasets.core.config import option
from serbench.datasets.schema.task import Task
from serbench.features.core.feature_extractor import FeatureRequest
from serbench.sermodels.core.persist import expect
from serbench.sermodels.core.sermodel import Data, FitLog, Predictions, Score, SERModel

from .neighbours import Matrix, neighbours


@dataclass(frozen=True)
class Config:
    """Settings of `nearest`."""

    feature: str = option("loudness", "feature whose mean over the frames describes an utterance", source="free choice")
    k: int = option(3, "neighbours that vote", source="free choice", low=1)


GROUP = "neighbours"
PRESETS = {"default": Config(), "one": Config(k=1)}
TINY = Config(k=1)
SEARCH = {"model.k": "1,3,5"}


class Model(SERModel):
    """The mean label of the nearest training utterances."""

    name = "nearest"
    kinds = frozenset({"classification", "regression"})

    @classmethod
    def requests(cls, config: Config, task: Task) -> dict[str, FeatureRequest]:
        """One feature, with or without frames."""
        return {"input": FeatureRequest(config.feature)}

    def fit(self, train: Data, dev: Data, score: Score, unlabelled: Data | None = None) -> FitLog:
        """Remember the training utterances; classes as rows with a single one."""
        self._rows = _means(train)
        classes = self.task.kind == "classification"
        self._labels = np.eye(self.task.n_outputs)[train.labels] if classes else np.asarray(train.labels, float)
        return FitLog(facts={"remembered": len(train)})

    def predict(self, data: Data) -> Predictions:
        """Means of the neighbours' labels, (utterance, output)."""
        return self._labels[neighbours(_means(data), self._rows, self.config.k)].mean(axis=1)

    def state(self) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """Rows (utterance, dim) and labels (utterance, output)."""
        return {"rows": self._rows, "labels": self._labels}, {}

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]], facts: Mapping[str, Any]) -> None:
        """Inverse of `state`."""
        self._rows = expect(arrays, "rows", (None, None))
        self._labels = expect(arrays, "labels", (len(self._rows), self.task.n_outputs))

    def multiply_accumulates(self, rows: int) -> int:
        """One for each number of a remembered row."""
        return rows * int(self._rows.size)

    @property
    def parameters(self) -> int:
        """All that is remembered."""
        return int(self._rows.size + self._labels.size)


def _means(data: Data) -> Matrix:
    """Mean over the frames of each item, (item, dim); summed in double precision, item by item."""
    return np.stack([data.array(i).astype(float).mean(axis=0) for i in range(len(data))])
