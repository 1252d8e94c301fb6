"""CNN-BLSTM: two convolutions on the raw waveform and a bidirectional LSTM over frames of 40 ms, trained on the CCC.

G. Trigeorgis, F. Ringeval, R. Brueckner, E. Marchi, M. A. Nicolaou, B. Schuller and S. Zafeiriou, "Adieu features?
End-to-end speech emotion recognition using a deep convolutional recurrent network", ICASSP 2016, 5200-5204
(doi:10.1109/ICASSP.2016.7472669), which DeepEmoCluster and semantic fusion cite. Its sizes are those of public
re-implementations: 6 s at 16 kHz, noise of 0.1 on the signal, 40 kernels of 5 ms, half-wave rectification, the maximum
of 2 steps, 40 kernels of 500 ms (at the 8 kHz that are left), the maximum of 20 channels, and two bidirectional layers
of 128 units, dropout of 0.5 after each convolution, Adam.

    waveform -> 5 ms kernels -> rectify -> max of 2 steps -> 500 ms kernels -> max of 20 channels -> BLSTM -> outputs

Presets:

- `default`: the sizes above; the second convolution goes by way of the spectra (`end_to_end/long_kernels.py`).
- `released`: kernels of 20 and 40 samples and the maximum of 10 channels, as in the authors' later code for several
  modalities (github.com/tzirakis/Multimodal-Emotion-Recognition). A comment there says that the original had 400
  kernels in the second convolution, and that 40 train faster and about as well; re-implementations have 40 throughout.
  There kernels see one frame and an LSTM of one direction follows; here they reach into the neighbouring frames.
- `small`: 8 kHz, 16 kernels of 5 and 125 ms, the maxima of 20 steps and of 4 channels, one narrow recurrent layer, for
  a CPU. Chosen on dev of the demo corpus, one trial each: 2 steps and 8 channels have a UAR of 0.33 there, 20 steps and
  8 channels 0.37, 20 and 4 as here 0.51; chance is 0.25.

Traces: 1 - CCC over all frames of a batch, mean of the targets. Differs: the paper smooths, centres, scales and shifts
predictions by what suits dev data; here they stay as they are. Utterances (ours): the mean of the states over the
frames of at most 6 s, the mean over such pieces; 1 - CCC or cross-entropy. The CCC's moments are those of the whole
batch, not of each sequence. Nothing behind a recording's end reaches its result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..datasets.core.config import option
from ..datasets.core.errors import SerbenchError
from ..datasets.schema.task import Task
from .end_to_end.layers import BiLstm, within
from .end_to_end.long_kernels import convolve
from .end_to_end.piece_model import FREE
from .end_to_end.wave_model import WaveConfig, WaveModel, WaveNetwork
from .training.settings import TrainConfig

GROUP = "relatives"
CITES = ("trigeorgis2016adieu",)
PUBLIC = "public re-implementations"
RELEASED = "later code of the authors: "


@dataclass(frozen=True)
class Config(WaveConfig):
    """Settings of `cnn-blstm`."""

    train: TrainConfig = option(TrainConfig(batch_size=16, learning_rate=2e-3), "training", source=FREE)  # noqa: RUF009
    filters: int = option(40, "kernels of each of the two convolutions", source=PUBLIC, low=1)
    first_kernel: int = option(80, "samples of a kernel of the first", source=PUBLIC + "; " + RELEASED + "20", low=1)
    second_kernel: int = option(4000, "steps of one of the second", source=PUBLIC + "; " + RELEASED + "40", low=1)
    time_pool: int = option(2, "steps that a maximum is taken of after the first", source=PUBLIC, low=1)
    channel_pool: int = option(20, "channels, after the second", source=PUBLIC + "; " + RELEASED + "10", low=1)
    noise: float = option(0.1, "standard deviation of the noise on the signal in training", source=PUBLIC, low=0)
    units: int = option(128, "units of the LSTM in each direction", source=PUBLIC, low=1)
    layers: int = option(2, "layers of the LSTM", source=PUBLIC, low=1)
    dropout: float = option(0.5, "share dropped after each convolution", source=PUBLIC, low=0, high=0.95)

    def __post_init__(self) -> None:
        """Refuse maxima that leave a rest."""
        if self.filters % self.channel_pool:
            raise SerbenchError(
                f"model.channel_pool={self.channel_pool} does not divide model.filters={self.filters}. Expected a "
                f"divisor, such as --set model.channel_pool={self.filters}."
            )


SMALL = Config(
    train=TrainConfig(epochs=20, patience=6, batch_size=16, learning_rate=2e-3),
    sampling_rate=8000,
    filters=16,
    first_kernel=40,
    second_kernel=50,
    time_pool=20,
    channel_pool=4,
    units=48,
    layers=1,
    dropout=0.1,
)
PRESETS: dict[str, Config] = {
    "default": Config(),
    "released": replace(Config(), first_kernel=20, second_kernel=40, channel_pool=10),
    "small": SMALL,
}
TINY = replace(
    SMALL,
    time_pool=2,
    train=TrainConfig(epochs=30, patience=0, batch_size=8, learning_rate=1.5e-2),
    sampling_rate=2000,
    frame_seconds=0.1,
    filters=8,
    first_kernel=8,
    second_kernel=8,
    channel_pool=4,
    noise=0.0,
    units=12,
    dropout=0.0,
)
SEARCH = {"train.learning_rate": "3e-4..5e-3:log", "model.dropout": "0.1..0.6", "model.noise": "0.01..0.3:log"}


class BlstmNetwork(WaveNetwork):
    """Frames of the waveform (piece, frame, samples) -> outputs."""

    def __init__(self, samples: int, outputs: int, config: Config) -> None:
        super().__init__(outputs)
        self.config = config
        self.first = nn.Conv1d(1, config.filters, config.first_kernel, bias=False)
        self.second = nn.Conv1d(config.filters, config.filters, config.second_kernel, bias=False)
        self.lstm = BiLstm(
            samples // config.time_pool * (config.filters // config.channel_pool), config.units, config.layers
        )
        self.head = nn.Linear(2 * config.units, outputs)

    def states(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """States of the LSTM, (piece, frame, 2 units)."""
        states: Tensor = self.lstm(self.features(frames, lengths), lengths)
        return states

    def features(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """What the convolutions make of each frame, (piece, frame, steps x channels)."""
        c, (pieces, count, _) = self.config, frames.shape
        if self.training and c.noise:
            frames = within(frames + c.noise * torch.randn_like(frames), lengths)
        maps = convolve(frames.reshape(pieces, 1, -1), self.first.weight)  # (piece, filter, sample)
        maps = functional.relu(functional.dropout(maps, c.dropout, self.training))
        maps = framewise(functional.max_pool1d(maps, c.time_pool), count, lengths)  # (piece, filter, step)
        maps = functional.dropout(convolve(maps, self.second.weight), c.dropout, self.training)
        maps = functional.max_pool1d(maps.transpose(1, 2), c.channel_pool)  # (piece, step, channel)
        return maps.reshape(pieces, count, -1)


def framewise(maps: Tensor, frames: int, lengths: Tensor) -> Tensor:
    """Maps (piece, channel, step) with zeros behind the last frame of each piece."""
    pieces, channels, _ = maps.shape
    apart = maps.reshape(pieces, channels, frames, -1).transpose(1, 2)
    return within(apart, lengths).transpose(1, 2).reshape(pieces, channels, -1)


class Model(WaveModel[BlstmNetwork]):
    """Convolutions and a bidirectional LSTM on the waveform."""

    name: ClassVar[str] = "cnn-blstm"
    config: Config

    def __init__(self, config: Config, task: Task, *arguments: Any) -> None:
        super().__init__(config, task, *arguments)
        if self.samples % config.time_pool:
            raise SerbenchError(
                f"model.time_pool={config.time_pool} does not divide the {self.samples} samples of a frame. Expected a "
                "divisor of model.sampling_rate x model.frame_seconds, such as --set model.time_pool=2."
            )

    def build(self, sizes: Mapping[str, Any], generator: torch.Generator) -> BlstmNetwork:
        """The network as torch initialises it."""
        return BlstmNetwork(sizes["samples"], self.task.n_outputs, self.config)
