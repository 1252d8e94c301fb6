"""The residual dilated blocks of MAEC, plainly and with what overlapping windows share computed once.

MAEC, section 2: h_i = DilatedConv(x_i) (Eq. 2), "two ordinary convolutional layers and one dilated", with
"a convolution shortcut". Kernels and widths are those of the authors' release: per block 1 -> 512, 3 (causal) -> 512,
dilation 2 (causal) -> 128, shortcut 1 -> 128; ReLU after the first two and after the sum; no biases; the maximum of
pairs of frames after block 0. The release gives the dilated convolution a kernel of 1, so that its dilation has no
effect; `dilated_kernel=3` is a dilation that dilates.

Windows of 50 frames every 10 frames share 80 per cent of their frames. All layers are causal, so beyond its first few
frames a window's activations don't depend on where it starts: they are those of one pass over the whole stretch. Only
the `e` first frames of each window, whose receptive field reaches before its start, are its own. A `Shared` sequence
carries both: `frames`, valid inside every window from frame e on, and `heads`, the e first frames of each window. A
causal convolution of kernel k and dilation d makes e' = e + (k - 1) d; pooling halves it. Stretches lie end to end,
since what leaks from one into the next never gets beyond e.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...datasets.core.config import option
from .instances import BagConfig

WIDTHS = (512, 512, 128)
DILATION = 2
KERNEL = 3


@dataclass(frozen=True)
class BlockConfig(BagConfig):
    """Settings of the blocks."""

    widths: tuple[int, ...] = option(WIDTHS, "channels of the three convolutions", source="released code", low=1)
    dilated_kernel: int = option(3, "kernel of the dilated one; released: 1", source="section 2", low=1, high=9)
    sharing: bool = option(True, "compute once what overlapping windows share; false = plainly", source="free choice")


@dataclass(frozen=True)
class Places:
    """Where windows lie in stretches that lie end to end.

    Attributes
    ----------
    starts : first frame of each window, (window,)
    window, hop : in frames; every start and every stretch is a multiple of the hop
    """

    starts: Tensor
    window: int
    hop: int

    def halved(self) -> Places:
        """The same windows after the maximum of pairs of frames."""
        return Places(self.starts // 2, self.window // 2, self.hop // 2)

    def gather(self, frames: Tensor, low: int, high: int) -> Tensor:
        """Frames `low` to `high` of each window, (frame, channel) -> (window, high - low, channel)."""
        groups = frames.reshape(len(frames) // self.hop, self.hop, frames.shape[-1])
        first, pieces = self.starts // self.hop, []
        while low < high:
            skipped, begin = divmod(low, self.hop)
            end = min(self.hop, begin + high - low)
            pieces.append(groups[:, begin:end].index_select(0, first + skipped))
            low += end - begin
        return torch.cat(pieces, dim=1) if pieces else frames.new_empty(len(first), 0, frames.shape[-1])


@dataclass(frozen=True)
class Shared:
    """Activations of overlapping windows: `frames` (frame, channel), and `heads` (window, e, channel)."""

    frames: Tensor
    heads: Tensor

    def relu(self) -> Shared:
        """Both parts rectified."""
        return Shared(functional.relu(self.frames), functional.relu(self.heads))

    def extended(self, reach: int, places: Places) -> Shared:
        """The same activations with heads of `reach` frames."""
        tail = places.gather(self.frames, self.heads.shape[1], reach)
        return Shared(self.frames, torch.cat([self.heads, tail], dim=1))

    def windows(self, places: Places) -> Tensor:
        """All windows whole, (window, time, channel)."""
        return self.extended(places.window, places).heads


def causal(inputs: Shared, weight: Tensor, dilation: int, places: Places) -> Shared:
    """A causal convolution of windows; weight (out, in, kernel).

    The products of every frame with every tap are made once, then added up with shifts:
    y_t = sum_j W_j x_(t - (k - 1 - j) d).
    """
    out, channels, kernel = weight.shape
    taps = weight.permute(1, 2, 0).reshape(channels, kernel * out)
    products = Shared(inputs.frames @ taps, inputs.heads @ taps)
    if kernel == 1:
        return products
    heads = products.extended(inputs.heads.shape[1] + (kernel - 1) * dilation, places).heads
    return Shared(shifted_sum(products.frames, kernel, dilation), shifted_sum(heads, kernel, dilation))


def shifted_sum(products: Tensor, kernel: int, dilation: int) -> Tensor:
    """Products (..., time, tap x channel) summed over the taps, each tap a dilation later than the next one."""
    shape = (*products.shape[:-1], kernel, products.shape[-1] // kernel)
    parts = products.reshape(shape).unbind(-2)  # their gradients come back in one piece
    total = parts[-1]
    for back, part in enumerate(reversed(parts[:-1]), 1):
        shift = back * dilation
        if shift < part.shape[-2]:
            total = total + functional.pad(part[..., :-shift, :], (0, 0, shift, 0))
    return total


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

    def shared(self, inputs: Shared, places: Places) -> Shared:
        """The same for windows of one sequence."""
        hidden = causal(inputs, self.first, 1, places).relu()
        hidden = causal(hidden, self.second, 1, places).relu()
        hidden = causal(hidden, self.dilated, DILATION, places)
        short = causal(inputs, self.shortcut, 1, places).extended(hidden.heads.shape[1], places)
        return Shared(hidden.frames + short.frames, hidden.heads + short.heads).relu()


class Convolutions(nn.Module):
    """Block 0, the maximum of pairs of frames, block 1, flattened: h_i of every instance."""

    def __init__(self, channels: int, config: BlockConfig) -> None:
        super().__init__()
        self.config = config
        self.block0, self.block1 = Block(channels, config), Block(config.widths[-1], config)
        self.features = config.window // 2 * config.widths[-1]

    def forward(self, frames: Tensor, starts: Tensor) -> Tensor:
        """Windows of stretches that lie end to end, (frame, channel) and (window,) -> (window, features)."""
        return self.shared(frames, starts) if can_share(self.config) else self.plain(frames, starts)

    def plain(self, frames: Tensor, starts: Tensor) -> Tensor:
        """Every window by itself."""
        offsets = torch.arange(self.config.window, device=starts.device)
        windows = frames[starts[:, None] + offsets].transpose(1, 2)  # (window, channel, time)
        maps = self.block1(functional.max_pool1d(self.block0(windows), 2))
        return torch.flatten(maps.transpose(1, 2), 1)

    def shared(self, frames: Tensor, starts: Tensor) -> Tensor:
        """What windows share is computed once."""
        places = Places(starts, self.config.window, self.config.hop)
        found = self.block0.shared(Shared(frames, frames.new_empty(len(starts), 0, frames.shape[1])), places)
        pooled, halved = Shared(halve(found.frames), halve(found.heads)), places.halved()
        return torch.flatten(self.block1.shared(pooled, halved).windows(halved), 1)


def halve(frames: Tensor) -> Tensor:
    """The maximum of pairs of frames, (..., time, channel) -> (..., time / 2, channel)."""
    pairs = frames.reshape(*frames.shape[:-2], frames.shape[-2] // 2, 2, frames.shape[-1])
    return torch.maximum(pairs[..., 0, :], pairs[..., 1, :])


def can_share(config: BlockConfig) -> bool:
    """Whether windows can be computed together: whole, even hops, and windows longer than what is their own."""
    reach = KERNEL - 1 + (config.dilated_kernel - 1) * DILATION  # of one block
    fits = config.window // 2 >= math.ceil(reach / 2) + reach
    return config.sharing and config.hop % 2 == 0 and config.window % config.hop == 0 and reach % 2 == 0 and fits
