"""Pieces of a map over time, small enough for the cache: what is computed of one (see `fast/convolutions.py`).

A piece covers whole groups of `pool` steps. Its convolution is written into room of (row, K, filters), whose rows lie
one behind the other, so the same memory is also (group, pool, filters), of which the maximum is taken. Axis order
(time, channel).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

PIECE_BYTES = 960 * 1024
"""Size of the map of a piece, which stays in the cache between the products that write it and what reads it."""
LAST_PLACE = 2**15 - 1
"""Largest position in a piece, which is kept in two bytes."""


def padding(kernel: int) -> tuple[int, int]:
    """Zeros before and after: the smaller half before."""
    return (kernel - 1) // 2, kernel - 1 - (kernel - 1) // 2


def pieces(groups: int, weight: Tensor, pool: int, unit: int | None = None) -> Iterator[tuple[int, int]]:
    """First group of every piece, and the one after its last."""
    step = piece_groups(weight, pool, unit)
    for first in range(0, groups, step):
        yield first, min(first + step, groups)


def piece_groups(weight: Tensor, pool: int, unit: int | None = None) -> int:
    """Groups per piece, a multiple of `unit`: by default whole kernels, so that all products but the last are alike."""
    unit = unit or math.lcm(len(weight), pool) // pool
    fit = min(PIECE_BYTES // (weight.shape[2] * weight.element_size()), LAST_PLACE) // pool
    return max(1, fit // unit) * unit


def piece_room(weight: Tensor, pool: int) -> Tensor:
    """Room for the map of a piece, (row, K, filters)."""
    kernel, _, filters = weight.shape
    return weight.new_empty(-(-piece_groups(weight, pool) * pool // kernel), kernel, filters)


def as_groups(scratch: Tensor, groups: int, pool: int) -> Tensor:
    """The first steps of such a map as (group, pool, filters)."""
    return scratch.view(-1, scratch.shape[2])[: groups * pool].view(groups, pool, -1)


def rows_under(maps: Tensor, first: int, stop: int, kernel: int) -> Tensor:
    """The input rows (row, channel) under outputs `first` to `stop` - 1, with zeros where there is no input."""
    left, _ = padding(kernel)
    low, high = first - left, stop - left + kernel - 1
    inside = maps[max(low, 0) : min(high, len(maps))]
    if low >= 0 and high <= len(maps):
        return inside
    return functional.pad(inside, (0, 0, max(-low, 0), max(high - len(maps), 0)))


def convolve(window: Tensor, weight: Tensor, scratch: Tensor, steps: int) -> None:
    """The convolution of a piece into `scratch`: for each phase one product of the windows that start there."""
    kernel, _, filters = weight.shape
    matrix = weight.view(-1, filters)
    for phase in range(min(kernel, steps)):
        count = -(-(steps - phase) // kernel)
        taken = window[phase : phase + count * kernel]
        torch.mm(taken.view(count, -1), matrix, out=scratch[:count, phase])


def convolve_back(dense: Tensor, window: Tensor, weight: Tensor, by_weight: Tensor, target: Tensor | None) -> None:
    """Add a piece's share to the gradients of the kernel, and of the input rows where they are wanted."""
    kernel, _, filters = weight.shape
    matrix, by_matrix = weight.view(-1, filters).t(), by_weight.view(-1, filters)
    for phase in range(min(kernel, len(dense))):
        rows = dense[phase::kernel]
        taken = slice(phase, phase + len(rows) * kernel)
        by_matrix.addmm_(window[taken].view(len(rows), -1).t(), rows)
        if target is not None:
            target[taken].view(len(rows), -1).addmm_(rows, matrix)


def largest(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Maximum over the middle axis of (group, step, channel), and its position group x steps + step (int64)."""
    seen = maps[None].permute(0, 3, 1, 2)  # (1, channel, group, step), channels innermost
    values, places = torch.ops.aten.max_pool2d_with_indices(seen, [1, maps.shape[1]], [1, maps.shape[1]])
    return values[0, :, :, 0].t(), places[0, :, :, 0].t()


def spread(gradient: Tensor, places: Tensor, like: Tensor) -> Tensor:
    """Gradient of `largest`: (group, channel) put at its places in zeros like (group, step, channel)."""
    steps = like.shape[1]
    given, seen, where = (t.permute(0, 3, 1, 2) for t in (gradient[None, :, None], like[None], places[None, :, None]))
    spread_out: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(
        given, seen, [1, steps], [1, steps], [0, 0], [1, 1], False, where
    )
    return spread_out[0].permute(1, 2, 0)


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
