"""Reading label files: columns by name, numbers checked, ids unique; every complaint names the file and the row."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd

from ..core.errors import SerbenchError, printable

_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
"""Those of ASCII. What follows it (C1) is mostly text of Windows read as UTF-8, and is escaped where it is printed."""


def read_columns(
    path: Path, required: Collection[str], *, separator: str = ",", encoding: str = "utf-8-sig", **options: Any
) -> pd.DataFrame:
    """Read a table as text (empty cells missing, header names stripped), checked to hold the `required` columns.

    Raises
    ------
    SerbenchError
        If the file can't be read as such a table, or lacks a column; it lists those that it has.
    """
    options = {"dtype": "string", "keep_default_na": False, "na_values": [""], **options}
    try:
        table: pd.DataFrame = pd.read_csv(path, sep=separator, encoding=encoding, **options)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise SerbenchError(f"{str(path)!r} can't be read as a table: {str(error).strip()}.") from error
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes the first cells for the names of the rows
        raise SerbenchError(
            f"a row of {str(path)!r} has more cells than its header has names ({', '.join(map(str, table.columns))}). "
            "Is the header whole, and does each row hold one line of the table?"
        )
    table.columns = [str(c).strip() for c in table.columns]
    lacking = [c for c in required if c not in table]
    if lacking:
        raise SerbenchError(
            f"{str(path)!r} lacks the column(s) {', '.join(lacking)}; it has: {', '.join(table.columns)}. "
            "Is it the label file of this corpus and release, and copied whole?"
        )
    return harmless(table)


def harmless(table: pd.DataFrame) -> pd.DataFrame:
    """The table with control characters in its texts as their escapes, but in paths, which name files.

    A label or a speaker goes to terminals, pages and figures; none of them may take it for a command.
    """
    texts = [str(name) for name in table if name != "path" and table[name].dtype.kind not in "biufcMm"]
    marked = {name: table[name].str.contains(_CONTROL, regex=True, na=False) for name in texts}
    changed = {name: table[name].mask(rows, table[name].map(_printable)) for name, rows in marked.items() if rows.any()}
    return table.assign(**changed) if changed else table


def _printable(value: Any) -> Any:
    return printable(value) if isinstance(value, str) else value


def numbers(values: pd.Series[Any], source: str) -> pd.Series[float]:
    """Text to float64, missing where empty or "nan".

    Raises
    ------
    SerbenchError
        For a text that is no number; it names the row (by the index), the column (by the series' name) and `source`.
    """
    result = pd.to_numeric(values, errors="coerce").astype("float64")
    doubtful = values[result.isna() & values.notna()].astype("string").str.strip()
    bad = doubtful[~doubtful.str.lower().isin(["", "nan"])]
    if len(bad):
        raise SerbenchError(
            f"{values.name} of {bad.index.tolist()[0]!r} in {source} is {bad.iloc[0]!r} ({len(bad)} such rows). "
            "Expected a number or nothing; correct the file."
        )
    return result


def refuse_doubles(ids: pd.Index[Any] | pd.Series[Any], source: str) -> None:
    """Raise if an id occurs twice in a label file."""
    index = pd.Index(ids)
    doubled = index[index.duplicated()].unique()
    if len(doubled):
        raise SerbenchError(
            f"{source} has two rows for one id: {doubled[0]!r} ({len(doubled)} ids are doubled). "
            "Keep one row each; ids must be unique."
        )
