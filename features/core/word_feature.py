"""What a feature is that is made from the words of an item instead of its sound.

A component whose `Extractor` is a `WordFeature` is laid on frames by `extraction/from_words.py`: an item has
ceil(seconds / hop) of them, its seconds being those of its segment or of its file.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ...datasets.core.errors import SerbenchError
from .feature_extractor import Array, FeatureExtractor

if TYPE_CHECKING:
    import pandas as pd

Words = Callable[[str], "pd.DataFrame"]
"""id -> table of words (word, start, end [s])."""


class WordFeature(FeatureExtractor):
    """From the words of an item to a float32 array (frames, dim); sound is not opened beyond its header."""

    needs_words: ClassVar[bool] = True
    hop_seconds: float
    sampling_rate = 16000

    @abstractmethod
    def lay(self, words: pd.DataFrame, frames: int) -> Array:
        """Features (frames, dim) of a table of words (word, start, end [s])."""

    def times(self, item: str, words: Words) -> pd.DataFrame:
        """The words of an item: those of the corpus, where the feature has no file of its own."""
        return words(item)

    def labels(self, recognised: str) -> tuple[str, ...]:
        """That words were recognised, and by what."""
        return (f"words:{recognised}",) if recognised else ()

    def check(self, words: pd.DataFrame) -> None:
        """Raise `SerbenchError` where a table of words can't be laid on frames; the item is left out."""

    def survey(self, spoken: Sequence[str]) -> None:
        """See the running words of all items: raise `SerbenchError` if none can be described, warn if few can."""

    def extract(self, signal: Array) -> Array:
        """Refused: sound alone does not say its words."""
        raise SerbenchError(f"the feature {self.name} is made from words, not from sound; see 'serbench words align'.")


class SpokenWordFeature(WordFeature):
    """A feature of the sound of each word: `encoder` makes one vector of a word's own stretch of sound.

    `extraction/from_spoken.py` keeps these vectors in the cache, by the audio's content and the words' bounds.
    """

    encoder: FeatureExtractor
    """Its `extract` takes the sound of one word and gives (1, encoder.dim)."""
    least_seconds: float
    """Shorter words have a vector of zeros."""

    @property
    def parameters(self) -> int:
        """Number of scalars of the encoder."""
        return self.encoder.parameters

    @abstractmethod
    def lay_heard(self, words: pd.DataFrame, vectors: Array, frames: int) -> Array:
        """Features (frames, dim) of a table of words and the encoder's vectors of each, (word, encoder.dim)."""

    def hear(self, words: pd.DataFrame, signal: Array) -> Array:
        """The encoder's vectors (word, encoder.dim) of words in a signal (samples,) at its rate."""
        rate = self.encoder.sampling_rate
        out = np.zeros((len(words), self.encoder.dim), np.float32)
        for row, (start, end) in enumerate(zip(words["start"], words["end"], strict=True)):
            sound = signal[max(0, round(float(start) * rate)) : max(0, round(float(end) * rate))]
            if len(sound) >= max(1, self.least_seconds * rate):
                out[row] = self.encoder.extract(sound)[0]
        return out

    def lay(self, words: pd.DataFrame, frames: int) -> Array:
        """Refused: words alone do not say how they sounded."""
        raise SerbenchError(f"the feature {self.name} is made from the sound of words, which is not at hand here.")
