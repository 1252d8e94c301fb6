"""Fixed number of fixed-length chunks per sentence, by a step that depends on the sentence's length.

The segmentation of Lin and Busso used in "DeepEmoCluster" (Lin, Sridhar and Busso, ICASSP 2021,
DOI 10.1109/ICASSP39728.2021.9414035, section 4.1):

    C   = ceil(Tmax / wc)                 number of chunks of every sentence     (Eq. 1)
    dc_i = (T_i - wc) / (C - 1)           step between chunks of sentence i      (Eq. 2)

so that the chunks span the sentence without padding: they overlap in short sentences and leave gaps in those longer
than Tmax. Positions are whole frames here. What the paper leaves open is stated: the rounding of the step (`rule`) and
sentences shorter than one chunk (`short`). Nothing is copied before a batch is gathered: a chunk is a slice of the
utterance's cached array.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...datasets.core.errors import SerbenchError
from ..core.sermodel import Data

Array = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

RULES = ("floor", "round")
SHORT = ("tile", "edge", "zero")
MAX_OPEN = 8192
"""Most arrays held at once: cached features may be memory maps, and a process may hold about 65,000 of those."""


@dataclass(frozen=True)
class Chunking:
    """Where chunks lie.

    Attributes
    ----------
    length : frames per chunk
    count : chunks per sentence, C
    rule : "floor" takes whole steps, floor((T - m) / (C - 1)) frames, as the authors' release does (up to C - 2 frames
        at the end are never seen); "round" rounds each start, so that the last chunk ends with the sentence
    short : how a sentence shorter than one chunk is extended: "tile" repeats it, "edge" repeats its last frame,
        "zero" appends frames of zeros
    """

    length: int
    count: int
    rule: str = "floor"
    short: str = "tile"

    @classmethod
    def from_seconds(
        cls, chunk_seconds: float, max_seconds: float, hop_seconds: float, rule: str = "floor", short: str = "tile"
    ) -> Chunking:
        """Chunks of `chunk_seconds` (wc), as many as Eq. 1 gives for `max_seconds` (Tmax).

        1 s at a hop of 16 ms is 62 frames (62.5 cut to a whole number), and 11 s make 11 chunks.
        """
        length = math.floor(chunk_seconds / hop_seconds + 1e-9)
        if length < 1:
            raise SerbenchError(
                f"chunks of {chunk_seconds} s hold no frame: frames are {hop_seconds} s apart. "
                f"Expected model.chunk_seconds of at least {hop_seconds}."
            )
        return cls(length, max(1, math.ceil(max_seconds / chunk_seconds - 1e-9)), rule, short)

    def starts(self, lengths: Sequence[int] | Indices) -> Indices:
        """First frame of each chunk, (sentence, C), for sentences of `lengths` frames.

        Sentences shorter than a chunk start at 0 throughout (they are extended first). With C = 1 Eq. 2 has no step:
        the chunk is taken from the middle.
        """
        spare: Indices = np.maximum(np.asarray(lengths, dtype=np.int64) - self.length, 0)[:, None]
        if self.count == 1:
            return spare // 2
        position, steps = np.arange(self.count, dtype=np.int64)[None, :], self.count - 1
        if self.rule == "floor":
            return position * (spare // steps)
        return (2 * position * spare + steps) // (2 * steps)

    def extend(self, frames: Array) -> Array:
        """The sentence itself (frame, band), or the extended one of `length` frames when it is shorter than a chunk."""
        missing = self.length - len(frames)
        if missing <= 0:
            return frames
        if self.short == "zero" or not len(frames):
            return np.concatenate([frames, np.zeros((missing, frames.shape[1]), dtype=frames.dtype)])
        if self.short == "edge":
            return np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)])
        return np.tile(frames, (math.ceil(self.length / len(frames)), 1))[: self.length]


class ChunkSet:
    """The chunks of a data set, numbered sentence * C + position, as views of cached features.

    Parameters
    ----------
    data : utterances with features (frame, band)
    chunking : where chunks lie
    role : which features
    keep_bytes : most bytes of feature arrays held for the next batch. A set that takes more is read chunk by chunk, or,
        where its features can only be read as a whole, the least recently used arrays go: memory does not grow with
        the corpus, and no more is read than is needed
    """

    def __init__(self, data: Data, chunking: Chunking, role: str = "input", keep_bytes: int = 0) -> None:
        self.chunking, self._data, self._role = chunking, data, role
        table = data.features[role]
        self.bands = table.dim
        self.lengths = np.array([table.frames(i) for i in data.ids], dtype=np.int64)
        self.starts = chunking.starts(self.lengths).astype(np.int32)
        self._limit, self._held = keep_bytes, 0
        self._kept: OrderedDict[int, Array] = OrderedDict()
        total = int(np.maximum(self.lengths, chunking.length).sum()) * self.bands * 4
        self._by_parts = table.reads_parts and total > keep_bytes

    def __len__(self) -> int:
        return int(self.starts.size)

    @property
    def short(self) -> int:
        """Number of sentences shorter than a chunk."""
        return int((self.lengths < self.chunking.length).sum())

    def of_sentences(self, positions: Indices) -> Indices:
        """Numbers of all chunks of some sentences, (sentence * C,), the chunks of a sentence side by side."""
        c = self.chunking.count
        return (np.asarray(positions, dtype=np.int64)[:, None] * c + np.arange(c)).reshape(-1)

    def sentence_of(self, chunks: Indices) -> Indices:
        """Position of the sentence that each chunk belongs to."""
        return chunks // self.chunking.count

    def views(self, position: int) -> list[Array]:
        """The C chunks (frame, band) of one sentence: slices of its array, no copies."""
        frames = self._frames(position)
        return [frames[s : s + self.chunking.length] for s in self.starts[position]]

    def sentence(self, position: int) -> Array:
        """One sentence (frame, band), at least as long as a chunk."""
        return self._frames(position)

    def gather(self, chunks: Indices) -> Array:
        """Copy chunks into one batch, (chunk, frame, band) float32; each sentence is opened once, or read in part."""
        m = self.chunking.length
        out = np.empty((len(chunks), m, self.bands), dtype=np.float32)
        rows = self.starts.reshape(-1)[chunks]
        owners = self.sentence_of(chunks)
        order = np.argsort(owners, kind="stable")
        sentences, counts = np.unique(owners, return_counts=True)
        at = np.cumsum(counts) - counts
        for position, begin, count in zip(sentences.tolist(), at.tolist(), counts.tolist(), strict=True):
            some = order[begin : begin + count]
            if self._by_parts and m <= self.lengths[position] > count * m:
                for k in some:
                    out[k] = self._part(position, int(rows[k]))
            else:
                frames = self._frames(position)
                for k in some:
                    out[k] = frames[rows[k] : rows[k] + m]
        return out

    def _part(self, position: int, first: int) -> Array:
        """The frames of one chunk, read by themselves."""
        item = str(self._data.items.index[position])
        return self._data.features[self._role].part(item, first, first + self.chunking.length)

    def _frames(self, position: int) -> Array:
        if position in self._kept:
            self._kept.move_to_end(position)
            return self._kept[position]
        frames = self.chunking.extend(self._data.array(position, self._role))
        if self._by_parts:
            return frames
        self._kept[position] = frames
        self._held += frames.nbytes
        while len(self._kept) > 1 and (self._held > self._limit or len(self._kept) > MAX_OPEN):
            self._held -= self._kept.popitem(last=False)[1].nbytes
        return frames
