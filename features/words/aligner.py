"""What an aligner of known words to their sound is: forced alignment with a CTC model, or the attention of Whisper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Span = tuple[float, float]
"""Start and end in seconds."""


@dataclass(frozen=True)
class Aligned:
    """Times of words.

    Attributes
    ----------
    spans : start and end [s] of each word; None where the aligner has nothing to say of it
    confidence : how likely it is that the words are what was said, 0 .. 1
    """

    spans: list[Span | None]
    confidence: float


class Aligner(Protocol):
    """Finds the times of known words in a signal at `sampling_rate`.

    Attributes
    ----------
    source : what its times are called (`words/times.py`)
    doubtful : below this confidence another text is likely to have been said
    """

    sampling_rate: int
    source: str
    doubtful: float

    def align(self, words: Sequence[str], signal: npt.NDArray[np.float32], language: str | None = None) -> Aligned:
        """Times of words in a signal (samples,); `language` is an ISO 639-1 code."""
