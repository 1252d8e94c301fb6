"""Turns as frames: an utterance and its context turns, averaged, normalised and padded into batches.

The context turns of an utterance are the speaker's previous turn and the interlocutor's last one, as the corpus table
names them. One that does not exist, or whose features could not be made, has no frames.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...features.core.feature_table import FeatureTable
from ..core.sermodel import Data

Array = npt.NDArray[np.float32]
Normaliser = Callable[[str, Array], Array]
"""Frames (frame, dim) of an utterance -> the same, normalised; see `inputs/normalisation.py`."""
MODES = ("train", "speaker", "none")
"""Whose moments frames are z-normalised by."""
CONTEXT = ("previous", "interlocutor")
"""Columns of the corpus table that name the context turns."""


class TurnFrames:
    """The frames of the turns of a feature table, as many held in memory as is allowed.

    Parameters
    ----------
    table : (frame, dim) of each turn
    normaliser : of the frames
    pool : frames that are averaged into one
    most : averaged frames that are kept of a turn, from its beginning; 0 = all
    keep_bytes : most bytes held for the next batch; the least recently used turns go
    """

    def __init__(self, table: FeatureTable, normaliser: Normaliser, pool: int, most: int, keep_bytes: int) -> None:
        self.table, self._normaliser, self._pool, self._most = table, normaliser, pool, most
        self._limit, self._held = keep_bytes, 0
        self._kept: OrderedDict[str, Array] = OrderedDict()

    def __getitem__(self, item: str) -> Array:
        """The frames of one turn, (frame, dim) float32."""
        if item in self._kept:
            self._kept.move_to_end(item)
            return self._kept[item]
        frames = average(self._normaliser(item, self.table[item]), self._pool)
        frames = np.ascontiguousarray(frames[: self._most] if self._most else frames, dtype=np.float32)
        self._kept[item] = frames
        self._held += frames.nbytes
        while self._held > self._limit and len(self._kept) > 1:
            self._held -= self._kept.popitem(last=False)[1].nbytes
        return frames

    def padded(self, ids: Sequence[str | None]) -> tuple[Tensor, Tensor]:
        """Some turns as (turn, frame, dim) float32 with zeros behind each, and their lengths (turn,); None has none.

        There is one frame at least, so that a batch without any turn has a shape that networks take.
        """
        arrays = [None if item is None else self[item] for item in ids]
        lengths = [0 if array is None else len(array) for array in arrays]
        out = np.zeros((len(ids), max(1, *lengths, 0), self.table.dim), dtype=np.float32)
        for row, array in zip(out, arrays, strict=True):
            if array is not None:
                row[: len(array)] = array
        return torch.from_numpy(out), torch.tensor(lengths, dtype=torch.int64)


def average(frames: Array, size: int) -> Array:
    """Means of `size` frames each, (ceil(frame / size), dim); the last one over what is left."""
    if size == 1 or not len(frames):
        return frames
    starts = np.arange(0, len(frames), size)
    sums = np.add.reduceat(frames, starts, axis=0, dtype=np.float64)
    counts = np.minimum(size, len(frames) - starts)[:, None]
    return np.asarray(sums / counts, dtype=np.float32)


def context_ids(data: Data, column: str) -> list[str | None]:
    """Id of the context turn of each item; None where there is none or it has no features."""
    if column not in data.items:
        return [None] * len(data)
    table = data.features["input"].loaders
    named = data.items[column]
    return [str(i) if known and str(i) in table else None for i, known in zip(named, named.notna(), strict=True)]
