"""The unit of work of an extraction: one audio file with all the utterances that are wanted from it.

The file is hashed once, its segments are decoded one by one, and their arrays go straight into the cache. Every error
that is the file's own becomes a reason that stands beside the utterance.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol as Interface

import numpy as np

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import inside
from ...datasets.core.libraries import raise_library_failure
from ..cache.pack import Array, entry_key
from ..cache.section import REFRESH_SECONDS, CacheError, Section
from ..core.audio import Signature, audio_sha256, read_audio, resample, signature, why_unreadable
from ..core.feature_extractor import FeatureExtractor

if TYPE_CHECKING:
    import pandas as pd

Change = Callable[[Array, int], Array]
"""From samples (samples,) and their rate in Hz to changed ones (`perturbations.change.Change`)."""


class Changes(Interface):
    """What is done to the samples of the utterances of a corpus before features are made of them."""

    def of(self, item: str) -> Change | None:
        """What is done to an utterance; None = nothing."""

    def identity(self) -> Mapping[str, Any] | None:
        """Everything but the utterance that decides its samples, with a `name`; None = nothing is done."""


AudioSource = Callable[[Path], Path]
"""From a corpus's file, such as a video clip, to the file that holds its sound; decodes it now if need be."""
IN_MEMORY_BYTES = 16 << 20
"""Files up to this size are read once, to hash and to decode them; of longer ones only the segments are read."""


@dataclass(frozen=True)
class Segment:
    """One utterance of a file; `start` and `end` in seconds, None for the file's beginning and end.

    `change` is what is done to its samples at the file's own rate, before they are resampled for a feature.
    """

    item: str
    start: float | None
    end: float | None
    change: Change | None = None


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


def tasks_of(
    rows: pd.DataFrame, root: Path, source: AudioSource | None = None, jobs: int = 1
) -> tuple[list[FileTask], dict[str, str]]:
    """Group the rows by file; rows whose path leaves the root, or whose file `source` refuses, fail."""
    sounds, reasons = _sound_files(rows["path"].astype(str).unique().tolist(), root, source, jobs)
    files: dict[str, list[Segment]] = {}
    failed: dict[str, str] = {}
    bounds = zip(_seconds(rows, "start"), _seconds(rows, "end"), strict=True)
    for item, relative, (start, end) in zip(rows.index.tolist(), rows["path"].tolist(), bounds, strict=True):
        if str(relative) in reasons:
            failed[str(item)] = reasons[str(relative)]
        else:
            files.setdefault(sounds[str(relative)], []).append(Segment(str(item), start, end))
    return [FileTask(path, tuple(segments)) for path, segments in files.items()], failed


def changed(task: FileTask, changes: Changes) -> FileTask:
    """The task with what is done to the samples of each of its utterances."""
    return replace(task, segments=tuple(replace(s, change=changes.of(s.item)) for s in task.segments))


def _sound_files(
    relative: list[str], root: Path, source: AudioSource | None, jobs: int
) -> tuple[dict[str, str], dict[str, str]]:
    """From each relative path to the file that holds its sound, or to the reason that there is none.

    A `source` decodes in compiled code that lets other threads work, so threads are enough.
    """

    def find(path: str) -> tuple[str, str]:
        try:
            whole = inside(root, path)
            return str(whole if source is None else source(whole)), ""
        except Exception as error:
            return "", reason_of(error, path)

    if source is None:
        outcomes = [find(path) for path in relative]
    else:
        with ThreadPoolExecutor(jobs) as pool:
            outcomes = list(pool.map(find, relative))
    pairs = list(zip(relative, outcomes, strict=True))
    return {p: file for p, (file, why) in pairs if not why}, {p: why for p, (_, why) in pairs if why}


def _seconds(rows: pd.DataFrame, column: str) -> list[float | None]:
    if column not in rows:
        return [None] * len(rows)
    return [None if math.isnan(v) else v for v in rows[column].to_numpy(np.float64, na_value=np.nan).tolist()]


def make(task: FileTask, extractor: FeatureExtractor, section: Section) -> Outcome:
    """Hash a file, extract what is not cached of it, and store it; every error of the file becomes a reason.

    Raises
    ------
    SerbenchError
        If the extractor can't work at all, or the cache can't be written.
    """
    extractor.prepare()
    frames: dict[str, int] = {}
    failed: dict[str, str] = {}
    seconds = 0.0
    read_at = time.time()
    try:
        task, content = hashed(task)
    except Exception as error:
        reason = reason_of(error, task.path)
        return Outcome(replace(task, sha=None), read_at, frames, {s.item: reason for s in task.segments}, seconds)
    assert task.sha is not None
    assert task.seen is not None
    section.refresh(REFRESH_SECONDS)
    for segment in task.segments:
        key = entry_key(task.sha, segment.start, segment.end)
        try:
            known = section.frames(key)
            if known is None:
                array, decoded = compute(task.path, segment, extractor, task.seen, content)
                section.write(key, array)
                known, seconds = len(array), seconds + decoded
            frames[segment.item] = known
        except CacheError:
            raise
        except Exception as error:
            failed[segment.item] = reason_of(error, task.path)
    return Outcome(task, read_at, frames, failed, seconds)


def hashed(task: FileTask) -> tuple[FileTask, bytes | None]:
    """The task with the digest and the signature that its file has now, and the file's bytes unless it is long."""
    seen = signature(task.path)
    content = _content(task.path) if seen[0] <= IN_MEMORY_BYTES else None
    sha = task.sha if task.sha is not None and task.seen == seen else audio_sha256(task.path, content=content)
    return replace(task, sha=sha, seen=seen), content


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
    signal, seconds = samples(path, segment, extractor, seen, content)
    return checked(extractor.extract(signal), extractor, path), seconds


def samples(
    path: str, segment: Segment, extractor: FeatureExtractor, seen: Signature, content: bytes | None = None
) -> tuple[Array, float]:
    """The signal (samples,) of a segment at the extractor's rate, and its seconds; see `compute`."""
    wanted = extractor.sampling_rate if segment.change is None else None
    signal, rate = read_audio(path, wanted, segment.start, segment.end, content=content)
    if signature(path) != seen:
        raise SerbenchError(f"{path} was changed while it was read. Run the same command again.")
    if segment.change is not None:
        signal = segment.change(signal, rate)
    seconds = len(signal) / rate
    return signal if rate == extractor.sampling_rate else resample(signal, rate, extractor.sampling_rate), seconds


def checked(array: Array, extractor: FeatureExtractor, path: str) -> Array:
    """The features of a segment of a file, if they have the form that the extractor states and are finite."""
    if array.ndim != 2 or array.shape[1] != extractor.dim or not len(array) or array.dtype != np.float32:
        raise SerbenchError(
            f"{extractor.name} gave {array.dtype} {array.shape}. Expected float32 (frames, {extractor.dim}) with at "
            "least one frame; mend the extractor."
        )
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        raise SerbenchError(f"{extractor.name} gave {bad} of {array.size} values that are not finite for {path}.")
    return array


def unchanged(path: str, sha: str) -> Signature:
    """The signature of a file that still has the content of digest `sha`."""
    try:
        seen = signature(path)
    except OSError as error:
        raise SerbenchError(f"{path} is gone, and so are its cached features. Bring it back and run again.") from error
    if audio_sha256(path) != sha:
        raise SerbenchError(f"{path} was changed since its features were looked up. Run the same command again.")
    return seen


def died(task: FileTask) -> Outcome:
    """The outcome of a file that took its process with it."""
    reason = f"the process that read {task.path} died. Expected audio that fits into memory; convert or cut the file."
    return Outcome(replace(task, sha=None), time.time(), {}, {s.item: reason for s in task.segments}, 0.0)


def _content(path: str) -> bytes:
    with open(path, "rb", buffering=0) as stream:
        return stream.read()


def reason_of(error: Exception, path: str) -> str:
    """Why a file could not be used, for its user.

    Raises
    ------
    LibraryError
        When it was no fault of the file: a library can't be loaded.
    """
    raise_library_failure(error)
    if isinstance(error, SerbenchError):
        return str(error)
    if isinstance(error, OSError):
        return why_unreadable(Path(path), error)
    return f"{path}: {type(error).__name__}: {error}"
