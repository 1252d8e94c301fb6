"""ACNN: one convolution over log mel bands, a maximum over time, and attention over what is left.

M. Neumann and N. T. Vu, "Attentive convolutional neural network based speech emotion recognition: a study on the impact
of input features, signal length, and acted speech", Interspeech 2017, 1263-1267 (arXiv:1706.00612), which the paper on
semantic fusion cites. The authors released no code, and only the abstract was at hand: what is said of the paper below
is how the system is known, and not confirmed. The kernels span all bands, so the convolution runs along time
alone; with x_i the pooled column at time i, the attention weighs it and the outputs are linear in the sum:

    a_i = exp(w . x_i) / sum_j exp(w . x_j)          z = sum_i a_i x_i

    log mel (frame, 26) -> convolution, ReLU -> maximum over time -> attention -> dropout -> outputs

26 log mel bands of 25 ms windows every 10 ms, utterances cut after 7.5 s, number and length of the kernels, the
maximum's width and step, dropout and training are free choices below. What stands behind an utterance's end takes part
in nothing.

"Multi-view" training lets the same representation predict classes and attributes: with `view_weight` v the loss is
(1 - v) L_classes + v L_attributes, where the latter is 1 - CCC of z-scores of arousal and valence (theirs are classes
of them) over the training items that have both. It sees labels that other models don't, so it is a preset of its own,
`multi-view`, and its scores say so. Regression, joint over the targets by 1 - CCC, is our addition.

Presets: `default`; `multi-view`; `small`, fewer kernels, for a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..datasets.core.config import option
from ..datasets.schema.task import Task
from ..features.core.feature_request import FeatureRequest
from .core.sermodel import Data
from .end_to_end.layers import around, within
from .end_to_end.piece_model import FREE, PieceConfig, PieceNetwork, SpectrumModel
from .end_to_end.salience import segments
from .inputs.batches import Batch
from .training.losses import ccc_losses
from .training.pooling import frame_mask
from .training.settings import TrainConfig
from .training.training import Training

GROUP = "relatives"
CITES = ("neumann2017attentive",)
VIEWS = ("arousal", "valence")
LOG_MEL = (("bands", "26"), ("n_fft", "400"), ("hop", "160"), ("log", "true"), ("peak_normalise", "false"))
"""Of the feature `mel`: 25 ms windows every 10 ms at 16 kHz."""


@dataclass(frozen=True)
class Config(PieceConfig):
    """Settings of `acnn`."""

    train: TrainConfig = option(TrainConfig(batch_size=32, learning_rate=1e-3), "training", source=FREE)  # noqa: RUF009
    max_seconds: float = option(7.5, "after which an utterance is cut [s]", source=FREE, low=0.1)
    kernels: int = option(200, "number of kernels", source=FREE, low=1)
    kernel_frames: int = option(10, "frames of a kernel", source=FREE, low=1)
    pool_frames: int = option(30, "frames that a maximum is taken of", source=FREE, low=1)
    pool_step: int = option(3, "distance of two maxima [frames]", source=FREE, low=1)
    dropout: float = option(0.5, "share of the attended sum that is dropped", source=FREE, low=0, high=0.95)
    view_weight: float = option(0.0, "weight of the attributes beside the classes, v", source=FREE, low=0, high=1)


SMALL = Config(train=TrainConfig(epochs=40, patience=10, batch_size=32, learning_rate=2e-3), kernels=64)
PRESETS: dict[str, Config] = {"default": Config(), "multi-view": replace(Config(), view_weight=0.5), "small": SMALL}
TINY = replace(
    SMALL,
    train=TrainConfig(epochs=25, patience=0, batch_size=8, learning_rate=2e-2),
    kernels=16,
    kernel_frames=3,
    dropout=0.0,
)
SEARCH = {
    "train.learning_rate": "3e-4..3e-3:log",
    "model.dropout": "0.2..0.7",
    "model.kernels": "100,200,400",
    "model.pool_frames": "10,30,60",
}


class AttentiveNetwork(PieceNetwork):
    """(piece, frame, band) -> (piece, output), and (piece, 2) for the second view where there is one."""

    def __init__(self, dim: int, outputs: int, config: Config, views: int) -> None:
        super().__init__(dim, outputs)
        self.config = config
        self.convolution = nn.Conv1d(dim, config.kernels, config.kernel_frames)
        self.score = nn.Linear(config.kernels, 1, bias=False)  # w
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.kernels, outputs)
        self.views = nn.Linear(config.kernels, views) if views else None

    def columns(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """x: (piece, time, kernel), and how many of them each piece has."""
        c = self.config
        frames = self.normalised(frames, lengths).transpose(1, 2)  # (piece, band, frame)
        frames = functional.pad(frames, (0, max(0, c.pool_frames - frames.shape[2])))
        maps = functional.relu(self.convolution(functional.pad(frames, around(c.kernel_frames))))
        maps = within(maps.transpose(1, 2), lengths).transpose(1, 2)
        columns = functional.max_pool1d(maps, c.pool_frames, c.pool_step).transpose(1, 2)
        return columns, (lengths.clamp(min=c.pool_frames) - c.pool_frames) // c.pool_step + 1

    def attention(self, columns: Tensor, counts: Tensor) -> Tensor:
        """a: (piece, time), 0 behind a piece's last column."""
        scores = self.score(columns).squeeze(2).float()
        return torch.softmax(scores.masked_fill(~frame_mask(counts, columns.shape[1]), -torch.inf), dim=1)

    def listens(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """a, and how many columns each piece has."""
        columns, counts = self.columns(frames, lengths)
        return self.attention(columns, counts), counts

    def attended(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """z: (piece, kernel)."""
        columns, counts = self.columns(frames, lengths)
        return torch.einsum("pt,ptk->pk", self.attention(columns, counts).to(columns.dtype), columns)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Outputs of pieces."""
        outputs: Tensor = self.head(self.dropout(self.attended(frames, lengths)))
        return outputs


class Model(SpectrumModel[AttentiveNetwork]):
    """An attentive convolutional network."""

    name: ClassVar[str] = "acnn"
    config: Config

    @classmethod
    def requests(cls, config: Config, task: Task) -> dict[str, FeatureRequest]:
        """26 log mel bands."""
        return {"input": FeatureRequest("mel", LOG_MEL)}

    @classmethod
    def labels(cls, config: Config) -> tuple[str, ...]:
        """A second view sees labels of other tasks."""
        return ("views:attributes",) if config.view_weight else ()

    @property
    def max_seconds(self) -> float:
        """The longest piece [s]."""
        return self.config.max_seconds

    def sizes(self, train: Data) -> dict[str, Any]:
        """Those of the frames, and the number of attributes of the second view."""
        wanted = self.config.view_weight > 0 and self.task.kind == "classification"
        views = second_view(train) if wanted else None
        return {**super().sizes(train), "views": 0 if views is None else views.shape[1]}

    def build(self, sizes: Mapping[str, Any], generator: torch.Generator) -> AttentiveNetwork:
        """The network as torch initialises it."""
        return AttentiveNetwork(sizes["dim"], self.task.n_outputs, self.config, sizes["views"])

    def begin(self, training: Training[AttentiveNetwork]) -> None:
        """Lay out pieces, targets and the second view."""
        super().begin(training)
        if self._sizes["views"]:
            views = second_view(training.train)
            assert views is not None
            self._views = torch.from_numpy(views)
        if self.config.view_weight:
            training.log.facts["views"] = "classes and attributes" if self._sizes["views"] else "one: no attributes"

    def losses(self, training: Training[AttentiveNetwork], batch: Batch) -> Mapping[str, Tensor]:
        """The loss of a batch, of both views where there are two."""
        network = training.network
        if network.views is None:
            return super().losses(training, batch)
        frames, lengths, targets, items = batch
        attended = network.dropout(network.attended(frames, lengths))
        classes = self.objective.losses(network.head(attended), targets)["loss"]
        known = self._views[items.cpu()].to(attended.device)
        attributes = ccc_losses(network.views(attended), known, ~torch.isnan(known)).mean()
        v = self.config.view_weight
        return {"loss": (1 - v) * classes + v * attributes, "loss_classes": classes, "loss_attributes": attributes}

    def salience(self, data: Data) -> list[pd.DataFrame]:
        """Start, end [s] and attention of each column, the frames that its maximum is taken of."""
        assert self.network is not None, "the model is trained"
        return segments(self, data, self.network.listens, self.config.pool_frames, self.config.pool_step)


def second_view(data: Data) -> npt.NDArray[np.float32] | None:
    """z-scores of arousal and valence, (item, 2) with NaN where one is unknown; None where they do not vary."""
    if any(name not in data.items for name in VIEWS):
        return None
    values = data.items[list(VIEWS)].to_numpy(dtype=np.float64, na_value=np.nan)
    known = ~np.isnan(values).any(axis=1)
    if not known.any() or (values[known].std(axis=0) == 0).any():
        return None
    scaled = (values - values[known].mean(axis=0)) / values[known].std(axis=0)
    return np.where(known[:, None], scaled, np.nan).astype(np.float32)
