"""Files of the AVEC packages of SEWA (2017, 2018, 2019): names, gold-standard traces, turns and transcriptions.

Every file of a recording has its name, `Train_01` in 2017 and `Train_DE_01` since (German alone in 2017):

- `labels/*.csv`: name in single quotes, time [s], arousal, valence, liking, every 0.1 s, with `;` between (`,` in some
  copies). Without a header in 2017 and 2018, with one in 2019, so the first line is looked at. Not for test recordings.
- `turns/*.csv` (2017): start; end of the spans in which the recorded person speaks. Further columns are not read.
- `transcriptions/*.csv` (2017, German, UTF-8): start; end; 'text', where the text may hold `;`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..core.errors import SerbenchError
from ..reading.label_files import numbers
from ..reading.locate import files_in, find, visible

HOP_SECONDS = 0.1
DAY_SECONDS = 86_400.0
"""No recording is longer: a later time is damage."""
TARGETS = ("arousal", "valence", "liking")
CULTURES = {"DE": "de", "HU": "hu", "CN": "zh"}
"""Culture -> language."""
PARTITIONS = {"train": "train", "devel": "dev", "test": "test"}
_NAME = re.compile(r"(Train|Devel|Test)(?:_(DE|HU|CN))?_(\d\d)", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")


@dataclass(frozen=True, order=True)
class Recording:
    """One recorded person: partition ("train", "dev" or "test"), culture, number, and the name of its files."""

    partition: str
    culture: str
    number: int
    name: str

    @property
    def named_culture(self) -> bool:
        """Whether the name says the culture (packages since 2018)."""
        return self.name.count("_") == 2


def parse_name(stem: str) -> Recording | None:
    """The recording of a file name without its ending, spelt as the packages spell it; None if it is no such name."""
    match = _NAME.fullmatch(stem)
    if match is None:
        return None
    part, culture, number = match[1].capitalize(), match[2], match[3]
    name = "_".join(p for p in (part, culture and culture.upper(), number) if p)
    return Recording(PARTITIONS[part.lower()], (culture or "DE").upper(), int(number), name)


def files_of(folder: Path | None, *endings: str) -> dict[str, Path]:
    """Recording name -> file, of the files of a folder that are named after recordings.

    Raises
    ------
    SerbenchError
        When two files stand for one recording.
    """
    files: dict[str, Path] = {}
    for path in files_in(folder, *endings) if folder else []:
        recording = parse_name(path.stem)
        if recording is None:
            continue
        if recording.name in files:
            raise SerbenchError(
                f"{files[recording.name].name} and {path.name} in {str(folder)!r} are two files for one id, "
                f"{recording.name}. Keep the right one."
            )
        files[recording.name] = path
    return files


def names_below(package: Path) -> set[str]:
    """Names of all recordings that any folder of a package has a file of (features, audio, turns ...)."""
    folders = [package, *(Path(e.path) for e in visible(package) if e.is_dir())]
    recordings = (parse_name(path.stem) for folder in folders for path in files_in(folder))
    return {recording.name for recording in recordings if recording}


def read_trace(path: Path, name: str) -> tuple[pd.DataFrame, bool]:
    """Gold standard of a recording: columns time [s], arousal, valence, liking; and whether the file has a header.

    Raises
    ------
    SerbenchError
        On a missing column, a value that is no number, another recording's name, or times that don't advance by 0.1 s.
    """
    lines = _lines(path)
    if not lines:
        raise SerbenchError(f"the label file {str(path)!r} is empty. Copy it from the package again.")
    separator = ";" if ";" in lines[0] else ","
    cells = [[cell.strip().strip("'\"") for cell in line.split(separator)] for line in lines]
    header = parse_name(cells[0][0]) is None
    columns = [c.lower() for c in cells[0]] if header else ["name", "timestamp", *TARGETS]
    table = _table(cells[header:], columns, path)
    other = table["name"][table["name"].str.lower() != name.lower()]
    if len(other):
        raise SerbenchError(f"{str(path)!r} holds rows of {other.iloc[0]!r}. Expected those of {name} alone.")
    table.index = pd.Index([f"{name}, row {i + 1 + header}" for i in range(len(table))])
    trace = pd.DataFrame({c: numbers(table[c], str(path)) for c in ("timestamp", *TARGETS)})
    return _checked(trace.rename(columns={"timestamp": "time"}), path), header


def read_spans(path: Path) -> list[tuple[float, float]]:
    """Start and end [s] of the spans of a turns file, in order of their start."""
    return sorted((start, end) for start, end, _ in _rows(path, 2))


def read_transcription(path: Path) -> list[tuple[float, float, str]]:
    """Start, end [s] and text of a transcription file, in order; tags such as `<laughter>` are left in."""
    return sorted((start, end, _unquoted(rest)) for start, end, rest in _rows(path, 3))


def spread_words(segments: Iterable[tuple[float, float, str]]) -> pd.DataFrame:
    """Words of transcribed segments, each segment's time shared out evenly: word, start, end [s], source; no tags."""
    words: list[tuple[str, float, float]] = []
    for start, end, text in segments:
        said = _TAG.sub(" ", text).split()
        step = (end - start) / max(1, len(said))
        words += [(word, start + i * step, start + (i + 1) * step) for i, word in enumerate(said)]
    table = pd.DataFrame(words, columns=["word", "start", "end"])
    return table.astype({"word": "string", "start": float, "end": float}).assign(source="spread")


def within(words: pd.DataFrame, start: float, end: float) -> pd.DataFrame:
    """The words whose middle lies in [start, end), with times from `start` on."""
    middle = (words["start"] + words["end"]) / 2
    chosen = words[(middle >= start) & (middle < end)].reset_index(drop=True)
    return chosen.assign(**{c: (chosen[c] - start).clip(0.0, end - start) for c in ("start", "end")})


def frames_within(trace: pd.DataFrame, start: float, end: float) -> pd.DataFrame:
    """The frames of a trace that start in [start, end), times as they are.

    A trace whose first time is 0.1 s (2019) gives each frame's end, one whose first time is 0 (2017) its beginning.
    """
    (part,) = frame_slices(trace, [(start, end)])
    return trace[part]


def frame_slices(trace: pd.DataFrame, spans: Sequence[tuple[float, float]]) -> list[slice]:
    """The rows of `frames_within` for many spans at once."""
    time = trace["time"].to_numpy(dtype=np.float64)
    begins = np.round(time - min(time[0], HOP_SECONDS), 6)
    edges = np.searchsorted(begins, np.round(np.array(spans, dtype=np.float64).reshape(-1, 2), 6), side="left")
    return [slice(int(first), max(int(first), int(last))) for first, last in edges]


def texts_of(words: pd.DataFrame, spans: Sequence[tuple[float, float]]) -> list[str]:
    """The words of `within` for many spans at once, with blanks between."""
    middle = ((words["start"] + words["end"]) / 2).to_numpy(dtype=np.float64)
    said = words["word"].to_numpy(dtype=object)
    return [" ".join(said[(middle >= start) & (middle < end)]) for start, end in spans]


def find_labels(package: Path) -> Path | None:
    """The folder of label files of a package, if it holds any that are named after recordings."""
    folder = find(package, ("labels", "label"))
    return folder if folder and files_of(folder, ".csv") else None


def _table(cells: list[list[str]], columns: list[str], path: Path) -> pd.DataFrame:
    lacking = [c for c in ("name", "timestamp", *TARGETS) if c not in columns]
    if lacking:
        raise SerbenchError(f"{str(path)!r} lacks the column(s) {', '.join(lacking)}; it has: {', '.join(columns)}.")
    wrong = next((i for i, row in enumerate(cells) if len(row) != len(columns)), None)
    if wrong is not None:
        raise SerbenchError(
            f"label row {wrong + 1} of {str(path)!r} has {len(cells[wrong])} cells: {';'.join(cells[wrong])!r}. "
            f"Expected {len(columns)}: {', '.join(columns)}; is a column missing, or the file cut off?"
        )
    return pd.DataFrame(cells, columns=columns, dtype="string")


def _checked(trace: pd.DataFrame, path: Path) -> pd.DataFrame:
    missing = trace.isna().any(axis=1)
    if missing.any():
        raise SerbenchError(f"{trace.index[missing][0]} of {str(path)!r} lacks a number. Copy the file again.")
    steps = trace["time"].diff().iloc[1:]
    odd = steps[(steps - HOP_SECONDS).abs() > 0.02]
    if len(odd):
        raise SerbenchError(
            f"the time advances by {odd.iloc[0]:.3f} s at {odd.index[0]} of {str(path)!r}. "
            f"Expected {HOP_SECONDS} s between rows; is the file complete?"
        )
    return trace.reset_index(drop=True)


def _rows(path: Path, fields: int) -> Iterator[tuple[float, float, str]]:
    """Rows `start;end[;rest]`; `fields` are needed, and the rest is split no further.

    Where no text may hold separators, every row has as many cells as the first: two that ran together have more.
    """
    cells = 0
    for number, line in enumerate(_lines(path), 1):
        separator = ";" if ";" in line else ","
        here = line.count(separator) + 1
        cells = cells or here
        if fields == 2 and here != cells:
            raise SerbenchError(
                f"line {number} of {str(path)!r} has {here} cells, the first one {cells}. Are two lines joined? "
                "Copy the file from the package again."
            )
        parts = line.split(separator, 2)
        try:
            start, end = float(parts[0]), float(parts[1])
            if len(parts) < fields or not all(0.0 <= time <= DAY_SECONDS for time in (start, end)):
                raise ValueError(line)
        except (IndexError, ValueError) as error:
            expected = "start;end" + ";'text'" * (fields == 3)
            raise SerbenchError(
                f"line {number} of {str(path)!r} can't be read: {line!r}. Expected {expected} with times in seconds, "
                f"0 to {DAY_SECONDS:.0f}."
            ) from error
        yield start, end, parts[2] if len(parts) > 2 else ""


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SerbenchError(f"{str(path)!r} is not UTF-8: {error}. Copy it from the package again.") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _unquoted(text: str) -> str:
    text = text.strip()
    quoted = len(text) >= 2 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1].strip() if quoted else text
