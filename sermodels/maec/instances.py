"""Speech as a bag of instances: overlapping windows of frames (MAEC, section 2, Eq. 1).

x = [s_1, s_2, ..., s_n]: an utterance of T frames is cut into windows of W frames, one every S frames. The first window
with fewer than W real frames is filled up with zeros and closes the bag: n = floor((T - W) / S) + 2, or 1 where T < W.
The paper writes 50 ms and 10 ms; its authors' code takes 50 and 10 frames (of 10 ms), which is the default here. A bag
holds at most `instances` of them, the last or the first ones.

Nothing is copied per window: a bag is one stretch of (n - 1) S + W frames, of which the network takes views. `Bags`
reads, normalises and cuts the turns of a data set: the current one, and where asked for the speaker's previous turn and
the interlocutor's last one. A context turn that does not exist, or whose features could not be made, is a bag without
instances.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...datasets.core.config import option
from ..core.sermodel import Data
from ..inputs.turns import CONTEXT, MODES, average, context_ids

Array = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
Normaliser = Callable[[str, Array], Array]
"""Frames (frame, dim) of an utterance -> the same, normalised; see `inputs/normalisation.py`."""


@dataclass(frozen=True)
class BagConfig:
    """How an utterance becomes a bag."""

    window: int = option(50, "frames of an instance, W", source="released code; Eq. 1", low=2)
    hop: int = option(10, "frames between two instances, S", source="released code; Eq. 1", low=1)
    instances: int = option(70, "most instances of a bag", source="released code", low=1)
    keep: str = option("last", "which instances of a longer bag", source="released code", choices=("last", "first"))
    pool: int = option(1, "frames that are averaged into one before cutting", source="free choice", low=1)
    bag: str = option("windows", "windows, or the whole utterance averaged to one window", choices=("windows", "whole"))
    normalise: str = option("train", "moments that z-normalise the frames", source="free choice", choices=MODES)

    def count(self, frames: int) -> int:
        """Number of windows of an utterance of so many (pooled) frames, before the bag's limit."""
        if self.bag == "whole" or frames < self.window:
            return 1
        return (frames - self.window) // self.hop + 2

    def cut(self, frames: Array) -> tuple[Array, int]:
        """The stretch of frames that a bag's windows lie in.

        Parameters
        ----------
        frames : (frame, dim), normalised

        Returns
        -------
        ((n - 1) S + W, dim) float32, zeros where the utterance has no frame, and the number of windows that are left
        out before the first one kept
        """
        pooled = average(frames, self.pool)
        if self.bag == "whole":
            return stretch(pooled, self.window), 0
        count = self.count(len(pooled))
        kept = min(count, self.instances)
        skipped = count - kept if self.keep == "last" else 0
        bag = np.zeros(((kept - 1) * self.hop + self.window, frames.shape[1]), dtype=np.float32)
        piece = pooled[skipped * self.hop :][: len(bag)]
        bag[: len(piece)] = piece
        return bag, skipped

    def instances_of(self, frames: int) -> int:
        """Number of instances that are kept of an utterance of so many raw frames."""
        return min(self.count(-(-frames // self.pool)), self.instances)


def stretch(frames: Array, length: int) -> Array:
    """The utterance averaged to L frames: frame i is the mean of frames floor(i T / L) to ceil((i + 1) T / L) - 1."""
    if not len(frames):
        return np.zeros((length, frames.shape[1]), dtype=np.float32)
    low = np.arange(length) * len(frames) // length
    high = -(-(np.arange(length) + 1) * len(frames) // length)
    sums = np.concatenate([np.zeros((1, frames.shape[1])), np.cumsum(frames, axis=0, dtype=np.float64)])
    return np.asarray((sums[high] - sums[low]) / (high - low)[:, None], dtype=np.float32)


class Bags:
    """The bags of a data set, and of the context of its items.

    Parameters
    ----------
    data : utterances with features (frame, dim)
    config : how they are cut
    normaliser : of the frames
    context : whether the context turns are wanted
    keep_bytes : most bytes of bags held for the next batch; the least recently used ones go
    """

    def __init__(
        self, data: Data, config: BagConfig, normaliser: Normaliser, context: bool, keep_bytes: int = 0
    ) -> None:
        self.data, self.config = data, config
        self._table, self._normaliser = data.features["input"], normaliser
        self.turns: list[list[str | None]] = [list(data.ids)]
        if context:
            self.turns += [context_ids(data, column) for column in CONTEXT]
        self._limit, self._held = keep_bytes, 0
        self._kept: OrderedDict[str, Array] = OrderedDict()

    def __len__(self) -> int:
        return len(self.data)

    def gather(self, positions: Sequence[int] | Indices) -> list[tuple[Array, Indices]]:
        """Bags of some items: for each turn (current, previous, interlocutor) the stretches of all items end to end,
        (frame, dim), and the number of instances of each item, (item,); 0 where there is no such turn."""
        gathered = []
        for ids in self.turns:
            bags = [self._bag(ids[int(i)]) for i in positions]
            counts = [0 if bag is None else self._instances(bag) for bag in bags]
            there = [bag for bag in bags if bag is not None]
            frames = np.concatenate(there) if there else np.zeros((0, self._table.dim), dtype=np.float32)
            gathered.append((frames, np.asarray(counts, dtype=np.int64)))
        return gathered

    def skipped(self, position: int) -> int:
        """Number of windows of an item that lie before the first one kept."""
        return self.config.cut(self._table[self.data.ids[position]])[1]

    def weighted(self, position: int, weights: npt.NDArray[np.float64]) -> pd.DataFrame:
        """Start and end in seconds, and weight, of the instances of an item's bag."""
        config, table = self.config, self._table
        assert table.hop_seconds is not None
        frames = table.frames(self.data.ids[position])
        if config.bag == "whole":
            return pd.DataFrame({"start": [0.0], "end": [frames * table.hop_seconds], "weight": [1.0]})
        count, step = config.instances_of(frames), config.pool * table.hop_seconds
        start = (self.skipped(position) + np.arange(count)) * config.hop * step
        end = np.minimum(start + config.window * step, frames * table.hop_seconds)
        return pd.DataFrame({"start": start, "end": end, "weight": weights[:count]})

    def _instances(self, bag: Array) -> int:
        return (len(bag) - self.config.window) // self.config.hop + 1

    def _bag(self, item: str | None) -> Array | None:
        if item is None:
            return None
        if item in self._kept:
            self._kept.move_to_end(item)
            return self._kept[item]
        bag, _ = self.config.cut(self._normaliser(item, self._table[item]))
        self._kept[item] = bag
        self._held += bag.nbytes
        while self._held > self._limit and self._kept:
            _, gone = self._kept.popitem(last=False)
            self._held -= gone.nbytes
        return bag
