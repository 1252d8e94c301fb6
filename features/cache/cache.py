"""The feature cache: content-addressed arrays in append-only packs, verified on read.

An array is addressed by everything that decides its bytes: the extractor's `identity()` (name, version, full
configuration, library versions, checkpoint revision), how audio is decoded, the SHA-256 of the audio file, and the
segment. So nothing is ever invalidated: a changed file, configuration or version has another address. Below
`cache_root()`:

    features/<digest>/identity.json       what the digest stands for: extractor and decoding
    features/<digest>/<time>-<process>-<random>.pack      arrays, in the format of `cache/pack.py`

Parallel writers of one key write the same bytes. The modification time of a pack says, to a day, when it was last
used, and packs are what is pruned.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...datasets.core.errors import SerbenchError, unknown
from ...datasets.core.files import cache_root, digest, write_json
from ...datasets.core.stages import track
from ..core.audio import decoding_identity
from ..core.feature_extractor import FeatureExtractor
from .pack import Entry, load
from .section import Section, packs_of, scan_pack

Identity = Mapping[str, Any] | None
_DAY = 86400.0


class FeatureCache:
    """All cached features below one folder, by default `cache_root()/features`."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = cache_root() / "features" if folder is None else Path(folder)

    def section(self, extractor: FeatureExtractor, change: Identity = None) -> Section:
        """The part that holds this extractor's arrays; its description is written if it is not there yet.

        `change` is the identity of what is done to the samples before (`extraction.file_tasks.Changes`).
        """
        section = self._place(extractor, change)
        description = section.folder / "identity.json"
        if not description.exists():
            identity, decoding = extractor.identity(), decoding_identity()
            described = {"identity": identity, "decoding": decoding, "signature": extractor.signature()}
            if change is not None:
                described |= {"change": change, "signature": f"{extractor.signature()}~{change['name']}"}
            try:
                write_json(description, described)
            except OSError as error:
                raise section.unwritable(error) from error
        return section

    def present(self, extractor: FeatureExtractor, change: Identity = None) -> Section | None:
        """The part that holds this extractor's arrays, if there is one; nothing is written."""
        section = self._place(extractor, change)
        return section if section.folder.is_dir() else None

    def _place(self, extractor: FeatureExtractor, change: Identity) -> Section:
        _refuse_shared(self.folder)
        said = {"extractor": extractor.identity(), "decoding": decoding_identity()}
        address = digest(said if change is None else {**said, "change": dict(change)})
        return Section(self.folder / address, extractor.dim)


def _refuse_shared(folder: Path) -> None:
    """Refuse a cache that anybody may write to: its checksums find damage, but not what was put there on purpose."""
    for place in (folder, folder.parent):
        mode = place.stat().st_mode if place.exists() else 0
        if mode & stat.S_IWOTH and not (place == folder.parent and mode & stat.S_ISVTX):
            raise SerbenchError(
                f"every user of this machine may write to the cache {str(place)!r}, so what is read there may be "
                f"anybody's. Type 'chmod o-w {place}', or set SERBENCH_CACHE to a folder of your own."
            )


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
        for path, length, _ in sorted(packs_of(section)):
            before = len(damaged)
            size += length
            for piece in track(scan_pack(path), f"checking {name}, array"):
                checked += 1
                if not isinstance(piece, Entry):
                    damaged.append(f"{name}: {path}, byte {piece[0]}: no entry begins here")
                elif load(path, piece) is None:
                    damaged.append(f"{name}: {path}, byte {piece.offset}: the checksum is wrong")
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
    packs = sorted((used, size, path) for section in sections for path, size, used in packs_of(section))
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


def _count(path: str) -> int:
    return sum(isinstance(piece, Entry) for piece in scan_pack(path))


def _sections(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []


def _doomed(packs: list[tuple[float, int, str]], days: float | None, limit: int | None) -> list[tuple[float, int, str]]:
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
    packs = list(packs_of(section))
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
    if not any(True for _ in packs_of(section)):
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
