"""Multitask self-attention: convolutions, an LSTM and self-attention on the spectrogram, emotion and gender at once.

Y. Li, T. Zhao and T. Kawahara, "Improved end-to-end speech emotion recognition using self attention mechanism and
multitask learning", Interspeech 2019, 2803-2807 (doi:10.21437/Interspeech.2019-2594), which DeepEmoCluster cites. The
authors released no code. From the abstract: features are learnt from the spectrogram, self-attention finds the salient
periods, and gender is a second task that shares everything below the heads,

    L = L_emotion + w L_gender.

    spectrogram -> convolutions -> BLSTM -> self-attention -> mean and deviation over time -> emotion, gender

A public re-implementation (github.com/KrishnaDN/speech-emotion-recognition-using-self-attention, which says that it has
other settings than the paper, and lower results) has a BLSTM of 2 x 128 units, 8 heads, mean and deviation, w = 0.25,
Adam 1e-3, 32 utterances per step and a penalty of 1e-5 on the weights: these are the defaults. Its two convolutions of
41 x 11 and 21 x 11 with 64 channels are hundred times as costly as all else; here they are smaller, free choices, with
maxima after each. Utterances are cut after 7.5 s; that and the form of the attention (one layer of scaled products, its
result added to its input, then a layer norm) are free choices too.

Gender is a second task where the corpus states both genders of training speakers; items of unknown gender have no part
in its loss, and without it the model is trained on emotion alone (`facts.gender` says which). Regression (1 - CCC) is
our addition.

Presets: `default`; `single`, without the second task; `small` for a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pandas as pd
import torch
from torch import Tensor, nn

from ..datasets.core.config import option
from ..datasets.core.errors import SerbenchError
from ..datasets.schema.task import Task
from ..features.core.feature_request import FeatureRequest
from .core.sermodel import Data
from .end_to_end.layers import BiLstm, planes, within
from .end_to_end.piece_model import FREE, PieceConfig, PieceNetwork, SpectrumModel
from .end_to_end.salience import segments
from .inputs.batches import Batch
from .training.gender import GENDERS, gender_loss, genders
from .training.pooling import FLOOR, frame_mask
from .training.settings import TrainConfig
from .training.training import Training

GROUP = "relatives"
CITES = ("li2019improved",)
PUBLIC = "public re-implementation"
TRAINING: TrainConfig = option(
    TrainConfig(batch_size=32, learning_rate=1e-3, weight_decay=1e-5), "training", source=PUBLIC
)


@dataclass(frozen=True)
class Config(PieceConfig):
    """Settings of `mtl-attention`."""

    train: TrainConfig = TRAINING
    bin_hertz: float = option(10.0, "distance of the spectrogram's bins [Hz]", source=FREE, low=1)
    max_seconds: float = option(7.5, "after which an utterance is cut [s]", source=FREE, low=0.1)
    channels: tuple[int, ...] = option((16, 32), "kernels of each convolution", source=FREE, low=1)
    time_kernels: tuple[int, ...] = option((11, 11), "their frames", source=PUBLIC, low=1)
    band_kernels: tuple[int, ...] = option((11, 7), "their bins", source=FREE, low=1)
    time_pools: tuple[int, ...] = option((2, 2), "frames that each maximum is taken of", source=FREE, low=1)
    band_pools: tuple[int, ...] = option((4, 4), "bins that each maximum is taken of", source=FREE, low=1)
    units: int = option(128, "units of the LSTM in each direction", source=PUBLIC, low=1)
    layers: int = option(2, "layers of the LSTM", source=PUBLIC, low=1)
    heads: int = option(8, "heads of the self-attention", source=PUBLIC, low=1)
    dropout: float = option(0.2, "between the LSTM's layers, and before the heads", source=PUBLIC, low=0, high=0.95)
    gender: bool = option(True, "gender as second task, where it is known", source="abstract")
    gender_weight: float = option(0.25, "weight of the gender loss, w", source=PUBLIC, low=0)

    def __post_init__(self) -> None:
        """Refuse heads that do not divide the states."""
        if 2 * self.units % self.heads:
            raise SerbenchError(
                f"model.heads={self.heads} do not divide the {2 * self.units} values of a state. Expected a divisor of "
                f"2 x model.units, such as --set model.heads=2."
            )


SMALL = Config(
    train=replace(Config().train, epochs=20, patience=6, learning_rate=2e-3),
    bin_hertz=25.0,
    max_seconds=4.0,
    channels=(8, 16),
    time_kernels=(5, 5),
    band_kernels=(7, 5),
    units=32,
    layers=1,
    heads=4,
)
PRESETS: dict[str, Config] = {"default": Config(), "single": replace(Config(), gender=False), "small": SMALL}
TINY = replace(
    SMALL,
    train=TrainConfig(epochs=12, patience=0, batch_size=4, learning_rate=1e-2),
    channels=(4, 6),
    time_kernels=(3, 3),
    time_pools=(4, 4),
    band_pools=(8, 4),
    units=8,
    dropout=0.0,
)
SEARCH = {"train.learning_rate": "3e-4..3e-3:log", "model.dropout": "0.1..0.5", "model.gender_weight": "0.1..1:log"}


class AttentionNetwork(PieceNetwork):
    """(piece, frame, bin) -> (piece, output), and (piece, 2) for the gender where that is a task."""

    def __init__(self, dim: int, outputs: int, config: Config, gender: bool) -> None:
        super().__init__(dim, outputs)
        c = config
        kernels, pools = (c.time_kernels, c.band_kernels), (c.time_pools, c.band_pools)
        self.convolutions = planes(dim, c.channels, kernels, pools)
        self.lstm = BiLstm(self.convolutions.width, config.units, config.layers, config.dropout)
        width = 2 * config.units
        self.attention = nn.MultiheadAttention(width, config.heads, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(2 * width, outputs)
        self.gender = nn.Linear(2 * width, len(GENDERS)) if gender else None

    def attended(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Attended states (piece, step, 2 units), weights (piece, query, step), and how many steps each piece has."""
        steps, counts = self.convolutions(self.normalised(frames, lengths), lengths)
        states = self.lstm(steps, counts)
        behind = ~frame_mask(counts, states.shape[1])
        mixed, weights = self.attention(states, states, states, key_padding_mask=behind)
        return self.norm(states + mixed), weights, counts

    def listens(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The attention on each step, the mean over heads and a piece's own queries, and how many steps it has."""
        _, weights, counts = self.attended(frames, lengths)
        return within(weights, counts).sum(1) / counts[:, None], counts

    def pooled(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Mean and standard deviation over time of the attended states, (piece, 4 units)."""
        attended, _, counts = self.attended(frames, lengths)
        mean = within(attended, counts).sum(1) / counts[:, None]
        spread = within((attended - mean[:, None]).square(), counts).sum(1) / counts[:, None]
        return torch.cat([mean, spread.clamp(min=FLOOR).sqrt()], dim=1)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Outputs of pieces."""
        outputs: Tensor = self.head(self.dropout(self.pooled(frames, lengths)))
        return outputs

    def both(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor | None]:
        """Outputs of pieces, and logits of the gender, (piece, 2)."""
        pooled = self.dropout(self.pooled(frames, lengths))
        return self.head(pooled), None if self.gender is None else self.gender(pooled)


class Model(SpectrumModel[AttentionNetwork]):
    """Self-attention on a spectrogram with two tasks."""

    name: ClassVar[str] = "mtl-attention"
    config: Config

    @classmethod
    def requests(cls, config: Config, task: Task) -> dict[str, FeatureRequest]:
        """The log spectrogram up to 4 kHz."""
        return {"input": FeatureRequest("spectrogram", (("bin_hertz", f"{config.bin_hertz:g}"),))}

    @property
    def max_seconds(self) -> float:
        """The longest piece [s]."""
        return self.config.max_seconds

    def sizes(self, train: Data) -> dict[str, Any]:
        """Those of the frames, and whether both genders are known."""
        known = self.config.gender and {0, 1} <= set(genders(train).tolist())
        return {**super().sizes(train), "gender": known}

    def build(self, sizes: Mapping[str, Any], generator: torch.Generator) -> AttentionNetwork:
        """The network as torch initialises it."""
        return AttentionNetwork(sizes["dim"], self.task.n_outputs, self.config, sizes["gender"])

    def begin(self, training: Training[AttentionNetwork]) -> None:
        """Lay out pieces, targets and genders."""
        super().begin(training)
        self._genders = torch.from_numpy(genders(training.train))
        known, items = int((self._genders >= 0).sum()), len(self._genders)
        what = "a second task" if self._sizes["gender"] else "no task"
        training.log.facts["gender"] = f"known for {known} of {items} training items; {what}"

    def losses(self, training: Training[AttentionNetwork], batch: Batch) -> Mapping[str, Tensor]:
        """The emotion's loss, and the gender's."""
        frames, lengths, targets, items = batch
        outputs, voices = training.network.both(frames, lengths)
        named = self.objective.losses(outputs, targets)
        if voices is None:
            return named
        second = gender_loss(voices, self._genders[items.cpu()].to(voices.device))
        emotion = named["loss"]
        return {
            **named,
            "loss": emotion + self.config.gender_weight * second,
            "loss_emotion": emotion,
            "loss_gender": second,
        }

    def salience(self, data: Data) -> list[pd.DataFrame]:
        """Start, end [s] and attention of each step, the frames that it stands on."""
        assert self.network is not None, "the model is trained"
        least = self.network.convolutions.least
        return segments(self, data, self.network.listens, least, least)
