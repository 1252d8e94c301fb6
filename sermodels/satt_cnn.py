"""Satt-CNN: convolutions over the log spectrogram of three seconds, a bidirectional LSTM over what they leave.

A. Satt, S. Rozenberg and R. Hoory, "Efficient emotion recognition from speech using deep learning on spectrograms",
Interspeech 2017, 1089-1093 (doi:10.21437/Interspeech.2017-200), which DeepEmoCluster cites as an end-to-end system.
The authors released no code. What public re-implementations agree on: the log spectrogram up to 4 kHz in bins of 10 Hz
(feature `spectrogram`), pieces of 3 s, three convolutions of 16, 24 and 32 kernels of 12 x 16, 8 x 12 and 5 x 7 (time x
frequency) with ReLU and a maximum after each, an LSTM of 128 units, classes weighed by how rare they are.

    spectrogram of at most 3 s -> 3 x (convolution, ReLU, maximum) -> BLSTM -> last states -> dropout -> outputs

An utterance of more than 3 s is split into pieces of about equal length, each of which is trained with its label; the
prediction is the mean of the pieces'. Here shorter pieces are no part of what the padding does: nothing behind a
piece's end reaches its result.

Differs, or is not known to be the same: sizes of the maxima, dropout, step size and weights of classes are free choices
below. Regression (1 - CCC, joint over the targets) is our addition. The paper's means against noise are left out.

Presets: `default`, the sizes above; `small` for a CPU, bins of 25 Hz (`feature.bin_hertz=25`) and narrow convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..datasets.core.config import option
from ..datasets.schema.task import Task
from ..features.core.feature_request import FeatureRequest
from .end_to_end.layers import BiLstm, planes
from .end_to_end.piece_model import FREE, PieceConfig, PieceNetwork, SpectrumModel
from .training.settings import TrainConfig

GROUP = "relatives"
CITES = ("satt2017efficient",)
PUBLIC = "public re-implementations"


@dataclass(frozen=True)
class Config(PieceConfig):
    """Settings of `satt-cnn`."""

    train: TrainConfig = option(TrainConfig(batch_size=32, learning_rate=1e-3), "training", source=FREE)  # noqa: RUF009
    bin_hertz: float = option(10.0, "distance of the spectrogram's bins [Hz]", source=PUBLIC, low=1)
    piece_seconds: float = option(3.0, "longest piece of an utterance [s]", source="the paper's 3 s", low=0.1)
    channels: tuple[int, ...] = option((16, 24, 32), "kernels of each convolution", source=PUBLIC, low=1)
    time_kernels: tuple[int, ...] = option((12, 8, 5), "their frames", source=PUBLIC, low=1)
    band_kernels: tuple[int, ...] = option((16, 12, 7), "their bins", source=PUBLIC, low=1)
    time_pools: tuple[int, ...] = option((2, 2, 2), "frames that each maximum is taken of", source=FREE, low=1)
    band_pools: tuple[int, ...] = option((2, 2, 2), "bins that each maximum is taken of", source=FREE, low=1)
    units: int = option(128, "units of the LSTM in each direction", source=PUBLIC, low=1)
    dropout: float = option(0.3, "share of the last states that is dropped", source=FREE, low=0, high=0.95)
    class_weights: str = option("balanced", "of the cross-entropy", source=PUBLIC, choices=("none", "balanced"))


SMALL = Config(
    train=TrainConfig(epochs=20, patience=6, learning_rate=2e-3),
    bin_hertz=25.0,
    channels=(8, 12, 16),
    time_kernels=(6, 4, 3),
    band_kernels=(8, 6, 5),
    band_pools=(4, 2, 2),
    units=48,
)
PRESETS: dict[str, Config] = {"default": Config(), "small": SMALL}
TINY = replace(
    SMALL,
    train=TrainConfig(epochs=16, patience=0, batch_size=8, learning_rate=2e-2),
    channels=(4, 6),
    time_kernels=(3, 3),
    band_kernels=(5, 5),
    time_pools=(4, 4),
    band_pools=(8, 4),
    units=8,
    dropout=0.0,
)
SEARCH = {"train.learning_rate": "3e-4..3e-3:log", "model.dropout": "0.1..0.6", "model.units": "64,128,256"}


class SattNetwork(PieceNetwork):
    """(piece, frame, bin) -> (piece, output)."""

    def __init__(self, dim: int, outputs: int, config: Config) -> None:
        super().__init__(dim, outputs)
        c = config
        kernels, pools = (c.time_kernels, c.band_kernels), (c.time_pools, c.band_pools)
        self.convolutions = planes(dim, c.channels, kernels, pools)
        self.lstm = BiLstm(self.convolutions.width, config.units)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(2 * config.units, outputs)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Outputs of pieces."""
        steps, counts = self.convolutions(self.normalised(frames, lengths), lengths)
        states = self.lstm(steps, counts)  # (piece, step, 2 units)
        outputs: Tensor = self.head(self.dropout(last_states(states, counts)))
        return outputs


def last_states(states: Tensor, counts: Tensor) -> Tensor:
    """Where each direction ends: forwards at the piece's last step, backwards at its first, (piece, 2 units)."""
    forwards, backwards = states.chunk(2, dim=2)
    rows = torch.arange(len(states), device=states.device)
    return torch.cat([forwards[rows, counts - 1], backwards[:, 0]], dim=1)


class Model(SpectrumModel[SattNetwork]):
    """Convolutions and an LSTM on pieces of a spectrogram."""

    name: ClassVar[str] = "satt-cnn"
    splits: ClassVar[bool] = True
    config: Config

    @classmethod
    def requests(cls, config: Config, task: Task) -> dict[str, FeatureRequest]:
        """The log spectrogram up to 4 kHz."""
        return {"input": FeatureRequest("spectrogram", (("bin_hertz", f"{config.bin_hertz:g}"),))}

    @property
    def max_seconds(self) -> float:
        """The longest piece [s]."""
        return self.config.piece_seconds

    def build(self, sizes: Mapping[str, Any], generator: torch.Generator) -> SattNetwork:
        """The network as torch initialises it."""
        return SattNetwork(sizes["dim"], self.task.n_outputs, self.config)
