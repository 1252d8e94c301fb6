"""How far word times lie from others that are taken for the truth, such as times that were set by hand.

The truth may be finer than the words: syllables are gathered into the words that they were said in, by their letters
(`words/matching.py`), and the first one's start is the word's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.word_feature import Words
from .matching import groups
from .times import WordTimes

NEAR_SECONDS = 0.1


@dataclass(frozen=True)
class Agreement:
    """Onsets of words against true ones.

    Attributes
    ----------
    errors : onset minus true onset of each word [s], (word,)
    items : how many items have both
    unmatched : items whose true words or syllables are fewer than their words
    """

    errors: npt.NDArray[np.float64]
    items: int
    unmatched: tuple[str, ...]

    @property
    def median(self) -> float:
        """Median of the absolute errors in seconds."""
        return float(np.median(np.abs(self.errors))) if len(self.errors) else float("nan")

    @property
    def near(self) -> float:
        """Share of words whose error is at most `NEAR_SECONDS`."""
        return float(np.mean(np.abs(self.errors) <= NEAR_SECONDS)) if len(self.errors) else float("nan")

    @property
    def wide(self) -> float:
        """What nine of ten absolute errors do not exceed, in seconds."""
        return float(np.quantile(np.abs(self.errors), 0.9)) if len(self.errors) else float("nan")

    def data(self) -> dict[str, Any]:
        """The same numbers by name."""
        bias = float(np.median(self.errors)) if len(self.errors) else float("nan")
        known = {"words": len(self.errors), "items": self.items, "unmatched": list(self.unmatched)}
        absolute = {"median_seconds": self.median, "nine_tenths_seconds": self.wide, "within": self.near}
        return {**known, **absolute, "bias_seconds": bias}

    def line(self) -> str:
        """One line for people to read."""
        return (
            f"{len(self.errors)} words of {self.items} items: median onset error {self.median:.3f} s, "
            f"{100 * self.near:.1f} % within {NEAR_SECONDS:g} s, bias {np.median(self.errors):+.3f} s"
        )


def agreement(times: WordTimes, truth: Words, items: Iterable[str]) -> Agreement:
    """Onsets of words against those of `truth` (id -> word, start, end) in the items that have both."""
    errors: list[npt.NDArray[np.float64]] = []
    unmatched: list[str] = []
    for item in items:
        words, true = times.words(item), truth(item)
        if words.empty or true.empty:
            continue
        firsts = groups(words["word"].astype(str).tolist(), true["word"].astype(str).tolist())
        if not firsts:
            unmatched.append(item)
            continue
        errors.append(words["start"].to_numpy(np.float64) - true["start"].to_numpy(np.float64)[firsts])
    return Agreement(np.concatenate(errors) if errors else np.empty(0), len(errors), tuple(unmatched))
