"""Points to cluster, (point, dim) float32: in memory up to a limit, beyond it in a temporary file read block by block.

A pool of 100,000 sentences of 11 chunks has 1.1 million points of 256 numbers, 1.1 GB; the memory that k-means takes
must not grow with it. The file has no name in the file system where that allows it, so nothing is left behind by a
process that is killed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Indices = npt.NDArray[np.int64]


class Points(Protocol):
    """Rows (point, dim) on a device, written once and read in blocks."""

    count: int
    dim: int
    device: torch.device

    def put(self, first: int, rows: Tensor) -> None:
        """Set the rows from `first` on."""

    def blocks(self, size: int) -> Iterator[Tensor]:
        """All rows in order, at most `size` at a time; a block is valid until the next one."""

    def take(self, positions: Indices) -> Tensor:
        """Some rows, in the order of `positions`."""


class HeldPoints:
    """Points that are a tensor (point, dim) on any device."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows
        self.count, self.dim = rows.shape
        self.device = rows.device

    def put(self, first: int, rows: Tensor) -> None:
        """Set the rows from `first` on."""
        self.rows[first : first + len(rows)] = rows

    def blocks(self, size: int) -> Iterator[Tensor]:
        """All rows in order, at most `size` at a time: views."""
        yield from torch.split(self.rows, size)

    def take(self, positions: Indices) -> Tensor:
        """Some rows, in the order of `positions`."""
        return self.rows[torch.from_numpy(positions).to(self.device)]


class FiledPoints:
    """Points in a temporary file, float32; blocks are read into memory and moved to the device.

    Parameters
    ----------
    count, dim : number and width of the rows; rows that are never set are zero
    device : where blocks go
    folder : of the file; None = the system's folder for temporary files
    """

    def __init__(self, count: int, dim: int, device: torch.device, folder: str | None = None) -> None:
        self.count, self.dim, self.device = count, dim, device
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (open as long as the points)
        self._file.truncate(count * dim * 4)

    def put(self, first: int, rows: Tensor) -> None:
        """Set the rows from `first` on."""
        self._file.seek(first * self.dim * 4)
        self._file.write(rows.float().cpu().contiguous().numpy().tobytes())

    def blocks(self, size: int) -> Iterator[Tensor]:
        """All rows in order, at most `size` at a time."""
        for first in range(0, self.count, size):
            yield self._read(first, min(size, self.count - first)).to(self.device)

    def take(self, positions: Indices) -> Tensor:
        """Some rows, in the order of `positions`."""
        rows = [self._read(int(position), 1) for position in positions]
        return (torch.cat(rows) if rows else torch.empty(0, self.dim)).to(self.device)

    def _read(self, first: int, count: int) -> Tensor:
        self._file.seek(first * self.dim * 4)
        block = np.frombuffer(bytearray(self._file.read(count * self.dim * 4)), dtype=np.float32)
        return torch.from_numpy(block.reshape(count, self.dim))


def make_points(count: int, dim: int, device: torch.device, keep_bytes: int) -> Points:
    """Room for points: in the device's memory if they take at most `keep_bytes`, else in a temporary file."""
    if count * dim * 4 <= keep_bytes:
        return HeldPoints(torch.empty(count, dim, device=device))
    return FiledPoints(count, dim, device)
