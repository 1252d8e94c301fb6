"""Clean and noisy encoder and the decoder of a ladder network, over the encoder and head of the DeepEmoCluster family.

Equations are those of Rasmus et al. (2015, arXiv 1507.02672), section 3. Layers are, from the bottom: the spectrum,
each convolution, the latent h, the head's hidden layer, the outputs; a layer's z is what comes before its scale, shift
and ReLU. All functions take values (chunk, channel) or (chunk, channel, time, mel); statistics go over all axes but the
channel.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..chunked.decoder import output_paddings
from ..chunked.network import ChunkNetwork, map_sizes
from .config import Config

EPSILON = 1e-5


def moments_of(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over a batch, shaped so that they spread over the values."""
    axes = [axis for axis in range(values.dim()) if axis != 1]
    mean = values.mean(axes, keepdim=True)
    return mean, (values - mean).square().mean(axes, keepdim=True).add(EPSILON).sqrt()


def standardised(values: Tensor) -> Tensor:
    """Values with mean 0 and variance 1 in each channel of the batch."""
    mean, std = moments_of(values)
    return (values - mean) / std


class Combinator(nn.Module):
    """g(z, u) = (z - mu(u)) v(u) + mu(u), with mu and v of the form a sigmoid(b u + c) + d u + e (Eqs. 7 and 8).

    Ten numbers for each channel; at the start mu and v are 0, and so is g.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        start = torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0] * 2)
        self.weights = nn.Parameter(start[:, None].repeat(1, channels))  # (10, channel)

    def forward(self, noisy: Tensor, above: Tensor) -> Tensor:
        """Noisy z and the signal u from above, of one shape -> the rebuilt z."""
        shape = (1, -1, *[1] * (above.dim() - 2))
        w = [row.reshape(shape) for row in self.weights]
        mu = w[0] * torch.sigmoid(w[1] * above + w[2]) + w[3] * above + w[4]
        v = w[5] * torch.sigmoid(w[6] * above + w[7]) + w[8] * above + w[9]
        rebuilt: Tensor = (noisy - mu) * v + mu
        return rebuilt


class LadderNetwork(ChunkNetwork):
    """Encoder and emotion head, as they predict, and what only training needs: the way back down."""

    def __init__(self, frames: int, bands: int, outputs: int, config: Config) -> None:
        super().__init__(frames, bands, outputs, config)
        width = config.width
        self.encoder.latent = nn.Sequential(self.encoder.latent, nn.BatchNorm1d(width))  # type: ignore[assignment]
        hidden, relu, last = self.emotion
        self.emotion = nn.Sequential(hidden, nn.BatchNorm1d(width), relu, last)  # type: ignore[assignment]
        shape = (config.channels[-1], *map_sizes(frames, bands, config.strides)[-1])
        widths = [1, *config.channels, width, width, outputs]
        self.top = Combinator(outputs)
        self.lower = nn.ModuleList()
        self.down = nn.ModuleList()
        if config.variant == "full":
            layers = zip(config.channels, (1, *config.channels[:-1]), config.strides, strict=True)
            back = [
                nn.ConvTranspose2d(i, o, 3, stride, 1, extra)
                for (i, o, stride), extra in zip(layers, output_paddings(frames, bands, config.strides), strict=True)
            ]
            flat = nn.Sequential(nn.Linear(width, math.prod(shape)), nn.Unflatten(1, shape))
            self.down.extend([*back, flat, nn.Linear(width, width), nn.Linear(outputs, width)])
            self.lower.extend(Combinator(width) for width in widths[:-1])

    def passed(self, maps: Tensor, noise: float) -> list[Tensor]:
        """z of each layer from the bottom up, of normalised chunks (chunk, time, mel), with noise or (0) without.

        A pass without noise updates the running statistics that predictions use.
        """
        values = self._noisy(maps.unsqueeze(1), noise)  # (chunk, 1, time, mel)
        layers = [values]
        for convolution, norm in zip(self.encoder.convolutions, self.encoder.norms, strict=True):
            values = self._layer(layers, norm, convolution(values), noise)
        assert isinstance(self.encoder.latent, nn.Sequential)
        code, norm = self.encoder.latent
        values = self._layer(layers, norm, code(torch.flatten(values, 1)), noise)  # (chunk, width)
        hidden, norm, _, last = self.emotion
        values = self._layer(layers, norm, hidden(self.encoder.dropout(values) if noise else values), noise)
        layers.append(self._noisy(last(values), noise))  # (chunk, output)
        return layers

    def _layer(self, layers: list[Tensor], norm: nn.Module, values: Tensor, noise: float) -> Tensor:
        """Append a layer's z; what it hands on, scaled, shifted and rectified."""
        assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
        kept = (None, None) if noise else (norm.running_mean, norm.running_var)
        z = functional.batch_norm(values, *kept, training=True, momentum=norm.momentum or 0.1, eps=norm.eps)
        layers.append(self._noisy(z, noise))
        shape = (1, -1, *[1] * (values.dim() - 2))
        return functional.relu(layers[-1] * norm.weight.reshape(shape) + norm.bias.reshape(shape))

    def rebuilt(self, noisy: list[Tensor], signal: Tensor) -> list[Tensor]:
        """z of each rebuilt layer from the top down, from the noisy ones and the signal (chunk, output) at the top."""
        states = [self.top(noisy[-1], standardised(signal))]
        for z, down, combine in zip(
            noisy[-2::-1][: len(self.down)], reversed(self.down), reversed(self.lower), strict=True
        ):
            states.append(combine(z, standardised(down(states[-1]))))
        return states

    @staticmethod
    def _noisy(values: Tensor, noise: float) -> Tensor:
        """Values with noise in proportion to the spread of their channel."""
        if not noise:
            return values
        return values + noise * moments_of(values.detach())[1] * torch.randn_like(values)


def errors(clean: list[Tensor], rebuilt: list[Tensor]) -> list[Tensor]:
    """Mean squared error of each rebuilt layer from the top down, in units of the clean layer's variance (Eq. 9)."""
    losses = []
    for z, again in zip(reversed(clean), rebuilt, strict=False):  # the Gamma model rebuilds the top alone
        mean, std = moments_of(z)
        losses.append(functional.mse_loss((again - mean) / std, (z - mean) / std))
    return losses
