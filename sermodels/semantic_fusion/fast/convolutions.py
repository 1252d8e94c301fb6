"""The block of the waveform network (`ConvPool` of `semantic_fusion/layers.py`) without its large intermediate maps.

Computed as it is written, ten seconds of sound make maps of 88 MB in the first block alone; most of the time goes into
fetching that memory, and into convolutions of one long row, which libraries are slow at. On a processor it is done so:

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
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from .pieces import (
    as_groups,
    banded,
    convolve,
    convolve_back,
    largest,
    padding,
    piece_groups,
    piece_room,
    pieces,
    rows_under,
    spread,
    unbanded,
)

T = TypeVar("T")

LEVELS = 2**16
"""Steps in which the share of dropped values can be set; a half is exact."""


def can_do_pieces(block: Any, maps: Tensor) -> bool:
    """Whether a block is for it: on a processor, and nobody asks for the gradient of the sound."""
    return block.chunked and maps.device.type == "cpu" and not (block.weight.shape[1] == 1 and maps.requires_grad)


def piece_by_piece(block: Any, maps: Tensor) -> Tensor:
    """`ConvPool.forward`, where it `can_do_pieces`."""
    dropout = block.dropout if block.training else 0.0
    maps, keep = maps.to(block.weight.dtype), None
    if dropout:
        keep = kept((len(maps), maps.shape[1] // block.pool, block.weight.shape[2]), dropout)
    way, share = OneChannel if block.weight.shape[1] == 1 else SeveralChannels, 1 - dropout
    with torch.autocast("cpu", enabled=False):
        result: Tensor = way.apply(  # type: ignore[no-untyped-call]
            maps.contiguous(), block.weight / share, block.bias / share, keep, block.pool
        )
    return result


def kept(shape: tuple[int, ...], dropout: float) -> Tensor:
    """Which values dropout keeps, (shape) bool, each with probability 1 - dropout.

    The generator is seeded by one draw from PyTorch's, so `torch.manual_seed` decides the mask.
    """
    generator = np.random.Generator(np.random.SFC64(int(torch.randint(2**62, (1,)))))
    count = math.prod(shape)
    drawn = np.frombuffer(generator.bytes(2 * count), np.uint16)
    return torch.from_numpy(drawn >= round(dropout * LEVELS)).view(shape)


def activate(values: Tensor, bias: Tensor, keep: Tensor | None, out: Tensor) -> None:
    """ReLU(values + bias) where dropout keeps it, else 0, into `out`."""
    torch.add(values, bias, out=out).relu_()
    if keep is not None:
        out.mul_(keep.to(out.dtype))


def inwards(gradient: Tensor, output: Tensor) -> Tensor:
    """Gradient before dropout and ReLU: only where the output is positive."""
    inner: Tensor = torch.ops.aten.threshold_backward(gradient, output, 0)
    return inner


class SeveralChannels(torch.autograd.Function):
    """A block for several channels, piece by piece."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, keep: Tensor | None, pool: int) -> Tensor:
        """See the module; `keep` is the mask of dropout, its factor is in weight and bias."""
        groups = maps.shape[1] // pool
        out = maps.new_empty(len(maps), groups, weight.shape[2])
        needed = any(ctx.needs_input_grad[:3])
        places = torch.empty(out.shape if needed else (0,), dtype=torch.int16)

        def one(item: int) -> None:
            scratch = piece_room(weight, pool)
            for first, stop in pieces(groups, weight, pool):
                window = rows_under(maps[item], first * pool, stop * pool, len(weight))
                convolve(window, weight, scratch, (stop - first) * pool)
                values, steps = largest(as_groups(scratch, stop - first, pool))
                part = (item, slice(first, stop))
                activate(values, bias, None if keep is None else keep[part], out[part])
                if needed:
                    places[part] = steps

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
            scratch = piece_room(weight, pool)
            for first, stop in pieces(out.shape[1], weight, pool):
                part, steps = (item, slice(first, stop)), (stop - first) * pool
                inner = inwards(gradient[part], out[part])
                by_bias += inner.sum(0)
                dense = spread(inner, places[part].long(), as_groups(scratch, stop - first, pool)).reshape(steps, -1)
                window = rows_under(maps[item], first * pool, stop * pool, kernel)
                target = None if padded is None else padded[item, first * pool : stop * pool + kernel - 1]
                convolve_back(dense, window, weight, by_weight, target)
            return by_weight, by_bias

        by_weight, by_bias = _summed(for_each(len(maps), one), weight)
        by_maps = None if padded is None else padded[:, left : left + maps.shape[1]]
        return by_maps, by_weight, by_bias, None, None


class OneChannel(torch.autograd.Function):
    """A block for one channel, whose silent stretches are passed over; no gradient of the input."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, keep: Tensor | None, pool: int) -> Tensor:
        """As of `SeveralChannels`, maps (batch, time, 1)."""
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
            heard = rows.new_empty(len(busy), filters)
            scratch = rows.new_empty(piece_groups(weight, pool, 1), pool, filters)
            for first, stop in pieces(len(busy), weight, pool, 1):
                room = scratch[: stop - first]
                torch.mm(rows[first:stop], matrix, out=room.view(stop - first, -1))
                values, steps = largest(room)
                activate(values, bias, None, heard[first:stop])
                if needed:
                    places[first:stop] = steps
            out[item] = silence
            out[item].index_copy_(0, busy, heard)
            if keep is not None:
                out[item].mul_(keep[item].to(out.dtype))
            return busy, rows, places

        busy_parts = for_each(len(maps), one)
        ctx.save_for_backward(weight, out, *(tensor for three in busy_parts for tensor in three))
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
            scratch = weight.new_empty(piece_groups(weight, pool, 1), pool, filters)
            inner = inwards(gradient[item], out[item])
            by_bias, inner = inner.sum(0), inner.index_select(0, busy)
            for first, stop in pieces(len(busy), weight, pool, 1):
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


def _summed(gradients: Iterable[tuple[Tensor, Tensor]], weight: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of weight and bias of all items together, added in the items' order."""
    by_weight, by_bias = torch.zeros_like(weight), torch.zeros_like(weight[0, 0])
    for one, other in gradients:
        by_weight += one
        by_bias += other
    return by_weight, by_bias
