"""Acted corpora whose labels are in their file names: finding the files, refusing doubles, folds by speaker.

Such a corpus has no label file to be driven by, so a file that is not there is not in the table; the published counts
tell when a copy is incomplete. Names that don't follow a corpus's grammar are counted and told, never guessed at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from ..core.errors import SerbenchError
from .locate import files_in

Parts = TypeVar("Parts")
AUDIO = (".wav", ".flac")


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


def collect(
    places: Iterable[tuple[Path, Callable[[str], tuple[str, Parts] | None]]], endings: Sequence[str] = AUDIO
) -> Named[Parts]:
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
    found: dict[str, tuple[Path, Parts]] = {}
    foreign: list[str] = []
    for folder, parse in places:
        for path in files_in(folder, *endings):
            parsed = parse(path.stem)
            if parsed is None:
                foreign.append(path.name)
                continue
            item, parts = parsed
            if item in found:
                raise SerbenchError(
                    f"two files for one id, {item}: {str(found[item][0])!r} and {str(path)!r}. Keep one of them "
                    "(some archives hold the whole corpus twice)."
                )
            found[item] = (path, parts)
    return Named(dict(sorted(found.items())), tuple(sorted(foreign)))


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
