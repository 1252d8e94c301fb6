"""Features of the rows of a corpus table: cached ones are looked up, missing ones are made, in one or more processes.

The unit of work is one audio file with all of its segments: it is hashed once and its segments are decoded one by one.
A file that can't be used is listed with its reason and never ends the run, not even when it kills the process that
decodes it. Arrays go from the process that made them straight into the cache; only shapes come back, so the memory
that is needed does not grow with the corpus. Every result is read back from the cache, so a cold and a warm
run see the same bytes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ...datasets.core.errors import SerbenchError
from ...datasets.core.stages import track
from ..cache.cache import FeatureCache
from ..cache.pack import Array, entry_key
from ..cache.section import Section
from ..core.audio import AudioHashes, audio_sha256, signature
from ..core.feature_extractor import FeatureExtractor
from ..core.feature_table import FeatureTable
from .file_tasks import (
    AudioSource,
    Changes,
    FileTask,
    Outcome,
    Segment,
    changed,
    compute,
    died,
    make,
    tasks_of,
    unchanged,
)

if TYPE_CHECKING:
    import pandas as pd

    from ...datasets.schema.corpus import Corpus
    from ..core.word_feature import Words

Progress = Callable[[int, int, float], None]
"""(utterances done, utterances in all, seconds of audio decoded so far in this call)."""

_SAVE_SECONDS = 10.0


def extract(
    rows: pd.DataFrame,
    root: Path,
    extractor: FeatureExtractor,
    cache: FeatureCache | None = None,
    *,
    jobs: int = 1,
    progress: Progress | None = None,
    verify: bool = False,
    source: AudioSource | None = None,
    words: Words | None = None,
    changes: Changes | None = None,
) -> FeatureTable:
    """Features of every row, from the cache or made now.

    Parameters
    ----------
    rows : corpus table rows; `path`, and `start` and `end` where an utterance is a part of a file
    root : folder that the paths are relative to
    extractor : what to extract
    cache : by default the user's
    jobs : number of processes; 1 works in this one. A script that asks for more must guard its main code with
        `if __name__ == "__main__":`
    progress : called once after the look-up and then after every file
    verify : check the checksums of cached arrays now, and not when they are loaded
    source : from a corpus's file to the file that holds its sound (`Corpus.audio_source`); what it refuses fails alone
    words : id -> words (`Corpus.words`), for features that are made from them; these are not cached, unless they are
        made from the sound of each word
    changes : what is done to the samples of each utterance before; features of words are not made from them

    Returns
    -------
    table of arrays (frames, dim) in row order, with the rows that could not be extracted in `failed`

    Raises
    ------
    SerbenchError
        If `jobs` is not positive, worker processes can't be started, the extractor can't work at all or the cache
        can't be written; never for a file.
    """
    if jobs < 1:
        raise SerbenchError(f"jobs={jobs} is out of range. Expected 1 or more; type --jobs 2, for example.")
    if extractor.needs_words:
        return _of_words(rows, root, extractor, words, source, cache or FeatureCache(), progress, changes)
    cache = cache or FeatureCache()
    done = None if changes is None else changes.identity()
    section = cache.section(extractor, done)
    wider = [(other, there) for other in extractor.wider() if (there := cache.present(other, done)) is not None]
    held = _Held(extractor, section, tuple(wider))
    hashes = AudioHashes(cache.folder.parent / "audio")
    tasks, failed = tasks_of(rows, root, source, jobs)
    tasks = tasks if changes is None else [changed(task, changes) for task in tasks]
    tally = _Tally(len(rows), failed, progress)
    looked = track(tasks, "looking up files in the cache")
    pending = [rest for task in looked if (rest := _look_up(task, held, hashes, tally, verify)) is not None]
    tally.report()
    try:
        for outcome in _outcomes(tasks, _rotated(pending), extractor, section, jobs):
            tally.add(outcome, hashes)
    finally:
        hashes.save()
        section.refresh()
        if pending:
            extractor.release()
    return _table(rows, tasks, tally, extractor, section)


def extract_from(
    corpus: Corpus,
    rows: pd.DataFrame,
    extractor: FeatureExtractor,
    cache: FeatureCache | None = None,
    *,
    jobs: int = 1,
    progress: Progress | None = None,
    changes: Changes | None = None,
) -> FeatureTable:
    """`extract` of rows of a corpus: below its root, with its archives and its words where it has them."""
    more = partial(extract, source=corpus.audio_source, words=corpus.words, changes=changes)
    return more(rows, corpus.root, extractor, cache, jobs=jobs, progress=progress)


def _of_words(
    rows: pd.DataFrame,
    root: Path,
    extractor: FeatureExtractor,
    words: Words | None,
    source: AudioSource | None,
    cache: FeatureCache,
    progress: Progress | None,
    changes: Changes | None,
) -> FeatureTable:
    """A table that is made from words, or from the sound of each, which is read by itself and can't be changed."""
    from ..core.word_feature import SpokenWordFeature

    if isinstance(extractor, SpokenWordFeature):
        if changes is not None and changes.identity() is not None:
            raise SerbenchError(f"{extractor.name!r} reads the sound of single words, which can't be perturbed.")
        from .from_spoken import table_of_spoken

        return table_of_spoken(rows, root, extractor, words, cache, source=source, progress=progress)
    from .from_words import table_of_words

    return table_of_words(rows, root, extractor, words, source)


class _Tally:
    """What is done so far, and the progress display."""

    def __init__(self, total: int, failed: dict[str, str], progress: Progress | None) -> None:
        self.total, self.failed, self._progress = total, failed, progress
        self.frames: dict[str, int] = {}
        self.sha: dict[str, str] = {}
        self.seconds = 0.0
        self._saved = time.monotonic()

    def report(self) -> None:
        if self._progress is not None:
            self._progress(len(self.frames) + len(self.failed), self.total, self.seconds)

    def add(self, outcome: Outcome, hashes: AudioHashes) -> None:
        task = outcome.task
        if task.sha is not None and task.seen is not None:
            hashes.learn(task.path, task.seen, task.sha, outcome.read_at)
            self.sha[task.path] = task.sha
        self.frames.update(outcome.frames)
        self.failed.update(outcome.failed)
        self.seconds += outcome.seconds
        self.report()
        if time.monotonic() - self._saved > _SAVE_SECONDS:
            hashes.save()
            self._saved = time.monotonic()


@dataclass(frozen=True)
class _Held:
    """What the cache has of an extractor's arrays: in its own section, or in those of its `wider()`."""

    extractor: FeatureExtractor
    section: Section
    wider: tuple[tuple[FeatureExtractor, Section], ...]

    def frames(self, key: bytes) -> int | None:
        """Number of frames of an array, None if it has to be extracted; what only a wider section has is narrowed."""
        frames = self.section.frames(key)
        if frames is not None:
            return frames
        for other, section in self.wider:
            if (array := section.read(key)) is not None:
                narrow = self.extractor.narrowed(array, other)
                self.section.write(key, narrow)
                return len(narrow)
        return None


def _look_up(task: FileTask, held: _Held, hashes: AudioHashes, tally: _Tally, verify: bool) -> FileTask | None:
    """Note what is cached of a file whose digest is remembered; return the rest of the task, None if there is none.

    Where a wider section may have it, a digest that is not remembered is made here.
    """
    try:
        seen = signature(task.path)
        sha = hashes.known(task.path, seen)
        if sha is None and held.wider:
            read_at, sha = time.time(), audio_sha256(task.path)
            hashes.learn(task.path, seen, sha, read_at)
    except (OSError, SerbenchError):
        return task
    if sha is None:
        return task
    tally.sha[task.path] = sha
    missing = []
    for segment in task.segments:
        key = entry_key(sha, segment.start, segment.end)
        if verify:
            held.section.read(key)
        frames = held.frames(key)
        if frames is None:
            missing.append(segment)
        else:
            tally.frames[segment.item] = frames
    return FileTask(task.path, tuple(missing), sha, seen) if missing else None


def _rotated(tasks: list[FileTask]) -> list[FileTask]:
    """Begin at another place in each process: processes that extract the same corpus at once share the work."""
    golden = 2654435769  # 2**32 times the golden ratio: spreads neighbouring process ids
    first = (os.getpid() * golden % 2**32) * len(tasks) >> 32
    return tasks[first:] + tasks[:first]


def _outcomes(
    every: list[FileTask], tasks: list[FileTask], extractor: FeatureExtractor, section: Section, jobs: int
) -> Iterator[Outcome]:
    """What becomes of the pending tasks; batches are made up of all tasks, so that it matters not which are pending."""
    if tasks and extractor.batch_seconds:
        from .batched import in_batches

        yield from in_batches(every, tasks, extractor, section, jobs)
    elif jobs > 1 and len(tasks) > 1 and extractor.parallel:
        from .processes import in_processes

        yield from in_processes(tasks, partial(make, extractor=extractor, section=section), jobs, died)
    else:
        for task in tasks:
            yield make(task, extractor, section)


@dataclass(frozen=True)
class _FromCache(Mapping[str, Callable[[], Array]]):
    """id -> function that loads the array from the cache, or makes it again if it is damaged or gone."""

    where: dict[str, tuple[str, Segment, str]]
    extractor: FeatureExtractor
    section: Section

    def __getitem__(self, item: str) -> Callable[[], Array]:
        return partial(self._load, *self.where[item])

    def __iter__(self) -> Iterator[str]:
        return iter(self.where)

    def __len__(self) -> int:
        return len(self.where)

    def part(self, item: str, first: int, stop: int) -> Array:
        """Frames `first` .. `stop` - 1 of an array."""
        path, segment, sha = self.where[item]
        stored = self.section.read_part(entry_key(sha, segment.start, segment.end), first, stop)
        return self._load(path, segment, sha)[first:stop] if stored is None else stored

    def _load(self, path: str, segment: Segment, sha: str) -> Array:
        key = entry_key(sha, segment.start, segment.end)
        array = self.section.read(key)
        if array is None:
            seen = unchanged(path, sha)
            array, _ = compute(path, segment, self.extractor, seen)
            self.section.write(key, array)
        return array


def _table(
    rows: pd.DataFrame, tasks: Iterable[FileTask], tally: _Tally, extractor: FeatureExtractor, section: Section
) -> FeatureTable:
    """The table in row order."""
    where = {s.item: (t.path, s, tally.sha[t.path]) for t in tasks for s in t.segments if s.item in tally.frames}
    ids = [str(i) for i in rows.index]
    return FeatureTable(
        loaders=_FromCache({i: where[i] for i in ids if i in where}, extractor, section),
        shapes={i: (tally.frames[i], extractor.dim) for i in ids if i in where},
        dim=extractor.dim,
        hop_seconds=extractor.hop_seconds,
        sampling_rate=extractor.sampling_rate,
        failed={i: tally.failed[i] for i in ids if i in tally.failed},
    )
