"""Convolution, maximum over time, ReLU and dropout of the waveform network, without its large intermediate maps.

A block of Tzirakis et al. 2021 (see `_semantic_network`): a convolution over time with zero padding ("same", the odd
zero at the end), ReLU, the maximum of `pool` steps (a rest is left out), dropout. Axis order (batch, time, channel).

Written plainly, ten seconds of sound make maps of 88 MB in the first block alone; most of the time goes into fetching
that memory, and into convolutions of one long row, which libraries are slow at. On a processor it is done so instead:

- The maximum comes before bias and ReLU, which change nothing about which step is largest, and piece by piece: the map
  of a piece of time stays in the cache, and what is kept of it is the maximum and where it was (two bytes).
- Rows of (time, channel) lie one behind the other, so the window of a kernel of K steps is a stretch of K x channels
  numbers, and every K-th window starts where another one ends. So a convolution is K matrix products on the input as it
  lies in memory, each of which writes every K-th row of the output. The two gradients are K products each, likewise.
- The first block has one channel: there each group of `pool` outputs is one row of pool + K - 1 samples times a banded
  matrix. Groups of samples that are all zero have the outputs ReLU(bias) and no part in the kernel's gradient: they are
  passed over. Half of the network's input is zero (one of two speakers is silent in every frame).
- ReLU and dropout share a mask: what is not positive afterwards has no gradient. Dropout's random bits come from a
  generator that is seeded by PyTorch's; drawing them one by one takes longer than the whole first block.

The results are those of the plain writing up to rounding, gradients included; of equal largest steps the first one
takes the gradient, as there. On other devices, and for inputs that need a gradient in the first block, the block is
computed plainly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

PIECE_BYTES = 480 * 1024
"""Size of the map of a piece; with its input and the kernel it fits into the second cache of common processors."""
LEVELS = 2**16
"""Steps in which the share of dropped values can be set; a half is exact."""


class ConvPool(nn.Module):
    """One block: (batch, time, channels) -> (batch, time // pool, filters).

    Parameters
    ----------
    channels, filters : of input and output
    kernel, pool : width of the convolution, and number of steps that one maximum is taken of
    dropout : share of the outputs that are zero in training; the others are divided by 1 - share
    chunked : compute piece by piece on a processor; false = plainly
    """

    def __init__(
        self, channels: int, filters: int, kernel: int, pool: int, dropout: float = 0.0, *, chunked: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(kernel, channels, filters))
        self.bias = nn.Parameter(torch.zeros(filters))
        self.pool, self.dropout, self.chunked = pool, dropout, chunked

    def forward(self, maps: Tensor) -> Tensor:
        """The block's output; dropout only in training mode."""
        dropout = self.dropout if self.training else 0.0
        first = self.weight.shape[1] == 1
        if not self.chunked or maps.device.type != "cpu" or (first and maps.requires_grad):
            return functional.dropout(plain(maps, self.weight, self.bias, self.pool), dropout)
        maps = maps.to(self.weight.dtype)
        keep = None
        if dropout:
            keep = kept((len(maps), maps.shape[1] // self.pool, self.weight.shape[2]), dropout)
        block = FirstBlock if first else Block
        with torch.autocast("cpu", enabled=False):
            result: Tensor = block.apply(  # type: ignore[no-untyped-call]
                maps.contiguous(), self.weight, self.bias, keep, self.pool, 1 - dropout
            )
        return result


def plain(maps: Tensor, weight: Tensor, bias: Tensor, pool: int) -> Tensor:
    """The block by the library's own layers, without dropout."""
    left, right = padding(len(weight))
    padded = functional.pad(maps.transpose(1, 2), (left, right))
    found = functional.conv1d(padded, weight.permute(2, 1, 0), bias)
    return functional.relu(functional.max_pool1d(found, pool)).transpose(1, 2)


def padding(kernel: int) -> tuple[int, int]:
    """Zeros before and after: the smaller half before."""
    return (kernel - 1) // 2, kernel - 1 - (kernel - 1) // 2


def kept(shape: tuple[int, ...], dropout: float) -> Tensor:
    """Which values dropout keeps, (shape) bool, each with probability 1 - dropout.

    The generator is seeded by one draw from PyTorch's, so `torch.manual_seed` decides the mask.
    """
    generator = np.random.Generator(np.random.SFC64(int(torch.randint(2**62, (1,)))))
    count = math.prod(shape)
    drawn = np.frombuffer(generator.bytes(2 * count), np.uint16)
    return torch.from_numpy(drawn >= round(dropout * LEVELS)).view(shape)


def largest(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Maximum over the middle axis of (group, step, channel), and its position group x steps + step (int64)."""
    seen = maps[None].permute(0, 3, 1, 2)  # (1, channel, group, step), channels innermost
    values, places = torch.ops.aten.max_pool2d_with_indices(seen, [1, maps.shape[1]], [1, maps.shape[1]])
    return values[0, :, :, 0].t(), places[0, :, :, 0].t()


def spread(gradient: Tensor, places: Tensor, like: Tensor) -> Tensor:
    """Gradient of `largest`: (group, channel) put at its places in zeros like (group, step, channel)."""
    steps = like.shape[1]
    given, seen, where = (t.permute(0, 3, 1, 2) for t in (gradient[None, :, None], like[None], places[None, :, None]))
    found: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(
        given, seen, [1, steps], [1, steps], [0, 0], [1, 1], False, where
    )
    return found[0].permute(1, 2, 0)


def activate(values: Tensor, bias: Tensor, keep: Tensor | None, share: float, out: Tensor) -> None:
    """ReLU(values + bias), of which dropout keeps a share, into `out`."""
    torch.add(values, bias, out=out).relu_()
    if keep is not None:
        out.mul_(keep).div_(share)


def inwards(gradient: Tensor, output: Tensor, share: float) -> Tensor:
    """Gradient before dropout and ReLU: only where the output is positive."""
    found: Tensor = torch.ops.aten.threshold_backward(gradient, output, 0)
    return found if share == 1 else found.div_(share)


class Block(torch.autograd.Function):
    """`ConvPool` for several channels, piece by piece."""

    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, keep: Tensor | None, pool: int, share: float
    ) -> Tensor:
        """See the module; `keep` is the mask of dropout, `share` how much of the outputs it keeps."""
        batch, time, _ = maps.shape
        filters, groups = weight.shape[2], time // pool
        out = maps.new_empty(batch, groups, filters)
        needed = any(ctx.needs_input_grad[:3])
        places = torch.empty(out.shape if needed else (0,), dtype=torch.int16)
        scratch = _scratch(weight, pool)
        for item, first, stop in _pieces(batch, groups, weight, pool):
            window = _rows(maps[item], first * pool, stop * pool, len(weight))
            _convolve(window, weight, scratch, (stop - first) * pool)
            values, found = largest(_groups(scratch, stop - first, pool))
            part = (item, slice(first, stop))
            activate(values, bias, None if keep is None else keep[part], share, out[part])
            if needed:
                places[part] = found
        ctx.save_for_backward(maps, weight, out, places)
        ctx.pool, ctx.share = pool, share
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        """Gradients of maps, weight and bias."""
        maps, weight, out, places = ctx.saved_tensors
        kernel, channels, filters = weight.shape
        left, _ = padding(kernel)
        padded = maps.new_zeros(len(maps), maps.shape[1] + kernel - 1, channels) if ctx.needs_input_grad[0] else None
        by_weight, by_bias = torch.zeros_like(weight), torch.zeros_like(weight[0, 0])
        scratch, transposed = _scratch(weight, ctx.pool), weight.view(-1, filters).t()
        for item, first, stop in _pieces(len(out), out.shape[1], weight, ctx.pool):
            part, steps = (item, slice(first, stop)), (stop - first) * ctx.pool
            inner = inwards(gradient[part], out[part], ctx.share)
            by_bias += inner.sum(0)
            dense = spread(inner, places[part].long(), _groups(scratch, stop - first, ctx.pool)).reshape(steps, filters)
            window = _rows(maps[item], first * ctx.pool, stop * ctx.pool, kernel)
            target = None if padded is None else padded[item, first * ctx.pool : stop * ctx.pool + kernel - 1]
            for phase in range(min(kernel, steps)):
                count = -(-(steps - phase) // kernel)
                rows = dense[phase::kernel]
                taken = slice(phase, phase + count * kernel)
                by_weight.view(-1, filters).addmm_(window[taken].view(count, -1).t(), rows)
                if target is not None:
                    target[taken].view(count, -1).addmm_(rows, transposed)
        by_maps = None if padded is None else padded[:, left : left + maps.shape[1]]
        return by_maps, by_weight, by_bias, None, None, None


class FirstBlock(torch.autograd.Function):
    """`ConvPool` for one channel, whose silent stretches are passed over; no gradient of the input."""

    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, keep: Tensor | None, pool: int, share: float
    ) -> Tensor:
        """As of `Block`, maps (batch, time, 1)."""
        batch, filters, groups = len(maps), weight.shape[2], maps.shape[1] // pool
        rows = _signal_rows(maps, len(weight), pool, groups)
        busy = [(r != 0).any(1).nonzero()[:, 0] for r in rows]
        taken = [r.index_select(0, b) for r, b in zip(rows, busy, strict=True)]
        out = functional.relu(bias).expand(batch, groups, filters).contiguous()
        needed = any(ctx.needs_input_grad[1:3])
        places = [torch.empty(len(b) if needed else 0, filters, dtype=torch.int16) for b in busy]
        matrix, step = banded(weight, pool), _first_step(weight, pool)
        scratch = maps.new_empty(step, pool, filters)
        for item in range(batch):
            heard = maps.new_empty(len(busy[item]), filters)
            for at in range(0, len(heard), step):
                part = taken[item][at : at + step]
                room = scratch[: len(part)]
                torch.mm(part, matrix, out=room.view(len(part), -1))
                values, found = largest(room)
                activate(values, bias, None, 1.0, heard[at : at + step])
                if needed:
                    places[item][at : at + step] = found
            out[item].index_copy_(0, busy[item], heard)
        if keep is not None:
            out.mul_(keep).div_(share)
        ctx.save_for_backward(weight, out, *busy, *taken, *places)
        ctx.pool, ctx.share = pool, share
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        """Gradients of weight and bias."""
        weight, out, *lists = ctx.saved_tensors
        batch, step = len(out), _first_step(weight, ctx.pool)
        busy, taken, places = (lists[k * batch : (k + 1) * batch] for k in range(3))
        kernel, _, filters = weight.shape
        by_matrix = weight.new_zeros(ctx.pool + kernel - 1, ctx.pool * filters)
        by_bias, scratch = torch.zeros_like(weight[0, 0]), weight.new_empty(step, ctx.pool, filters)
        for item in range(batch):
            inner = inwards(gradient[item], out[item], ctx.share)
            by_bias += inner.sum(0)
            inner = inner.index_select(0, busy[item])
            for at in range(0, len(inner), step):
                some = inner[at : at + step]
                dense = spread(some, places[item][at : at + step].long(), scratch[: len(some)])
                by_matrix.addmm_(taken[item][at : at + step].t(), dense.reshape(len(some), -1))
        return None, unbanded(by_matrix, weight, ctx.pool), by_bias, None, None, None


def banded(weight: Tensor, pool: int) -> Tensor:
    """The kernel (K, 1, filters) as a matrix (pool + K - 1, pool x filters): one column per step and filter."""
    kernel, _, filters = weight.shape
    matrix = weight.new_zeros(pool + kernel - 1, pool, filters)
    for step in range(pool):
        matrix[step : step + kernel, step] = weight[:, 0]
    return matrix.view(pool + kernel - 1, pool * filters)


def unbanded(gradient: Tensor, weight: Tensor, pool: int) -> Tensor:
    """Gradient of `banded`: the sum over its diagonals, (K, 1, filters)."""
    kernel, _, filters = weight.shape
    steps = gradient.view(pool + kernel - 1, pool, filters)
    return torch.stack([steps[s : s + kernel, s] for s in range(pool)]).sum(0)[:, None]


def _signal_rows(maps: Tensor, kernel: int, pool: int, groups: int) -> list[Tensor]:
    """The samples under each group of `pool` outputs, one (group, pool + K - 1) for each signal of the batch."""
    padded = functional.pad(maps[:, :, 0], padding(kernel))
    return [p.unfold(0, pool + kernel - 1, pool)[:groups].contiguous() for p in padded] if groups else [
        p[:0].view(0, pool + kernel - 1) for p in padded]  # fmt: skip


def _pieces(batch: int, groups: int, weight: Tensor, pool: int) -> Iterator[tuple[int, int, int]]:
    """Item, first group and the one after the last of every piece."""
    step = _step(weight, pool)
    for item in range(batch):
        for first in range(0, groups, step):
            yield item, first, min(first + step, groups)


def _step(weight: Tensor, pool: int) -> int:
    """Groups per piece: whole kernels, so that all products but the last have the same size."""
    whole = math.lcm(len(weight), pool) // pool
    fit = PIECE_BYTES // (weight.shape[2] * weight.element_size() * pool)
    return max(whole, min(fit, (LEVELS // 2 - 1) // pool) // whole * whole)


def _first_step(weight: Tensor, pool: int) -> int:
    """The same for the first block."""
    return max(1, min(PIECE_BYTES // (weight.shape[2] * weight.element_size() * pool), (LEVELS // 2 - 1) // pool))


def _scratch(weight: Tensor, pool: int) -> Tensor:
    """Room for the map of a piece, (row, K, filters)."""
    kernel, _, filters = weight.shape
    return weight.new_empty(-(-_step(weight, pool) * pool // kernel), kernel, filters)


def _groups(scratch: Tensor, groups: int, pool: int) -> Tensor:
    """The first steps of such a map as (group, pool, filters)."""
    return scratch.view(-1, scratch.shape[2])[: groups * pool].view(groups, pool, -1)


def _rows(maps: Tensor, first: int, stop: int, kernel: int) -> Tensor:
    """The input rows (row, channel) under outputs `first` to `stop` - 1, with zeros where there is no input."""
    left, _ = padding(kernel)
    low, high = first - left, stop - left + kernel - 1
    inside = maps[max(low, 0) : min(high, len(maps))]
    if low >= 0 and high <= len(maps):
        return inside
    return functional.pad(inside, (0, 0, max(-low, 0), max(high - len(maps), 0)))


def _convolve(window: Tensor, weight: Tensor, scratch: Tensor, steps: int) -> None:
    """The convolution of a piece into `scratch`: for each phase one product of the windows that start there."""
    kernel, _, filters = weight.shape
    matrix = weight.view(-1, filters)
    for phase in range(min(kernel, steps)):
        count = -(-(steps - phase) // kernel)
        taken = window[phase : phase + count * kernel]
        torch.mm(taken.view(count, -1), matrix, out=scratch[:count, phase])
