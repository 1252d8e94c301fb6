"""Extraction in batches, for extractors that are faster on several utterances of similar length at once.

The files of the corpus are sorted by length and cut into groups; a group is read, extracted and written together. The
groups are a function of the whole request, not of what happens to be cached: where one file of a group is missing, the
whole group is computed and the missing arrays are written. So an extraction that was stopped and taken up again gives
the bytes that an unbroken one gives, although the numbers of an utterance may differ in the last digits from those in
other company.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import soundfile

from ..cache.pack import Array, entry_key
from ..cache.section import REFRESH_SECONDS, CacheError, Section
from ..core.feature_extractor import FeatureExtractor
from .file_tasks import FileTask, Outcome, Segment, checked, died, hashed, reason_of, samples

BATCHES = 3
"""Batches' worth of audio in a group: enough to fill them, few enough to show progress."""


@dataclass(frozen=True)
class Member:
    """A file of a group; `pending` is the part of its task that is not cached, None where all of it is."""

    task: FileTask
    pending: FileTask | None


Group = tuple[Member, ...]


@dataclass
class _Read:
    """A group in memory: its signals with the segments they belong to, and what became of each pending file."""

    outcomes: list[Outcome]
    signals: list[Array] = field(default_factory=list)
    wanted: list[tuple[int, Segment] | None] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def in_batches(
    every: Sequence[FileTask], pending: Sequence[FileTask], extractor: FeatureExtractor, section: Section, jobs: int
) -> Iterator[Outcome]:
    """What becomes of the pending tasks, group by group, in one or more processes."""
    todo = groups(every, pending, BATCHES * extractor.batch_seconds)
    if jobs > 1 and len(todo) > 1 and extractor.parallel:
        from .processes import in_processes

        function = partial(make_group, extractor=extractor, section=section)
        singly = partial(_singly, extractor=extractor, section=section)
        for outcomes in in_processes(todo, function, jobs, singly):
            yield from outcomes
        return
    extractor.prepare()
    with ThreadPoolExecutor(1) as reader:  # reads the next group while this one is computed
        waiting = [reader.submit(read_group, group, extractor) for group in todo[:1]]
        for group in [*todo[1:], None]:
            read = waiting.pop().result()
            if group is not None:
                waiting.append(reader.submit(read_group, group, extractor))
            yield from compute_group(read, extractor, section)


def groups(every: Sequence[FileTask], pending: Sequence[FileTask], seconds: float) -> list[Group]:
    """Files by falling length in groups of about `seconds` of audio; those without a pending file are left out.

    The pending files decide where the list begins, so that processes which extract the same corpus share the work.
    """
    left = {task.path: task for task in pending}
    spans = {task.path: _spans(task) for task in every}
    made: list[Group] = []
    group: list[Member] = []
    filled = 0.0
    for task in sorted(every, key=lambda t: (-max(spans[t.path], default=0.0), t.path)):
        length = sum(spans[task.path])
        if group and filled + length > seconds:
            made.append(tuple(group))
            group, filled = [], 0.0
        group.append(Member(task, left.get(task.path)))
        filled += length
    made = [g for g in [*made, tuple(group)] if any(member.pending for member in g)]
    first = next((i for i, g in enumerate(made) if any(m.task.path == pending[0].path for m in g)), 0)
    return made[first:] + made[:first]


def make_group(group: Group, extractor: FeatureExtractor, section: Section) -> list[Outcome]:
    """Read, extract and store a group; every error of a file becomes its reason, as in `_work.make`."""
    extractor.prepare()
    return compute_group(read_group(group, extractor), extractor, section)


def read_group(group: Group, extractor: FeatureExtractor) -> _Read:
    """Decode all utterances of a group, and hash the files of which something is pending."""
    read = _Read([])
    for member in group:
        outcome = Outcome(member.pending or member.task, time.time(), {}, {}, 0.0)
        content: bytes | None = None
        try:
            task, content = hashed(outcome.task)
            outcome = replace(outcome, task=task)
        except Exception as error:
            reason = reason_of(error, member.task.path)
            outcome = replace(
                outcome, task=replace(outcome.task, sha=None), failed={s.item: reason for s in outcome.task.segments}
            )
        if member.pending is not None:
            read.outcomes.append(outcome)
        if not outcome.failed:
            _read_segments(read, member, outcome, content, extractor)
    return read


def compute_group(read: _Read, extractor: FeatureExtractor, section: Section) -> list[Outcome]:
    """Extract what was read, in one go or, should that fail, one by one, and write what is pending."""
    section.refresh(REFRESH_SECONDS)
    arrays = _extract(read.signals, extractor)
    decoded = [0.0] * len(read.outcomes)
    for array, wanted, seconds in zip(arrays, read.wanted, read.seconds, strict=True):
        if wanted is None:
            continue
        outcome, segment = read.outcomes[wanted[0]], wanted[1]
        assert outcome.task.sha is not None
        key = entry_key(outcome.task.sha, segment.start, segment.end)
        known = section.frames(key)
        try:
            if known is None:
                if isinstance(array, Exception):
                    raise array
                section.write(key, checked(array, extractor, outcome.task.path))
                known, decoded[wanted[0]] = len(array), decoded[wanted[0]] + seconds
            outcome.frames[segment.item] = known
        except CacheError:
            raise
        except Exception as error:
            outcome.failed[segment.item] = reason_of(error, outcome.task.path)
    return [replace(outcome, seconds=s) for outcome, s in zip(read.outcomes, decoded, strict=True)]


def _extract(signals: Sequence[Array], extractor: FeatureExtractor) -> Sequence[Array | Exception]:
    try:
        return extractor.extract_many(signals)
    except Exception:  # one of them can't be described, or all of them do not fit into memory
        return [_alone(signal, extractor) for signal in signals]


def _alone(signal: Array, extractor: FeatureExtractor) -> Array | Exception:
    try:
        return extractor.extract(signal)
    except Exception as error:
        return error


def _read_segments(
    read: _Read, member: Member, outcome: Outcome, content: bytes | None, extractor: FeatureExtractor
) -> None:
    """Decode the utterances of one file; those that are pending are marked with where their outcome stands."""
    assert outcome.task.seen is not None
    pending = {s.item for s in member.pending.segments} if member.pending is not None else set()
    for segment in member.task.segments:
        try:
            signal, seconds = samples(member.task.path, segment, extractor, outcome.task.seen, content)
        except Exception as error:
            if segment.item in pending:
                outcome.failed[segment.item] = reason_of(error, member.task.path)
            continue
        read.signals.append(signal)
        read.seconds.append(seconds)
        read.wanted.append((len(read.outcomes) - 1, segment) if segment.item in pending else None)


def _singly(group: Group, extractor: FeatureExtractor, section: Section) -> list[Outcome]:
    """After a group that took its process with it: each file in a process of its own."""
    from .processes import in_processes

    if len(group) == 1:
        return [died(group[0].pending)] if group[0].pending is not None else []
    alone: list[Group] = [(member,) for member in group if member.pending is not None]
    function = partial(make_group, extractor=extractor, section=section)
    singly = partial(_singly, extractor=extractor, section=section)
    return [outcome for outcomes in in_processes(alone, function, 1, singly) for outcome in outcomes]


def _spans(task: FileTask) -> list[float]:
    """Seconds of each utterance of a file, from the bounds and, where they are open, the file's header."""
    length = 0.0
    if any(segment.end is None for segment in task.segments):
        try:
            length = float(soundfile.info(task.path).duration)
        except (RuntimeError, OSError):
            length = 0.0  # reading it will say why
    return [max(0.0, (length if s.end is None else s.end) - (s.start or 0.0)) for s in task.segments]
