"""What words mean, for a judgement of their vectors: classes from a file, and pairs whose sound misleads.

The file is CSV with the columns `word, class`, and perhaps `sound`, the word's phones (any spelling of them, one
letter each). Words of different classes whose sound is the same are homophones; those whose sound differs in one letter
are minimal pairs. Vectors of sound alone put both near to each other, vectors of meaning do not.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...datasets.core.errors import SerbenchError
from ..words.vectors import normalise
from .precision import Flags


@dataclass(frozen=True)
class Meaning:
    """Class and sound of a word."""

    kind: str
    sound: str


def read_classes(path: Path | str) -> dict[str, Meaning]:
    """Normalised word -> its class and sound (its spelling where the file has no sounds).

    Raises
    ------
    SerbenchError
        If the file can't be read, or lacks a column.
    """
    expected = "Expected a CSV file with the columns word, class (and sound)."
    try:
        with Path(path).expanduser().open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SerbenchError(f"the classes {str(path)!r} can't be read: {error}. {expected}") from error
    if not rows or not {"word", "class"} <= set(rows[0]):
        raise SerbenchError(f"{str(path)!r} has the columns {', '.join(rows[0]) if rows else 'of no row'}. {expected}")
    words = {normalise(row["word"] or ""): row for row in rows}
    return {word: Meaning(row["class"] or "", row.get("sound") or word) for word, row in words.items()}


def same_class(words: Sequence[str], classes: Mapping[str, Meaning]) -> npt.NDArray[np.bool_]:
    """Whether two words are of one class, (word, word)."""
    kinds = np.array([classes[word].kind for word in words], dtype=str)
    return np.asarray(kinds[:, None] == kinds)


def misleading(words: Sequence[str], classes: Mapping[str, Meaning]) -> tuple[Flags, Flags]:
    """Homophones and minimal pairs of different classes, each (word, word)."""
    sounds = [classes[word].sound for word in words]
    edits = np.array([[_within_one(a, b) for b in sounds] for a in sounds], dtype=int).reshape(len(words), len(words))
    other = ~same_class(words, classes)
    return (edits == 0) & other, (edits == 1) & other


def _within_one(a: str, b: str) -> int:
    """Changes, insertions or deletions of a letter between two texts, at most 2."""
    if a == b:
        return 0
    start = next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    rests = (a[start + 1 :], b[start + 1 :]), (a[start + 1 :], b[start:]), (a[start:], b[start + 1 :])
    return 1 if any(x == y for x, y in rests) else 2
