"""Word error rate of recognised texts, by jiwer: substitutions, deletions and insertions over the words of the truth.

Both sides are compared as words are elsewhere here: in lower case, without punctuation, tags such as `<laughter>` kept,
silence left out (`words/vectors.py`). Numbers, contractions and spelling are not made the same, so a rate is that of
two spellings too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...datasets.core.libraries import library
from ..words.vectors import SILENT, normalise


@dataclass(frozen=True)
class ErrorRate:
    """Errors over all words of some true texts."""

    items: int
    words: int
    substituted: int
    deleted: int
    inserted: int

    @property
    def rate(self) -> float:
        """Errors per true word; above 1 where more was put in than there is."""
        return (self.substituted + self.deleted + self.inserted) / self.words

    def line(self) -> str:
        """One line for people to read."""
        errors = f"{self.substituted} substituted, {self.deleted} left out, {self.inserted} put in"
        return f"word error rate {self.rate:.3f} over {self.words} words of {self.items} items with a text ({errors})"


def error_rate(recognised: Mapping[str, str], truth: Mapping[str, str]) -> ErrorRate | None:
    """Errors in the texts of items that have a true one of a word or more; None where there is none.

    Raises
    ------
    LibraryError
        If jiwer is not there.
    """
    pairs = [
        (said, plain(recognised[item])) for item, text in truth.items() if item in recognised and (said := plain(text))
    ]
    if not pairs:
        return None
    counted = library("jiwer", "word error rates").process_words(
        [one for one, _ in pairs], [other for _, other in pairs]
    )
    words = sum(len(one.split()) for one, _ in pairs)
    return ErrorRate(len(pairs), words, counted.substitutions, counted.deletions, counted.insertions)


def plain(text: str) -> str:
    """A text's normalised words with blanks between."""
    return " ".join(word for word in map(normalise, text.split()) if word not in SILENT)
