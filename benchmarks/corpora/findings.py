"""What the corpus doctor finds, as generators of findings: about the table, single files, segments and copies.

`corpora/doctor.py` documents the kinds of findings and the keys of `Corpus.expected`. `items` is everywhere
the table of utterances and recordings with normalised paths and the mark `recording`; `sounds` a look at each path.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from ...datasets.core.config import option
from ...datasets.core.errors import SerbenchError
from ...datasets.schema.corpus import Corpus
from ...datasets.schema.task import ATTRIBUTES
from ...features.core.audio import OVERSHOOT
from .sound import Sound

UNUSABLE = {
    "missing": "the file is not there",
    "empty": "the file has 0 bytes",
    "lfs-pointer": "this is a Git-LFS pointer, not the sound: type 'git lfs pull' in the clone it came from",
    "unreadable": "",
}


@dataclass(frozen=True)
class Limits:
    """From where on a sound is remarkable."""

    shortest_seconds: float = option(0.25, "shorter utterances are too short [s]", source="free choice", low=0)
    longest_seconds: float = option(30.0, "longer utterances are too long [s]", source="free choice", low=0)
    clipped_share: float = option(0.001, "share of samples at full scale", source="free choice", low=0, high=1)
    silent_decibel: float = option(-60.0, "a lower peak is silence [dBFS]", source="free choice", high=0)
    segment_seconds: float = option(0.05, "a segment may end so long after its file [s]", source="free choice", low=0)


class Finding(NamedTuple):
    """One row of the table; `id` is empty where a finding is about a file of several items, or the whole corpus."""

    severity: str
    kind: str
    id: str
    path: str
    detail: str


def count(corpus: Corpus, key: str) -> int:
    """The number that a key of `Corpus.expected` stands for (grammar: `serbench.benchmarks.corpora.doctor`).

    Raises
    ------
    SerbenchError
        For a key that is not in the grammar, or names a column that the table lacks.
    """
    what, _, where = key.partition("@")
    if what == "recordings":
        return 0 if corpus.recordings is None else len(_where(corpus.recordings, where) if where else corpus.recordings)
    if what.startswith("task:"):
        items = corpus.items(corpus.task(what.removeprefix("task:")))
        return len(_where(items, where) if where else items)
    table = _where(corpus.utterances, where) if where else corpus.utterances
    if what == "utterances":
        return len(table)
    if what == "files":
        both = [table] if where or corpus.recordings is None else [table, corpus.recordings]
        return len({path for one in both for path in one["path"]})
    if "=" in what:
        return len(_where(table, what))
    if what.endswith("s") and what[:-1] in table:
        return int(table[what[:-1]].nunique())
    if re.fullmatch(r"train|dev|test\d*|unlabelled", what):
        return int(table["partition"].eq(what).sum())
    raise SerbenchError(
        f"the count {key!r} of {corpus.name} is not understood. Expected utterances, recordings, files, task:NAME, a "
        "partition, the plural of a column, or COLUMN=VALUE, with @COLUMN=VALUE after it to count among those."
    )


def _where(table: pd.DataFrame, conditions: str) -> pd.DataFrame:
    for condition in conditions.split(","):
        column, _, value = condition.partition("=")
        if column not in table:
            raise SerbenchError(f"the count's condition {condition!r} names no column of the table.")
        texts = table[column].astype("string")
        table = table[(texts.eq(value).fillna(False) if value else texts.isna()).to_numpy(dtype=bool)]
    return table


def counts(corpus: Corpus) -> Iterator[Finding]:
    """Published numbers that the table does not meet."""
    for key, expected in corpus.expected.items():
        try:
            counted = count(corpus, key)
        except SerbenchError as error:
            yield Finding("warning", "count", "", "", str(error))
            continue
        if counted != expected:
            yield Finding("warning", "count", "", "", f"{key}: {counted} found, {expected} published")


def off_scale(corpus: Corpus) -> Iterator[Finding]:
    """Label values outside the stated scale."""
    for name, (low, high) in corpus.scales.items():
        if name not in corpus.utterances:
            continue
        values = corpus.utterances[name]
        for item in values.index[(values < low) | (values > high)]:
            detail = f"{name} is {values[item]:g}, the scale is {low:g}..{high:g}"
            yield Finding("error", "off-scale", str(item), str(corpus.utterances.at[item, "path"]), detail)


def traces(corpus: Corpus) -> Iterator[Finding]:
    """Traces that can't be read, or leave the stated scale; recordings that no task traces have none to read."""
    if corpus.recordings is None or corpus.trace_source is None:
        return
    tasks = [t for t in corpus.tasks if t.kind == "continuous"]
    scales = {target: scale for t in tasks for target, scale in t.scales.items()}
    traced = {str(item) for t in tasks for item in corpus.items(t).index}
    for item, path in corpus.recordings["path"].items():
        if str(item) not in traced:
            continue
        try:
            trace = corpus.trace(str(item))
        except Exception as error:  # one bad file never ends a check
            yield Finding("error", "labels-unreadable", str(item), str(path), str(error))
            continue
        for name, (low, high) in scales.items():
            outside = int(((trace[name] < low) | (trace[name] > high)).sum()) if name in trace else 0
            if outside:
                detail = f"{outside} of {len(trace)} frames of {name} are outside the scale {low:g}..{high:g}"
                yield Finding("error", "off-scale", str(item), str(path), detail)


def overlaps(corpus: Corpus) -> Iterator[Finding]:
    """Speakers that stand in several partitions, or in training and test of a split."""
    table = corpus.utterances
    unknown = int(table["speaker"].isna().sum())
    if unknown:
        detail = f"{unknown} of {len(table)} utterances have no speaker, so overlap can't be ruled out"
        yield Finding("warning", "speaker-unknown", "", "", detail)
    by_part = table.dropna(subset=["speaker"]).groupby("partition")["speaker"]
    parts = {str(part): set(speakers) for part, speakers in by_part}
    for a, b in combinations(sorted(parts), 2):
        if (a, b) != ("train", "unlabelled"):  # both are trained on
            tested = a.startswith("test") != b.startswith("test")
            yield from _overlap(corpus, f"partitions {a} and {b}", parts[a] & parts[b], tested)
    for name, folds in corpus.splits.items():
        columns = {c for f in folds for role in (f.test, f.dev, f.train) for c in role}
        if columns <= {"partition"}:
            continue
        shared: set[str] = set()
        for fold in folds:
            role = fold.assign(table)
            test = set(table["speaker"][role.eq("test").fillna(False)].dropna())
            shared |= test & set(table["speaker"][role.isin(["train", "dev"])].dropna())
        yield from _overlap(corpus, f"training and test of the split {name}", shared, True)


def _overlap(corpus: Corpus, where: str, speakers: set[str], tested: bool) -> Iterator[Finding]:
    if speakers:
        severity = "note" if "speaker" in corpus.shared else "error" if tested else "warning"
        names = ", ".join(sorted(speakers))
        yield Finding(severity, "speaker-overlap", "", "", f"{where} share {len(speakers)} speakers: {names}")


def files(items: pd.DataFrame, sounds: Mapping[str, Sound], orphans: list[str], limits: Limits) -> Iterator[Finding]:
    """What is wrong with whole files."""
    usual, spelling = usual_rate(sounds), {path.lower(): path for path in orphans}
    names = items.index.to_series().groupby(items["path"].to_numpy()).agg(list)
    for path, sound in sounds.items():
        item = str(names[path][0]) if len(names[path]) == 1 else ""
        if sound.state == "outside":
            yield Finding("error", "outside", item, path, sound.reason)
        elif sound.state != "ok":
            detail = UNUSABLE[sound.state] or sound.reason
            if sound.state == "missing" and path.lower() in spelling:
                detail += f", but {spelling[path.lower()]} is: the case of letters differs"
            yield Finding("error", sound.state, item, path, detail)
        else:
            remarks = _remarks(sound, usual, limits)
            yield from (Finding(severity, kind, item, path, detail) for severity, kind, detail in remarks)


def _remarks(sound: Sound, usual: int, limits: Limits) -> Iterator[tuple[str, str, str]]:
    """Severity, kind and detail of what a readable file's samples show."""
    decibel = 20 * np.log10(sound.peak) if sound.peak > 0 else -np.inf
    if sound.truncated:
        yield "error", "truncated", f"{sound.truncated} bytes less sound than the header says: copy the file again"
    if not sound.finite:
        yield "error", "non-finite", "samples are NaN or infinite"
    if sound.full_scale > limits.clipped_share:
        yield "warning", "clipped", f"{sound.full_scale:.2%} of the samples are at full scale"
    if decibel < limits.silent_decibel:
        yield "warning", "silent", f"the peak is {decibel:.0f} dBFS"
    if sound.channels > 1:
        yield "note", "stereo", f"{sound.channels} channels are mixed to one"
    if sound.rate != usual:
        yield "warning", "odd-rate", f"{sound.rate} Hz, most files have {usual} Hz"


def segments(items: pd.DataFrame, sounds: Mapping[str, Sound], limits: Limits) -> Iterator[Finding]:
    """What is wrong with the duration of single utterances, and with segments of files."""
    spans = zip(items.index, items["path"], items["start"], items["end"], items["recording"], strict=True)
    for item, path, start, end, recording in spans:
        length = sounds[path].seconds if sounds[path].state == "ok" else float("nan")
        first, last = (0.0 if np.isnan(start) else start), (length if np.isnan(end) else end)
        if max(first, last) > length + limits.segment_seconds:
            severity = "error" if first >= length or last > length + OVERSHOOT else "warning"
            detail = f"the segment {first:g}..{last:g} s ends after the file, which has {length:.3f} s"
            yield Finding(severity, "outside", str(item), path, detail)
        seconds = last - first
        if seconds < limits.shortest_seconds:
            detail = f"{seconds:.3f} s, the limit is {limits.shortest_seconds:g} s"
            yield Finding("warning", "too-short", str(item), path, detail)
        elif seconds > limits.longest_seconds and not recording:
            detail = f"{seconds:.1f} s, the limit is {limits.longest_seconds:g} s"
            yield Finding("warning", "too-long", str(item), path, detail)


def duplicates(items: pd.DataFrame, sounds: Mapping[str, Sound]) -> Iterator[Finding]:
    """Files with the same samples, and rows about the same segment."""
    by_digest: dict[str, list[str]] = {}
    for path, sound in sounds.items():
        if sound.state == "ok":
            by_digest.setdefault(sound.digest, []).append(path)
    rows = items.groupby("path", sort=False).indices
    utterances = items[~items["recording"]]
    for item, path in utterances["path"][utterances.duplicated(["path", "start", "end"])].items():
        yield Finding("warning", "duplicate", str(item), str(path), "another row is about the same segment")
    for paths in (p for p in by_digest.values() if len(p) > 1):
        first = items.iloc[rows[paths[0]]]
        for path in paths[1:]:
            other = items.iloc[rows[path]]
            problems = _conflicts(first, other)
            item = str(other.index[0]) if len(other) == 1 else ""
            detail = "; ".join([f"the same samples as {paths[0]}", *problems])
            yield Finding("error" if problems else "warning", "duplicate", item, path, detail)


def _conflicts(first: pd.DataFrame, other: pd.DataFrame) -> list[str]:
    """Why it matters that two files are the same: other labels, speakers, or parts of which one is tested."""
    problems = []
    parts = set(first["partition"].dropna()) | set(other["partition"].dropna())
    if len(parts) > 1 and any(p.startswith("test") for p in parts):
        problems.append(f"they are in {' and '.join(sorted(parts))}")
    if len(first) == len(other) == 1:
        for column in ("raw_emotion", "emotion", "speaker", *ATTRIBUTES):
            a, b = first[column].iloc[0], other[column].iloc[0]
            if pd.notna(a) and pd.notna(b) and a != b:
                problems.append(f"{column} is {a} there and {b} here")
    return problems


def usual_rate(sounds: Mapping[str, Sound]) -> int:
    """The sampling rate of most readable files in Hz (the lower one of two; 0 if there is none)."""
    rates = Counter(s.rate for s in sounds.values() if s.state == "ok")
    return max(sorted(rates), key=lambda rate: rates[rate]) if rates else 0
