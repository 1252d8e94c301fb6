"""Cells of a user's table to typed columns: ids, paths, numbers, partitions, genders, labels, scales.

Each function takes the text cells of `_tablefile.read_table` and answers a column on the same index; what can't be
read is a `SerbenchError` with file and line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..core.errors import SerbenchError, unknown
from ..core.files import inside
from ..schema.labels import WORDS, canonical_words
from .file import LINE, PARQUET_FILES

NOT_A_NUMBER = ("nan", "na", "n/a", "none", "null")
PARTITION_WORDS = {
    "train": "train",
    "training": "train",
    "dev": "dev",
    "devel": "dev",
    "development": "dev",
    "val": "dev",
    "valid": "dev",
    "validation": "dev",
    "test": "test",
    "testing": "test",
    "unlabelled": "unlabelled",
    "unlabeled": "unlabelled",
}
GENDER_WORDS = {"female": "female", "f": "female", "woman": "female", "male": "male", "m": "male", "man": "male"}


def cell_error(file: Path, line: object, text: str) -> SerbenchError:
    """An error that names the file and the line (row of a parquet file)."""
    place = "row" if file.suffix.lower() in PARQUET_FILES else "line"
    return SerbenchError(f"{place} {line} of {file}: {text}.")


def audio_folder(given: str | Path) -> Path:
    """The folder of `--option audio=FOLDER`, checked to be one."""
    folder = Path(os.path.abspath(Path(given).expanduser()))
    if not folder.is_dir():
        raise SerbenchError(f"audio={str(given)!r} is not a folder. Type --option audio=FOLDER, where the sound lies.")
    return folder


def paths(cells: pd.DataFrame, file: Path, audio: Path | None = None) -> pd.Series[str]:
    """Paths with `/` between folders, relative to `audio` (default: the file's folder) and checked to stay in it.

    Absolute paths are taken where `audio` is given and holds them.
    """
    column = cells["path"].str.replace("\\", "/", regex=False)
    if column.isna().any():
        raise cell_error(file, cells[LINE][column.isna()].iloc[0], "the path is empty. Expected an audio file")
    if audio is not None:
        column = column.map(lambda path: _below(audio, path)).astype("string")
    for line, path in zip(cells[LINE], column, strict=True):
        try:
            if re.match(r"[A-Za-z]:/", path):
                raise SerbenchError("a drive letter")
            inside(audio or file.parent, path)
        except SerbenchError:
            raise cell_error(file, line, f"the path {path!r} {_OUTSIDE if audio is None else _ELSEWHERE}") from None
    return column


_OUTSIDE = (
    "leaves the table's folder. Expected a path relative to it; put the table beside or above the audio, or type "
    "--option audio=FOLDER with the folder that holds all of the audio"
)
_ELSEWHERE = (
    "leaves the folder of --option audio=FOLDER. Expected a path relative to it, or an absolute one inside it; name "
    "the folder that holds all of the audio"
)


def _below(audio: Path, path: str) -> str:
    """An absolute path inside the folder (on the text, or with its links followed) as a relative one."""
    if os.path.isabs(path):
        for folder in (audio, Path(os.path.realpath(audio))):
            if Path(os.path.normpath(path)).is_relative_to(folder):
                return Path(os.path.normpath(path)).relative_to(folder).as_posix()
    return path


def ids(cells: pd.DataFrame, columns: Mapping[str, pd.Series[Any]], file: Path) -> pd.Index[Any]:
    """The column `id`, else the path, with `#start-end` for segments; unique."""
    if "id" in cells:
        result = cells["id"]
        if result.isna().any():
            raise cell_error(file, cells[LINE][result.isna()].iloc[0], "the id is empty. Fill or drop the column 'id'")
    else:
        nothing = pd.Series(np.nan, cells.index)
        spans = zip(columns["path"], columns.get("start", nothing), columns.get("end", nothing), strict=True)
        result = pd.Series([_segment_id(*span) for span in spans], cells.index, dtype="string")
    doubled = result[result.duplicated(keep=False)]
    if len(doubled):
        first = doubled.iloc[0]
        lines = ", ".join(cells[LINE][result.eq(first)])
        what = "id" if "id" in cells else "utterance (path and segment)"
        raise cell_error(file, lines, f"the {what} {first!r} occurs more than once. Expected one row per utterance")
    index: pd.Index[Any] = pd.Index(list(result), name="id", dtype="str")
    return index


def _segment_id(path: str, start: float, end: float) -> str:
    if np.isnan(start) and np.isnan(end):
        return path
    return f"{path}#{0 if np.isnan(start) else start:.10g}-{'' if np.isnan(end) else f'{end:.10g}'}"


def number_column(cells: pd.DataFrame, name: str, file: Path) -> pd.Series[float]:
    """A column of numbers; empty cells, NaN and NA are missing."""
    texts = cells[name].mask(cells[name].str.lower().isin(NOT_A_NUMBER))
    values = pd.to_numeric(texts, errors="coerce").astype("float64")
    bad = cells.index[texts.notna() & ~np.isfinite(values)]
    if len(bad):
        given = texts[bad[0]]
        hint = " with a decimal point" if re.fullmatch(r"[+-]?\d+,\d+", given) else ""
        raise cell_error(file, cells[LINE][bad[0]], f"{name} is {given!r}. Expected a number{hint} or nothing")
    return values


def partitions(cells: pd.DataFrame, file: Path) -> pd.Series[str]:
    """train, dev, test (test1 ...) or unlabelled, from the usual spellings."""
    words = cells["partition"].str.lower()
    known = words.map(PARTITION_WORDS).where(~words.str.fullmatch(r"test[-_ ]?\d+").fillna(False), words)
    bad = cells.index[known.isna() & words.notna()]
    if len(bad):
        error = unknown("partition", cells["partition"][bad[0]], ["train", "dev", "test", "test1", "unlabelled"])
        raise cell_error(file, cells[LINE][bad[0]], str(error).rstrip("."))
    return known.str.replace(r"[-_ ]", "", regex=True).astype("string")


def genders(column: pd.Series[str]) -> tuple[pd.Series[str], dict[str, int]]:
    """female, male or missing, and how often each other text occurs."""
    known = column.str.lower().map(GENDER_WORDS).astype("string")
    other = column[known.isna()].value_counts().sort_index()
    return known, {str(text): int(n) for text, n in other.items()}


def labels(cells: pd.DataFrame, file: Path) -> tuple[dict[str, pd.Series[str]], list[str]]:
    """Columns raw_emotion and emotion, and notes, from `label` or `raw_emotion`, and `emotion`."""
    if "label" in cells and "raw_emotion" in cells:
        raise SerbenchError(f"{file} has both 'label' and 'raw_emotion'. Expected one of them.")
    source = next((c for c in ("label", "raw_emotion", "emotion") if c in cells), None)
    if source is None:
        return {}, []
    raw = cells[source]
    _refuse_numbers(raw, source, file)
    canonical = canonical_words(raw)
    if source != "emotion" and "emotion" in cells:
        canonical = canonical_words(cells["emotion"])
        bad = cells.index[canonical.isna() & cells["emotion"].notna()]
        if len(bad):
            error = unknown("emotion", cells["emotion"][bad[0]], WORDS)
            raise cell_error(file, cells[LINE][bad[0]], str(error).rstrip("."))
    notes = []
    merged = {e: sorted(set(raw[canonical.eq(e).fillna(False)].dropna())) for e in sorted(set(canonical.dropna()))}
    notes += [f"the labels {', '.join(texts)} are all taken as {e}" for e, texts in merged.items() if len(texts) > 1]
    empty = int(raw.isna().sum())
    if empty:
        notes.append(f"{empty} rows have no label")
    return {"raw_emotion": raw, "emotion": canonical}, notes


def _refuse_numbers(raw: pd.Series[str], source: str, file: Path) -> None:
    values = pd.to_numeric(raw.dropna(), errors="coerce")
    if len(values) and values.notna().all() and (values % 1 != 0).any():
        raise SerbenchError(
            f"the column {source!r} of {file} holds numbers such as {raw.dropna().iloc[0]}. Expected class names; for "
            "a rating call the column arousal, valence, dominance or liking."
        )


def references(table: pd.DataFrame, lines: pd.Series[str], file: Path) -> None:
    """Check that the context turns `previous` and `interlocutor` are ids of the table."""
    for column in ("previous", "interlocutor"):
        bad = np.flatnonzero((table[column].notna() & ~table[column].isin(table.index)).to_numpy(dtype=bool))
        if len(bad):
            given = table[column].iloc[bad[0]]
            raise cell_error(file, lines.iloc[bad[0]], f"{column} is {given!r}. Expected the id of another row")


def stated_scale(cells: pd.DataFrame, column: str, file: Path) -> tuple[float, float] | None:
    """The scale that a column states, the same in every row; None if it is empty."""
    given = sorted(set(cells[column].dropna()))
    if not given:
        return None
    match = re.fullmatch(r"([+-]?[\d.]+?)\s*\.\.\s*([+-]?\d*\.?\d+)", given[0])
    try:
        low, high = (float(part) for part in match.groups()) if match else (0.0, 0.0)
    except ValueError:
        low = high = 0.0
    if len(given) > 1 or not low < high:
        shown = " and ".join(given[:2])
        raise SerbenchError(f"the column {column!r} of {file} holds {shown}. Expected one scale in all rows, as 1..7.")
    return low, high
