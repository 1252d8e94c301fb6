"""The folds that a file lists, with its names found in the corpus.

A listed name is an id, or a path whose end (or whose last part without its ending) is that of one row alone, whatever
the case and the signs between its words. Every name must be found: a file for another corpus or release is refused.
The name of a listed split is the digest of its meaning (fold, role and id of each row), so that a file that was moved,
sorted or written in another form is the same split; one that says what an own split of the corpus says has that name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import digest
from ...datasets.schema.corpus import Corpus, Fold, ListedFold
from ...datasets.schema.task import Task
from .split_files import unpack

FILE = "file+"
"""Begin of the name of a split that a file lists; the digest of its meaning follows."""


@dataclass(frozen=True)
class _Listing:
    """What a file lists, for one table of a corpus."""

    corpus: str
    digest: str
    text: str
    table: pd.DataFrame = field(compare=False, repr=False)


def listed_split(corpus: Corpus, task: Task, listed: str) -> tuple[str, tuple[ListedFold, ...], bool, tuple[str, ...]]:
    """The split that a file lists (`split_files.packed`): name, folds, whether it is the corpus's own, remarks.

    Raises
    ------
    SerbenchError
        For names that are not this corpus's, an item that stands twice in a fold or is tested in two folds.
    """
    continuous = task.kind == "continuous" and corpus.recordings is not None
    table = corpus.recordings if continuous else corpus.utterances
    assert table is not None
    folds = _matched(_Listing(corpus.name, corpus.digest(), listed, table))
    items = corpus.items(task)
    meant = _meaning(folds, items)
    own = next((name for name, those in corpus.splits.items() if _meaning(those, items) == meant), None)
    name = own or FILE + digest(sorted((f.name, r, i) for f in folds for i, r in f.roles.items()), 8)
    return name, folds, own is not None, tuple(_notes(folds, items, task))


def _meaning(folds: Sequence[Fold | ListedFold], items: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """Name and roles of each fold, on the items of a task."""
    return [(fold.name, fold.assign(items).fillna("").tolist()) for fold in folds]


def _notes(folds: Sequence[ListedFold], items: pd.DataFrame, task: Task) -> Iterator[str]:
    listed = {i for fold in folds for i in fold.roles}
    ids = [str(i) for i in items.index]
    if absent := [i for i in ids if i not in listed]:
        yield f"the split leaves out {len(absent)} of {len(ids)} items of {task.name!r}, such as {absent[0]}"
    if other := sorted(listed - set(ids)):
        yield f"{len(other)} listed utterances are no items of {task.name!r}, such as {other[0]}"
    tested = {i for fold in folds for i, role in fold.roles.items() if role == "test"}
    if untested := [i for i in ids if i in listed and i not in tested]:
        yield f"{len(untested)} of {len(ids)} items are tested in no fold of the split, such as {untested[0]}"
    for fold in folds:
        if gone := [i for i in ids if i in listed and i not in fold.roles]:
            yield f"fold {fold.name!r} lists {len(ids) - len(absent) - len(gone)} of them; {gone[0]} is not among them"


@lru_cache(maxsize=8)
def _matched(listing: _Listing) -> tuple[ListedFold, ...]:
    """The folds of a listing, by ids, in the natural order of their names."""
    listed = unpack(listing.text)
    ids = _ids(listing, {name for roles in listed.values() for names in roles.values() for name in names})
    folds = []
    tested: dict[str, str] = {}
    for fold in sorted(listed, key=_natural):
        roles: dict[str, str] = {}
        for role, names in listed[fold].items():
            for name in names:
                if ids[name] in roles:
                    held = roles[ids[name]]
                    what = f"twice in {role}" if held == role else f"in {held} and in {role}"
                    raise SerbenchError(
                        f"--split: {name!r} stands {what} of fold {fold!r}. Expected it once in a fold."
                    )
                roles[ids[name]] = role
        for item in (i for i, role in roles.items() if role == "test"):
            if item in tested:
                raise SerbenchError(
                    f"--split: {item!r} is a test item of the folds {tested[item]!r} and {fold!r}. Expected one fold."
                )
            tested[item] = fold
        folds.append(ListedFold(fold, roles))
    return tuple(folds)


def _ids(listing: _Listing, names: set[str]) -> dict[str, str]:
    """Listed name -> id."""
    known = set(map(str, listing.table.index))
    matched = {name: name for name in names & known}
    if rest := sorted(names - known):
        ends: dict[str, set[str]] = {}
        for item, path in zip(map(str, listing.table.index), listing.table["path"], strict=True):
            for end in {*_ends(str(path)), *_ends(item)}:
                ends.setdefault(end, set()).add(item)
        fits = {name: next((ends[end] for end in _ends(name) if end in ends), set()) for name in rest}
        if several := [name for name in rest if len(fits[name]) > 1]:
            raise SerbenchError(
                f"--split: {several[0]!r} may be {' or '.join(sorted(fits[several[0]])[:3])} of {listing.corpus}. "
                "Expected ids, or paths that tell them apart."
            )
        matched |= {name: next(iter(fits[name])) for name in rest if fits[name]}
    if lost := sorted(names - set(matched)):
        every = "all" if not matched else f"{len(lost)} of its"
        which = "another corpus" if not matched else "another release, or a corpus that is not whole"
        raise SerbenchError(
            f"--split: {every} {len(names)} names are not utterances of {listing.corpus}, such as {lost[0]!r}. Is it "
            f"the split of {which}? Expected ids such as {min(known)!r}, or paths."
        )
    doubled: dict[str, str] = {}
    for name, item in sorted(matched.items()):
        if doubled.setdefault(item, name) != name:
            raise SerbenchError(
                f"--split: {doubled[item]!r} and {name!r} are both {item!r}. Expected one name for each."
            )
    return matched


def _ends(path: str) -> Iterator[str]:
    """The ends of a path without its ending, the longest first, in small letters and without signs."""
    parts = [re.sub(r"[\W_]", "", part) for part in re.sub(r"\.\w+$", "", path.lower().replace("\\", "/")).split("/")]
    yield from ("/".join(parts[k:]) for k in range(len(parts)))


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key under which fold 10 comes after fold 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.findall(r"\d+|\D+", name)]
