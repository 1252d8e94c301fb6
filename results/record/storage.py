"""How records lie on disk: plain JSON, and parquet whose bytes are known by their SHA-256. No pickle anywhere.

What a unit predicted of its dev part lies beside its test predictions, `unit-<trial>-<fold>.dev.parquet`, in the same
columns; every item is in subset 0. The unit's JSON holds the digest as `dev_predictions`. Records of before there were
dev predictions lack both, and are read as they are; so do units without a dev part (`--dev nested`), those of given
weights, and exported ones. Dev predictions choose the weights of a fusion; they are part of no score.
"""

from __future__ import annotations

import hashlib
import json
import math
import numbers
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import checksum, intact, write_bytes, write_json, write_text

FORMULA = re.compile(r"[=@\t\r]|[+-](?=[^\d.\s+-])")
"""Begin of a text that a spreadsheet computes."""

DEV_ENTRY = "dev_predictions"
"""Key of the unit's JSON that holds rows and digest."""
DEV_SUFFIX = ".dev.parquet"


def plain(value: Any, *, finite: bool = False) -> Any:
    """Nested values as JSON holds them: text keys, lists, Python numbers; non-finite numbers as None where `finite`."""
    if isinstance(value, Mapping):
        return {str(key): plain(item, finite=finite) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return [plain(item, finite=finite) for item in sorted(value)]
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(item, finite=finite) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist(), finite=finite)
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, numbers.Real):
        return None if finite and not math.isfinite(value) else float(value)
    return str(value)


def write_record(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object with a checksum of what is in it, atomically; `read_json` gives it back without."""
    write_json(path, {**content, "checksum": checksum(content, {})})


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; `ValueError` when the file holds anything else, or not what was written."""
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__}, not an object")
    if not intact(value, {}):
        raise ValueError("its checksum is wrong, so it is not what was written")
    return value


def write_parquet(path: Path, table: pd.DataFrame) -> dict[str, Any]:
    """Write a table atomically; returns its number of `rows` and the `sha256` of the file's bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False), sink, compression="zstd")
    data = sink.getvalue().to_pybytes()
    write_bytes(path, data)
    return {"rows": len(table), "sha256": hashlib.sha256(data).hexdigest()}


def read_verified(path: Path, held: Any) -> bytes:
    """Bytes of a file written by `write_parquet`; `ValueError` when they are not the ones that `held` describes."""
    data = path.read_bytes()
    if not isinstance(held, Mapping) or held.get("sha256") != hashlib.sha256(data).hexdigest():
        raise ValueError(f"its {len(data)} bytes are not those that were written")
    return data


def join_parquet(
    files: Iterable[tuple[bytes, Mapping[str, int | str]]], columns: Collection[str] | None
) -> pd.DataFrame | None:
    """Rows of several parquet files below each other, each with constant columns added; None when there is no file.

    Of `columns` those are read that a file has: what must be there is checked by who needs it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for data, constants in files:
        there = None if columns is None else [c for c in columns if c in pq.read_schema(pa.BufferReader(data)).names]
        table = pq.read_table(pa.BufferReader(data), columns=there, use_threads=False)
        for name, value in constants.items():
            table = table.append_column(name, pa.repeat(pa.scalar(value), len(table)))
        tables.append(table)
    if not tables:
        return None
    joined: pd.DataFrame = pa.concat_tables(tables, promote_options="permissive").to_pandas(use_threads=False)
    return joined


def write_csv(path: Path, table: pd.DataFrame) -> Path:
    """Write a table as UTF-8 CSV atomically, numbers in full precision; returns the path.

    A text that spreadsheets would take for a formula, such as a speaker called "=1+1", gets an apostrophe before it.
    """
    path = Path(path)
    write_text(path, csv_text(table))
    return path


def csv_text(table: pd.DataFrame, decimals: int | None = None) -> str:
    """A table as `write_csv` writes it; with `decimals`, fractions with so many of them."""
    texts = {str(name): table[name].map(_no_formula) for name in table if table[name].dtype.kind not in "biufcMm"}
    form = None if decimals is None else f"%.{decimals}f"
    text: Any = table.assign(**texts).to_csv(index=False, float_format=form, lineterminator="\n")
    return str(text)


def _no_formula(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value


def dev_file(facts_file: Path) -> Path:
    """Where the dev predictions of the unit with that JSON file lie."""
    return facts_file.with_suffix(DEV_SUFFIX)


def leave_dev(facts_file: Path, predictions: pd.DataFrame | None) -> dict[str, Any]:
    """Write dev predictions, or take away those that are there; returns what stands of them in the unit's JSON."""
    file = dev_file(facts_file)
    if predictions is None or not len(predictions):
        file.unlink(missing_ok=True)
        return {}
    return {DEV_ENTRY: write_parquet(file, predictions)}


def read_dev(facts_file: Path, facts: Mapping[str, Any]) -> pd.DataFrame | None:
    """The dev predictions of a unit; None where it holds none. A damaged file is a `SerbenchError`."""
    if not facts.get(DEV_ENTRY):
        return None
    file = dev_file(facts_file)
    try:
        return join_parquet([(read_verified(file, facts[DEV_ENTRY]), {})], None)
    except (ValueError, OSError) as error:
        raise SerbenchError(
            f"{file} is damaged: {error}. Delete {facts_file.stem}.* there and repeat the line that made the run."
        ) from error


def record_files(facts_file: Path) -> list[Path]:
    """The files that the record of a unit is made of, as far as they are there: facts, predictions of test and dev."""
    return [path for path in (facts_file, facts_file.with_suffix(".parquet"), dev_file(facts_file)) if path.exists()]
