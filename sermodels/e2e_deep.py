"""E2E-deep: three convolutions on the raw waveform and a stacked LSTM over frames of 40 ms, on stretches of 20 s.

P. Tzirakis, J. Zhang and B. W. Schuller, "End-to-end speech emotion recognition using deep neural networks", ICASSP
2018, 5089-5093 (doi:10.1109/ICASSP.2018.8462677), cited by the paper on semantic fusion as the deeper successor of
`cnn-blstm` with longer stretches of input, and the authors' release (github.com/tzirakis/speech_emotion_recognition).
The release's network: kernels of 8, 6 and 6 steps, 64, 128 and 256 of them, ReLU, maxima of 10, 8 and 8 steps, dropout
of 0.5 after each; the 256 values that are left of each frame of 640 samples go through two LSTMs of 256 units with
peepholes and a linear layer. 1 - CCC, the mean of the targets; step size 1e-4, 5 stretches of 500 frames per step. The
layers are those of `semantic_fusion/layers.py`, the same authors' later network.

    waveform -> 3 x (convolution, ReLU, maximum, dropout) -> LSTM -> LSTM -> outputs of each frame

Presets:

- `default`: the release's network on recordings that are brought to mean 0 and variance 1 each, with gradients clipped
  at 5, at most 50 epochs, and the end after 10 without a better dev score: free choices.
- `released`: sound as it is, nothing clipped, 100 epochs (the release runs until it is stopped).
- `small`: 8 kHz, narrow layers, Adam 1e-3, for a CPU.

Differs from the release: Adam in place of RMSProp, and the dev score chooses the epoch. Smoothing, centring, scaling
and shifting of predicted traces, usual on this group's corpora, is left out. Utterances (ours): the mean of the states
over the frames of at most 20 s, the mean over such pieces; 1 - CCC or cross-entropy. Label frames that are not 40 ms
apart take the frame around their middle. Nothing behind a recording's end reaches its result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..datasets.core.config import option
from ..datasets.core.errors import SerbenchError
from ..datasets.schema.task import Task
from .end_to_end.layers import within
from .end_to_end.piece_model import FREE
from .end_to_end.wave_model import WaveConfig, WaveModel, WaveNetwork
from .semantic_fusion.layers import ConvPool, PeepholeLstm
from .semantic_fusion.network import initialise
from .training.settings import TrainConfig

GROUP = "relatives"
CITES = ("tzirakis2018end",)
RELEASED = "released code"
TRAINING: TrainConfig = option(
    TrainConfig(batch_size=5, learning_rate=1e-4, clip_norm=5.0), "training", source=RELEASED
)


@dataclass(frozen=True)
class Config(WaveConfig):
    """Settings of `e2e-deep`."""

    train: TrainConfig = TRAINING
    sequence_seconds: float = option(20.0, "longest stretch that is read at once [s]", source=RELEASED, low=0.1)
    normalise: bool = option(
        True, "bring each recording to mean 0 and variance 1", source=FREE + "; released code: false"
    )
    filters: tuple[int, ...] = option((64, 128, 256), "kernels of each convolution", source=RELEASED, low=1)
    kernels: tuple[int, ...] = option((8, 6, 6), "their steps", source=RELEASED, low=1)
    pools: tuple[int, ...] = option((10, 8, 8), "steps that each maximum is taken of", source=RELEASED, low=1, high=999)
    dropout: float = option(0.5, "share dropped after each block", source=RELEASED, low=0, high=0.95)
    units: int = option(256, "units of each LSTM", source=RELEASED, low=1)
    layers: int = option(2, "LSTMs, one on the other", source=RELEASED, low=1)

    def __post_init__(self) -> None:
        """Refuse blocks that are not described in full."""
        if not len(self.filters) == len(self.kernels) == len(self.pools):
            raise SerbenchError(
                f"{len(self.filters)} model.filters, {len(self.kernels)} model.kernels and {len(self.pools)} "
                "model.pools were given. Expected as many of each: one for every block, such as --set "
                "model.filters=16,32,40 --set model.kernels=8,6,6 --set model.pools=10,8,8."
            )


SMALL = Config(
    train=TrainConfig(epochs=30, patience=8, batch_size=16, learning_rate=2e-3, clip_norm=5.0),
    sampling_rate=8000,
    filters=(16, 32, 40),
    pools=(10, 8, 4),
    dropout=0.1,
    units=48,
    layers=1,
)
RELEASE = replace(Config(), train=replace(Config().train, epochs=100, patience=0, clip_norm=0.0), normalise=False)
PRESETS: dict[str, Config] = {"default": Config(), "released": RELEASE, "small": SMALL}
TINY = replace(
    SMALL,
    train=TrainConfig(epochs=40, patience=0, batch_size=8, learning_rate=1e-2),
    sampling_rate=2000,
    frame_seconds=0.1,
    filters=(8, 8),
    kernels=(8, 6),
    pools=(5, 4),
    dropout=0.0,
    units=12,
)
SEARCH = {"train.learning_rate": "1e-4..3e-3:log", "model.dropout": "0.1..0.6"}


class DeepNetwork(WaveNetwork):
    """Frames of the waveform (piece, frame, samples) -> outputs."""

    def __init__(self, samples: int, outputs: int, config: Config) -> None:
        super().__init__(outputs)
        self.filters = config.filters
        shapes = zip((1, *config.filters), config.filters, config.kernels, config.pools, strict=False)
        self.blocks = nn.ModuleList(ConvPool(*shape, dropout=config.dropout) for shape in shapes)
        width = samples // math.prod(config.pools) * config.filters[-1]
        inputs = (width, *[config.units] * (config.layers - 1))
        self.lstms = nn.ModuleList(PeepholeLstm(size, config.units) for size in inputs)
        self.head = nn.Linear(config.units, outputs)

    def states(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """States of the last LSTM, (piece, frame, units)."""
        states = self.features(frames, lengths)
        for lstm in self.lstms:
            states = lstm(states)
        return states

    def features(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """What the convolutions make of each frame, (piece, frame, steps x filters)."""
        pieces, count, _ = frames.shape
        maps = frames.reshape(pieces, -1, 1)  # (piece, sample, channel)
        for block, filters in zip(self.blocks, self.filters, strict=True):
            maps = within(block(maps).reshape(pieces, count, -1), lengths).reshape(pieces, -1, filters)
        return maps.reshape(pieces, count, -1)


class Model(WaveModel[DeepNetwork]):
    """Deep convolutions and stacked LSTMs on the waveform."""

    name: ClassVar[str] = "e2e-deep"
    config: Config

    def __init__(self, config: Config, task: Task, *arguments: Any) -> None:
        super().__init__(config, task, *arguments)
        product = math.prod(config.pools)
        if self.samples % product:
            raise SerbenchError(
                f"model.pools={','.join(map(str, config.pools))} take {product} samples together, a frame has "
                f"{self.samples}. Expected a whole number of times: the product has to divide model.sampling_rate x "
                "model.frame_seconds; type other --set model.pools=... or --set model.frame_seconds=..."
            )

    def build(self, sizes: Mapping[str, Any], generator: torch.Generator) -> DeepNetwork:
        """The network with TensorFlow's initial weights, as in the release."""
        network = DeepNetwork(sizes["samples"], self.task.n_outputs, self.config)
        initialise(network, generator)
        return network
