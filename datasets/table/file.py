"""Reading one table from a file that a user wrote: CSV, TSV or parquet, every cell as text.

Text files are UTF-8 (a byte-order mark is allowed), with one header line and comma, semicolon, tab or bar between the
cells; the separator is the one that makes the header contain `path`. Every line has as many cells as the header. An
empty cell is a missing value and nothing else is. Rows keep the number of their line (`LINE`), so that messages can
name it; rows of a parquet file are numbered from 1.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from ..core.errors import SerbenchError
from ..reading.label_files import harmless

LINE = "_line"
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
TEXT_FILES = (".csv", ".tsv", ".txt")
PARQUET_FILES = (".parquet", ".pq")


def table_file(root: Path) -> Path:
    """The table that `root` means: the file itself, or the only table of a folder.

    Raises
    ------
    SerbenchError
        When there is no such file, none or more than one in the folder, or it is of another kind.
    """
    kinds = ", ".join((*TEXT_FILES, *PARQUET_FILES))
    if root.is_dir():
        entries = sorted(p for p in root.iterdir() if p.is_file() and not p.name.startswith("."))
        tables = [p for p in entries if p.suffix.lower() in (*TEXT_FILES[:2], *PARQUET_FILES)]
        if len(tables) == 1:
            return tables[0]
        there = ", ".join(p.name for p in (tables or entries)[:8]) or "no files"
        raise SerbenchError(f"expected one table ({kinds}) in {root}, found {there}. Type the file itself as --root.")
    if not root.is_file():
        raise SerbenchError(f"the table {str(root)!r} does not exist. Type the path of a {kinds} file as --root.")
    if root.suffix.lower() not in (*TEXT_FILES, *PARQUET_FILES):
        raise SerbenchError(f"{root} is not a table that can be read. Expected {kinds}; save a spreadsheet as CSV.")
    return root


def read_table(path: Path, columns: Iterable[str], needed: str = "path") -> pd.DataFrame:
    """Read a table as text cells (missing = NA), with the line number in the column `LINE`.

    Header names that equal one of `columns` but for blanks and the case of letters are given its spelling; `needed` is
    the one that there must be.

    Raises
    ------
    SerbenchError
        For a file that is damaged, empty, in another encoding, or whose lines don't fit the header; for a header
        without the needed name, with an empty name, or with the same name twice.
    """
    table = _read_parquet(path) if path.suffix.lower() in PARQUET_FILES else _read_text(path, needed)
    table.columns = pd.Index(_header([str(c) for c in table.columns], set(columns), path, needed))
    if table.empty:
        raise SerbenchError(f"{path} has a header but no rows. Expected one row per utterance.")
    return harmless(table)


def _header(names: list[str], columns: set[str], path: Path, needed: str) -> list[str]:
    known = {c.lower(): c for c in columns}
    header = [known.get(name.strip().lower(), name.strip()) for name in names]
    if needed not in header:
        raise SerbenchError(
            f"{path} has no column {needed!r}; its header is: {', '.join(header[:-1])}. Expected a header line "
            f"with {needed!r} (and 'label', or attributes such as 'arousal'), names separated by comma, semicolon, "
            "tab or bar."
        )
    if "" in header:
        raise SerbenchError(f"column {header.index('') + 1} of {path} has no name. Name every column in the header.")
    doubled = sorted({name for name in header if header.count(name) > 1})
    if doubled:
        raise SerbenchError(f"{path} has the column {doubled[0]!r} more than once. Expected each column once.")
    return header


def _read_text(path: Path, needed: str) -> pd.DataFrame:
    text = _decode(path)
    separator = _separator(text.lstrip().split("\n", 1)[0], path, needed)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: list[list[str | None]] = []
    header: list[str] = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = cells
            elif len(cells) != len(header):
                raise SerbenchError(
                    f"line {reader.line_num} of {path} has {len(cells)} cells, the header has {len(header)} "
                    f"(separator: {SEPARATORS[separator]}). Put cells that hold the separator in double quotes."
                )
            else:
                rows.append([*(cell.strip() or None for cell in cells), str(reader.line_num)])
    except csv.Error as error:
        raise SerbenchError(f"line {reader.line_num} of {path} can't be read: {error}. Check its quotes.") from None
    return pd.DataFrame(rows, columns=[*header, LINE], dtype="string")


def _separator(first_line: str, path: Path, needed: str) -> str:
    """The separator that makes the needed name a cell of the header; the tab for .tsv and the comma where none does."""

    def names(separator: str) -> list[str]:
        return [cell.strip().strip('"').lower() for cell in first_line.split(separator)]

    fitting = [s for s in SEPARATORS if needed in names(s)]
    if fitting:
        return max(fitting, key=lambda s: len(names(s)))
    return "\t" if path.suffix.lower() == ".tsv" else max(SEPARATORS, key=lambda s: len(names(s)))


def _decode(path: Path) -> str:
    data = path.read_bytes()
    if not data.strip():
        raise SerbenchError(f"{path} is empty. Expected a header line with 'path' and one line per utterance.")
    if data.startswith(b"PAR1"):
        raise SerbenchError(f"{path} is a parquet file by its contents. Rename it to end in .parquet.")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in data[:4096]:
        raise SerbenchError(f"{path} is UTF-16 or binary. Expected UTF-8: type 'iconv -f utf-16 -t utf-8 OLD > NEW'.")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise SerbenchError(
            f"line {line} of {path} is not UTF-8 (byte 0x{data[error.start]:02x}). Type 'iconv -f latin1 -t utf-8 "
            "OLD > NEW' if it was saved as Latin-1 or by an old spreadsheet program."
        ) from None


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path)
    except Exception as error:  # pyarrow raises many kinds
        reason = str(error).split("\n", 1)[0]
        raise SerbenchError(f"{path} can't be read as parquet: {reason}. Write it again, or save it as CSV.") from None
    if table.index.name is not None or table.index.nlevels > 1:
        table = table.reset_index()
    cells = {str(name): as_text(table.iloc[:, i]) for i, name in enumerate(table.columns)}
    return pd.DataFrame({**cells, LINE: [str(i + 1) for i in range(len(table))]}, dtype="string")


def as_text(column: pd.Series[Any]) -> list[str | None]:
    """Cells as text: numbers in their shortest exact form, and a column of whole floats (3.0) as whole numbers."""
    if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all():
        column = column.astype("Int64")
    texts = [None if missing else str(value).strip() for value, missing in zip(column, column.isna(), strict=True)]
    return [text or None for text in texts]
