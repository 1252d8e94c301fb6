"""Files: atomic writes, digests and paths that can't leave their root.

Everything that serbench writes goes to a temporary name in the same folder and is renamed, so a killed process
leaves either the old file or the new one, never half of one.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from .errors import SerbenchError

_UMASK = os.umask(0)
os.umask(_UMASK)


def atomic_write(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a temporary binary file beside `path`, then rename it to `path` (parents are made)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            write(stream)
        os.chmod(name, 0o666 & ~_UMASK)  # mkstemp's own mode would hide shared results from a group
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes atomically."""
    atomic_write(path, lambda stream: stream.write(data))


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; NaN and infinity are refused (write null)."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no blanks, no NaN. Digests are taken of it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def digest(value: Any, length: int = 16) -> str:
    """First `length` hexadecimal digits of the SHA-256 of `value` (bytes, text or JSON-able data)."""
    if not isinstance(value, bytes):
        value = (value if isinstance(value, str) else canonical_json(value)).encode()
    return hashlib.sha256(value).hexdigest()[:length]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def stamp(path: Path | str) -> tuple[int, int]:
    """Size and time of change of a file or folder; zeros where there is none (reading it then says so)."""
    try:
        status = Path(path).expanduser().stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def inside(root: Path, relative: str) -> Path:
    """Join a label file's path to its corpus root.

    Raises
    ------
    SerbenchError
        If the path is absolute or climbs out of the root (checked on the text: symbolic links that the user
        placed inside the root are followed).
    """
    inner = os.path.normpath(relative)
    if os.path.isabs(relative) or inner == os.pardir or inner.startswith(os.pardir + os.sep):
        raise SerbenchError(
            f"the path {relative!r} leaves the corpus root {str(root)!r}. Expected a path relative to the root; "
            "correct the label file or pass the folder that holds all of the audio as --root."
        )
    return Path(os.path.normpath(os.path.join(root, inner)))


def cache_root() -> Path:
    """Folder of all that can be made again: $SERBENCH_CACHE, or serbench/ under $XDG_CACHE_HOME or ~/.cache."""
    if explicit := os.environ.get("SERBENCH_CACHE"):
        return Path(explicit)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "serbench"
