"""Items in pieces: which frames of an utterance or recording go through a network together.

A frame is whatever the network takes at once: a row of a spectrogram, or a stretch of the waveform. Utterances are cut
at a length, or split into parts of about equal length; recordings with a trace are split along their label frames,
whose distance need not be that of the network's frames: label frame k takes the network's frame around the middle of
its time. Where both have one distance, each takes its own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..core.rows import frame_counts
from ..core.sermodel import Data
from ..inputs.sequences import Sequences
from ..inputs.waveforms import Waves

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Piece:
    """Frames [start, stop) of the item at a position and, for traces, its label frames [first, last)."""

    position: int
    start: int
    stop: int
    first: int = 0
    last: int = 0


class Source(Protocol):
    """The items of a data set as frames."""

    @property
    def counts(self) -> list[int]:
        """Frames of each item."""

    def part(self, piece: Piece) -> Array:
        """The frames of a piece, (frame, dim)."""


class Spectra:
    """Features that have frames: (frame, band) of each item."""

    def __init__(self, data: Data, keep_bytes: int) -> None:
        table = data.features["input"]
        self.counts = [table.frames(i) for i in data.ids]
        self._frames = Sequences(data, keep_bytes)

    def part(self, piece: Piece) -> Array:
        """(frame, band)."""
        return self._frames[piece.position][piece.start : piece.stop]


class Stretches:
    """The waveform in stretches of `size` samples, silence behind its end: (frame, size) of each item.

    Parameters
    ----------
    data : items with the feature `waveform`
    size : samples of a frame
    keep_bytes : most bytes of signals held between batches
    normalise : bring each signal to mean 0 and variance 1
    """

    def __init__(self, data: Data, size: int, keep_bytes: int, normalise: bool) -> None:
        self._waves, self._size = Waves(data, keep_bytes, utterance=normalise), size
        self.counts = [max(1, math.ceil(self._waves.samples(i) / size)) for i in range(len(data))]

    def part(self, piece: Piece) -> Array:
        """(frame, size)."""
        samples = self._waves[piece.position][piece.start * self._size : piece.stop * self._size]
        missing = (piece.stop - piece.start) * self._size - len(samples)
        return np.pad(samples, (0, missing)).reshape(-1, self._size)


def cut(counts: Sequence[int], most: int) -> list[Piece]:
    """One piece of each item: its first `most` frames."""
    return [Piece(i, 0, min(count, most)) for i, count in enumerate(counts)]


def split(counts: Sequence[int], most: int) -> list[Piece]:
    """All of each item, in as few parts of at most `most` frames as there can be; their lengths differ by at most 1."""
    pieces = []
    for i, count in enumerate(counts):
        parts = max(1, math.ceil(count / most))
        edges = [count * k // parts for k in range(parts + 1)]
        pieces += [Piece(i, a, b) for a, b in itertools.pairwise(edges)]
    return pieces


def split_traces(data: Data, hop_seconds: float, seconds: float) -> list[Piece]:
    """Recordings in pieces of `seconds` of label frames, and the network's frames of the same time."""
    step, pieces = data.task.frame_seconds, []
    assert step is not None
    length = max(1, round(seconds / step))
    for i, count in enumerate(frame_counts(data)):
        for first in range(0, count, length):
            last = min(first + length, count)
            start, stop = math.floor(first * step / hop_seconds + 1e-6), math.ceil(last * step / hop_seconds - 1e-6)
            pieces.append(Piece(i, start, max(stop, start + 1), first, last))
    return pieces


def on_labels(piece: Piece, step: float, hop_seconds: float) -> npt.NDArray[np.int64]:
    """For each label frame of a piece the network's frame around its middle, counted from the piece's first one."""
    middles = (np.arange(piece.first, piece.last) + 0.5) * step / hop_seconds
    frames = np.floor(middles + 1e-6).astype(np.int64) - piece.start
    return np.asarray(np.clip(frames, 0, piece.stop - piece.start - 1))


def padded(source: Source, pieces: Sequence[Piece]) -> tuple[Tensor, Tensor]:
    """Some pieces as (piece, frame, dim) float32 with zeros behind each, and their lengths (piece,)."""
    rows = [torch.from_numpy(np.ascontiguousarray(source.part(piece))) for piece in pieces]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows])
