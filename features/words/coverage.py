"""How many of the words of a text have vectors: what to look at before words are used as features."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ...datasets.core.errors import SerbenchError
from .vectors import SILENT, Vectors, normalise


@dataclass(frozen=True)
class Coverage:
    """How much of a text has vectors: running words and different words, silence left out, and the unknown ones."""

    tokens: int
    known_tokens: int
    types: int
    known_types: int
    unknown: tuple[str, ...]

    def line(self) -> str:
        """One line for people to read."""
        share = self.known_tokens / max(self.tokens, 1)
        few = ", ".join(self.unknown[:5]) + (" ..." if len(self.unknown) > 5 else "")
        said = f"{self.known_tokens} of {self.tokens} words ({share:.1%}), {self.known_types} of {self.types} types"
        return f"vectors for {said}" + (f"; unknown are {few}" if few else "")


def coverage(words: Iterable[str], vectors: Vectors) -> Coverage:
    """Count the words of a text that have vectors; `unknown` are those without, the most frequent first."""
    counts: dict[str, int] = {}
    for word in map(normalise, words):
        if word not in SILENT:
            counts[word] = counts.get(word, 0) + 1
    lacking = sorted((w for w in counts if vectors.row(w) is None), key=lambda w: (-counts[w], w))
    tokens, lost = sum(counts.values()), sum(counts[w] for w in lacking)
    return Coverage(tokens, tokens - lost, len(counts), len(counts) - len(lacking), tuple(lacking))


def need_overlap(known: Coverage, what: str) -> Coverage:
    """The coverage, unless there are words and none of them has a vector.

    Raises
    ------
    SerbenchError
        When vocabulary and text have no word in common: a file of another language, most likely.
    """
    if known.tokens and not known.known_tokens:
        raise SerbenchError(
            f"none of the {known.types} words of {what} has a vector (such as {', '.join(known.unknown[:3])}). "
            "Expected vectors of the language that is spoken; name another file of vectors."
        )
    return known
