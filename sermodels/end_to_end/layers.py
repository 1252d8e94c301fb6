"""Layers that give a piece the same result whatever stands behind its end: recurrence, and convolutions over a plane.

Maps are set to zero behind each piece's end after every layer, so a piece among longer ones is computed as if it stood
alone with zeros around it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...datasets.core.errors import SerbenchError

Directions = tuple[Sequence[int], Sequence[int]]


def within(rows: Tensor, lengths: Tensor) -> Tensor:
    """Rows (piece, time, ...) with zeros behind the length of each piece."""
    inside = torch.arange(rows.shape[1], device=rows.device) < lengths[:, None]
    return rows * inside.reshape(*inside.shape, *[1] * (rows.dim() - 2))


class BiLstm(nn.Module):
    """A stack of bidirectional LSTMs: (piece, time, inputs) -> states (piece, time, 2 units), zeros behind each."""

    def __init__(self, inputs: int, units: int, layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        between = dropout if layers > 1 else 0.0
        self.lstm = nn.LSTM(inputs, units, layers, batch_first=True, bidirectional=True, dropout=between)

    def forward(self, rows: Tensor, lengths: Tensor) -> Tensor:
        """States of both directions side by side, the later one's from the piece's own end on."""
        with torch.autocast(rows.device.type, enabled=False):
            packed = nn.utils.rnn.pack_padded_sequence(
                rows.float(), lengths.cpu(), batch_first=True, enforce_sorted=False
            )
            states, _ = nn.utils.rnn.pad_packed_sequence(
                self.lstm(packed)[0], batch_first=True, total_length=rows.shape[1]
            )
        return states


class PlaneConvolutions(nn.Module):
    """Convolution, ReLU and maximum, layer after layer, over time and frequency.

    Parameters
    ----------
    dim : bands of a frame
    channels : of each layer's output
    kernels : (time, band) of each layer; odd zeros stand at the end
    pools : (time, band) steps that each maximum is taken of; a rest is left out

    Attributes
    ----------
    least : frames that one step of the result is made of; shorter pieces are filled up with zeros to them
    width : values of a step of the result
    """

    def __init__(
        self, dim: int, channels: Sequence[int], kernels: Sequence[tuple[int, int]], pools: Sequence[tuple[int, int]]
    ) -> None:
        super().__init__()
        sizes = zip(itertools.pairwise((1, *channels)), kernels, strict=True)
        self.convolutions = nn.ModuleList(nn.Conv2d(i, o, kernel) for (i, o), kernel in sizes)
        self.pads = [(*around(band), *around(time)) for time, band in kernels]
        self.pools = list(pools)
        self.least = 1
        for time, band in pools:
            self.least, dim = self.least * time, dim // band
        self.width = channels[-1] * dim
        if not dim:
            raise SerbenchError(
                f"model.band_pools={','.join(str(band) for _, band in pools)} leave nothing of a frame of the feature. "
                "Expected numbers whose product is at most the feature's bands; type smaller ones."
            )

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(piece, frame, band) and lengths -> (piece, step, width) and lengths in steps."""
        lengths = lengths.clamp(min=self.least)
        maps = functional.pad(frames, (0, 0, 0, max(0, self.least - frames.shape[1])))[:, None]
        for convolution, pad, pool in zip(self.convolutions, self.pads, self.pools, strict=True):
            maps = functional.relu(convolution(functional.pad(maps, pad)))  # (piece, channel, time, band)
            maps, lengths = functional.max_pool2d(maps, pool), lengths // pool[0]
            maps = within(maps.transpose(1, 2), lengths).transpose(1, 2)
        return maps.transpose(1, 2).flatten(2), lengths


def planes(dim: int, channels: Sequence[int], kernels: Directions, pools: Directions) -> PlaneConvolutions:
    """The convolutions of settings that give kernels and maxima for time and for bands, a number for each layer."""
    sizes = _pairs("kernels", *kernels, len(channels)), _pairs("pools", *pools, len(channels))
    return PlaneConvolutions(dim, channels, *sizes)


def around(kernel: int) -> tuple[int, int]:
    """Zeros before and behind, so that a convolution keeps the length; the odd one stands behind."""
    return (kernel - 1) // 2, kernel - 1 - (kernel - 1) // 2


def _pairs(name: str, first: Sequence[int], second: Sequence[int], layers: int) -> list[tuple[int, int]]:
    """(time, band) of each layer.

    Raises
    ------
    SerbenchError
        If there are not as many of both as there are layers.
    """
    if not len(first) == len(second) == layers:
        raise SerbenchError(
            f"{layers} model.channels, {len(first)} model.time_{name} and {len(second)} model.band_{name} were given. "
            f"Expected as many of each, such as --set model.channels=8,16 --set model.time_{name}=2,2 "
            f"--set model.band_{name}=2,2."
        )
    return list(zip(first, second, strict=True))
