"""Parquet files as the hub keeps them: which belong to a data set, what their names say, which columns they hold.

The layout is that of the `datasets` library (data_files.py, features/features.py and features/audio.py of release 5):
shards such as `data/train-00000-of-00003.parquet`, whose name or folder says the split in one of a few words; class
names and the kind of each column in the schema's metadata under `huggingface`; sound as a struct of `bytes` and `path`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..core.errors import SerbenchError
from ..table.file import PARQUET_FILES, as_text

SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "dev",
    "valid": "dev",
    "dev": "dev",
    "val": "dev",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
"""Word in a file's or folder's name -> partition."""
_SHARD = re.compile(r"[-_.]?\d{4,5}(?:-of-\d{5})?(?:-[0-9a-f]+)?$")
_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Shard:
    """One parquet file: its place below the root, and its schema with the metadata of the hub."""

    path: Path
    name: str
    schema: pa.Schema

    @property
    def features(self) -> dict[str, Any]:
        """Column -> its description in the metadata; empty where there is none."""
        try:
            described = json.loads((self.schema.metadata or {})[b"huggingface"])
            features = described["info"]["features"]
        except (KeyError, ValueError, TypeError):
            return {}
        return features if isinstance(features, dict) else {}

    @property
    def part(self) -> str:
        """The file's name without the number of the shard, else (for names that are numbers) its folder's."""
        return _SHARD.sub("", Path(self.name).stem) or Path(self.name).parent.name

    @property
    def partition(self) -> str | None:
        """train, dev or test, where a word of the file's or of a folder's name says so."""
        for name in (self.part, *reversed(Path(self.name).parent.parts)):
            for word in re.split(r"[-._ \d]+", name.lower()):
                if word in SPLITS:
                    return SPLITS[word]
        return None


def shards(root: Path, pattern: str | None = None) -> list[Shard]:
    """The parquet files of a data set, in order of their names.

    Parameters
    ----------
    root : one parquet file, or a folder with some at any depth (names that begin with a dot are not seen)
    pattern : those whose name below the root fits (`fnmatch`); None = all

    Raises
    ------
    SerbenchError
        If there is none, one can't be read, or they lie in folders that are different data sets.
    """
    base = root if root.is_dir() else root.parent
    paths = sorted(_below(root)) if root.is_dir() else [root]
    names = [path.relative_to(base).as_posix() for path in paths]
    chosen = [(p, n) for p, n in zip(paths, names, strict=True) if pattern is None or fnmatchcase(n, pattern)]
    if not chosen:
        there = ", ".join(names[:8]) or "no parquet file"
        wanted = f"files like {pattern!r}" if pattern else "parquet files such as data/train-00000-of-00001.parquet"
        raise SerbenchError(f"hf: looked for {wanted} in {str(root)!r}, found {there}. Pass a data set's own folder.")
    read = [Shard(path, name, _schema(path)) for path, name in chosen]
    folders = sorted({Path(shard.name).parent.as_posix() for shard in read if not _is_split(shard)})
    if len(folders) > 1:
        raise SerbenchError(
            f"{str(root)!r} holds several data sets: {', '.join(folders)}. Pass one of these folders as --root, or "
            f"type --option files='{folders[0]}/*'."
        )
    return read


def cells(shard: Shard, columns: Sequence[str]) -> pd.DataFrame:
    """Flat columns of a file as texts (missing = NA), class numbers replaced by their names."""
    with opened(shard.path) as file:
        table = file.read(columns=list(columns)).to_pandas()
    texts = {}
    for column in columns:
        names = shard.features.get(column, {}).get("names")
        texts[column] = _named(table[column], names) if isinstance(names, list) else as_text(table[column])
    return pd.DataFrame(texts, columns=list(columns), dtype="string")


def flat_columns(shard: Shard) -> list[str]:
    """Columns of texts, numbers, truth values and categories."""
    return [field.name for field in shard.schema if not pa.types.is_nested(field.type) and not _is_binary(field.type)]


def sound_columns(shard: Shard) -> Iterator[str]:
    """Columns that hold sound, the likeliest first: so described, called audio, or of the shape of sound."""
    shaped = [field.name for field in shard.schema if holds_bytes(field.type)]
    described = {name: f.get("_type") for name, f in shard.features.items() if isinstance(f, dict)}
    yield from (name for name in described if described[name] == "Audio")
    yield from (name for name in shaped if name.lower() == "audio" and described.get(name) != "Audio")
    yield from (name for name in shaped if name.lower() != "audio" and name not in described)


def holds_bytes(kind: pa.DataType) -> bool:
    """Whether a column of this type can hold a file's content: binary, or a struct with a binary field `bytes`."""
    if pa.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and _is_binary(kind.field(place).type)
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _below(root: Path) -> Iterator[Path]:
    for path in root.rglob("*"):
        visible = not any(part.startswith(".") for part in path.relative_to(root).parts)
        if visible and path.suffix.lower() in PARQUET_FILES and path.is_file():
            yield path


@contextmanager
def opened(path: Path) -> Iterator[pq.ParquetFile]:
    """A file that is read from; pyarrow's errors, of many kinds and at any page, become a `SerbenchError`."""
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except Exception as error:
        remedy = "It is a git-lfs pointer: type git lfs pull" if _is_pointer(path) else "Download it again"
        reason = str(error).split("\n", 1)[0].rstrip(".")
        raise SerbenchError(f"{path} can't be read as parquet: {reason}. {remedy}.") from None


def _is_pointer(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(len(_POINTER)) == _POINTER
    except OSError:
        return False


def _schema(path: Path) -> pa.Schema:
    with opened(path) as file:
        return file.schema_arrow


def _is_split(shard: Shard) -> bool:
    """Whether the file's folder is named for a split, so that folders beside it are the same data set."""
    return Path(shard.name).parent.name.lower() in SPLITS


def _named(column: pd.Series[Any], names: Sequence[Any]) -> list[str | None]:
    """Class numbers as names; numbers that have none (-1: no label) are missing."""
    numbers = pd.to_numeric(column, errors="coerce")
    return [str(names[int(n)]) if pd.notna(n) and 0 <= n < len(names) else None for n in numbers]
