"""An AVEC package of SEWA as it lies on disk: its folders, its release, what its files hold; word times and traces.

The release shows in the label files: names without a culture are of 2017; with one, a header means 2019 and none 2018.
The package of 2019 comes in two folders, `..._traindevel` with the labels and `..._test` beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..core.errors import SerbenchError, unknown
from ..reading.aligned_words import no_words, read_textgrid, recognised_by
from ..reading.label_files import numbers, read_columns
from ..reading.locate import find, find_root, missing, need_root, visible
from . import files
from .files import Recording

RECORDINGS: Mapping[str, Mapping[tuple[str, str], int]] = {
    "2017": {("train", "DE"): 34, ("dev", "DE"): 14, ("test", "DE"): 16},
    "2018": {("train", "DE"): 34, ("dev", "DE"): 14, ("test", "DE"): 16, ("test", "HU"): 66},
    "2019": {
        ("train", "DE"): 34,
        ("train", "HU"): 34,
        ("dev", "DE"): 14,
        ("dev", "HU"): 14,
        ("test", "DE"): 16,
        ("test", "HU"): 18,
        ("test", "CN"): 70,
    },
}
"""Release -> (partition, culture) -> recordings, as the packages number them."""
RELEASES = tuple(RECORDINGS)
AUDIO_FOLDERS = ("audio", "audios", "wav")
_WHAT = "the folder of an AVEC package of SEWA, with labels/Train_01.csv or labels/Train_DE_01.csv in it"


@dataclass(frozen=True)
class Package:
    """What was found: folders, recordings in order, traces by recording, and what their files tell of the release.

    Where the words are what a recogniser heard (`recognised` says which one), no transcription stands among them.
    """

    root: Path
    parts: tuple[Path, ...]
    release: str
    recordings: tuple[Recording, ...]
    traces: Mapping[str, pd.DataFrame]
    spans: Mapping[str, list[tuple[float, float]]]
    words: Mapping[str, pd.DataFrame]
    recognised: str = ""


@dataclass(frozen=True)
class Sources:
    """Words and traces of recordings and of utterances, which are parts of them."""

    package: Package
    utterances: pd.DataFrame

    def words(self, item: str) -> pd.DataFrame:
        """Words of a recording or utterance; empty where there is no transcription."""
        if item not in self.utterances.index:
            return self.package.words.get(item, no_words()).copy()
        owner, start, end = self._part(item)
        return files.within(self.package.words.get(owner, no_words()), start, end)

    def trace(self, item: str) -> pd.DataFrame:
        """Gold standard of a recording, or the frames of it that start in an utterance."""
        owner, start, end = self._part(item) if item in self.utterances.index else (item, 0.0, 0.0)
        if owner not in self.package.traces:
            raise SerbenchError(
                f"{item!r} of sewa has no trace: labels of the test recordings were never given out. Traced are "
                f"{len(self.package.traces)} recordings, such as {next(iter(self.package.traces))!r}."
            )
        trace = self.package.traces[owner]
        if owner == item:
            return trace.copy()
        part = files.frames_within(trace, start, end).reset_index(drop=True)
        return part.assign(time=part["time"] - start)

    def _part(self, item: str) -> tuple[str, float, float]:
        """Recording, start and end [s] of an utterance."""
        row = self.utterances.loc[[item]].iloc[0]
        return str(row["recording"]), float(row["start"]), float(row["end"])


def read_package(root: Path | None, release: str | None, alignment: Path | None) -> Package:
    """Read the label files, turns, transcriptions and (from another folder) alignments of a package.

    Raises
    ------
    SerbenchError
        For a wrong root, a release that the files contradict, or a file that can't be read.
    """
    if release is not None and release not in RELEASES:
        raise unknown("release of sewa", release, RELEASES)
    base, parts = _parts(root)
    label_files = files.files_of(files.find_labels(parts[0]), ".csv")
    read = {name: files.read_trace(path, name) for name, path in label_files.items()}
    names = {*read, *(name for part in parts for name in files.names_below(part))}
    recordings = tuple(sorted(r for r in map(files.parse_name, names) if r))
    turns, texts = (_first(parts, folder) for folder in (("turns", "turn"), ("transcriptions", "transcription")))
    words = {name: files.spread_words(files.read_transcription(p)) for name, p in files.files_of(texts, ".csv").items()}
    aligned = _aligned(alignment)
    recognised = recognised_by(one for table in aligned.values() for one in table.get("source", ("",)))
    return Package(
        root=base,
        parts=parts,
        release=_release(read, recordings, release, parts[0]),
        recordings=recordings,
        traces={name: trace for name, (trace, _) in sorted(read.items())},
        spans={name: files.read_spans(path) for name, path in files.files_of(turns, ".csv").items()},
        words=aligned if recognised else {**words, **aligned},
        recognised=recognised,
    )


def _parts(root: Path | None) -> tuple[Path, tuple[Path, ...]]:
    """The root that paths are relative to, and the packages in it: the one with labels first."""
    given = need_root(root, "sewa", _WHAT)
    labelled = find_root(
        given,
        lambda folder: files.find_labels(folder) is not None,
        dataset="sewa",
        looked_for="the folder labels with files such as Train_01.csv or Train_DE_01.csv",
        archives=("*avec*", "*sewa*", "labels*"),
        avoid=frozenset({"labels"}),
    )
    if labelled == given:
        return given, (given,)
    others = [Path(e.path) for e in visible(given) if e.is_dir() and e.name.lower().endswith("_test")]
    return (given, (labelled, *others)) if others else (labelled, (labelled,))


def _first(parts: tuple[Path, ...], names: tuple[str, ...]) -> Path | None:
    return next((folder for part in parts if (folder := find(part, names))), None)


def _release(
    read: Mapping[str, tuple[pd.DataFrame, bool]], recordings: tuple[Recording, ...], asked: str | None, package: Path
) -> str:
    """Release of the label files: no culture in names = 2017; a header in every file = 2019; none = 2018."""
    kinds = {"2017" for r in recordings if not r.named_culture}
    kinds |= {"2019" if read[r.name][1] else "2018" for r in recordings if r.named_culture and r.name in read}
    if len(kinds) > 1:
        raise SerbenchError(
            f"{str(package)!r} mixes files of several releases ({', '.join(sorted(kinds))}). "
            "Expected one AVEC package; keep each in a folder of its own."
        )
    told = kinds.pop()
    if asked is not None and asked != told:
        raise SerbenchError(
            f"release {asked} was asked for, but the label files of {str(package)!r} are of {told} (2017: names such "
            "as Train_01; 2018: Train_DE_01 without a header; 2019: with one). Leave --release out."
        )
    return told


def _aligned(folder: Path | None) -> dict[str, pd.DataFrame]:
    """Recording name -> words of the alignment files."""
    if folder is None:
        return {}
    if not folder.is_dir():
        raise SerbenchError(
            f"alignment={str(folder)!r} is not a folder. "
            "Expected one with files such as Train_01.TextGrid or Train_01.csv."
        )
    aligned = files.files_of(folder, ".textgrid", ".csv")
    if not aligned:
        raise missing("sewa", folder, "alignment files such as Train_01.TextGrid or Train_01.csv")
    return {name: _alignment_file(path) for name, path in aligned.items()}


def _alignment_file(path: Path) -> pd.DataFrame:
    if path.suffix.lower() == ".textgrid":
        return read_textgrid(path)
    table = read_columns(path, ("word", "start", "end"))
    times = pd.DataFrame({"word": table["word"], **{c: numbers(table[c], str(path)) for c in ("start", "end")}})
    who = recognised_by(table["source"].fillna("")) if "source" in table else ""
    return times.assign(source=who) if who else times
