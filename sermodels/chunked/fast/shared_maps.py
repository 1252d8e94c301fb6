"""Convolution maps of overlapping chunks, computed once per sentence: an exact shortcut for evaluation on a CPU.

A sentence of 2.8 s is cut into 11 chunks of 1 s, so every frame lies in four of them. A map row whose receptive field
lies inside a chunk does not depend on where the chunk ends: it can be taken from the maps of the whole sentence. Only
the rows near the chunk's two ends, which see zero padding, are computed for each chunk by itself.

For layer k of kernel 3, padding 1 and stride s_k, P_k = s_1 ... s_k: row r of a chunk that starts at frame f is centred
on frame f + P_k r. So chunks share maps with those that start at the same phase f mod P_k, and there are as many grids
of maps as phases that occur. With L_0 frames per chunk, the rows that see no padding are lo_k .. hi_k:

    lo_k = ceil((lo_{k-1} + 1) / s_k),    hi_k = floor((hi_{k-1} - 1) / s_k),    lo_0 = 0, hi_0 = L_0 - 1.

How many layers are shared is chosen by counting multiplications; sentences without overlap share none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from .convolutions import folded

Indices = npt.NDArray[np.integer]


def can_share(model: Any, network: Any, chunks: Any) -> bool:
    """Whether one sentence at a time is right: an encoder of convolutions, on a CPU, no other number asked for."""
    own = hasattr(network.encoder, "convolutions")
    return own and model.device.type == "cpu" and not model.train_config.micro_batch


def latents_of_sentences(model: Any, network: Any, chunks: Any) -> Iterator[Tensor]:
    """`ChunkedModel.latents` sentence by sentence, where it `can_share`."""
    encoder = network.encoder
    layers = [Folded.of(c, n) for c, n in zip(encoder.convolutions, encoder.norms, strict=True)]
    for position in range(len(chunks) // chunks.chunking.count):
        frames = network.normaliser(torch.tensor(chunks.sentence(position)))
        maps = chunk_maps(frames, chunks.starts[position], chunks.chunking.length, layers)
        yield functional.relu(encoder.latent(torch.flatten(maps, 1)))


@dataclass(frozen=True)
class Folded:
    """A 3x3 convolution with batch normalisation folded into it: weight (out, in, 3, 3), bias (out,), one stride."""

    weight: Tensor
    bias: Tensor
    stride: int

    @classmethod
    def of(cls, convolution: nn.Module, norm: nn.Module) -> Folded:
        """From modules in evaluation mode."""
        assert isinstance(convolution, nn.Conv2d)
        weight, bias = folded(convolution, norm)
        return cls(weight.contiguous(memory_format=torch.channels_last), bias, convolution.stride[0])

    def __call__(self, maps: Tensor, padding: int = 1) -> Tensor:
        """(item, in, time, mel) -> (item, out, time, mel), after ReLU; `padding` is that of the time axis."""
        return functional.relu_(functional.conv2d(maps, self.weight, self.bias, self.stride, (padding, 1)))


@dataclass(frozen=True)
class Reach:
    """Of one layer: rows of a chunk's map, the first and last that see no padding, the product of strides so far."""

    rows: int
    low: int
    high: int
    step: int

    def next(self, stride: int) -> Reach:
        """That of the next layer."""
        low, high = -(-(self.low + 1) // stride), (self.high - 1) // stride
        return Reach((self.rows - 1) // stride + 1, low, high, self.step * stride)


def reaches(frames: int, strides: Sequence[int]) -> list[Reach]:
    """The reach of the input and of every layer, for chunks of `frames` frames."""
    each = [Reach(frames, 0, frames - 1, 1)]
    for stride in strides:
        each.append(each[-1].next(stride))
    return each


def chunk_maps(frames: Tensor, starts: Indices, length: int, layers: Sequence[Folded]) -> Tensor:
    """Maps of the last layer for every chunk of a sentence, (chunk, out, time, mel).

    Parameters
    ----------
    frames : (frame, mel), normalised
    starts : first frame of each chunk
    length : frames per chunk
    layers : the stack in evaluation mode
    """
    reach = reaches(length, [layer.stride for layer in layers])
    depth = best_depth(len(frames), starts, layers, reach, frames.shape[1])
    if depth:
        maps = _shared(frames, starts, layers[:depth], reach)
    else:
        maps = torch.stack([frames[s : s + length] for s in starts.tolist()])[:, None]
    for layer in layers[depth:]:
        maps = layer(maps)
    return maps


def best_depth(total: int, starts: Indices, layers: Sequence[Folded], reach: Sequence[Reach], bands: int) -> int:
    """The number of shared layers with the fewest multiplications, for a sentence of `total` frames."""
    count, apart, shared = len(starts), [0.0], [0.0]
    per_row = []
    for layer in layers:
        bands = (bands - 1) // layer.stride + 1
        per_row.append(float(layer.weight.numel() * bands))
    for k, cost in enumerate(per_row, 1):
        apart.append(cost * count * reach[k].rows)
        phases = len(np.unique(starts % reach[k].step))
        shared.append(cost * phases * math.ceil(total / reach[k].step))
    best, least = 0, sum(apart)
    for depth in range(1, len(layers) + 1):
        if reach[depth].low > reach[depth].high:
            break
        tops, bottoms = _ends(reach, depth, [layer.stride for layer in layers])
        ends = sum(
            c * count * (t + reach[k].rows - b)
            for k, (c, t, b) in enumerate(zip(per_row[:depth], tops[1:], bottoms[1:], strict=True), 1)
        )
        cost = sum(shared[1 : depth + 1]) + ends + sum(apart[depth + 1 :])
        if cost < least:
            best, least = depth, cost
    return best


def _ends(reach: Sequence[Reach], depth: int, strides: Sequence[int]) -> tuple[list[int], list[int]]:
    """Rows of each layer that the two ends of a chunk need: the first `tops[k]`, and those from `bottoms[k]` on."""
    tops, bottoms = [reach[depth].low], [reach[depth].high + 1]
    for k in range(depth, 0, -1):
        stride = strides[k - 1]
        tops.insert(0, min(stride * (tops[0] - 1) + 2, reach[k - 1].rows) if tops[0] else 0)
        bottoms.insert(0, max(stride * bottoms[0] - 1, 0) if bottoms[0] < reach[k].rows else reach[k - 1].rows)
    return tops, bottoms


def _shared(frames: Tensor, starts: Indices, layers: Sequence[Folded], reach: Sequence[Reach]) -> Tensor:
    """Maps of some layers for every chunk, (chunk, out, time, mel)."""
    depth = len(layers)
    last = reach[depth]
    tops, bottoms = _ends(reach, depth, [layer.stride for layer in layers])
    first = _end([frames[s : s + tops[0]] for s in starts.tolist()], layers, (1, 0))
    end = _end([frames[s + bottoms[0] : s + reach[0].rows] for s in starts.tolist()], layers, (0, 1))
    grids = {0: frames[None, None]}
    for k, layer in enumerate(layers, 1):
        wanted = np.unique(starts % reach[k].step).tolist()
        before = reach[k - 1].step
        grids = {phase: layer(grids[phase % before][:, :, phase // before :]) for phase in wanted}
    sample = next(iter(grids.values()))
    shape = (len(starts), sample.shape[1], last.rows, sample.shape[3])
    maps = torch.empty(shape, dtype=sample.dtype, memory_format=torch.channels_last)
    for i, start in enumerate(starts.tolist()):
        phase = start % last.step
        at = (start - phase) // last.step
        maps[i, :, last.low : last.high + 1] = grids[phase][0, :, at + last.low : at + last.high + 1]
    if first is not None:
        maps[:, :, : last.low] = first
    if end is not None:
        maps[:, :, last.high + 1 :] = end
    return maps


def _end(rows: list[Tensor], layers: Sequence[Folded], padding: tuple[int, int]) -> Tensor | None:
    """Maps of one end of every chunk, padded in time before or after it only; None where there are no such rows."""
    maps = torch.stack(rows)[:, None]
    if not maps.shape[2]:
        return None
    for layer in layers:
        maps = layer(functional.pad(maps, (0, 0, *padding)), padding=0)
    return maps
