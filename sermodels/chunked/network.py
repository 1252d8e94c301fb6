"""What DeepEmoCluster and its three baselines share: settings, encoder, heads, normalisation, initial weights.

Lin, Sridhar and Busso, "DeepEmoCluster: a semi-supervised framework for latent cluster representation of speech
emotions", ICASSP 2021, DOI 10.1109/ICASSP39728.2021.9414035: sections 4.1 (features, chunks), 4.2 (networks) and 5.1
(settings). The paper names a VGG-16 with batch normalisation; the layer list is that of the authors' release
(github.com/winston-lin-wei-cheng/DeepEmoClusters): seven 3x3 convolutions, halving by stride, no pooling. The initial
weights and the clipping of z-normalised features to -3..3 are the release's too; the paper is silent on them.

In every preset, `paper` too, the input is that of the release: the power spectrum of audio that is divided by its peak
(`features/mel.py`). The text says magnitude, and nothing of a peak: --set feature.power=1 --set
feature.peak_normalise=false. The best epoch is that of the best dev score, where the text says validation loss. At most
50 epochs are the release's; ending 10 epochs after the best one is ours.

Convolutions run in channels-last memory order, which takes about half the time on a CPU; the flattened features keep
the (channel, time, mel) order of the release, so that its weights fit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...datasets.core.config import option
from ...datasets.core.errors import SerbenchError
from ..core.speed import computed_by
from ..inputs.chunks import RULES, SHORT
from ..training.losses import EPSILON
from ..training.settings import TrainConfig
from .fast.convolutions import can_stack, fast_stack

CHANNELS = (32, 32, 64, 64, 128, 128, 128)
STRIDES = (1, 1, 2, 2, 2, 2, 2)
LINEAR_STD = 0.01
"""Standard deviation of the initial weights of every fully connected layer, as in the release."""


@dataclass(frozen=True)
class EncoderConfig:
    """Settings of the encoder, its input and its training, shared by the DeepEmoCluster family."""

    train: TrainConfig = option(TrainConfig(), "settings of the training, train.KEY")  # noqa: RUF009 (it is frozen)
    chunk_seconds: float = option(1.0, "length wc of a chunk in seconds", source="section 5.1", low=0.02)
    max_seconds: float = option(11.0, "longest sentence Tmax in seconds: C = ceil(Tmax / wc)", source="5.1", low=0.02)
    step_rule: str = option("floor", "rounding of the chunk step to frames", source="released code", choices=RULES)
    short: str = option("tile", "how a sentence shorter than a chunk is extended", source="free choice", choices=SHORT)
    clip: float = option(3.0, "bound of z-normalised features", source="released code", low=0.1)
    channels: tuple[int, ...] = option(CHANNELS, "channels of each convolution", source="released code", low=1)
    strides: tuple[int, ...] = option(STRIDES, "stride of each convolution", source="released code", low=1, high=4)
    width: int = option(256, "width of the latent h and of each head's hidden layer", source="released code", low=1)
    dropout: float = option(0.5, "share of h dropped in training", source="released code", low=0, high=0.95)
    encoder_optimiser: str = option("adam", "optimiser of the encoder", source="free choice", choices=("adam", "sgd"))
    encoder_rate: float | None = option(None, "its step size; none = train.learning_rate", source="free choice", low=0)
    draw: str = option("chunks", "what a batch draws", source="released code", choices=("chunks", "sentences"))
    ccc_epsilon: float = option(EPSILON, "added to the denominator of the CCC loss", source="free choice", low=0)
    ccc_correction: int = option(0, "0: population variances; 1: divided by n - 1", source="free choice", low=0, high=1)
    class_weights: str = option("none", "weights of the classes", source="free choice", choices=("none", "balanced"))

    def __post_init__(self) -> None:
        """Refuse lists that don't belong together."""
        if not self.channels or len(self.channels) != len(self.strides):
            raise SerbenchError(
                f"model.channels has {len(self.channels)} layers, model.strides {len(self.strides)}. Expected as many "
                "of each, such as --set model.channels=8,16,32 --set model.strides=2,2,2."
            )


C = TypeVar("C", bound=EncoderConfig)


def paper(config: C) -> C:
    """Section 5.1: 64 sentences per step, Adam 5e-4 for the head, plain SGD 1e-3 for the encoder."""
    return replace(config, train=TrainConfig(batch_size=64), encoder_optimiser="sgd", encoder_rate=1e-3)


def small(config: C) -> C:
    """For a CPU: five narrow convolutions, 3 chunks of 1 s, Adam 1e-3, at most 10 epochs."""
    return replace(
        config,
        train=TrainConfig(epochs=10, patience=4, learning_rate=1e-3),
        max_seconds=3.0,
        channels=(16, 32, 32, 64, 64),
        strides=(2, 2, 1, 2, 2),
        width=128,
    )


def tiny(config: C) -> C:
    """For tests: trains in about a second on a few short utterances."""
    return replace(
        config,
        train=TrainConfig(epochs=60, patience=0, batch_size=4, learning_rate=3e-3),
        chunk_seconds=0.25,
        max_seconds=0.5,
        channels=(4, 8),
        strides=(4, 2),
        width=16,
        dropout=0.0,
    )


def map_sizes(frames: int, bands: int, strides: Sequence[int]) -> list[tuple[int, int]]:
    """Size (time, mel) of each convolution's output: a 3x3 kernel with padding 1 gives floor((n - 1) / stride) + 1."""
    sizes = []
    for stride in strides:
        frames, bands = (frames - 1) // stride + 1, (bands - 1) // stride + 1
        sizes.append((frames, bands))
    return sizes


class Normaliser(nn.Module):
    """z-normalisation per mel band with the training set's moments, then clipping (section 4.1)."""

    mean: Tensor
    inverse: Tensor

    def __init__(self, bands: int, clip: float) -> None:
        super().__init__()
        self.clip = clip
        self.register_buffer("mean", torch.zeros(bands))
        self.register_buffer("inverse", torch.ones(bands))

    def set(self, mean: npt.NDArray[np.float64], inverse: npt.NDArray[np.float64]) -> None:
        """Take the moments, each (band,); a constant band has the inverse 0 and becomes 0."""
        self.mean.copy_(torch.from_numpy(mean))
        self.inverse.copy_(torch.from_numpy(inverse))

    def forward(self, frames: Tensor) -> Tensor:
        """(chunk, time, mel) -> the same shape, in -clip..clip; values that are no numbers become 0."""
        return torch.nan_to_num_((frames - self.mean) * self.inverse, nan=0.0).clamp_(-self.clip, self.clip)


@computed_by(fast_stack, where=can_stack)
def convolution_stack(
    maps: Tensor, convolutions: Iterable[nn.Module], norms: Iterable[nn.Module], slope: float = 0.0
) -> Tensor:
    """Convolution, normalisation and (leaky) ReLU, layer after layer: (item, channel, time, mel) -> the same axes."""
    for convolution, norm in zip(convolutions, norms, strict=True):
        maps = rectified(norm(convolution(maps)), slope)
    return maps


def rectified(values: Tensor, slope: float) -> Tensor:
    """ReLU, or with a slope below 0 the leaky one."""
    return functional.leaky_relu(values, slope) if slope else functional.relu(values)


class Encoder(nn.Module):
    """f_enc: convolutions with batch normalisation and ReLU, then one fully connected layer (section 4.2).

    62 x 128 with the default channels and strides: 62x128, 62x128, 31x64, 16x32, 8x16, 4x8, 2x4 (time x mel), so 1024
    flattened features; 697,568 parameters.
    """

    def __init__(self, frames: int, bands: int, config: EncoderConfig) -> None:
        super().__init__()
        shapes = zip((1, *config.channels[:-1]), config.channels, config.strides, strict=True)
        convolutions = [nn.Conv2d(i, o, 3, stride, 1) for i, o, stride in shapes]
        for convolution in convolutions:
            convolution.weight.data = convolution.weight.data.contiguous(memory_format=torch.channels_last)
        self.convolutions = nn.ModuleList(convolutions)
        self.norms = nn.ModuleList(nn.BatchNorm2d(o) for o in config.channels)
        time, mel = map_sizes(frames, bands, config.strides)[-1]
        self.latent = nn.Linear(config.channels[-1] * time * mel, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, chunks: Tensor) -> Tensor:
        """(chunk, time, mel), normalised -> h (chunk, width)."""
        maps = chunks.unsqueeze(1)  # (chunk, channel, time, mel)
        maps = convolution_stack(maps, self.convolutions, self.norms)
        hidden: Tensor = self.dropout(functional.relu(self.latent(torch.flatten(maps, 1))))
        return hidden


class Head(nn.Sequential):
    """f_emo or f_cltr: a hidden layer with ReLU and a linear output layer (section 4.2)."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs))


class ChunkNetwork(nn.Module):
    """Normalisation, encoder and emotion head: the whole of `cnn-regressor`, and the supervised part of the others.

    `label_mean` and `label_std`, (target,), are the training labels' moments (regression): outputs are z-scores.
    """

    label_mean: Tensor
    label_std: Tensor

    def __init__(self, frames: int, bands: int, outputs: int, config: EncoderConfig) -> None:
        super().__init__()
        self.normaliser = Normaliser(bands, config.clip)
        self.encoder = Encoder(frames, bands, config)
        self.emotion = Head(config.width, outputs)
        self.register_buffer("label_mean", torch.zeros(outputs))
        self.register_buffer("label_std", torch.ones(outputs))

    def latent(self, chunks: Tensor) -> Tensor:
        """Raw features (chunk, time, mel) -> h (chunk, width)."""
        hidden: Tensor = self.encoder(self.normaliser(chunks))
        return hidden

    def forward(self, chunks: Tensor) -> Tensor:
        """Raw features (chunk, time, mel) -> z-scores or class logits (chunk, output)."""
        outputs: Tensor = self.emotion(self.latent(chunks))
        return outputs


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Initial weights as in the release: convolutions He by fan-out, fully connected layers N(0, 0.01), biases 0.

    A convolution's standard deviation is sqrt(2 / (kernel height * kernel width * output channels)).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            area = module.kernel_size[0] * module.kernel_size[1]
            _normal(module.weight, math.sqrt(2 / (area * module.out_channels)), generator)
        elif isinstance(module, nn.Linear):
            _normal(module.weight, LINEAR_STD, generator)
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def _normal(weight: Tensor, std: float, generator: torch.Generator) -> None:
    """Draw in the usual order of the indices, whatever the memory order."""
    with torch.no_grad():
        weight.copy_(torch.empty(weight.shape).normal_(0, std, generator=generator))
