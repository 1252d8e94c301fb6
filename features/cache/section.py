"""The packs of one extractor as one mapping from key to array, shared with every other process that uses it.

The index is read from the packs' headers and grows with them. An array that is damaged counts as missing; it is made
again and appended, and the later entry of a key wins.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Set
from pathlib import Path

from ...datasets.core.errors import StorageError
from .pack import SUFFIX, Array, Entry, append, load, load_part, new_pack, scan

PACK_BYTES = 32 << 20
"""A pack that is longer than this is full."""
REFRESH_SECONDS = 0.2
"""How old the knowledge of what other processes have written may be, while extracting."""
Place = tuple[str, Entry]
"""Path of a pack, and an entry in it."""
_DAY = 86400.0


class CacheError(StorageError):
    """The cache can't be written; this ends an extraction, since it is not the fault of a file."""


class Section:
    """The arrays of one extractor: a folder of packs, and an index of their headers that grows with them.

    Parameters
    ----------
    folder : folder of the packs
    dim : second axis of every array; entries of another width are not seen
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self.folder, self.dim = folder, dim
        self._index: dict[bytes, Place] = {}
        self._older: dict[bytes, list[Place]] = {}
        self._checked: dict[bytes, Place] = {}
        self._scanned: dict[str, int] = {}
        self._used: dict[str, float] = {}
        self._refreshed = float("-inf")
        self._pack: tuple[int, str] | None = None
        self._writing = threading.Lock()

    def __reduce__(self) -> tuple[type[Section], tuple[Path, int]]:
        """Another process reads the index anew."""
        return Section, (self.folder, self.dim)

    def refresh(self, after_seconds: float = 0.0) -> None:
        """Take note of what was appended to the packs since, unless the last look is less than `after_seconds` ago."""
        if time.monotonic() - self._refreshed < after_seconds:
            return
        present = sorted(packs_of(self.folder))
        if gone := self._used.keys() - {path for path, _, _ in present}:
            self._forget(gone)
        for path, size, used in present:
            self._used[path] = used
            known = self._scanned.setdefault(path, 0)
            if size <= known:
                continue
            for piece in scan_pack(path, known):
                self._scanned[path] = piece.stop if isinstance(piece, Entry) else piece[1]
                if isinstance(piece, Entry) and piece.dim == self.dim:
                    self._note(path, piece)
        self._refreshed = time.monotonic()

    def frames(self, key: bytes) -> int | None:
        """Number of frames of an array by its header, None if it is missing; marks the pack as used today."""
        if self._refreshed == float("-inf"):
            self.refresh()
        if key not in self._index:
            return None
        path, entry = self._index[key]
        if time.time() - self._used.get(path, 0) > _DAY:
            self._used[path] = time.time()
            _mark_used(path)
        return entry.frames

    def read(self, key: bytes) -> Array | None:
        """The array (frames, dim), its checksum verified; None if it is missing or damaged."""
        self.frames(key)
        for _ in range(2):
            while (place := self._index.pop(key, None)) is not None:
                if (array := load(*place)) is not None:
                    self._index[key] = self._checked[key] = place
                    return array
                if older := self._older.get(key):
                    self._index[key] = older.pop()
            self.refresh()  # another process may have made it again
        return None

    def read_part(self, key: bytes, first: int, stop: int) -> Array | None:
        """Frames `first` .. `stop` - 1 of an array; None if it is missing or damaged.

        The checksum is that of the whole array: it is verified when this object reads of the array for the first time,
        and from then on only what is asked for is read.
        """
        place = self._checked.get(key)
        part = load_part(*place, first, stop) if place is not None else None
        if part is not None:
            return part
        whole = self.read(key)
        return None if whole is None else whole[first:stop]

    def write(self, key: bytes, array: Array) -> None:
        """Append an array (frames, dim) float32 to the pack of this process; CacheError if that fails."""
        with self._writing:
            try:
                path, entry = self._append(key, array)
            except OSError as error:
                raise self.unwritable(error) from error
            self._pack = None if entry.stop > PACK_BYTES else (os.getpid(), path)
        self._note(path, entry)
        self._used[path] = time.time()

    def unwritable(self, error: OSError) -> CacheError:
        """The error for a cache that can't be written."""
        return CacheError(
            f"the cache in {self.folder} can't be written: {error.strerror or error}. Expected a folder with free "
            "space that you may write to; type 'serbench cache prune', or name another one in SERBENCH_CACHE."
        )

    def _note(self, path: str, entry: Entry) -> None:
        """Put an entry into the index; an earlier one of the same key is kept for the case that this one is damaged."""
        before = self._index.get(entry.key)
        if before is not None and before != (path, entry):
            self._older.setdefault(entry.key, []).append(before)
        self._index[entry.key] = path, entry

    def _forget(self, gone: Set[str]) -> None:
        """Drop all that was in packs that are not there any more."""
        for path in gone:
            del self._used[path]
            self._scanned.pop(path, None)
        rest = [p for older in self._older.values() for p in older] + list(self._index.values())
        self._index, self._older = {}, {}
        for path, entry in rest:
            if path not in gone:
                self._note(path, entry)

    def _append(self, key: bytes, array: Array) -> tuple[str, Entry]:
        if self._pack is not None and self._pack[0] == os.getpid():
            try:
                return self._pack[1], append(self._pack[1], key, array)
            except FileNotFoundError:  # pruned meanwhile
                pass
        path = new_pack(self.folder)
        return path, append(path, key, array)


def scan_pack(path: str, offset: int = 0) -> Iterator[Entry | tuple[int, int]]:
    """`scan` of a pack that may be deleted at any moment."""
    try:
        yield from scan(path, offset)
    except FileNotFoundError:
        return


def packs_of(section: Path) -> Iterator[tuple[str, int, float]]:
    """(path, size, time of last use) of every pack of a section."""
    try:
        with os.scandir(section) as entries:
            for entry in entries:
                if entry.name.endswith(SUFFIX):
                    state = entry.stat()
                    yield entry.path, state.st_size, state.st_mtime
    except FileNotFoundError:
        return


def _mark_used(path: str) -> None:
    try:
        os.utime(path)
    except OSError:  # a cache that belongs to someone else, or is read-only, is used as it is
        return
