"""Acted corpora whose labels are in their file names: finding the files, refusing doubles, folds by speaker.

Such a corpus has no label file to be driven by, so a file that is not there is not in the table; the published counts
tell when a copy is incomplete. Names that don't follow a corpus's grammar are counted and told, never guessed at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import pandas as pd

from ..core.errors import SerbenchError
from .locate import files_in, missing, need_root, visible

Parts = TypeVar("Parts")
Parser = Callable[[str], tuple[str, Parts] | None]
"""Name without ending -> id and what the name says, or None for a name of another form."""
AUDIO = (".wav", ".flac")
DEPTH = 4
"""Folders of a corpus are looked for so many levels below the root."""


@dataclass(frozen=True)
class Named(Generic[Parts]):
    """Files by id with what their names say, in order of the ids; and the names that say nothing."""

    files: Mapping[str, tuple[Path, Parts]]
    foreign: tuple[str, ...]

    def notes(self, grammar: str) -> tuple[str, ...]:
        """A note on the files that were left out, if there are any."""
        if not self.foreign:
            return ()
        first = self.foreign[0]
        return (f"{len(self.foreign)} sound files are not named like {grammar} and were left out, such as {first}",)


def one_release(name: str, release: str | None) -> None:
    """Refuse a release of a corpus that has only one."""
    if release:
        raise SerbenchError(f"{name} has one release, but {release!r} was asked for. Leave --release out.")


def gather(
    root: Path | None,
    parse: Parser[Parts],
    *,
    dataset: str,
    what: str,
    like: str,
    archives: Sequence[str] = (),
    endings: Sequence[str] = AUDIO,
) -> tuple[Path, Named[Parts]]:
    """The root, and the files below it whose names `parse` knows, however the folders are called.

    Parameters
    ----------
    what : what the root should be, in words
    like : a file of the corpus, such as "wav/03a01Fa.wav"
    archives : names (without ending) of archives that would explain why nothing is there

    Raises
    ------
    SerbenchError
        For a wrong root, a root without any such file, or two files of one id.
    """
    base = need_root(root, dataset, what)
    places = [(folder, parse) for folder in folders(base) if _holds(folder, parse, endings)]
    if not places:
        raise missing(dataset, base, f"files such as {like}, there or up to {DEPTH} folders below", archives)
    return base, collect(places, endings)


def folders(base: Path, depth: int = DEPTH) -> Iterator[Path]:
    """A folder and those below it, to a depth, in order of their names; none whose name begins with a dot."""
    yield base
    if depth:
        for inner in (Path(entry.path) for entry in visible(base) if entry.is_dir()):
            yield from folders(inner, depth - 1)


def collect(places: Iterable[tuple[Path, Parser[Parts]]], endings: Sequence[str] = AUDIO) -> Named[Parts]:
    """Take in the files directly in some folders.

    Parameters
    ----------
    places : a folder, and for its file names (without ending): name -> id and what the name says, or None for a name
        that is no such name

    Raises
    ------
    SerbenchError
        When two files have one id.
    """
    by_id: dict[str, tuple[Path, Parts]] = {}
    foreign: list[str] = []
    for folder, parse in places:
        for path in files_in(folder, *endings):
            parsed = parse(path.stem)
            if parsed is None:
                foreign.append(path.name)
                continue
            item, parts = parsed
            if item in by_id:
                raise SerbenchError(
                    f"two files for one id, {item}: {str(by_id[item][0])!r} and {str(path)!r}. Keep one of them "
                    "(some archives hold the whole corpus twice)."
                )
            by_id[item] = (path, parts)
    return Named(dict(sorted(by_id.items())), tuple(sorted(foreign)))


def speaker_folds(genders: Mapping[str, str], count: int) -> dict[str, str]:
    """Speaker -> fold "1" .. `count`: women and men dealt out one after the other, each in the order of their names.

    A speaker's fold depends only on which speakers there are, and folds differ by at most one woman and one man.
    """
    folds: dict[str, str] = {}
    position = 0
    for gender in sorted({*genders.values()}):
        for speaker in sorted(s for s in genders if genders[s] == gender):
            folds[speaker] = str(position % count + 1)
            position += 1
    return folds


def balanced_folds(speakers: pd.Series[Any], labels: pd.Series[Any], count: int) -> dict[str, str]:
    """Speaker -> fold "1" .. `count`, so that each fold has as even a share of every label as whole speakers allow.

    For corpora whose speakers say very different numbers of utterances, or few of the emotions. Speakers are dealt out
    one after the other, those with the largest share of any label first, each to the fold that leaves the shares most
    even. The result depends on the counts and names alone.
    """
    counts = pd.crosstab(speakers.astype(str), labels.astype(str))
    shares = counts / counts.sum()
    largest = shares.max(axis=1)
    filled = np.zeros((count, counts.shape[1]))
    folds: dict[str, str] = {}
    for speaker in sorted(counts.index, key=lambda s: (-round(largest[s], 9), s)):
        own = shares.loc[speaker].to_numpy()
        unevenness = [round(float(np.var(_with(filled, k, own), axis=0).sum()), 9) for k in range(count)]
        chosen = min(range(count), key=lambda k: (unevenness[k], filled[k].sum(), k))
        filled[chosen] += own
        folds[str(speaker)] = str(chosen + 1)
    return folds


def _with(filled: np.ndarray[Any, Any], fold: int, own: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    after = filled.copy()
    after[fold] += own
    return after


def _holds(folder: Path, parse: Parser[Parts], endings: Sequence[str]) -> bool:
    return any(parse(path.stem) for path in files_in(folder, *endings))
