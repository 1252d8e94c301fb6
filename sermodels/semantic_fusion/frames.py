"""Sound and words of utterances and recordings on the label grid, as the semantic-fusion network takes them.

Sound: label frame k is the stretch of one frame from time k * hop on. The vector of a frame has two halves, for the
recorded person and for whoever else is heard (section 4 of Tzirakis et al. 2021, in the release's form): the frame's
samples stand in the first half while the person has a turn, in the second half otherwise, and the other half is zero.
A turn lasts from frame round(start / hop) to round(end / hop), both included, as words do. The turns of a recording are
the utterances of its speaker in its dialogue; without any, and for utterances, all is the person's own. Sound that
ends before the labels is followed by silence; sound behind the last label is not used.

Words: see `words/vectors.py`, and `spoken_words.py` for vectors of the words' sound. Items without words, and all items
where no vectors are given, have zero vectors.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from ...datasets.core.errors import SerbenchError
from ...features.words.vectors import Vectors, frames_of_words, spans
from ..core.rows import frame_counts
from ..core.sermodel import Data
from ..inputs.batches import Batch
from ..inputs.waveforms import Waves
from .network import NetworkConfig, reach_frames, whole_frames

Array = npt.NDArray[np.float32]
PLACES = ("dialogue", "speaker", "dialogue_start", "dialogue_end")
NO_WORDS = "no words"
REMEMBERED = 128
"""Items whose word vectors and turns are kept between batches."""


@dataclass(frozen=True)
class Words:
    """Where word vectors come from.

    Attributes
    ----------
    vectors : the vocabulary; None = all vectors are zero
    dim : size of a vector
    unknown, seed : what words get that the vocabulary lacks, see `frames_of_words`
    times : words and times of an item, in place of the corpus's own
    role : of the feature that makes vectors of the words' sound, in place of `vectors`
    """

    vectors: Vectors | None
    dim: int
    unknown: str = "random"
    seed: int = 0
    times: Callable[[str], pd.DataFrame] | None = None
    role: str | None = None

    @property
    def given(self) -> bool:
        """Whether there are vectors; else all of them are zero."""
        return self.vectors is not None or self.role is not None

    def spoken(self, data: Data, item: str) -> tuple[pd.DataFrame | None, str]:
        """The words of an item (word, start, end [s]); None where they can't be had, and why."""
        source = self.times or data.words
        try:
            table = None if source is None else source(item)
        except SerbenchError as error:
            return None, str(error)
        return (None, NO_WORDS) if table is None or not len(table) else (table, "")


@dataclass
class Frames:
    """Sound and words of a data set, made when they are asked for.

    Attributes
    ----------
    data : utterances or recordings with the feature `waveform`
    hop_seconds : distance of frames
    words : source of word vectors
    keep_bytes : most bytes of signals held
    """

    data: Data
    hop_seconds: float
    words: Words
    keep_bytes: int

    def __post_init__(self) -> None:
        """Frame counts of all items, without reading any sound."""
        table = self.data.features["input"]
        self.rate = table.sampling_rate
        self.size = frame_samples(self.rate, self.hop_seconds)
        self._waves = Waves(self.data, self.keep_bytes)
        self._own: OrderedDict[int, Any] = OrderedDict()
        self._vectors: OrderedDict[int, Any] = OrderedDict()
        self._turns = turns_of(self.data) if self.data.task.kind == "continuous" else {}
        if self.data.task.kind == "continuous":
            self.counts = frame_counts(self.data)
        else:
            hop = self.hop_seconds * self.rate
            self.counts = [max(1, int(np.ceil(table.frames(i) / hop - 1e-6))) for i in self.data.ids]

    def __len__(self) -> int:
        return len(self.counts)

    def blocks(self, length: int) -> list[tuple[int, int]]:
        """Every (position, first frame) of stretches of `length` frames; the last one of a recording may be shorter."""
        return [(i, start) for i, count in enumerate(self.counts) for start in range(0, count, length)]

    def audio(self, position: int, start: int, stop: int) -> Array:
        """Both halves of frames `start` to `stop` - 1, (frame, 2 x samples)."""
        stop = min(stop, self.counts[position])
        begins = np.floor(np.arange(start, stop) * self.hop_seconds * self.rate + 1e-6).astype(np.int64)
        out = np.zeros((stop - start, 2, self.size), dtype=np.float32)
        if len(begins):
            signal = self._signal(position, int(begins[0]), int(begins[-1]) + self.size)
            frames = signal[(begins - begins[0])[:, None] + np.arange(self.size)]
            out[np.arange(stop - start), 1 - self.own(position)[start:stop].astype(np.int64)] = frames
        return out.reshape(stop - start, 2 * self.size)

    def own(self, position: int) -> npt.NDArray[np.bool_]:
        """Frames in which the recorded person has a turn, (frame,)."""
        turns, count = self._turns.get(self.data.ids[position]), self.counts[position]
        return np.asarray(self._kept(self._own, position, lambda: turn_mask(turns, count, self.hop_seconds)))

    def vectors(self, position: int) -> Array:
        """Word vectors of all frames of an item, (frame, dim)."""
        return np.asarray(self._kept(self._vectors, position, lambda: self._laid_out(position)))

    def _kept(self, memory: OrderedDict[int, Any], position: int, make: Callable[[], Any]) -> Any:
        """What was made for an item, of the last ones that were asked for."""
        if position not in memory:
            memory[position] = make()
            if len(memory) > REMEMBERED:
                memory.popitem(last=False)
        return memory[position]

    def _laid_out(self, position: int) -> Array:
        count, source = self.counts[position], self.words
        if source.role is not None:
            made = self.data.array(position, source.role)[:count]
            return np.pad(made, ((0, count - len(made)), (0, 0)))
        table = None if source.vectors is None else source.spoken(self.data, self.data.ids[position])[0]
        if table is None or source.vectors is None:
            return np.zeros((count, source.dim), dtype=np.float32)
        return frames_of_words(table, count, self.hop_seconds, source.vectors, unknown=source.unknown, seed=source.seed)

    def sides(self) -> dict[str, int]:
        """How many recordings have turns of their person, and how many have none."""
        known = sum(item in self._turns for item in self.data.ids)
        return {"recordings_with_turns": known, "recordings_without_turns": len(self) - known}

    def _signal(self, position: int, first: int, stop: int) -> Array:
        """Samples `first` to `stop` - 1, with silence behind the end of the sound."""
        table, item = self.data.features["input"], self.data.ids[position]
        end = min(stop, table.frames(item))
        if end <= first:
            return np.zeros(stop - first, dtype=np.float32)
        part = table.part(item, first, end)[:, 0] if table.reads_parts else self._waves[position][first:end]
        return np.pad(np.asarray(part, dtype=np.float32), (0, stop - first - len(part)))


def frame_samples(rate: int, hop_seconds: float) -> int:
    """Samples of one half of a frame."""
    return max(1, round(rate * hop_seconds))


def turn_mask(turns: pd.DataFrame | None, count: int, hop_seconds: float) -> npt.NDArray[np.bool_]:
    """Which of `count` frames lie in a turn (columns start, end [s]); all of them where there are no turns."""
    if turns is None:
        return np.ones(count, dtype=bool)
    mask = np.zeros(count, dtype=bool)
    for first, last in spans(turns, hop_seconds):
        if last >= 0:
            mask[max(first, 0) : last + 1] = True
    return mask


def turns_of(data: Data) -> Mapping[str, pd.DataFrame]:
    """Recording -> the turns of its person (columns word, start, end [s]), of recordings that have any."""
    rows = data.turns
    if rows is None or any(column not in rows for column in PLACES):
        return {}
    placed = rows.dropna(subset=list(PLACES))
    known = {str(key): part for key, part in placed.groupby(_key(placed), sort=False)}
    turns = {}
    for item, key in _key(data.items.dropna(subset=["dialogue", "speaker"])).items():
        if key in known:
            part = known[key]
            turns[str(item)] = pd.DataFrame(
                {"word": "", "start": part["dialogue_start"].to_numpy(), "end": part["dialogue_end"].to_numpy()}
            )
    return turns


def _key(rows: pd.DataFrame) -> pd.Series[str]:
    """Dialogue and speaker of each row as one text."""
    return rows["dialogue"].astype(str) + "\n" + rows["speaker"].astype(str)


def utterance_batch(frames: Frames, items: Sequence[int] | npt.NDArray[np.int64], config: NetworkConfig) -> Batch:
    """Sound (utterance, frame, samples), words (utterance, frame, dim) and lengths, with silence behind each.

    At least so much silence that more of it changes nothing, and a number of frames that the pools divide.
    """
    counts = [frames.counts[i] for i in items]
    samples = 2 * frames.size
    whole = whole_frames(samples, config)
    length = -(-(max(counts) + reach_frames(samples, config)) // whole) * whole
    sound, words = block_batch(frames, [(int(i), 0) for i in items], length)
    return sound, words, torch.tensor(counts)


def block_batch(frames: Frames, blocks: Sequence[tuple[int, int]], length: int) -> Batch:
    """Sound and words of `length` frames from (position, first frame) on, with silence behind an item's end."""
    sound = np.zeros((len(blocks), length, 2 * frames.size), dtype=np.float32)
    words = np.zeros((len(blocks), length, frames.words.dim), dtype=np.float32)
    for k, (position, start) in enumerate(blocks):
        part = frames.audio(position, start, start + length)
        sound[k, : len(part)] = part
        if frames.words.given:
            words[k, : len(part)] = frames.vectors(position)[start : start + length]
    return torch.from_numpy(sound), torch.from_numpy(words)


def root_mean_square(data: Data) -> float:
    """Of all samples of a data set; 1 where all is silent."""
    total, count = 0.0, 0
    for i in range(len(data)):
        signal = data.array(i).astype(np.float64)
        total, count = total + float(np.square(signal).sum()), count + signal.size
    return float(np.sqrt(total / count)) if total > 0 else 1.0
