"""Features that are made from the sound of each word: vectors from the cache or made now, laid on frames when needed.

What is cached are the encoder's vectors of an item's words, addressed by the encoder, the audio's content, and the
bounds of segment and words; so other frames, or another map into another space, take the same ones.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...datasets.core.errors import SerbenchError
from ..cache.cache import FeatureCache
from ..cache.section import CacheError, Section
from ..core.audio import AudioHashes, read_audio
from ..core.feature_extractor import Array
from ..core.feature_table import FeatureTable
from ..core.word_feature import SpokenWordFeature, Words
from .file_tasks import AudioSource, FileTask, Segment, reason_of, tasks_of, unchanged
from .from_words import seconds_of

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[int, int, float], None]


def table_of_spoken(
    rows: pd.DataFrame,
    root: Path,
    extractor: SpokenWordFeature,
    words: Words | None,
    cache: FeatureCache,
    *,
    source: AudioSource | None = None,
    progress: Progress | None = None,
) -> FeatureTable:
    """The table of a feature of spoken words; an item whose words or sound can't be used stands in `failed`.

    Raises
    ------
    SerbenchError
        Where no item has words, or the cache can't be written.
    """
    tasks, failed = tasks_of(rows, root, source)
    made = _Made(extractor, words or _refuse, cache.section(extractor.encoder))
    hashes = AudioHashes(cache.folder.parent / "audio")
    places: dict[str, _Place] = {}
    spoken = done = 0
    heard = 0.0
    for task in tasks:
        for segment, seconds in _with_seconds(task, failed):
            try:
                frames = max(1, math.ceil(seconds / extractor.hop_seconds - 1e-6))
                place, said, new = made.make(task.path, segment, frames, hashes)
                places[segment.item] = place
                spoken, heard = spoken + said, heard + (seconds if new else 0.0)
            except CacheError:
                raise
            except Exception as error:
                failed[segment.item] = reason_of(error, task.path)
        done += len(task.segments)
        if progress is not None:
            progress(done, len(rows), heard)
    hashes.save()
    if places and not spoken:
        raise SerbenchError(
            f"none of {len(places)} items has words. Expected word times: 'serbench words align' makes them from "
            "transcripts, 'serbench words transcribe' from sound alone; feature.word_times=FILE uses them."
        )
    ids = [str(i) for i in rows.index if str(i) in places]
    return FeatureTable(
        loaders=_Loaders({i: places[i] for i in ids}, made),
        shapes={i: (places[i].frames, extractor.dim) for i in ids},
        dim=extractor.dim,
        hop_seconds=extractor.hop_seconds,
        sampling_rate=extractor.encoder.sampling_rate,
        failed={str(i): failed[str(i)] for i in rows.index if str(i) in failed},
    )


@dataclass(frozen=True)
class _Place:
    """Where an item's sound and its vectors are; no key where it has no words."""

    path: str
    segment: Segment
    frames: int
    sha: str = ""
    key: bytes | None = None


@dataclass(frozen=True)
class _Made:
    """The encoder's vectors of the words of items."""

    extractor: SpokenWordFeature
    words: Words
    section: Section

    def make(self, path: str, segment: Segment, frames: int, hashes: AudioHashes) -> tuple[_Place, int, bool]:
        """Have the vectors of an item in the cache: where, how many words it has, whether they had to be made."""
        said = self.said(segment.item)
        if not len(said):
            return _Place(path, segment, frames), 0, False
        sha = hashes.sha256(path)
        place = _Place(path, segment, frames, sha, _key(sha, segment, said))
        assert place.key is not None
        if self.section.frames(place.key) is not None:
            return place, len(said), False
        self.section.write(place.key, self._heard(path, segment, said))
        return place, len(said), True

    def load(self, place: _Place) -> Array:
        """Features (frames, dim) of an item; vectors that are damaged or gone are made again."""
        if place.key is None:
            return np.zeros((place.frames, self.extractor.dim), np.float32)
        said, vectors = self.said(place.segment.item), self.section.read(place.key)
        if vectors is None:
            unchanged(place.path, place.sha)
            vectors = self._heard(place.path, place.segment, said)
            self.section.write(place.key, vectors)
        return self.extractor.lay_heard(said, vectors, place.frames)

    def said(self, item: str) -> pd.DataFrame:
        """The words of an item, checked."""
        said = self.extractor.times(item, self.words)
        self.extractor.check(said)
        return said

    def _heard(self, path: str, segment: Segment, said: pd.DataFrame) -> Array:
        signal, _ = read_audio(path, self.extractor.encoder.sampling_rate, segment.start, segment.end)
        return self.extractor.hear(said, signal)


@dataclass(frozen=True)
class _Loaders(Mapping[str, Callable[[], Array]]):
    """id -> function that lays the item's words on its frames."""

    where: dict[str, _Place]
    made: _Made

    def __getitem__(self, item: str) -> Callable[[], Array]:
        return partial(self.made.load, self.where[item])

    def __iter__(self) -> Iterator[str]:
        return iter(self.where)

    def __len__(self) -> int:
        return len(self.where)


def _with_seconds(task: FileTask, failed: dict[str, str]) -> Iterator[tuple[Segment, float]]:
    segments = {segment.item: segment for segment in task.segments}
    yield from ((segments[item], seconds) for item, seconds in seconds_of(task, failed))


def _key(sha: str, segment: Segment, said: pd.DataFrame) -> bytes:
    """Twenty bytes for the words of a segment of audio: `cache.pack.entry_key` with the bounds of each word."""
    bounds = said[["start", "end"]].to_numpy(np.float64).round(6).tolist()
    return hashlib.sha256(f"{sha} {segment.start!r} {segment.end!r} {bounds!r}".encode()).digest()[:20]


def _refuse(item: str) -> pd.DataFrame:
    raise SerbenchError("the words of a corpus are not at hand here. Type --set feature.word_times=FILE.")
