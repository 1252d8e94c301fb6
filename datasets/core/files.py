"""Files: atomic writes, digests and paths that can't leave their root.

Everything that serbench writes goes to a temporary name in the same folder and is renamed, so a killed process
leaves either the old file or the new one, never half of one. The temporary name follows from the file's own, and is
locked while it is written: the next writer of the file takes over what a killed one has left, so nothing piles up, and
two writers at once have two names.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .errors import SerbenchError, StorageError

_SEAL = 10
"""Bytes of the line that `sealed` adds."""
_NAMES = 16
"""Writers of one file at the same time that have a name of this kind; further ones get a random one."""


def atomic_write(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a temporary binary file beside `path`, then rename it to `path` (parents are made).

    Raises
    ------
    StorageError
        If the file can't be written: a full disk, a folder that may not be written to.
    """
    with replacing(path) as part, part.open("wb") as stream:
        write(stream)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Region that fills a temporary file beside `path`; it is renamed at the end, and deleted after any error.

    Raises
    ------
    StorageError
        As `atomic_write` does.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = _temporary(path)
        try:
            yield part
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        finally:
            os.close(handle)
    except OSError as error:
        if isinstance(error, StorageError) or not _about(error, path):
            raise
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> StorageError:
    """The error for a file that can't be written."""
    made = StorageError(
        f"{str(path)!r} can't be written: {error.strerror or error}. Expected a folder with free space that you may "
        "write to. Make room or name another folder, and type the same command again: what is finished is kept."
    )
    made.errno, made.strerror = error.errno, error.strerror
    return made


def _about(error: OSError, path: Path) -> bool:
    """Whether an error is about the writing of `path`, not about another file that was read meanwhile."""
    return error.filename is None or Path(os.fsdecode(error.filename)).parent in (path.parent, *path.parents)


def discard(path: Path) -> None:
    """Delete a file and what killed writers of it have left; what a living one writes stays."""
    path.unlink(missing_ok=True)
    for part in path.parent.glob(f".{path.name}*.part"):
        try:
            handle = os.open(part, os.O_RDWR)
        except OSError:  # gone meanwhile, or another user's
            continue
        if _locked(handle):
            part.unlink(missing_ok=True)
        os.close(handle)


def _temporary(path: Path) -> tuple[int, Path]:
    """An empty file beside `path` that no living process writes, and the handle that says so as long as it is open."""
    for turn in range(_NAMES):
        part = path.with_name(f".{path.name}{f'.{turn}' if turn else ''}.part")
        try:
            handle = os.open(part, os.O_RDWR | os.O_CREAT, 0o666)
        except PermissionError:  # another user's
            continue
        except FileNotFoundError:  # another process took its empty folder away
            path.parent.mkdir(parents=True, exist_ok=True)
            continue
        alone = _locked(handle)
        if alone and _is(handle, part):
            os.ftruncate(handle, 0)
            return handle, part
        os.close(handle)
        if alone is None:
            part.unlink(missing_ok=True)
            break
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.chmod(name, 0o666 & ~_umask())  # mkstemp's own mode would hide shared results from a group
    return handle, Path(name)


def _locked(handle: int) -> bool | None:
    """Whether the open file is this process's alone now; None on a file system without locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is(handle: int, path: Path) -> bool:
    """Whether the open file still has this name: its last writer may have renamed it just before the lock."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def checksum(head: Any, tensors: Mapping[str, Any]) -> str:
    """CRC-32 of JSON-able data and of arrays (anything with a buffer, C order), as 8 hexadecimal digits."""
    value = zlib.crc32(canonical_json(head).encode())
    for name in sorted(tensors):
        value = zlib.crc32(tensors[name], zlib.crc32(name.encode(), value))
    return f"{value:08x}"


def intact(head: dict[str, Any], tensors: Mapping[str, Any]) -> bool:
    """Whether data are those that were written; takes the entry `checksum` out of the head.

    Data of older versions have none. One that stands under another name is damage: a bit of the name has changed.
    """
    if (held := head.pop("checksum", None)) is not None:
        return bool(held == checksum(head, tensors))
    digits = [key for key, value in head.items() if isinstance(value, str) and re.fullmatch("[0-9a-f]{8}", value)]
    return not any(head[key] == checksum({k: v for k, v in head.items() if k != key}, tensors) for key in digits)


def sealed(data: bytes) -> bytes:
    """Bytes and behind them a line with their CRC-32, for files of the cache, which may be made again at any time."""
    return data + b"\n%08x\n" % zlib.crc32(data)


def unsealed(data: bytes) -> bytes:
    """The bytes that `sealed` was given; ValueError where they, or the line behind them, were changed."""
    if sealed(data[:-_SEAL]) != data:
        raise ValueError("its checksum is wrong")
    return data[:-_SEAL]


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


def config_path() -> Path | None:
    """The `serbench.toml` that is read: $SERBENCH_CONFIG's, if set (empty: none); else this folder's, or the user's."""
    if (explicit := os.environ.get("SERBENCH_CONFIG")) is not None:
        return Path(explicit).expanduser() if explicit else None
    from platformdirs import user_config_path

    places = Path("serbench.toml"), user_config_path("serbench") / "serbench.toml"
    return next((path for path in places if path.is_file()), None)


def cache_root() -> Path:
    """Folder of all that can be made again: $SERBENCH_CACHE, or serbench/ under $XDG_CACHE_HOME or ~/.cache."""
    if explicit := os.environ.get("SERBENCH_CACHE"):
        return Path(explicit)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "serbench"
