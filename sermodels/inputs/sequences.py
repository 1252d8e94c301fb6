"""Utterances of different lengths as padded batches, and recordings with a trace as pieces of them.

For a time-continuous task the feature's frames are brought onto the label grid first: label frame k takes the feature
frame that stands for its time k * frame_seconds (features averaged over windows of that width, mostly), the last one
where the audio ends before the trace. A head without memory sees each frame by itself, so recordings are cut into
pieces of equal length for training: more steps, less padding, the same function.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...datasets.core.errors import SerbenchError
from ..core.rows import frame_counts
from ..core.sermodel import Data
from .chunks import MAX_OPEN

Array = npt.NDArray[np.float32]
EPSILON = 1e-5
"""Added to the variance where an utterance's features are normalised as a whole, as a layer norm does."""


@dataclass(frozen=True)
class Piece:
    """Label frames [start, stop) of the recording at a position; the whole utterance where `stop` is None."""

    position: int
    start: int = 0
    stop: int | None = None


class Sequences:
    """The features of a data set, (frame, dim) each, as many held in memory as is allowed.

    Parameters
    ----------
    data : utterances or recordings
    keep_bytes : most bytes of arrays held for the next batch
    normalise : bring the whole array of each utterance to mean 0 and variance 1
    """

    def __init__(self, data: Data, keep_bytes: int, normalise: bool = False) -> None:
        self._data, self._limit, self._held, self._normalise = data, keep_bytes, 0, normalise
        self._kept: OrderedDict[int, Array] = OrderedDict()
        self._counts = frame_counts(data) if data.task.kind == "continuous" else None

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, position: int) -> Array:
        """The frames of one utterance; for a time-continuous task one for each label frame."""
        if position in self._kept:
            self._kept.move_to_end(position)
            return self._kept[position]
        frames = np.asarray(self._data.array(position), dtype=np.float32)
        if self._normalise:
            frames = np.asarray((frames - frames.mean()) / np.sqrt(frames.var() + EPSILON), dtype=np.float32)
        if self._counts is not None:
            frames = on_grid(frames, self._data, self._counts[position])
        self._kept[position] = frames
        self._held += frames.nbytes
        while len(self._kept) > 1 and (self._held > self._limit or len(self._kept) > MAX_OPEN):
            self._held -= self._kept.popitem(last=False)[1].nbytes
        return frames

    def pieces(self, seconds: float) -> list[Piece]:
        """Every utterance, or every recording cut into pieces of at most `seconds`."""
        if self._counts is None:
            return [Piece(i) for i in range(len(self))]
        assert self._data.task.frame_seconds is not None
        length = max(1, round(seconds / self._data.task.frame_seconds))
        return [
            Piece(i, start, min(start + length, count))
            for i, count in enumerate(self._counts)
            for start in range(0, count, length)
        ]

    def padded(self, pieces: Sequence[Piece]) -> tuple[Tensor, Tensor]:
        """Some pieces as (piece, frame, dim) float32 with zeros behind each, and their lengths (piece,)."""
        arrays = [self[p.position][p.start : p.stop] for p in pieces]
        out = np.zeros((len(arrays), max(map(len, arrays)), arrays[0].shape[1]), dtype=np.float32)
        for row, array in zip(out, arrays, strict=True):
            row[: len(array)] = array
        return torch.from_numpy(out), torch.tensor([len(array) for array in arrays])


def on_grid(frames: Array, data: Data, count: int) -> Array:
    """The feature frames that stand for the times of `count` label frames, (count, dim)."""
    hop, step = data.features["input"].hop_seconds, data.task.frame_seconds
    if hop is None or step is None:
        raise SerbenchError(
            f"the task {data.task.name!r} is continuous, but the feature has one row per recording. Expected a feature "
            "with frames: leave feature.pooling out."
        )
    nearest = np.rint(np.arange(count) * (step / hop)).astype(np.int64)
    return np.asarray(frames[np.minimum(nearest, len(frames) - 1)])


def padded_traces(targets: Sequence[Tensor]) -> Tensor:
    """Targets (frame, target) of some pieces as (piece, frame, target) with NaN behind each."""
    return torch.nn.utils.rnn.pad_sequence(list(targets), batch_first=True, padding_value=torch.nan)
