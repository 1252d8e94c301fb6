"""The corpus doctor: what is wrong with a corpus as it lies on this disk, one row per finding.

`check(corpus)` answers a table with the columns severity, kind, id, path, detail; `summary` puts it into a few lines.

| kind | severity | finding |
|---|---|---|
| count | warning | a number of `Corpus.expected` differs from what the table holds |
| missing, empty, unreadable, lfs-pointer | error | a file that the table names and that can't be used |
| truncated, non-finite | error | the sound is shorter than its header says; it holds NaN or infinity |
| outside | error | a segment behind its file's end (a warning where reading allows it), or a path out of the root |
| duplicate | warning | the same samples as another file; an error if labels, speakers or tested parts differ |
| clipped, silent | warning | share of samples at full scale, peak level: see `Limits` |
| too-short, too-long | warning | duration of an utterance: see `Limits` |
| odd-rate | warning | another sampling rate than most files |
| stereo | note | more than one channel; they are mixed to one |
| orphan | warning | a sound file under the root that neither the table nor `Corpus.further` names (no dot files) |
| off-scale | error | a label value, or frames of a trace, outside the stated scale |
| labels-unreadable | error | a trace that can't be read |
| speaker-overlap | error | a speaker in test and elsewhere (else a warning; a note where the corpus states it) |
| speaker-unknown | warning | utterances without a speaker |
| known-unusable | note | an item that the corpus itself lists as unusable; its other findings become notes |

The same samples means bit-identical after decoding, whatever the lossless format. Keys of `Corpus.expected`:

- `utterances`, `recordings`, `files` (different paths of both tables);
- `task:NAME`: the items of a task;
- `speakers`, `dialogues` and so on: the plural of a column counts its different values;
- `COLUMN=VALUE[,COLUMN=VALUE ...]`: utterances with these values; an empty value means a missing one;
- `train`, `dev`, `test` ..., `unlabelled`: short for `partition=...`;
- any of these with `@COLUMN=VALUE[,...]`: among those utterances (or recordings), such as `dialogues@partition=train`.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path

import pandas as pd

from ...datasets.core.config import validate
from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import inside
from ...datasets.schema.corpus import Corpus
from .findings import Finding, Limits, counts, duplicates, files, off_scale, overlaps, segments, traces, usual_rate
from .sound import Sound, look

SOUND_FILES = frozenset(
    {
        ".wav",
        ".flac",
        ".ogg",
        ".oga",
        ".opus",
        ".mp3",
        ".m4a",
        ".aac",
        ".aif",
        ".aiff",
        ".au",
        ".snd",
        ".sph",
        ".nist",
        ".wma",
        ".caf",
        ".w64",
        ".rf64",
    }
)
SEVERITIES = ("error", "warning", "note")
Progress = Callable[[int, int, float], None]
"""(files done, files in all, seconds of audio done)."""


def check(
    corpus: Corpus, *, progress: Progress | None = None, jobs: int = 1, limits: Limits | None = None
) -> pd.DataFrame:
    """Examine a corpus: its table, then every file that the table names, then the files that it doesn't name.

    Parameters
    ----------
    progress : called after each file
    jobs : threads that decode and hash
    limits : the default is `Limits()`

    Returns
    -------
    table of findings, the worst first; `attrs` has the facts files, readable, seconds and rate [Hz, of most files]
    """
    limits = validate(limits or Limits(), "limits.")
    items = _listed(corpus)
    sounds = _look_at_all(corpus, sorted(set(items["path"])), jobs, progress)
    orphans = _orphans(corpus, set(sounds))
    paths = dict(zip(items.index, items["path"], strict=True))
    findings = [
        *counts(corpus),
        *off_scale(corpus),
        *traces(corpus),
        *overlaps(corpus),
        *files(items, sounds, orphans, limits),
        *segments(items, sounds, limits),
        *duplicates(items, sounds),
        *(Finding("warning", "orphan", "", path, "no row of the table names this file") for path in orphans),
        *(
            Finding("note", "known-unusable", item, paths.get(item, ""), "the corpus itself lists it as unusable")
            for item in sorted(corpus.known_unusable)
        ),
    ]
    table = pd.DataFrame(_sorted(_excused(f, corpus.known_unusable) for f in findings), columns=list(Finding._fields))
    readable = [s for s in sounds.values() if s.state == "ok"]
    table.attrs = {
        "files": len(sounds),
        "readable": len(readable),
        "rate": usual_rate(sounds),
        "seconds": sum(s.seconds for s in readable),
    }
    return table


def summary(corpus: Corpus, findings: pd.DataFrame, examples: int = 3) -> list[str]:
    """Lines for the screen: what was looked at, each kind with its number and first examples, and the verdict."""
    facts = findings.attrs
    head = f"{corpus.name}{' ' + corpus.release if corpus.release else ''}: {len(corpus.utterances)} utterances"
    if facts:
        minutes = f"{facts['seconds'] / 60:.1f} min"
        head += f", {facts['readable']} of {facts['files']} files readable, {minutes}"
        head += f" at {facts['rate']} Hz" if facts["rate"] else ""
    lines = [head]
    for severity in SEVERITIES:
        of_severity = findings[findings["severity"] == severity]
        for kind, of_kind in of_severity.groupby("kind", sort=False):
            lines.append(f"{severity:<8} {kind}: {len(of_kind)}")
            lines += [f"         {_shown(row)}" for row in of_kind.head(examples).itertuples(index=False)]
            if len(of_kind) > examples:
                lines.append(f"         ... and {len(of_kind) - examples} more")
    if facts and facts["files"] and not facts["readable"]:
        lines.append(f"no file could be read under {corpus.root}: is this the right --root, and is the audio there?")
    lines += [f"about the corpus: {note}" for note in corpus.notes]
    numbers = {s: int((findings["severity"] == s).sum()) for s in SEVERITIES}
    verdict = ", ".join(f"{n} {s}{'' if n == 1 else 's'}" for s, n in numbers.items() if n)
    return [*lines, f"found: {verdict or 'nothing wrong'}"]


def _listed(corpus: Corpus) -> pd.DataFrame:
    """Utterances and recordings, with paths normalised and the mark `recording`."""
    tables = [corpus.utterances.assign(recording=False)]
    if corpus.recordings is not None:
        tables.append(corpus.recordings.assign(recording=True))
    items = pd.concat(tables)
    return items.assign(path=[posixpath.normpath(str(p)) for p in items["path"]])


def _look_at_all(corpus: Corpus, paths: list[str], jobs: int, progress: Progress | None) -> dict[str, Sound]:
    def one(path: str) -> Sound:
        try:
            return look(inside(corpus.root, path), corpus.audio_source)
        except SerbenchError as error:
            return Sound("outside", str(error))

    sounds: dict[str, Sound] = {}
    seconds = 0.0
    pool = ThreadPoolExecutor(max_workers=max(1, jobs))
    try:
        for path, sound in zip(paths, pool.map(one, paths), strict=True):
            sounds[path] = sound
            seconds += sound.seconds
            if progress:
                progress(len(sounds), len(paths), seconds)
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C waits for the files in work, not for all
    return sounds


def _orphans(corpus: Corpus, known: set[str]) -> list[str]:
    kinds = SOUND_FILES | {posixpath.splitext(path)[1].lower() for path in known} - {""}
    sounds_there: set[str] = set()
    for folder, inner, names in os.walk(corpus.root):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        base = Path(folder).relative_to(corpus.root)
        sounds = (n for n in names if not n.startswith(".") and posixpath.splitext(n)[1].lower() in kinds)
        sounds_there.update(os.fsencode(base / name).decode("utf-8", "replace") for name in sounds)
    return sorted(path for path in sounds_there - known if not _belongs(path, corpus.further))


def _belongs(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path.lower(), pattern.lower()) for pattern in patterns)


def _excused(finding: Finding, unusable: frozenset[str]) -> Finding:
    return finding._replace(severity="note") if finding.id in unusable else finding


def _sorted(findings: Iterator[Finding]) -> list[Finding]:
    """Errors first; within a severity the kinds in the order of their first finding."""
    every = list(findings)
    kinds = {kind: i for i, kind in enumerate(dict.fromkeys(f.kind for f in every))}
    return sorted(every, key=lambda f: (SEVERITIES.index(f.severity), kinds[f.kind]))


def _shown(row: object) -> str:
    """One finding in one line of at most 150 characters; the CSV file has it whole."""
    parts = (getattr(row, name) for name in ("id", "path", "detail"))
    text = "  ".join(dict.fromkeys(str(part) for part in parts if part))
    return text if len(text) <= 150 else text[:147] + "..."
