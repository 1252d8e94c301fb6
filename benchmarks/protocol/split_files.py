"""Splits from files: a table of id (or path), fold and role, or a benchmark's folder of lists; and writing one.

A table is CSV, JSON lines or parquet with the columns `id` or `path`, `role` (train, dev, test, or unlabelled: an item
of the pool, without its labels) and `fold` (without it there is one fold, "1"). `emobox:FOLDER` reads the layout of
EmoBox (Ma et al., Interspeech 2024, arXiv:2406.07162): lists `<corpus>_train_fold_<n>.jsonl`, `..._valid_...` and
`..._test_...`, in FOLDER itself, in FOLDER/<corpus> or FOLDER/data/<corpus>, or in folders `fold_<n>` there; <corpus>
is the corpus's name without signs. What is read is packed as one text, which stands in a request, so that a record or
another machine needs no file.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import atomic_write, canonical_json, write_text

ROLES = ("train", "dev", "test", "unlabelled")
SPELLINGS = {role: role for role in ROLES} | dict.fromkeys(("valid", "validation", "val", "devel"), "dev")
"""Roles as files spell them, in small letters."""
ENDINGS = (".csv", ".jsonl", ".parquet")
LAYOUT = "emobox:"
Listed = Mapping[str, Mapping[str, Sequence[str]]]
"""fold -> role -> names as they are listed: ids, paths or file names."""
_LIST = re.compile(r"(?P<corpus>.+)_(?P<role>[a-z]+)_fold_(?P<fold>\d+)\.jsonl")


def read(split: str, dataset: str) -> Listed:
    """What a file, or a folder in EmoBox's layout, lists for a dataset.

    Raises
    ------
    SerbenchError
        Where there is no such file or list, or a line of it has no name or no role.
    """
    if split.startswith(LAYOUT):
        return _layout(Path(split.removeprefix(LAYOUT)).expanduser(), dataset)
    path = Path(split).expanduser()
    if path.suffix.lower() not in ENDINGS:
        raise SerbenchError(f"--split {split}: expected a file that ends with {', '.join(ENDINGS)}, or {LAYOUT}FOLDER.")
    if not path.is_file():
        raise SerbenchError(
            f"--split {split}: there is no such file. Expected a table with id (or path), fold and role. A run that "
            "was made by it is repeated without it: serbench run --from-record RUN."
        )
    return _nested(_table_rows(path))


def packed(split: str, dataset: str) -> str:
    """What is read as one text, without line breaks."""
    names = [split.removeprefix(LAYOUT)] if split.startswith(LAYOUT) else [split]
    return _packed(split, dataset, tuple(_stamp(Path(name).expanduser()) for name in names))


@lru_cache(maxsize=16)
def _packed(split: str, dataset: str, stamp: tuple[float, ...]) -> str:
    return base64.b85encode(zlib.compress(canonical_json(read(split, dataset)).encode(), 9)).decode()


def unpack(text: str) -> Listed:
    """Inverse of `packed`."""
    listed: Listed = json.loads(zlib.decompress(base64.b85decode(text)))
    return listed


def rows_of(divisions: Iterable[Any]) -> Iterator[tuple[str, str, str]]:
    """(id, fold, role) of what each fold trains on, selects on, tests and leaves unlabelled (`protocol.Division`)."""
    for division in divisions:
        for role in ROLES:
            yield from ((item, division.fold, role) for item in getattr(division, role))


def write(path: Path, rows: Iterable[tuple[str, str, str]]) -> None:
    """Write (id, fold, role) as CSV, JSON lines or parquet, by the ending; `read` reads it again."""
    table = pd.DataFrame(rows, columns=["id", "fold", "role"])
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise SerbenchError(f"--split-out {path}: expected a file that ends with {', '.join(ENDINGS)}.")
    if ending == ".parquet":
        atomic_write(path, lambda stream: table.to_parquet(stream, index=False))
        return
    lines = table.to_json(orient="records", lines=True, force_ascii=False)
    text = table.to_csv(index=False, lineterminator="\n") if ending == ".csv" else lines
    write_text(path, text)


def _stamp(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def _table_rows(path: Path) -> Iterator[tuple[str, str, str]]:
    """(name, fold, role) of each line of a table, roles in our spelling."""
    table = _table(path)
    lines = "" if path.suffix.lower() == ".parquet" else "line "
    named = next((column for column in ("id", "path") if column in table), None)
    if named is None or "role" not in table:
        raise SerbenchError(
            f"--split {path} has the columns {', '.join(map(str, table)) or 'none'}. Expected id (or path), role, fold."
        )
    folds = table["fold"] if "fold" in table else ["1"] * len(table)
    for number, (name, fold, role) in enumerate(zip(table[named], folds, table["role"], strict=True), 1):
        if "" in (name, fold):
            raise SerbenchError(f"--split {path}: {lines}row {number} has no {'fold' if name else named}.")
        if role.lower() not in SPELLINGS:
            raise SerbenchError(
                f"--split {path}: row {number} ({name!r}) has the role {role!r}. Expected {', '.join(ROLES)}."
            )
        yield name, fold, SPELLINGS[role.lower()]


def _table(path: Path) -> pd.DataFrame:
    """A table of stripped texts, "" where there is nothing."""
    try:
        if path.suffix.lower() == ".csv":
            table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        elif path.suffix.lower() == ".parquet":
            table = pd.read_parquet(path)
        else:
            table = pd.DataFrame(list(_json_lines(path)))
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise SerbenchError(
            f"--split {path} can't be read: {error}. Expected a table, as --split-out writes it."
        ) from None
    stripped: pd.DataFrame = table.astype("string").fillna("").apply(lambda column: column.str.strip())
    return stripped


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise SerbenchError(f"--split {path}: line {number} is no JSON object: {line[:60]!r}.")
            yield row


def _layout(folder: Path, dataset: str) -> Listed:
    plain = _plain(dataset)
    places = [folder / "data", folder]
    inner = [f for place in places if place.is_dir() for f in sorted(place.iterdir()) if f.is_dir()]
    own = [f for f in inner if _plain(f.name) == plain]
    searched = [
        *own,
        folder,
        *(d for f in (*own, folder) if f.is_dir() for d in sorted(f.glob("fold_*")) if d.is_dir()),
    ]
    named = [
        (m, path) for f in searched if f.is_dir() for path in sorted(f.iterdir()) if (m := _LIST.fullmatch(path.name))
    ]
    lists = [(m["fold"], m["role"], path) for m, path in named if _plain(m["corpus"]) == plain]
    if not lists:
        known = sorted({f.name for f in inner if not f.name.startswith(".") and f.name != "data"})
        raise SerbenchError(
            f"--split {LAYOUT}{folder}: there is no list such as {plain}_train_fold_1.jsonl in it, nor in its folder "
            f"{plain} or data/{plain}. "
            + (f"It has: {', '.join(known)}." if known else "Expected the folder data of EmoBox.")
        )
    return _nested(row for fold, role, path in lists for row in _list_rows(path, f"fold_{int(fold)}", role))


def _list_rows(path: Path, fold: str, role: str) -> Iterator[tuple[str, str, str]]:
    if role not in SPELLINGS:
        raise SerbenchError(f"{path} is a list of {role!r}. Expected a list of train, valid or test.")
    for row in _json_lines(path):
        name = row.get("wav") or row.get("audio") or row.get("key")
        if not name:
            raise SerbenchError(f"{path} has a line without wav, audio and key. Expected EmoBox's own lists.")
        yield str(name), fold, SPELLINGS[role]


def _nested(rows: Iterable[tuple[str, str, str]]) -> Listed:
    listed: dict[str, dict[str, list[str]]] = {}
    for name, fold, role in rows:
        listed.setdefault(fold, {}).setdefault(role, []).append(name)
    return listed


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
