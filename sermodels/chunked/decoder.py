"""The decoder of CNN-AE and CNN-VAE: the encoder backwards, with transposed convolutions.

Lin, Sridhar and Busso (ICASSP 2021, DOI 10.1109/ICASSP39728.2021.9414035), section 5.1: the decoder mirrors the layers
of the encoder, transposed convolutions rebuild the input maps. Nothing more is said; ours is the encoder read from its
end: one fully connected layer with activation to the last maps, then for each convolution from the last to the first a
transposed one with its kernel, stride and channels swapped, batch normalisation and activation, except that the first
convolution's mirror, which makes the spectrogram, is linear and unnormalised. A leaky ReLU has the slope 0.01.

A transposed 3x3 convolution with padding 1 makes (n - 1) * stride + 1 + extra of n rows. The encoder made those n of
N = (n - 1) * stride + 1 + extra rows with an `extra` (the output padding) of (N - 1) mod stride, so that is what each
layer gets, per axis. 62 x 128: 2x4, 4x8, 8x16, 16x32, 31x64, 62x128; only 16 -> 31 takes no extra row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .network import LINEAR_STD, convolution_stack, map_sizes, rectified

ACTIVATIONS = ("relu", "leaky-relu")
OUTPUTS = ("linear", "tanh")


def output_paddings(frames: int, bands: int, strides: Sequence[int]) -> list[tuple[int, int]]:
    """Output padding (time, mel) of the mirror of each of the encoder's convolutions, in the encoder's order."""
    inputs = [(frames, bands), *map_sizes(frames, bands, strides)[:-1]]
    return [((time - 1) % stride, (mel - 1) % stride) for (time, mel), stride in zip(inputs, strides, strict=True)]


class Decoder(nn.Module):
    """Code (chunk, dim) -> maps (chunk, time, mel) in the units of the normalised input.

    Parameters
    ----------
    dim : width of the code
    frames, bands : size of the maps
    channels, strides : those of the encoder, in its order
    norm : whether hidden layers have batch normalisation
    activation : of hidden layers, one of `ACTIVATIONS`
    bound : None for a linear output; else outputs are bound * tanh(x)
    """

    def __init__(
        self,
        dim: int,
        frames: int,
        bands: int,
        channels: Sequence[int],
        strides: Sequence[int],
        *,
        norm: bool = True,
        activation: str = "relu",
        bound: float | None = None,
    ) -> None:
        super().__init__()
        self.slope, self.bound = 0.0 if activation == "relu" else 0.01, bound
        self.shape = (channels[-1], *map_sizes(frames, bands, strides)[-1])
        self.expand = nn.Linear(dim, math.prod(self.shape))
        layers = list(zip(channels, (1, *channels[:-1]), strides, output_paddings(frames, bands, strides), strict=True))
        convolutions = [nn.ConvTranspose2d(i, o, 3, s, 1, extra) for i, o, s, extra in layers[::-1]]
        for convolution in convolutions:
            convolution.weight.data = convolution.weight.data.contiguous(memory_format=torch.channels_last)
        self.convolutions = nn.ModuleList(convolutions)
        hidden = [o for _, o, _, _ in layers[:0:-1]]
        self.norms = nn.ModuleList(nn.BatchNorm2d(o) if norm else nn.Identity() for o in hidden)

    def forward(self, code: Tensor) -> Tensor:
        """(chunk, dim) -> (chunk, time, mel)."""
        maps = rectified(self.expand(code), self.slope).reshape(len(code), *self.shape)  # (chunk, channel, time, mel)
        maps = maps.contiguous(memory_format=torch.channels_last)
        *hidden, last = self.convolutions
        maps = convolution_stack(maps, hidden, self.norms, self.slope)
        out: Tensor = last(maps).squeeze(1)
        return out if self.bound is None else self.bound * torch.tanh(out)


def initialise_decoder(decoder: Decoder, generator: torch.Generator) -> None:
    """Initial weights with the standard deviations of the encoder layers that are mirrored; biases are 0.

    A convolution with C output channels has sqrt(2 / (9 C)); its mirror has C input channels and the same value.
    """
    with torch.no_grad():
        for layer in (decoder.expand, *decoder.convolutions):
            assert isinstance(layer, nn.Linear | nn.ConvTranspose2d)
            std = LINEAR_STD if isinstance(layer, nn.Linear) else math.sqrt(2 / (9 * layer.in_channels))
            layer.weight.copy_(torch.empty(layer.weight.shape).normal_(0, std, generator=generator))
            assert layer.bias is not None
            layer.bias.zero_()
