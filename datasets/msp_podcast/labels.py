"""MSP-Podcast's label files, in every shape that releases 1.6 to 2.0 have: consensus, single raters, partitions, text.

Columns are read by name: the consensus file has activation, valence, dominance, the detailed one of 1.6 and both JSON
files activation, dominance, valence. Up to 1.9 the consensus file is spelt "concensus".
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv

from ..core.errors import SerbenchError, unknown
from ..reading.label_files import numbers, read_columns, refuse_doubles
from ..reading.locate import find, refuse_escapes

RELEASES = ("1.6", "1.7", "1.8", "1.9", "1.10", "1.11", "1.12", "2.0")
NAME = r"^MSP-PODCAST_(?P<recording>\d{4}|test3)_\d{4}(?:_\d{4})?$"
"""Segment name: podcast recording (or test3), segment, and a third number where a segment was cut again later."""
PARTITIONS = {
    "train": "train",
    "validation": "dev",
    "development": "dev",
    "test": "test",
    "test1": "test1",
    "test2": "test2",
    "test3": "test3",
}
CONSENSUS = ("labels_con[cs]ensus.csv", "labels_con[cs]ensus.json")
DETAILED = ("labels_detailed.csv", "labels_detailed.json", "labels.txt")
RATING_COLUMNS = ("id", "rater", "labels", "secondary", "arousal", "valence", "dominance")

_ATTRIBUTES = {"EmoAct": "arousal", "EmoVal": "valence", "EmoDom": "dominance"}
_REQUIRED = ("FileName", "EmoClass", *_ATTRIBUTES, "Split_Set")
_RELEASE = re.compile(r"\brelease\s+v?(\d+\.\d+)\b", re.IGNORECASE)
_FOLDER = re.compile(r"(?:.*podcast.*?|v|r|release)?[\s_-]*v?(\d\.\d{1,2})(?![\d.]).*", re.IGNORECASE)
_PARTITIONED = r"^(?P<Split_Set>[^;]+?)\s*;\s*(?P<FileName>[^;]+)$"
_RATED = (
    r"^\s*(?P<rater>[^;]+?)\s*;\s*(?P<labels>.*?)\s*;\s*(?P<secondary>[^;]*?)\s*;"
    r"\s*A:(?P<arousal>[^;]*);\s*V:(?P<valence>[^;]*);\s*D:(?P<dominance>[^;]*);?\s*$"
)


def detect_release(base: Path, given: str | None) -> tuple[str, str]:
    """The release and a note (may be empty): as given, else from readme.txt, else from the folders' names.

    Raises
    ------
    SerbenchError
        For a release that does not exist, or when none is given and nothing says which it is.
    """
    readme = _release_of_readme(base)
    if given is not None:
        if given not in RELEASES:
            raise unknown("release of msp-podcast", given, RELEASES)
        differs = readme is not None and readme != given
        return given, f"release {given} was asked for, but readme.txt says {readme}" if differs else ""
    matches = (_FOLDER.fullmatch(folder.name) for folder in (base, base.resolve(), base.resolve().parent))
    told = readme or next((m.group(1) for m in matches if m and m.group(1) in RELEASES), None)
    if told is None:
        raise SerbenchError(
            f"which release of MSP-Podcast is in {str(base)!r}? Neither readme.txt nor the folder's name says it, and "
            f"results of different releases can't be compared. Type --release with one of: {', '.join(RELEASES)}."
        )
    return told, ""


def _release_of_readme(base: Path) -> str | None:
    """The highest release named as "Release 1.12": a readme may list earlier releases, never later ones."""
    readme = find(base, ("readme.txt", "readme.md", "readme"), "file")
    if readme is None:
        return None
    named = [v for v in _RELEASE.findall(readme.read_text(encoding="utf-8", errors="replace")) if v in RELEASES]
    return max(named, key=RELEASES.index) if named else None


def read_consensus(path: Path, release: str) -> pd.DataFrame:
    """One row per labelled segment: id, raw_emotion, arousal, valence, dominance, speaker, gender, partition.

    Raises
    ------
    SerbenchError
        For a missing column (speaker and gender may lack in 1.6), a doubled or escaping file name, an attribute that
        is no number, or an unknown partition.
    """
    required = _REQUIRED if release == "1.6" else (*_REQUIRED, "SpkrID", "Gender")
    table = _from_json(path, required) if path.suffix.lower() == ".json" else read_columns(path, required)
    refuse_escapes(table["FileName"], str(path))
    table = table.set_index(pd.Index(_stems(table["FileName"])))
    refuse_doubles(table.index, str(path))
    result = pd.DataFrame({"raw_emotion": table["EmoClass"].str.strip()}, index=table.index)
    for column, name in _ATTRIBUTES.items():
        result[name] = numbers(table[column], str(path))
    result["partition"] = _partitions(table["Split_Set"], str(path))
    nobody = pd.Series(pd.NA, table.index, dtype="string")
    result["speaker"] = _known(table["SpkrID"]) if "SpkrID" in table else nobody
    result["gender"] = _known(table["Gender"]).str.lower() if "Gender" in table else nobody
    result.loc[~result["gender"].isin(["female", "male"]).to_numpy(), "gender"] = pd.NA
    return result


def _from_json(path: Path, required: tuple[str, ...]) -> pd.DataFrame:
    rows = _load_json(path)
    table = pd.DataFrame.from_records(list(rows.values())).assign(FileName=list(rows)).astype("string")
    lacking = [c for c in required if c not in table]
    if lacking:
        raise SerbenchError(f"{str(path)!r} lacks {', '.join(lacking)}; it has: {', '.join(table.columns)}.")
    return table.replace("", pd.NA)


def _load_json(path: Path) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        refuse_doubles(pd.Index([name for name, _ in pairs]), str(path))
        return dict(pairs)

    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=unique)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SerbenchError(f"{str(path)!r} can't be read as JSON: {error}. Was it copied whole?") from error
    if not isinstance(value, dict) or not value:
        raise SerbenchError(f"{str(path)!r} holds no segments. Expected an object with a file name for each key.")
    return value


def recordings(ids: pd.Index[Any]) -> pd.Series[Any]:
    """The podcast recording that each segment name says, missing where a name does not follow the grammar."""
    return _extract(ids, NAME)[0]["recording"].astype("string").set_axis(ids)


def _extract(values: pd.Series[Any] | pd.Index[Any], pattern: str) -> tuple[pd.DataFrame, npt.NDArray[np.bool_]]:
    """The named groups of a pattern as categories (empty ones missing), and where the pattern does not fit."""
    texts = pa.array(values, type=pa.large_string())
    texts = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    parts = pa.compute.extract_regex(texts, pattern=pattern)
    groups = {field.name: parts.field(i) for i, field in enumerate(parts.type)}
    empty = {name: pa.compute.equal(group, "") for name, group in groups.items()}
    columns = {name: pa.compute.if_else(empty[name], None, group).dictionary_encode() for name, group in groups.items()}
    table = pd.DataFrame({name: column.to_pandas() for name, column in columns.items()})
    return table, parts.is_null().to_numpy(zero_copy_only=False)


def _stems(names: pd.Series[Any]) -> pd.Series[Any]:
    """Segment ids: file names without their ending (computed once per different name)."""
    if isinstance(names.dtype, pd.CategoricalDtype):
        stems = pd.Index(_stems(names.cat.categories.to_series().astype("string")))
        return (names.cat.rename_categories(stems) if stems.is_unique else _stems(names.astype("string"))).rename("id")
    return names.str.strip().str.removesuffix(".wav").str.removesuffix(".WAV").rename("id")


def _known(values: pd.Series[Any]) -> pd.Series[Any]:
    text = values.str.strip()
    return text.mask(text.str.lower().isin(["unknown", ""]).to_numpy(dtype=bool, na_value=True))


def _partitions(values: pd.Series[Any], source: str) -> pd.Series[Any]:
    result = values.str.strip().str.lower().map(PARTITIONS).astype("string")
    bad = result.isna().to_numpy()
    if bad.any():
        raise SerbenchError(
            f"unknown partition {values[bad].iloc[0]!r} of {values.index[bad][0]!r} in {source} ({int(bad.sum())} such "
            "rows). Expected Train, Validation or Development, Test, Test1, Test2 or Test3."
        )
    return result


def read_partitions(path: Path) -> pd.Series[Any]:
    """Partitions.txt: id -> partition; lines "Train; MSP-PODCAST_0023_0048.wav", blank lines between groups."""
    lines = pd.Series(path.read_text(encoding="utf-8-sig").splitlines(), dtype="string").str.strip()
    lines = lines[lines.ne("").to_numpy(dtype=bool)]
    parts, bad = _extract(lines, _PARTITIONED)
    if bad.any():
        raise SerbenchError(
            f"{str(path)!r} has the line {lines[bad].iloc[0]!r}. Expected 'Train; MSP-PODCAST_0023_0048.wav'."
        )
    pairs = parts.astype("string")
    refuse_escapes(pairs["FileName"], str(path))
    pairs = pairs.set_index(_stems(pairs["FileName"]))
    refuse_doubles(pairs.index, str(path))
    return _partitions(pairs["Split_Set"], str(path))


def read_details(path: Path) -> pd.DataFrame:
    """Every rating of a detailed label file, in whichever shape: the columns of `RATING_COLUMNS`, texts as categories.

    `labels` is the rater's primary word, `secondary` the further ones with commas between; attributes are 1 to 7.

    Raises
    ------
    SerbenchError
        For a missing column, a rating that can't be taken apart, or an attribute that is no number.
    """
    shape = {".json": _details_of_json, ".txt": _details_of_text}.get(path.suffix.lower(), _details_of_csv)
    table = shape(path).reset_index(drop=True)
    for name in _ATTRIBUTES.values():
        if not pd.api.types.is_float_dtype(table[name]):
            table[name] = _numbers(table[name], table["id"], str(path))
    return table.astype(dict.fromkeys(RATING_COLUMNS[:4], "category"))[list(RATING_COLUMNS)]


def _details_of_csv(path: Path) -> pd.DataFrame:
    """1.7 to 1.12: the whole rating in one cell. 1.6 and 2.0: a column each, the rater under two names."""
    table = _read_large(path)
    if "EmoDetail" in table:
        return _take_apart(_stems(table["FileName"]), table["EmoDetail"], path)
    rater = "Workers" if "Workers" in table else "WorkerID"
    names = {rater: "rater", "EmoClass_Major": "labels", "EmoClass_Second": "secondary", **_ATTRIBUTES}
    lacking = [c for c in names if c not in table]
    if lacking:
        has = ", ".join(table.columns)
        raise SerbenchError(f"{str(path)!r} lacks the column(s) {', '.join(lacking)}; it has: {has}.")
    return table.rename(columns=names).assign(id=_stems(table["FileName"]))


def _numbers(values: pd.Series[Any], ids: pd.Series[Any], source: str) -> npt.NDArray[np.float64]:
    """Text, as a rule of a few different values, to numbers: each value is converted once."""
    codes, texts = pd.factorize(values)
    first = np.unique(codes, return_index=True)[1][int((codes < 0).any()) :]
    named = pd.Series(pd.Index(texts), dtype="string", name=values.name).set_axis(pd.Index(ids.iloc[first]))
    return np.append(numbers(named, source).to_numpy(), np.nan)[codes]


def _read_large(path: Path) -> pd.DataFrame:
    """Over a million ratings as categories and numbers; a file that can't be taken so is read as text, to be judged."""
    columns = read_columns(path, ("FileName",), nrows=0).columns
    category = pa.dictionary(pa.int32(), pa.string())
    types = {c: pa.float64() if c in _ATTRIBUTES else pa.string() if c == "EmoDetail" else category for c in columns}
    options = pyarrow.csv.ConvertOptions(
        column_types=types, strings_can_be_null=True, quoted_strings_can_be_null=True, null_values=["", "nan", "NaN"]
    )
    try:
        table: pd.DataFrame = pyarrow.csv.read_csv(path, convert_options=options).to_pandas()
    except pa.ArrowInvalid:
        return read_columns(path, ("FileName",))
    return table.rename(columns=dict(zip(table.columns, columns, strict=True)))


def _details_of_json(path: Path) -> pd.DataFrame:
    segments = _load_json(path).items()
    rows = [{"id": name, "rater": rater, **rating} for name, raters in segments for rater, rating in raters.items()]
    names = {"EmoClass_Major": "labels", "EmoClass_Second": "secondary", **_ATTRIBUTES}
    table = pd.DataFrame(rows, columns=["id", "rater", *names], dtype="string").rename(columns=names)
    return table.mask(table.isin([""]).to_numpy(dtype=bool)).assign(id=_stems(table["id"]))


def _details_of_text(path: Path) -> pd.DataFrame:
    """labels.txt: a block per segment, its head line first, then a line per rater."""
    lines = pd.Series(path.read_text(encoding="utf-8-sig").splitlines(), dtype="string").str.strip()
    lines = lines[lines.ne("").to_numpy(dtype=bool)]
    head = lines.str.contains(r"^[^;]+\.wav\s*;", case=False, regex=True).to_numpy(dtype=bool)
    names = _stems(lines.str.split(";", n=1).str[0]).where(head).ffill()
    return _take_apart(names[~head], lines[~head], path)


def _take_apart(names: pd.Series[Any], cells: pd.Series[Any], path: Path) -> pd.DataFrame:
    """Cells such as "WORKER00000001; Neutral; Neutral,Concerned; A:3.000000; V:4.000000; D:2.000000;"."""
    table, bad = _extract(cells, _RATED)
    if bad.any():
        raise SerbenchError(
            f"the rating {cells[bad].iloc[0]!r} of {names[bad].iloc[0]!r} in {str(path)!r} can't be read "
            f"({int(bad.sum())} such rows). Expected 'WORKER; primary; secondary; A:n; V:n; D:n;'."
        )
    return table.assign(id=names.reset_index(drop=True))


def read_transcripts(folder: Path, ids: pd.Index[str]) -> pd.Series[Any]:
    """id -> text of the one-file-a-segment transcripts that `folder` has for `ids`."""
    wanted, texts = set(ids.to_numpy(dtype=object)), {}
    for name in os.listdir(folder):
        if name[:-4] in wanted and name[-4:].lower() == ".txt":
            with open(os.path.join(folder, name), "rb", buffering=0) as file:
                texts[name[:-4]] = _decoded(file.read()).strip()
    said = pd.Series(texts, dtype="string")
    return said[said.ne("").to_numpy(dtype=bool)]


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")
