"""Features of the rows of a corpus table: cached ones are looked up, missing ones are made, in one or more processes.

The unit of work is one audio file with all of its segments: it is hashed once and its segments are decoded one by one.
A file that can't be used is listed with its reason and never ends the run, not even when it kills the process that
decodes it. Arrays go from the process that made them straight into the cache; only shapes come back, so the memory
that is needed does not grow with the corpus. Every result is read back from the cache, so a cold and a warm
run see the same bytes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..datasets._errors import SerbenchError
from ..datasets._files import inside
from ._audio import AudioHashes, Signature, audio_sha256, read_audio, signature
from ._cache import REFRESH_SECONDS, FeatureCache, Section
from ._extractor import FeatureExtractor
from ._pack import Array, entry_key
from ._store import FeatureTable

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[int, int, float], None]
"""(utterances done, utterances in all, seconds of audio decoded so far in this call)."""

IN_MEMORY_BYTES = 16 << 20
"""Files up to this size are read once, to hash and to decode them; of longer ones only the segments are read."""
_SAVE_SECONDS = 10.0


@dataclass(frozen=True)
class Segment:
    """One utterance of a file; `start` and `end` in seconds, None for the file's beginning and end."""

    item: str
    start: float | None
    end: float | None


@dataclass(frozen=True)
class FileTask:
    """One audio file and the utterances that are wanted from it; `sha` is its digest, if that is known already."""

    path: str
    segments: tuple[Segment, ...]
    sha: str | None = None
    seen: Signature | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a `FileTask`.

    Attributes
    ----------
    task : the task, with `sha` and the signature `seen` that it belongs to (None where the file could not be read)
    read_at : time in seconds when reading began
    frames : id -> number of frames
    failed : id -> reason
    seconds : audio decoded
    """

    task: FileTask
    read_at: float
    frames: dict[str, int]
    failed: dict[str, str]
    seconds: float


def extract(
    rows: pd.DataFrame,
    root: Path,
    extractor: FeatureExtractor,
    cache: FeatureCache | None = None,
    *,
    jobs: int = 1,
    progress: Progress | None = None,
    verify: bool = False,
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

    Returns
    -------
    table of arrays (frames, dim) in row order, with the rows that could not be extracted in `failed`

    Raises
    ------
    SerbenchError
        If `jobs` is not positive or worker processes can't be started; never for a file.
    """
    if jobs < 1:
        raise SerbenchError(f"jobs={jobs} is out of range. Expected 1 or more; type --jobs 2, for example.")
    section = (cache or FeatureCache()).section(extractor)
    hashes = AudioHashes()
    tasks, failed = _tasks(rows, root)
    tally = _Tally(len(rows), failed, progress)
    pending = [rest for task in tasks if (rest := _look_up(task, section, hashes, tally, verify)) is not None]
    tally.report()
    try:
        for outcome in _outcomes(pending, extractor, section, jobs):
            tally.add(outcome, hashes)
    finally:
        hashes.save()
        section.refresh()
    return _table(rows, tasks, tally, extractor, section)


def make(task: FileTask, extractor: FeatureExtractor, section: Section) -> Outcome:
    """Hash a file, extract what is not cached of it, and store it; every error becomes a reason."""
    frames: dict[str, int] = {}
    failed: dict[str, str] = {}
    seconds = 0.0
    read_at = time.time()
    try:
        seen = signature(task.path)
        content = _content(task.path) if seen[0] <= IN_MEMORY_BYTES else None
        sha = task.sha if task.sha is not None and task.seen == seen else audio_sha256(task.path, content=content)
    except Exception as error:
        reason = _reason(error, task.path)
        return Outcome(replace(task, sha=None), read_at, frames, {s.item: reason for s in task.segments}, seconds)
    task = replace(task, sha=sha, seen=seen)
    section.refresh(REFRESH_SECONDS)
    for segment in task.segments:
        key = entry_key(sha, segment.start, segment.end)
        try:
            known = section.frames(key)
            if known is None:
                array, decoded = compute(task.path, segment, extractor, seen, content)
                section.write(key, array)
                known, seconds = len(array), seconds + decoded
            frames[segment.item] = known
        except Exception as error:
            failed[segment.item] = _reason(error, task.path)
    return Outcome(task, read_at, frames, failed, seconds)


def compute(
    path: str, segment: Segment, extractor: FeatureExtractor, seen: Signature, content: bytes | None = None
) -> tuple[Array, float]:
    """The features (frames, dim) of a segment and its seconds of audio, without the cache.

    `content` is the file's bytes, if they have been read already.

    Raises
    ------
    SerbenchError
        If the audio can't be used, was changed since it had the signature `seen`, or the extractor refuses it.
    """
    signal, rate = read_audio(path, extractor.sampling_rate, segment.start, segment.end, content=content)
    if signature(path) != seen:
        raise SerbenchError(f"{path} was changed while it was read. Run the same command again.")
    array = extractor.extract(signal)
    if array.ndim != 2 or array.shape[1] != extractor.dim or not len(array) or array.dtype != np.float32:
        raise SerbenchError(
            f"{extractor.name} gave {array.dtype} {array.shape}. Expected float32 (frames, {extractor.dim}) with at "
            "least one frame; mend the extractor."
        )
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        raise SerbenchError(f"{extractor.name} gave {bad} of {array.size} values that are not finite for {path}.")
    return array, len(signal) / rate


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


def _tasks(rows: pd.DataFrame, root: Path) -> tuple[list[FileTask], dict[str, str]]:
    """Group the rows by file; rows whose path leaves the root fail."""
    files: dict[str, list[Segment]] = {}
    failed: dict[str, str] = {}
    nothing = [None] * len(rows)
    starts = rows["start"].tolist() if "start" in rows else nothing
    ends = rows["end"].tolist() if "end" in rows else nothing
    for item, relative, start, end in zip(rows.index.tolist(), rows["path"].tolist(), starts, ends, strict=True):
        try:
            path = str(inside(root, str(relative)))
        except SerbenchError as error:
            failed[str(item)] = str(error)
            continue
        files.setdefault(path, []).append(Segment(str(item), _number(start), _number(end)))
    return [FileTask(path, tuple(segments)) for path, segments in files.items()], failed


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def _look_up(
    task: FileTask, section: Section, hashes: AudioHashes, tally: _Tally, verify: bool
) -> FileTask | None:
    """Note what is cached of a file whose digest is remembered; return the rest of the task, None if there is none."""
    try:
        seen = signature(task.path)
    except OSError:
        return task
    sha = hashes.known(task.path, seen)
    if sha is None:
        return task
    tally.sha[task.path] = sha
    missing = []
    for segment in task.segments:
        key = entry_key(sha, segment.start, segment.end)
        if verify:
            section.read(key)
        frames = section.frames(key)
        if frames is None:
            missing.append(segment)
        else:
            tally.frames[segment.item] = frames
    return FileTask(task.path, tuple(missing), sha, seen) if missing else None


def _outcomes(tasks: list[FileTask], extractor: FeatureExtractor, section: Section, jobs: int) -> Iterator[Outcome]:
    if jobs > 1 and len(tasks) > 1 and extractor.parallel:
        from ._processes import in_processes

        yield from in_processes(tasks, partial(make, extractor=extractor, section=section), jobs, _died)
    else:
        for task in tasks:
            yield make(task, extractor, section)


def _content(path: str) -> bytes:
    with open(path, "rb", buffering=0) as stream:
        return stream.read()


def _died(task: FileTask) -> Outcome:
    """The outcome of a file that took its process with it."""
    reason = f"the process that read {task.path} died. Expected audio that fits into memory; convert or cut the file."
    return Outcome(replace(task, sha=None), time.time(), {}, {s.item: reason for s in task.segments}, 0.0)


def _reason(error: Exception, path: str) -> str:
    return str(error) if isinstance(error, SerbenchError) else f"{path}: {type(error).__name__}: {error}"


@dataclass(frozen=True)
class _Loaders(Mapping[str, Callable[[], Array]]):
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

    def _load(self, path: str, segment: Segment, sha: str) -> Array:
        key = entry_key(sha, segment.start, segment.end)
        array = self.section.read(key)
        if array is None:
            seen = _unchanged(path, sha)
            array, _ = compute(path, segment, self.extractor, seen)
            self.section.write(key, array)
        return array


def _unchanged(path: str, sha: str) -> Signature:
    """The signature of a file that still has the content of digest `sha`."""
    try:
        seen = signature(path)
    except OSError as error:
        raise SerbenchError(f"{path} is gone, and so are its cached features. Bring it back and run again.") from error
    if audio_sha256(path) != sha:
        raise SerbenchError(f"{path} was changed since its features were looked up. Run the same command again.")
    return seen


def _table(
    rows: pd.DataFrame, tasks: Iterable[FileTask], tally: _Tally, extractor: FeatureExtractor, section: Section
) -> FeatureTable:
    """The table in row order."""
    where = {s.item: (t.path, s, tally.sha[t.path]) for t in tasks for s in t.segments if s.item in tally.frames}
    ids = [str(i) for i in rows.index]
    return FeatureTable(
        loaders=_Loaders({i: where[i] for i in ids if i in where}, extractor, section),
        shapes={i: (tally.frames[i], extractor.dim) for i in ids if i in where},
        dim=extractor.dim,
        hop_seconds=extractor.hop_seconds,
        sampling_rate=extractor.sampling_rate,
        failed={i: tally.failed[i] for i in ids if i in tally.failed},
    )
