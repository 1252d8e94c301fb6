"""Finding a corpus's folders and files whatever the usual variants of their names.

Names are compared without regard to case against short lists of known variants, in order of preference; a variant may
hold the wildcards of `fnmatch`. A folder that repeats its own name inside (`Audios/Audios`, as some archives unpack)
counts as one. Names that begin with a dot are never seen: macOS archives carry AppleDouble stubs (`._name`) beside the
real files. Nothing found is an error that says what was looked for, what was found, and whether an archive still waits
to be unpacked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from ..core.errors import SerbenchError

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar")
EntryKind = Literal["folder", "file"]


def need_root(root: Path | None, dataset: str, what: str) -> Path:
    """The folder that the user gave, checked to exist; `what` says in words what it should be."""
    if root is None:
        raise SerbenchError(f"the dataset {dataset!r} needs --root: {what}.")
    folder = Path(root)
    if folder.is_file() and is_archive(folder.name):
        raise SerbenchError(f"--root {str(folder)!r} is an archive. Unpack it and pass the folder: {what}.")
    if not folder.is_dir():
        raise SerbenchError(f"--root {str(folder)!r} is not a folder. Expected {what}.")
    return folder


def visible(folder: Path) -> list[os.DirEntry[str]]:
    """Entries of a folder, sorted by name, without those whose name begins with a dot."""
    with os.scandir(folder) as entries:
        return sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)


def files_in(folder: Path, *endings: str) -> list[Path]:
    """Visible files directly in a folder, sorted; with `endings` (such as ".wav", in any case), only those."""
    wanted = tuple(e.lower() for e in endings)
    return [Path(e.path) for e in visible(folder) if e.is_file() and (not wanted or e.name.lower().endswith(wanted))]


def find(parent: Path, names: Sequence[str], kind: EntryKind = "folder") -> Path | None:
    """The entry of `parent` under the first of `names` that any entry has, or None.

    A folder that holds nothing to see but a folder of one of the same names stands for that inner folder. Two entries
    under one name (they differ in case, or a wildcard fits both) are an error, since either may be the stale one.
    """
    if not parent.is_dir():
        return None
    entries = [e for e in visible(parent) if (e.is_dir() if kind == "folder" else e.is_file())]
    for name in names:
        fitting = [e.name for e in entries if fnmatchcase(e.name.lower(), name.lower())]
        if len(fitting) > 1:
            raise SerbenchError(
                f"{str(parent)!r} holds {len(fitting)} {kind}s for one: {', '.join(fitting)}. "
                "Keep the right one and move the others away."
            )
        if fitting:
            entry = parent / fitting[0]
            return _unnested(entry, names) if kind == "folder" else entry
    return None


def require(parent: Path, names: Sequence[str], kind: EntryKind = "folder", *, dataset: str) -> Path:
    """`find`, or an error that says what was looked for and what was found."""
    entry = find(parent, names, kind)
    if entry is None:
        raise missing(dataset, parent, f"the {kind} {' or '.join(names)}", names)
    return entry


def find_root(
    root: Path,
    recognise: Callable[[Path], bool],
    *,
    dataset: str,
    looked_for: str,
    archives: Sequence[str] = (),
    avoid: Collection[str] = (),
) -> Path:
    """The corpus's own folder: `root`, or the one folder directly in it that `recognise` accepts.

    Parameters
    ----------
    looked_for : what `recognise` looks for, in words, for the error
    archives : names (without ending) of archives that would explain why it is not there
    avoid : lower-case names of folders that are never looked into
    """
    if recognise(root):
        return root
    inner = [Path(e.path) for e in visible(root) if e.is_dir() and e.name.lower() not in avoid]
    fitting = [folder for folder in inner if recognise(folder)]
    if len(fitting) > 1:
        names = ", ".join(f.name for f in fitting)
        raise SerbenchError(f"{str(root)!r} holds several copies of {dataset}: {names}. Pass one of them as --root.")
    if not fitting:
        raise missing(dataset, root, looked_for, archives)
    return fitting[0]


def missing(dataset: str, parent: Path, looked_for: str, archives: Sequence[str] = ()) -> SerbenchError:
    """The error for something that is not there: what was looked for, what was found, what to do."""
    packed = packed_archives(parent, archives)
    remedy = (
        f"Unpack {', '.join(packed)} there first."
        if packed
        else f"Pass the folder that {dataset} was unpacked into as --root."
    )
    return SerbenchError(f"{dataset}: looked for {looked_for} in {str(parent)!r}, found {_listing(parent)}. {remedy}")


def packed_archives(parent: Path, names: Sequence[str] = ()) -> list[str]:
    """Archives in `parent` that wait to be unpacked: those called like one of `names`, or all where none is given."""
    if not parent.is_dir():
        return []
    packed = [(e.name, _stem(e.name)) for e in visible(parent) if e.is_file() and is_archive(e.name)]
    return [full for full, stem in packed if not names or any(fnmatchcase(stem, n.lower()) for n in names)]


def is_archive(name: str) -> bool:
    """Whether a file name ends like an archive's."""
    return name.lower().endswith(ARCHIVES)


def refuse_escapes(names: pd.Series[Any], source: str) -> None:
    """Raise for the first file name of a label file that is absolute or climbs out of its folder (on the text)."""
    text = names.astype("string").str.replace("\\", "/", regex=False)
    out = text.str.contains(r"(?:^/|^[A-Za-z]:|(?:^|/)\.\.(?:/|$))", regex=True).fillna(False)
    if out.any():
        raise SerbenchError(
            f"the path {names[out.to_numpy(dtype=bool)].iloc[0]!r} in {source} leaves the corpus root. "
            "Expected file names inside the corpus; correct the label file."
        )


def relative(root: Path, path: Path) -> str:
    """`path` as it stands in the table's `path` column: relative to the root, `/` as separator."""
    return path.relative_to(root).as_posix()


def _unnested(folder: Path, names: Sequence[str]) -> Path:
    with os.scandir(folder) as entries:
        first = list(islice((e for e in entries if not e.name.startswith(".")), 2))  # it may hold 300,000 files
    if len(first) != 1 or not first[0].is_dir():
        return folder
    inner = first[0].name.lower()
    return Path(first[0].path) if any(fnmatchcase(inner, n.lower()) for n in names) else folder


def _stem(name: str) -> str:
    lower = name.lower()
    ending = max((e for e in ARCHIVES if lower.endswith(e)), key=len)
    return lower[: -len(ending)]


def _listing(folder: Path, most: int = 12) -> str:
    if not folder.is_dir():
        return "no such folder"
    names = [e.name + ("/" if e.is_dir() else "") for e in visible(folder)]
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) + rest) if names else "an empty folder"
