"""The network of Tzirakis et al. 2021: sound and words of each frame, fused by attention, through an LSTM.

P. Tzirakis, A. Nguyen, S. Zafeiriou and B. W. Schuller, "Speech emotion recognition using semantic information",
ICASSP 2021 (arXiv:2103.02993), and the authors' release (glam-imperial/semantic_speech_emotion_recognition, BSD-3).

Blocks and LSTM: `semantic_fusion/layers.py`.

- Paralinguistic extractor: the frames of a sequence end to end as one signal, three blocks of convolution, ReLU,
  maximum and dropout. The result (time, channel) is laid out flat and cut into one row per frame. At 22,050 Hz a frame
  holds 2 x 2205 samples and 17.64 steps, so rows begin within a step.
- Semantic extractor: a word vector per frame, from outside.
- Fusion of the two, each brought to the same size u first, where Att(u1, u2) = a u1 + (1 - a) u2 with scores
  w . u_k / sqrt(size) and a their softmax:
  `concat`: both side by side, one layer; `attention`: Att, one layer; `disentangled`: Att, three parallel layers (for
  arousal, valence and liking, which nothing but their names ties to them), Att(Att(first, second), third).
- LSTM with peepholes, a linear layer, and for attributes tanh.

Order of the three: `avl` is Att(Att(a, v), l) as released, `alv` Att(Att(a, l), v) as in the paper. The release's
constant added to the scores has no effect and is left out. With one stream alone there is nothing to attend to.
Utterances take the mean of the LSTM's states over their frames (ours; the paper knows traces alone).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...datasets.core.config import option
from ...datasets.core.errors import SerbenchError
from ..training.objective import LabelScale
from .layers import ConvPool, PeepholeLstm

STREAMS = ("both", "audio", "words")
FUSIONS = ("disentangled", "attention", "concat")
ORDERS = ("avl", "alv")
EMOTIONS = 3
RELEASED = "released code"
FREE = "free choice"


@dataclass(frozen=True)
class NetworkConfig:
    """Settings of the network."""

    streams: str = option("both", "what is used: sound, words, or both", source="section 4", choices=STREAMS)
    fusion: str = option("disentangled", "how the two are fused", source="section 3.3", choices=FUSIONS)
    order: str = option("avl", "order of the three in disentangled fusion; paper: alv", source=RELEASED, choices=ORDERS)
    filters: tuple[int, ...] = option((50, 125, 250), "channels of the blocks", source=RELEASED, low=1)
    kernels: tuple[int, ...] = option((8, 6, 6), "widths of their convolutions", source=RELEASED, low=1)
    pools: tuple[int, ...] = option((10, 5, 5), "steps that each maximum is taken of", source=RELEASED, low=1, high=999)
    dropout: float = option(0.5, "share dropped after each block", source="section 4", low=0, high=0.95)
    projection: int = option(1024, "size that sound and words are brought to", source=RELEASED, low=1)
    width: int = option(512, "size of the fused vector", source=RELEASED, low=1)
    units: int = option(256, "units of the LSTM", source=RELEASED, low=1)
    chunked: bool = option(True, "on a processor: convolve piece by piece; false = plainly", source=FREE)


class Attention(nn.Module):
    """Att: two vectors (..., size) of one size weighed against each other by one learnt direction."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Their weighted sum; a softmax of two is a sigmoid of the difference."""
        difference = first - second
        share = torch.sigmoid(difference @ (self.weight / math.sqrt(len(self.weight))))
        return second + share[..., None] * difference


class Fusion(nn.Module):
    """Sound (batch, frame, features) and words (batch, frame, dim), or one of them, to (batch, frame, width)."""

    def __init__(self, features: int, word_dim: int, config: NetworkConfig) -> None:
        super().__init__()
        self.config, both = config, config.streams == "both"
        self.audio = nn.Linear(features, config.projection) if config.streams != "words" else None
        self.words = nn.Linear(word_dim, config.projection) if config.streams != "audio" else None
        concat, disentangled = config.fusion == "concat", config.fusion == "disentangled"
        self.first = Attention(config.projection) if both and not concat else None
        parts = EMOTIONS if disentangled else 1
        self.layer = nn.Linear(config.projection * (2 if both and concat else 1), parts * config.width)
        self.second = Attention(config.width) if disentangled else None
        self.third = Attention(config.width) if disentangled else None

    def forward(self, audio: Tensor | None, words: Tensor | None) -> Tensor:
        """The fused vectors."""
        given = [
            functional.relu(layer(value))
            for layer, value in ((self.audio, audio), (self.words, words))
            if layer is not None
        ]
        joint = self.first(*given) if self.first is not None else torch.cat(given, dim=-1)
        hidden = functional.relu(self.layer(joint))
        if self.second is None or self.third is None:
            return hidden
        a, v, last = hidden.chunk(EMOTIONS, dim=-1)
        if self.config.order == "alv":
            v, last = last, v
        fused: Tensor = self.third(self.second(a, v), last)
        return fused


class SemanticNetwork(LabelScale):
    """The whole network.

    Parameters
    ----------
    samples : numbers of a frame of sound, both speakers
    sequence : frames of a training sequence; decides how many features a frame gets where the steps don't go in evenly
    word_dim : size of a word vector
    outputs : of each frame or utterance
    bounded : tanh on the outputs

    The buffer `gain` is a factor on all sound.
    """

    gain: Tensor

    def __init__(
        self, samples: int, sequence: int, word_dim: int, outputs: int, config: NetworkConfig, *, bounded: bool
    ) -> None:
        super().__init__(outputs)
        self.bounded = bounded
        self.register_buffer("gain", torch.ones(()))
        self.features = frame_features(samples, sequence, config)
        self.blocks = nn.Sequential() if config.streams == "words" else nn.Sequential(*_blocks(config))
        self.fusion = Fusion(self.features, word_dim, config)
        self.lstm = PeepholeLstm(config.width, config.units)
        self.head = nn.Linear(config.units, outputs)

    def forward(self, audio: Tensor, words: Tensor) -> Tensor:
        """Outputs of every frame, (batch, frame, output), from audio (batch, frame, samples), words (..., dim)."""
        return self._out(self.states(audio, words))

    def utterances(self, audio: Tensor, words: Tensor, lengths: Tensor) -> Tensor:
        """Outputs of utterances, (batch, output); `lengths` (batch,) are their frames, silent ones follow."""
        states = self.states(audio, words)
        inside = torch.arange(states.shape[1], device=states.device) < lengths[:, None]
        return self._out((states * inside[..., None]).sum(1) / lengths[:, None])

    def states(self, audio: Tensor, words: Tensor) -> Tensor:
        """States of the LSTM, (batch, frame, units)."""
        sound = self.paralinguistic(audio) if len(self.blocks) else None
        states: Tensor = self.lstm(self.fusion(sound, words))
        return states

    def paralinguistic(self, audio: Tensor) -> Tensor:
        """One row of features per frame, (batch, frame, features)."""
        batch, frames, _ = audio.shape
        maps: Tensor = self.blocks((audio * self.gain).reshape(batch, -1, 1))
        flat, wanted = maps.flatten(1), frames * self.features
        if flat.shape[1] < wanted:  # a number of frames that the pools cut short
            flat = functional.pad(flat, (0, wanted - flat.shape[1]))
        return flat[:, :wanted].reshape(batch, frames, self.features)

    def _out(self, states: Tensor) -> Tensor:
        outputs: Tensor = self.head(states)
        return torch.tanh(outputs) if self.bounded else outputs


def check_shapes(config: NetworkConfig) -> None:
    """Refuse blocks that are not described in full."""
    lengths = {name: len(getattr(config, name)) for name in ("filters", "kernels", "pools")}
    if len(set(lengths.values())) != 1 or not config.filters:
        given = ", ".join(f"{count} {name}" for name, count in lengths.items())
        raise SerbenchError(
            f"{given} were given. Expected as many of each: one for every block, such as --set model.filters=16,32,40."
        )


def frame_features(samples: int, sequence: int, config: NetworkConfig) -> int:
    """Features of a frame: the steps of a sequence times channels, over its frames; a remainder is left out."""
    steps = samples * sequence
    for pool in config.pools:
        steps //= pool
    return steps * config.filters[-1] // sequence


def whole_frames(samples: int, config: NetworkConfig) -> int:
    """The least number of frames that the pools divide without a rest."""
    total = math.prod(config.pools)
    return total // math.gcd(total, samples)


def reach_frames(samples: int, config: NetworkConfig) -> int:
    """Silent frames after which what follows an utterance no longer changes its features."""
    reach, step = 0, 1
    for kernel, pool in zip(config.kernels, config.pools, strict=True):
        reach += step * (kernel - 1 - (kernel - 1) // 2 + pool)
        step *= pool
    return -(-(reach + step) // samples)


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """TensorFlow's defaults, as in the release: Glorot's uniform distribution for weights, zero for biases."""
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif "blocks" in name:
            kernel, inputs, outputs = parameter.shape
            _uniform(parameter, kernel * inputs, kernel * outputs, generator)
        elif parameter.dim() == 1 or "peepholes" in name:
            _uniform(parameter, parameter.shape[-1], parameter.shape[-1], generator)
        else:
            _uniform(parameter, parameter.shape[0], parameter.shape[1], generator)


def _uniform(parameter: nn.Parameter, fan_in: int, fan_out: int, generator: torch.Generator) -> None:
    limit = math.sqrt(6 / (fan_in + fan_out))
    nn.init.uniform_(parameter, -limit, limit, generator)


def _blocks(config: NetworkConfig) -> list[ConvPool]:
    channels = (1, *config.filters[:-1])
    shapes = zip(channels, config.filters, config.kernels, config.pools, strict=True)
    return [ConvPool(*shape, dropout=config.dropout, chunked=config.chunked) for shape in shapes]
