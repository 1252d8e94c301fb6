"""A pack: one append-only file with many arrays of one extractor, each with a checksum.

Small files cost more than what is in them: five hundred mel spectrograms take ten times the processor time as five
hundred files. So each writing process appends to a pack of its own and begins a new one when it is full. Nobody else
writes to it, so parallel writers can't mix; a reader looks at the file's size, so what a writer, killed or alive, has
not finished does not exist; and two checksums tell a damaged header and a damaged array.

An entry is a header of 64 bytes and a float32 array (frames, dim) in C order; all numbers are little-endian:

| bytes | content |
|---|---|
| 0-7 | `MAGIC`: begin of an entry, and version of this format |
| 8-27 | key |
| 28-35, 36-39 | frames, dim |
| 40-43 | CRC-32 of the array |
| 44-47 | CRC-32 of bytes 0-43 |
| 48-63 | zeros |

After a damaged header the next entry is found by its magic. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

SUFFIX = ".pack"
MAGIC = b"\x93SERPK1\n"
_HEADER = struct.Struct("<8s20sQIII16x")
_CHECKED = 44


class Entry(NamedTuple):
    """Where an array is, as its header says: `offset` of the header in the pack, `checksum` of the array."""

    key: bytes
    offset: int
    frames: int
    dim: int
    checksum: int

    @property
    def stop(self) -> int:
        """First byte behind the entry."""
        return self.offset + _HEADER.size + 4 * self.frames * self.dim


def entry_key(audio_sha256: str, start: float | None = None, end: float | None = None) -> bytes:
    """Twenty bytes for one audio file's content and a segment in seconds (None = the whole file)."""
    return hashlib.sha256(f"{audio_sha256} {start!r} {end!r}".encode()).digest()[:20]


def new_pack(folder: Path) -> str:
    """Make an empty pack in `folder`; names sort by age, and no two processes get the same one."""
    folder.mkdir(parents=True, exist_ok=True)
    path = f"{folder}/{time.time_ns():020d}-{os.getpid()}-{os.urandom(4).hex()}{SUFFIX}"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    return path


def append(path: str, key: bytes, array: Array) -> Entry:
    """Append an array (frames, dim) to a pack that only this process writes.

    Raises
    ------
    FileNotFoundError
        If the pack was deleted meanwhile.
    OSError
        If it can't be written (a full disk); the pack is then as it was before.
    """
    data = np.ascontiguousarray(array, dtype="<f4")
    body = data.data.cast("B")
    checksum = zlib.crc32(body)
    head = _HEADER.pack(MAGIC, key, *data.shape, checksum, 0)[:_CHECKED]
    head = (head + struct.pack("<I", zlib.crc32(head))).ljust(_HEADER.size, b"\0")
    handle = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        offset = os.fstat(handle).st_size
        try:
            done = os.writev(handle, [head, body]) - len(head)
            while done < len(body):
                done += os.write(handle, body[done:])
        except OSError:
            os.ftruncate(handle, offset)
            raise
    finally:
        os.close(handle)
    return Entry(key, offset, data.shape[0], data.shape[1], checksum)


def scan(path: str, offset: int = 0) -> Iterator[Entry | tuple[int, int]]:
    """Headers of the finished entries of a pack from `offset` on.

    Yields
    ------
    an `Entry`, or (offset, stop) of a stretch of bytes that is none: a damaged header, and what follows until the next
    entry. An unfinished entry at the end is not mentioned.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(handle).st_size
        while offset + _HEADER.size <= size:
            entry = _parse(os.pread(handle, _HEADER.size, offset), offset)
            if entry is None:
                stop = _next_entry(handle, offset + 1, size)
                yield offset, stop
                offset = stop
            elif entry.stop > size:
                return
            else:
                yield entry
                offset = entry.stop
    finally:
        os.close(handle)


def load(path: str, entry: Entry) -> Array | None:
    """The array (frames, dim) of an entry; None if it is not there or its key or checksum is wrong."""
    head = bytearray(_HEADER.size)
    array = np.empty((entry.frames, entry.dim), dtype="<f4")
    body = array.data.cast("B")
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        done = os.preadv(handle, [head, body], entry.offset) - len(head)
        while 0 <= done < len(body):
            if not (count := os.preadv(handle, [body[done:]], entry.offset + len(head) + done)):
                return None
            done += count
    except OSError:
        return None
    finally:
        os.close(handle)
    intact = done >= 0 and _parse(bytes(head), entry.offset) == entry and zlib.crc32(body) == entry.checksum
    return array if intact else None


def load_part(path: str, entry: Entry, first: int, stop: int) -> Array | None:
    """Frames `first` .. `stop` - 1 of an entry, not checked (see `load`); None if they are not there."""
    array = np.empty((stop - first, entry.dim), dtype="<f4")
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        place = entry.offset + _HEADER.size + 4 * entry.dim * first
        done = os.preadv(handle, [array.reshape(-1).view(np.uint8).data], place)
    except OSError:
        return None
    finally:
        os.close(handle)
    return array if done == array.nbytes else None


def _parse(head: bytes, offset: int) -> Entry | None:
    """The entry that an intact header describes."""
    if len(head) != _HEADER.size or not head.startswith(MAGIC):
        return None
    _, key, frames, dim, checksum, own = _HEADER.unpack(head)
    return Entry(key, offset, frames, dim, checksum) if zlib.crc32(head[:_CHECKED]) == own else None


def _next_entry(handle: int, offset: int, size: int, window: int = 1 << 20) -> int:
    """Offset of the next intact header, or the size of the file."""
    while offset < size:
        data = os.pread(handle, window + len(MAGIC) - 1, offset)
        ahead = data.find(MAGIC)
        if ahead < 0:
            offset += window
        elif _parse(os.pread(handle, _HEADER.size, offset + ahead), offset + ahead) is not None:
            return offset + ahead
        else:
            offset += ahead + 1
    return size
