"""Words of one text found in another one by their letters: what was recognised in what is known, syllables in words."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

_SPELT = str.maketrans({"ß": "ss", "ä": "ae", "ö": "oe", "ü": "ue", "æ": "ae", "ø": "o", "å": "a"})


def letters(word: str) -> str:
    """The letters and digits of a word in small letters, without accents; umlauts as two letters."""
    plain = unicodedata.normalize("NFD", unicodedata.normalize("NFC", word).lower().translate(_SPELT))
    return "".join(c for c in plain if c.isalnum())


def said_words(words: Sequence[str], recognised: str) -> int:
    """How many of the known words, from the first one, a recognised text has: those of the nearest beginning.

    The distance is Levenshtein's, of letters, between the recognised text and each beginning of the known one; of
    beginnings that are equally near, the shortest.
    """
    known = [letters(word) for word in words]
    row = _distances("".join(known), letters(recognised))
    ends = np.cumsum([0, *map(len, known)])
    return int(row[ends].argmin())


def groups(words: Sequence[str], parts: Sequence[str]) -> list[int]:
    """For each word, the first of the parts (syllables) that it was said in; every word takes one part or more.

    The cut whose words and joined parts have the least sum of Levenshtein's distances; () where there are fewer parts
    than words.
    """
    known, said = [letters(w) for w in words], [letters(p) for p in parts]
    if len(said) < len(known):
        return []
    best: dict[int, tuple[int, tuple[int, ...]]] = {0: (0, ())}
    for k, word in enumerate(known, 1):
        following = dict[int, tuple[int, tuple[int, ...]]]()
        for j in range(k, len(said) - (len(known) - k) + 1):
            choices = (
                (cost + distance(word, "".join(said[i:j])), (*firsts, i)) for i, (cost, firsts) in best.items() if i < j
            )
            following[j] = min(choices)
        best = following
    return list(best[len(said)][1])


@lru_cache(maxsize=100_000)
def distance(one: str, other: str) -> int:
    """Levenshtein's distance of two texts: insertions, deletions and substitutions of letters."""
    return int(_distances(one, other)[-1])


def _distances(one: str, other: str) -> np.ndarray:
    """Levenshtein's distance of `other` to each beginning of `one`, (len(one) + 1,)."""
    codes = np.array([ord(c) for c in one], np.int64)
    index = np.arange(len(one) + 1)
    row = index.copy()
    for c in other:
        stepped = np.empty_like(row)
        stepped[0] = row[0] + 1
        stepped[1:] = np.minimum(row[1:] + 1, row[:-1] + (codes != ord(c)))
        row = np.minimum.accumulate(stepped - index) + index
    return row
