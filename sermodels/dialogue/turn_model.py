"""The base of models that read the frames of turns: settings, normalisation, targets, predictions, salience.

A model on it says what its network is and how a batch of it is made. Frames are z-normalised; attributes, our addition
to systems of classes, are z-scores in training, with 1 - CCC as the loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from ...datasets.core.config import option
from ...datasets.schema.task import Task
from ...features.core.feature_request import FeatureRequest
from ..core.sermodel import Data, Predictions
from ..inputs.normalisation import TRANSDUCTIVE, scale_of, trained_normaliser
from ..inputs.turns import MODES, TurnFrames
from ..training.objective import LabelScale, Objective
from ..training.settings import TrainConfig
from ..training.torch_model import TorchModel
from ..training.training import N, Training

FREE = "free choice"


@dataclass(frozen=True)
class TurnConfig:
    """How turns become frames, and what is trained on."""

    train: TrainConfig = option(TrainConfig(), "training settings, set with train.KEY")  # noqa: RUF009
    feature: str = option("emobase45", "feature of a turn, with frames or one vector", source=FREE)
    pool: int = option(1, "frames that are averaged into one", source=FREE, low=1)
    frames: int = option(0, "most averaged frames of a turn, from its beginning; 0 = all", source=FREE, low=0)
    normalise: str = option("train", "moments that z-normalise the frames", source=FREE, choices=MODES)
    class_weights: str = option("none", "of the cross-entropy", source=FREE, choices=("none", "balanced"))
    smoothing: float = option(0.0, "label smoothing of the cross-entropy", source=FREE, low=0, high=0.9)


class TurnNetwork(LabelScale):
    """Base of the networks: mean and inverse standard deviation of the training frames, each (dim,)."""

    frame_mean: Tensor
    frame_scale: Tensor

    def __init__(self, dim: int, outputs: int) -> None:
        super().__init__(outputs)
        self.register_buffer("frame_mean", torch.zeros(dim, dtype=torch.float64))
        self.register_buffer("frame_scale", torch.ones(dim, dtype=torch.float64))


class TurnModel(TorchModel[N]):
    """A torch model on the frames of turns; its configuration is a `TurnConfig`, its network a `TurnNetwork`."""

    kinds: ClassVar[frozenset[str]] = frozenset({"classification", "regression"})
    config: Any

    def __init__(self, config: Any, task: Task, *arguments: Any) -> None:
        super().__init__(config, task, *arguments)
        self.objective = Objective(task, config.class_weights, config.smoothing)
        self._read: list[tuple[Data, TurnFrames]] = []

    @classmethod
    def requests(cls, config: Any, task: Task) -> dict[str, FeatureRequest]:
        """The feature that the configuration names."""
        return {"input": FeatureRequest(config.feature)}

    @classmethod
    def labels(cls, config: Any) -> tuple[str, ...]:
        """Normalisation by speaker uses the test speakers' audio."""
        return (TRANSDUCTIVE,) if config.normalise == "speaker" else ()

    def calibrate(self, network: Any, train: Data) -> None:
        """Moments of the training items' frames, and of their labels."""
        mean, scale = scale_of(train.features["input"], train.ids)
        network.frame_mean.copy_(torch.from_numpy(mean))
        network.frame_scale.copy_(torch.from_numpy(scale))
        self.objective.calibrate(network, train.labels)

    def begin(self, training: Training[N]) -> None:
        """Take the targets, and hold what is read of train and dev until the training ends."""
        self.objective.begin(training.train.labels)
        self._targets = self.objective.targets(training.network, training.train.labels)  # type: ignore[arg-type]
        self._read = [(data, self._frames_of(training.network, data)) for data in (training.train, training.dev)]

    def _end(self, training: Training[N]) -> None:
        super()._end(training)
        self._read = []

    def turns(self, network: Any, data: Data) -> TurnFrames:
        """What reads the turns of a data set; during training the frames of train and dev are held."""
        ready = [frames for known, frames in self._read if known is data]
        return ready[0] if ready else self._frames_of(network, data)

    def _frames_of(self, network: Any, data: Data) -> TurnFrames:
        normaliser = trained_normaliser(self.config.normalise, data, network.frame_mean, network.frame_scale)
        keep = self.train_config.keep_mb * 2**20 // 2  # training and dev
        return TurnFrames(data.features["input"], normaliser, self.config.pool, self.config.frames, keep)

    def predicted(self, network: Any, outputs: Tensor) -> Predictions:
        """Class scores, or values on the label scale, from outputs (item, output)."""
        return self.objective.predictions(network, outputs.float().cpu().double().numpy())

    def weighted(self, data: Data, weights: Sequence[npt.NDArray[Any]], width: int, hop: int) -> list[pd.DataFrame]:
        """Tables of start, end [s] and weight for the pieces of each item: `width` averaged frames, one every `hop`."""
        table = data.features["input"]
        step = self.config.pool * (table.hop_seconds or 0.0)
        tables = []
        for item, row in zip(data.ids, weights, strict=True):
            seconds = table.frames(item) * (table.hop_seconds or 0.0)
            start = np.minimum(np.arange(len(row)) * hop * step, seconds)
            end = np.minimum(start + width * step, seconds)
            tables.append(pd.DataFrame({"start": start, "end": end, "weight": row}))
        return tables
