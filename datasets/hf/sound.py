"""Sound out of parquet files, as files: written once, named by their content.

A row's bytes become `<sha256>.<ending>` in a folder of the cache, so that whatever reads sound reads these as any
other files, and feature keys follow from the content. An index beside them says which file each row of a parquet file
is; it is named for the parquet file's identity (name, size, times, inode), so a file that changed is read anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..core.errors import SerbenchError
from ..core.files import canonical_json, digest, sealed, unsealed, write_bytes
from .files import Shard, opened

VERSION = 1
"""Raised by hand when names or contents of the written files change."""
BATCH = 32
ENDINGS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".aif", ".aiff", ".au", ".w64")
_MAGIC = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"ID3": ".mp3", b"\xff\xfb": ".mp3", b"FORM": ".aiff"}

Row = tuple[str | None, str | None]
"""Name of the written file (None: the row has no sound) and the name that the sound had."""


def unpack(shard: Shard, column: str, folder: Path) -> list[Row]:
    """The sound file of each row of a parquet file, written into `folder` unless it is there.

    Raises
    ------
    SerbenchError
        If the file can't be read, or the folder not be written.
    """
    index = folder / f"index-{_identity(shard, column)}.json"
    known = _known(index, folder)
    if known is not None:
        return known
    try:
        rows = [_kept(content, name, folder) for content, name in _contents(shard, column)]
        write_bytes(index, sealed(canonical_json(rows).encode()))
    except OSError as error:
        raise SerbenchError(
            f"the sound of {shard.path} can't be written to {folder}: {error}. Set SERBENCH_CACHE to a folder with "
            "room for it."
        ) from error
    return rows


def _identity(shard: Shard, column: str) -> str:
    state = shard.path.stat()
    times = (state.st_mtime_ns, state.st_ctime_ns)
    return digest([VERSION, shard.name, column, state.st_size, *times, state.st_ino, state.st_dev])


def _known(index: Path, folder: Path) -> list[Row] | None:
    """What the index says, if it is there and every file that it names is too."""
    try:
        rows = [(name, origin) for name, origin in json.loads(unsealed(index.read_bytes()))]
        there = set(os.listdir(folder))
    except (OSError, ValueError, TypeError):
        return None
    return rows if all(name is None or name in there for name, _ in rows) else None


def _contents(shard: Shard, column: str) -> Iterator[tuple[bytes | None, str | None]]:
    """Bytes and name of each row's sound."""
    with opened(shard.path) as file:
        for batch in file.iter_batches(BATCH, columns=[column], use_threads=False):
            for value in batch.column(0).to_pylist():
                yield _content(value)


def _content(value: Any) -> tuple[bytes | None, str | None]:
    if isinstance(value, dict):
        return value.get("bytes") or None, value.get("path")
    return value or None, None


def _kept(content: bytes | None, name: str | None, folder: Path) -> Row:
    if content is None:
        return None, name
    target = folder / f"{hashlib.sha256(content).hexdigest()}{_ending(content, name)}"
    if not target.exists():
        write_bytes(target, content)
    return target.name, name


def _ending(content: bytes, name: str | None) -> str:
    """That of the content's first bytes, else that of its name."""
    for magic, ending in _MAGIC.items():
        if content.startswith(magic):
            return ending
    given = os.path.splitext(name or "")[1].lower()
    return given if given in ENDINGS else ".wav"
