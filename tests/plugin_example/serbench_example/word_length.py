"""Letters of the word that is said in each frame: a feature of words instead of sound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from serbench.datasets.core.config import option
from serbench.features.core.feature_extractor import Array
from serbench.features.core.word_feature import WordFeature

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Config:
    """Settings of `word-length`."""

    hop_seconds: float = option(0.1, "distance of two frames [s]", source="free choice", low=0.001)


class Extractor(WordFeature):
    """Letters of the running word, 0 where nothing is said, (frames, 1)."""

    version: ClassVar[int] = 1
    dim = 1
    name = "word-length"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.hop_seconds = config.hop_seconds

    def lay(self, words: pd.DataFrame, frames: int) -> Array:
        """Letters (frames, 1) of a table of words (word, start, end [s])."""
        out = np.zeros((frames, 1), np.float32)
        for word, start, end in words[["word", "start", "end"]].itertuples(index=False):
            out[int(start / self.hop_seconds) : int(np.ceil(end / self.hop_seconds))] = len(word)
        return out
