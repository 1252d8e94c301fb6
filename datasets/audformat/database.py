"""Access to an audformat database: opening it, labels of schemes on one index, splits as partitions.

The library is an extra (`serbench[audformat]`) and is imported only when a database is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from ..core.errors import SerbenchError, unknown
from ..schema.task import ATTRIBUTES

SPLIT_TYPES = ("train", "dev", "test")


def open_database(audformat: ModuleType, base: Path) -> Any:
    """The database of a folder with all of its tables, or an error that says what can't be read."""
    try:
        return audformat.Database.load(str(base), load_data=True)
    except Exception as error:  # the library lets its parsers' own errors through (yaml, csv, parquet)
        raise SerbenchError(
            f"{str(base)!r} can't be read as an audformat database: {str(error).strip() or type(error).__name__}. "
            "Expected db.yaml and a csv or parquet file (db.TABLE.csv) for each of its tables; is the copy complete?"
        ) from error


def labels_of(
    audformat: ModuleType, database: Any, columns: Mapping[str, str], tables: list[str] | None
) -> pd.DataFrame:
    """One row per file or segment that has a label, a column for each of `columns`; index file, start, end.

    Raises
    ------
    SerbenchError
        For an unknown table, tables that disagree about a label, or no label at all.
    """
    for name in tables or []:
        if name not in database.tables:
            raise unknown("table of the database", name, database.tables)
    frames = []
    for column in ("raw_emotion", *ATTRIBUTES):
        frame = _get(database, columns[column], tables).rename(columns={columns[column]: column})
        if not frame.empty:
            frames.append(frame[column])
    if not frames:
        raise SerbenchError(
            f"no labels were found in {', '.join(tables or ['any table'])}: looked for the scheme "
            f"{columns['raw_emotion']} or {', '.join(ATTRIBUTES)}. The database has: "
            f"{', '.join(database.schemes) or 'no schemes'}. Type --option emotion=SCHEME."
        )
    index = audformat.utils.union([audformat.utils.to_segmented_index(frame.index) for frame in frames])
    result = pd.DataFrame({str(f.name): _on(audformat, f, index) for f in frames}, index=index)
    for column in ("speaker", "gender", "language", "text", "age"):
        labels = _get(database, columns[column], None)
        if columns[column] in labels and not labels.empty:
            result[column] = _on(audformat, labels[columns[column]], index)
    return result.loc[result[[str(f.name) for f in frames]].notna().any(axis=1)]


def _get(database: Any, scheme: str, tables: list[str] | None) -> pd.DataFrame:
    """Labels of a scheme, empty where there is none."""
    try:
        frame: pd.DataFrame = database.get(scheme, tables=tables)
    except (ValueError, TypeError) as error:
        having = [n for n in database.tables if any(c.scheme_id == scheme for c in database[n].columns.values())]
        raise SerbenchError(
            f"the tables disagree about {scheme}: {str(error).strip().splitlines()[0]} "
            f"Choose among {', '.join(having) or 'the tables'} with --option tables=NAME."
        ) from error
    return frame.dropna(how="all")


def _on(audformat: ModuleType, values: pd.Series[Any], index: pd.Index[Any]) -> pd.Series[Any]:
    """Values on a segmented index: the segment's own, else those of its whole file."""
    values = values.astype("object")
    whole = audformat.is_filewise_index(values.index)
    if not whole:
        own = values.reindex(index)
        zero = values.index.get_level_values("start") == pd.Timedelta(0)
        ends = values.index.get_level_values("end").isna()
        values = values[zero & ends]
        values.index = values.index.get_level_values("file")
    by_file = pd.Series(index.get_level_values("file").map(values.to_dict()), index=index, dtype="object")
    return by_file if whole else own.where(own.notna(), by_file)


def partitions_of(audformat: ModuleType, database: Any, index: pd.Index[Any]) -> Any:
    """Split type of each row, from the tables that belong to a split."""
    kinds = pd.Series(pd.NA, index, dtype="object")
    for name in database.tables:
        split = database[name].split_id
        kind = database.splits[split].type if split in database.splits else None
        if kind not in SPLIT_TYPES:
            continue
        own = pd.Series(kind, database[name].index, dtype="object")
        inside = _on(audformat, own, index).eq(kind)
        clash = inside & kinds.notna() & kinds.ne(kind)
        if clash.any():
            file = index[clash.to_numpy(dtype=bool)][0][0]
            raise SerbenchError(
                f"{file!r} is in the split {kind!r} by the table {name!r}, and in {kinds[clash].iloc[0]!r} by another. "
                "Expected one split per file; choose tables with --option tables=NAME."
            )
        kinds[inside] = kind
    return kinds.to_numpy()


def two_letters(code: str) -> str:
    """ISO 639-1 code of a language where it has one."""
    if len(code) == 2:
        return code
    from iso639 import Lang  # comes with audformat
    from iso639.exceptions import InvalidLanguageValue

    try:
        return str(Lang(code).pt1 or code)
    except InvalidLanguageValue:
        return code
