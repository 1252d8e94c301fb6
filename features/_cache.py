"""The feature cache: content-addressed arrays in append-only packs, verified on read.

An array is addressed by everything that decides its bytes: the extractor's `identity()` (name, version, full
configuration, library versions, checkpoint revision), how audio is decoded, the SHA-256 of the audio file, and the
segment. So nothing is ever invalidated: a changed file, configuration or version has another address. Below
`cache_root()`:

    features/<digest>/identity.json       what the digest stands for: extractor and decoding
    features/<digest>/<time>-<process>-<random>.pack      arrays, in the format of `_pack`

An array that is damaged counts as missing; it is made again and appended, and the later entry of a key wins. Parallel
writers of one key write the same bytes. The modification time of a pack says, to a day, when it was last used, and
packs are what is pruned.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..datasets._errors import SerbenchError, unknown
from ..datasets._files import cache_root, digest, write_json
from ._audio import decoding_identity
from ._extractor import FeatureExtractor
from ._pack import SUFFIX, Array, Entry, append, load, new_pack, scan

PACK_BYTES = 32 << 20
"""A pack that is longer than this is full."""
REFRESH_SECONDS = 0.2
_DAY = 86400.0


class FeatureCache:
    """All cached features below one folder, by default `cache_root()/features`."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = cache_root() / "features" if folder is None else Path(folder)

    def section(self, extractor: FeatureExtractor) -> Section:
        """The part that holds this extractor's arrays; its description is written if it is not there yet."""
        identity = extractor.identity()
        decoding = decoding_identity()
        section = Section(self.folder / digest({"extractor": identity, "decoding": decoding}), extractor.dim)
        description = section.folder / "identity.json"
        if not description.exists():
            write_json(description, {"identity": identity, "decoding": decoding, "signature": extractor.signature()})
        return section


class Section:
    """The arrays of one extractor: a folder of packs, and an index of their headers that grows with them.

    Parameters
    ----------
    folder : folder of the packs
    dim : second axis of every array; entries of another width are not seen
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self.folder, self.dim = folder, dim
        self._index: dict[bytes, tuple[str, Entry]] = {}
        self._scanned: dict[str, int] = {}
        self._used: dict[str, float] = {}
        self._bad: set[tuple[str, int]] = set()
        self._refreshed = float("-inf")
        self._pack: tuple[int, str] | None = None

    def __reduce__(self) -> tuple[type[Section], tuple[Path, int]]:
        """Another process reads the index anew."""
        return Section, (self.folder, self.dim)

    def refresh(self, after_seconds: float = 0.0) -> None:
        """Take note of what was appended to the packs since, unless the last look is less than `after_seconds` ago."""
        if time.monotonic() - self._refreshed < after_seconds:
            return
        for path, size, used in sorted(_packs(self.folder)):
            self._used[path] = used
            known = self._scanned.get(path, 0)
            if size <= known:
                continue
            try:
                for found in scan(path, known):
                    self._scanned[path] = found.stop if isinstance(found, Entry) else found[1]
                    if isinstance(found, Entry) and found.dim == self.dim and (path, found.offset) not in self._bad:
                        self._index[found.key] = path, found
            except FileNotFoundError:  # pruned meanwhile
                continue
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
        while key in self._index:
            path, entry = self._index.pop(key)
            array = load(path, entry)
            if array is not None:
                self._index[key] = path, entry
                return array
            self._bad.add((path, entry.offset))
            self._scanned.clear()  # look for another copy in all of the packs
            self.refresh()
        return None

    def write(self, key: bytes, array: Array) -> None:
        """Append an array (frames, dim) float32 to this process's pack."""
        if self._pack is None or self._pack[0] != os.getpid():
            self._pack = os.getpid(), new_pack(self.folder)
        path = self._pack[1]
        try:
            entry = append(path, key, array)
        except FileNotFoundError:  # pruned meanwhile
            path = new_pack(self.folder)
            entry = append(path, key, array)
        self._pack = None if entry.stop > PACK_BYTES else (os.getpid(), path)
        self._index[key] = path, entry
        self._used[path] = time.time()


def cache_info(folder: Path | None = None) -> dict[str, Any]:
    """What the cache holds.

    Returns
    -------
    dictionary with `folder`, `entries`, `bytes` and `features`: one dictionary per extractor identity with `feature`,
    `digest` (its folder), `signature`, `entries`, `bytes`, `packs`, `oldest` and `newest` (days since last use,
    None without packs) and `identity`
    """
    root = FeatureCache(folder).folder
    features = [_section_info(section) for section in _sections(root)]
    return {
        "folder": str(root),
        "entries": sum(f["entries"] for f in features),
        "bytes": sum(f["bytes"] for f in features),
        "features": features,
    }


def cache_verify(
    folder: Path | None = None, *, remove: bool = False, progress: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Read every array and compare its checksum.

    Parameters
    ----------
    folder : the cache; by default `cache_root()/features`
    remove : delete the packs that hold damage; a damaged array is made again in any case when it is asked for
    progress : called with the number of arrays checked so far

    Returns
    -------
    dictionary with `checked`, `bytes`, `damaged` (one text for each damaged place: feature, file and byte) and
    `removed` (number of packs)
    """
    checked = size = removed = 0
    damaged: list[str] = []
    for section in _sections(FeatureCache(folder).folder):
        name = _feature(section)
        for path, length, _ in sorted(_packs(section)):
            before = len(damaged)
            size += length
            for found in _scan(path):
                checked += 1
                if not isinstance(found, Entry):
                    damaged.append(f"{name}: {path}, byte {found[0]}: no entry begins here")
                elif load(path, found) is None:
                    damaged.append(f"{name}: {path}, byte {found.offset}: the checksum is wrong")
                if progress is not None:
                    progress(checked)
            if remove and len(damaged) > before:
                removed += _remove(path)
    return {"checked": checked, "bytes": size, "damaged": damaged, "removed": removed}


def cache_prune(
    folder: Path | None = None,
    *,
    older_than_days: float | None = None,
    max_bytes: int | None = None,
    feature: str | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Delete packs; whatever is deleted is made again when it is asked for.

    Parameters
    ----------
    folder : the cache; by default `cache_root()/features`
    older_than_days : delete what was not used for so many days
    max_bytes : delete the least recently used packs until no more than this is left
    feature : look only at this feature ("mel", "opensmile", "opensmile:IS10:functionals", or the name of its folder);
        given alone, all of it is deleted
    dry_run : delete nothing, only count

    Returns
    -------
    dictionary with `removed` and `kept` (entries), `removed_bytes` and `kept_bytes`

    Raises
    ------
    SerbenchError
        If no limit and no feature is given, or nothing of the feature is cached.
    """
    if older_than_days is None and max_bytes is None and feature is None:
        raise SerbenchError("nothing says what to prune. Type --older-than-days N, --max-bytes N or --feature NAME.")
    sections = _sections(FeatureCache(folder).folder)
    if feature is not None:
        sections = _of_feature(sections, feature)
    packs = sorted((used, size, path) for section in sections for path, size, used in _packs(section))
    counts = {path: _count(path) for _, _, path in packs}
    gone = [p for p in _doomed(packs, older_than_days, max_bytes) if dry_run or _remove(p[2])]
    for section in sections if not dry_run else ():
        _tidy(section)
    kept = [p for p in packs if p not in gone]
    return {
        "removed": sum(counts[path] for _, _, path in gone),
        "removed_bytes": sum(size for _, size, _ in gone),
        "kept": sum(counts[path] for _, _, path in kept),
        "kept_bytes": sum(size for _, size, _ in kept),
    }


def _packs(section: Path) -> Iterator[tuple[str, int, float]]:
    """(path, size, time of last use) of every pack of a section."""
    try:
        with os.scandir(section) as found:
            for entry in found:
                if entry.name.endswith(SUFFIX):
                    state = entry.stat()
                    yield entry.path, state.st_size, state.st_mtime
    except FileNotFoundError:
        return


def _scan(path: str) -> Iterator[Entry | tuple[int, int]]:
    """`scan` of a pack that may be deleted at any moment."""
    try:
        yield from scan(path)
    except FileNotFoundError:
        return


def _count(path: str) -> int:
    return sum(isinstance(found, Entry) for found in _scan(path))


def _sections(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []


def _doomed(
    packs: list[tuple[float, int, str]], days: float | None, limit: int | None
) -> list[tuple[float, int, str]]:
    """Which packs, least recently used first, an age and a size limit take away; all of them without any limit."""
    if days is None and limit is None:
        return packs
    oldest = time.time() - days * _DAY if days is not None else float("-inf")
    left = sum(size for _, size, _ in packs)
    doomed = []
    for pack in packs:
        if pack[0] < oldest or (limit is not None and left > limit):
            doomed.append(pack)
            left -= pack[1]
    return doomed


def _section_info(section: Path) -> dict[str, Any]:
    packs = list(_packs(section))
    days = [(time.time() - used) / _DAY for _, _, used in packs]
    described = _description(section)
    return {
        "feature": _feature(section),
        "digest": section.name,
        "signature": described.get("signature", ""),
        "entries": sum(_count(path) for path, _, _ in packs),
        "bytes": sum(size for _, size, _ in packs),
        "packs": len(packs),
        "oldest": max(days, default=None),
        "newest": min(days, default=None),
        "identity": described.get("identity", {}),
    }


def _description(section: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((section / "identity.json").read_bytes()))
    except (OSError, ValueError):
        return {}


def _feature(section: Path) -> str:
    return str(_description(section).get("identity", {}).get("name", "unknown"))


def _of_feature(sections: list[Path], feature: str) -> list[Path]:
    names = {s: _feature(s) for s in sections}
    chosen = [s for s in sections if feature in (s.name, names[s], names[s].partition(":")[0])]
    if not chosen:
        raise unknown("cached feature", feature, set(names.values()))
    return chosen


def _tidy(section: Path) -> None:
    """Take away a section without packs; one that gets a pack at this moment stays."""
    if not any(True for _ in _packs(section)):
        _remove(str(section / "identity.json"))
        try:
            section.rmdir()
        except OSError:
            return


def _remove(path: str) -> bool:
    try:
        os.unlink(path)
    except OSError:
        return False
    return True


def _mark_used(path: str) -> None:
    try:
        os.utime(path)
    except OSError:  # a cache that belongs to someone else, or is read-only, is used as it is
        return
