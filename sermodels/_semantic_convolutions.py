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
- ReLU and dropout share a mask: what is not positive afterwards has no gradient. Dropout's factor is a factor on kernel
  and bias, since what follows is proportional to them. Its random bits come from a generator that is seeded by
  PyTorch's; drawing them one by one takes longer than the whole first block.
- Items of the batch are divided among threads, not the products (`for_each`).

The results are those of the plain writing up to rounding, gradients included; of equal largest steps the first one
takes the gradient, as there. On other devices, and for inputs that need a gradient in the first block, the block is
computed plainly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

T = TypeVar("T")

PIECE_BYTES = 960 * 1024
"""Size of the map of a piece, which stays in the cache between the products that write it and what reads it."""
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
        share = 1 - dropout
        with torch.autocast("cpu", enabled=False):
            result: Tensor = block.apply(  # type: ignore[no-untyped-call]
                maps.contiguous(), self.weight / share, self.bias / share, keep, self.pool
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


def activate(values: Tensor, bias: Tensor, keep: Tensor | None, out: Tensor) -> None:
    """ReLU(values + bias) where dropout keeps it, else 0, into `out`."""
    torch.add(values, bias, out=out).relu_()
    if keep is not None:
        out.mul_(keep.to(out.dtype))


def inwards(gradient: Tensor, output: Tensor) -> Tensor:
    """Gradient before dropout and ReLU: only where the output is positive."""
    found: Tensor = torch.ops.aten.threshold_backward(gradient, output, 0)
    return found


class Block(torch.autograd.Function):
    """`ConvPool` for several channels, piece by piece."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, keep: Tensor | None, pool: int) -> Tensor:
        """See the module; `keep` is the mask of dropout, its factor is in weight and bias."""
        groups = maps.shape[1] // pool
        out = maps.new_empty(len(maps), groups, weight.shape[2])
        needed = any(ctx.needs_input_grad[:3])
        places = torch.empty(out.shape if needed else (0,), dtype=torch.int16)

        def one(item: int) -> None:
            scratch = _scratch(weight, pool)
            for first, stop in _pieces(groups, weight, pool):
                window = _rows(maps[item], first * pool, stop * pool, len(weight))
                _convolve(window, weight, scratch, (stop - first) * pool)
                values, found = largest(_groups(scratch, stop - first, pool))
                part = (item, slice(first, stop))
                activate(values, bias, None if keep is None else keep[part], out[part])
                if needed:
                    places[part] = found

        for_each(len(maps), one)
        ctx.save_for_backward(maps, weight, out, places)
        ctx.pool = pool
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        """Gradients of maps, weight and bias."""
        maps, weight, out, places = ctx.saved_tensors
        pool, (kernel, channels, _) = ctx.pool, weight.shape
        left, _ = padding(kernel)
        padded = maps.new_zeros(len(maps), maps.shape[1] + kernel - 1, channels) if ctx.needs_input_grad[0] else None

        def one(item: int) -> tuple[Tensor, Tensor]:
            by_weight, by_bias = torch.zeros_like(weight), torch.zeros_like(weight[0, 0])
            scratch = _scratch(weight, pool)
            for first, stop in _pieces(out.shape[1], weight, pool):
                part, steps = (item, slice(first, stop)), (stop - first) * pool
                inner = inwards(gradient[part], out[part])
                by_bias += inner.sum(0)
                dense = spread(inner, places[part].long(), _groups(scratch, stop - first, pool)).reshape(steps, -1)
                window = _rows(maps[item], first * pool, stop * pool, kernel)
                target = None if padded is None else padded[item, first * pool : stop * pool + kernel - 1]
                _convolve_back(dense, window, weight, by_weight, target)
            return by_weight, by_bias

        by_weight, by_bias = _summed(for_each(len(maps), one), weight)
        by_maps = None if padded is None else padded[:, left : left + maps.shape[1]]
        return by_maps, by_weight, by_bias, None, None


class FirstBlock(torch.autograd.Function):
    """`ConvPool` for one channel, whose silent stretches are passed over; no gradient of the input."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, keep: Tensor | None, pool: int) -> Tensor:
        """As of `Block`, maps (batch, time, 1)."""
        kernel, _, filters = weight.shape
        groups = maps.shape[1] // pool
        padded = functional.pad(maps[:, :, 0], padding(kernel))
        out = maps.new_empty(len(maps), groups, filters)
        needed = any(ctx.needs_input_grad[1:3])
        matrix, silence = banded(weight, pool), functional.relu(bias)

        def one(item: int) -> tuple[Tensor, Tensor, Tensor]:
            rows = padded[item].unfold(0, pool + kernel - 1, pool)[:groups].contiguous()
            busy = rows.abs().sum(1).nonzero()[:, 0]
            rows = rows.index_select(0, busy)
            places = torch.empty(len(busy) if needed else 0, filters, dtype=torch.int16)
            heard, scratch = rows.new_empty(len(busy), filters), rows.new_empty(_step(weight, pool, 1), pool, filters)
            for first, stop in _pieces(len(busy), weight, pool, 1):
                room = scratch[: stop - first]
                torch.mm(rows[first:stop], matrix, out=room.view(stop - first, -1))
                values, found = largest(room)
                activate(values, bias, None, heard[first:stop])
                if needed:
                    places[first:stop] = found
            out[item] = silence
            out[item].index_copy_(0, busy, heard)
            if keep is not None:
                out[item].mul_(keep[item].to(out.dtype))
            return busy, rows, places

        found = for_each(len(maps), one)
        ctx.save_for_backward(weight, out, *(tensor for three in found for tensor in three))
        ctx.pool = pool
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        """Gradients of weight and bias."""
        weight, out, *kept_parts = ctx.saved_tensors
        pool, (kernel, _, filters) = ctx.pool, weight.shape

        def one(item: int) -> tuple[Tensor, Tensor]:
            busy, rows, places = kept_parts[3 * item : 3 * item + 3]
            by_matrix = weight.new_zeros(pool + kernel - 1, pool * filters)
            scratch = weight.new_empty(_step(weight, pool, 1), pool, filters)
            inner = inwards(gradient[item], out[item])
            by_bias, inner = inner.sum(0), inner.index_select(0, busy)
            for first, stop in _pieces(len(busy), weight, pool, 1):
                dense = spread(inner[first:stop], places[first:stop].long(), scratch[: stop - first])
                by_matrix.addmm_(rows[first:stop].t(), dense.reshape(stop - first, -1))
            return unbanded(by_matrix, weight, pool), by_bias

        return None, *_summed(for_each(len(out), one), weight), None, None


def for_each(count: int, work: Callable[[int], T]) -> list[T]:
    """`work` of 0 .. count - 1, on as many threads as PyTorch has, each of which does its share by itself.

    A product of a piece is too small to be divided: threads would wait for each other thousands of times a second, and
    on a busy machine for longer than they compute. What an item gives does not depend on the number of threads.
    """
    threads = torch.get_num_threads()
    if min(threads, count) <= 1 or is_in_torch_dispatch_mode():
        return [work(item) for item in range(count)]
    inference = torch.is_inference_mode_enabled()

    def alone(item: int) -> T:
        torch.set_num_threads(1)
        with torch.inference_mode(inference), torch.no_grad():
            return work(item)

    with ThreadPoolExecutor(min(threads, count)) as pool:
        return list(pool.map(alone, range(count)))


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


def _pieces(groups: int, weight: Tensor, pool: int, unit: int | None = None) -> Iterator[tuple[int, int]]:
    """First group of every piece, and the one after its last."""
    step = _step(weight, pool, unit)
    for first in range(0, groups, step):
        yield first, min(first + step, groups)


def _step(weight: Tensor, pool: int, unit: int | None = None) -> int:
    """Groups per piece, a multiple of `unit`: by default whole kernels, so that all products but the last are alike."""
    unit = unit or math.lcm(len(weight), pool) // pool
    fit = min(PIECE_BYTES // (weight.shape[2] * weight.element_size()), LEVELS // 2 - 1) // pool
    return max(1, fit // unit) * unit


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


def _convolve_back(dense: Tensor, window: Tensor, weight: Tensor, by_weight: Tensor, target: Tensor | None) -> None:
    """Add a piece's share to the gradients of the kernel, and of the input rows where they are wanted."""
    kernel, _, filters = weight.shape
    matrix, by_matrix = weight.view(-1, filters).t(), by_weight.view(-1, filters)
    for phase in range(min(kernel, len(dense))):
        rows = dense[phase::kernel]
        taken = slice(phase, phase + len(rows) * kernel)
        by_matrix.addmm_(window[taken].view(len(rows), -1).t(), rows)
        if target is not None:
            target[taken].view(len(rows), -1).addmm_(rows, matrix)


def _summed(found: Iterable[tuple[Tensor, Tensor]], weight: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of weight and bias of all items together, added in the items' order."""
    by_weight, by_bias = torch.zeros_like(weight), torch.zeros_like(weight[0, 0])
    for one, other in found:
        by_weight += one
        by_bias += other
    return by_weight, by_bias
