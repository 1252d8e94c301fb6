"""The layers of MAEC's encoder as they are defined: residual dilated blocks over instances, a GRU over their bag.

MAEC, section 2: h_i = DilatedConv(x_i) (Eq. 2), "two ordinary convolutional layers and one dilated", with
"a convolution shortcut". Kernels and widths are those of the authors' release: per block 1 -> 512, 3 (causal) -> 512,
dilation 2 (causal) -> 128, shortcut 1 -> 128; ReLU after the first two and after the sum; no biases; the maximum of
pairs of frames after block 0. The release gives the dilated convolution a kernel of 1, so that its dilation has no
effect; `dilated_kernel=3` is a dilation that dilates.

Key = BiGRU(H) (Eq. 4). The release asks Keras for a GRU whose candidate c is a sigmoid (`candidate`):

    z = s(W_z x + b_z + U_z h + c_z)         r likewise
    c = s(W_c x + b_c + r (U_c h + c_c))     h' = z h + (1 - z) c

How both are computed faster stands in `maec/fast/`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...datasets.core.config import option
from ..core.speed import computed_by
from .bag_rows import Layout
from .fast.gru import tanh_gru
from .fast.windows import blocks_of_windows
from .instances import BagConfig

WIDTHS = (512, 512, 128)
DILATION = 2
KERNEL = 3
GATES = 3
"""Reset, update, candidate: the order of the parameters' rows, as in `torch.nn.GRU`."""


@dataclass(frozen=True)
class BlockConfig(BagConfig):
    """Settings of the blocks."""

    widths: tuple[int, ...] = option(WIDTHS, "channels of the three convolutions", source="released code", low=1)
    dilated_kernel: int = option(3, "kernel of the dilated one; released: 1", source="section 2", low=1, high=9)
    sharing: bool = option(True, "compute once what overlapping windows share; false = plainly", source="free choice")


class Block(nn.Module):
    """One residual block; in the release's widths and kernels 880,768 parameters for 45 channels, 933,888 for 128."""

    def __init__(self, channels: int, config: BlockConfig) -> None:
        super().__init__()
        first, second, last = config.widths
        self.first = nn.Parameter(torch.empty(first, channels, 1))
        self.second = nn.Parameter(torch.empty(second, first, KERNEL))
        self.dilated = nn.Parameter(torch.empty(last, second, config.dilated_kernel))
        self.shortcut = nn.Parameter(torch.empty(last, channels, 1))

    def forward(self, windows: Tensor) -> Tensor:
        """Eq. 2 of every window by itself, (window, channel, time) -> (window, last width, time)."""
        hidden = functional.relu(functional.conv1d(windows, self.first))
        hidden = functional.relu(functional.conv1d(functional.pad(hidden, (KERNEL - 1, 0)), self.second))
        reach = (self.dilated.shape[2] - 1) * DILATION
        hidden = functional.conv1d(functional.pad(hidden, (reach, 0)), self.dilated, dilation=DILATION)
        return functional.relu(hidden + functional.conv1d(windows, self.shortcut))

    def layers(self) -> Iterator[tuple[Tensor, int]]:
        """Weight and dilation of the three convolutions and of the shortcut."""
        yield from ((self.first, 1), (self.second, 1), (self.dilated, DILATION), (self.shortcut, 1))


class Convolutions(nn.Module):
    """Block 0, the maximum of pairs of frames, block 1, flattened: h_i of every instance."""

    def __init__(self, channels: int, config: BlockConfig) -> None:
        super().__init__()
        self.config = config
        self.block0, self.block1 = Block(channels, config), Block(config.widths[-1], config)
        self.features = config.window // 2 * config.widths[-1]

    @computed_by(blocks_of_windows, where=lambda self, frames, starts: can_share(self.config))
    def forward(self, frames: Tensor, starts: Tensor) -> Tensor:
        """Windows of stretches that lie end to end, (frame, channel) and (window,) -> (window, features)."""
        offsets = torch.arange(self.config.window, device=starts.device)
        windows = frames[starts[:, None] + offsets].transpose(1, 2)  # (window, channel, time)
        maps = self.block1(functional.max_pool1d(self.block0(windows), 2))
        return torch.flatten(maps.transpose(1, 2), 1)


def can_share(config: BlockConfig) -> bool:
    """Whether windows can be computed together: whole, even hops, and windows longer than what is their own."""
    reach = KERNEL - 1 + (config.dilated_kernel - 1) * DILATION  # of one block
    fits = config.window // 2 >= math.ceil(reach / 2) + reach
    return config.sharing and config.hop % 2 == 0 and config.window % config.hop == 0 and reach % 2 == 0 and fits


class Direction(nn.Module):
    """Parameters of one direction: kernel (3 units, inputs), recurrent (3 units, units), two biases (3 units,)."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.empty(GATES * units, inputs))
        self.recurrent = nn.Parameter(torch.empty(GATES * units, units))
        self.bias = nn.Parameter(torch.zeros(GATES * units))
        self.recurrent_bias = nn.Parameter(torch.zeros(GATES * units))

    def forward(self, bag: Tensor, sigmoid: bool) -> Tensor:
        """Instances (instance, inputs) of a bag -> states (instance, units); the state before it is 0."""
        state, states = bag.new_zeros(self.recurrent.shape[1]), []
        for driven in functional.linear(bag, self.kernel, self.bias):
            r, z, c = driven.chunk(GATES)
            by_r, by_z, by_c = functional.linear(state, self.recurrent, self.recurrent_bias).chunk(GATES)
            c = c + torch.sigmoid(r + by_r) * by_c
            z, c = torch.sigmoid(z + by_z), torch.sigmoid(c) if sigmoid else torch.tanh(c)
            state = z * state + (1 - z) * c
            states.append(state)
        return torch.stack(states)


class BiGru(nn.Module):
    """Key = BiGRU(H) (Eq. 4): both directions over the instances of each bag, concatenated."""

    def __init__(self, inputs: int, width: int, candidate: str) -> None:
        super().__init__()
        self.sigmoid = candidate == "sigmoid"
        self.forwards, self.backwards = Direction(inputs, width // 2), Direction(inputs, width // 2)

    @computed_by(tanh_gru)
    def forward(self, rows: Tensor, layout: Layout) -> Tensor:
        """Instances of all bags, bag after bag, (row, inputs) -> states (row, width)."""
        states = [rows.new_zeros(0, 2 * self.forwards.recurrent.shape[1])]
        for bag in torch.split(rows, layout.counts.tolist()):
            if len(bag):
                there, back = self.forwards(bag, self.sigmoid), self.backwards(bag.flip(0), self.sigmoid).flip(0)
                states.append(torch.cat([there, back], dim=1))
        return torch.cat(states)
