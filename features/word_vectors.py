"""Vectors of the words that are said, on a grid of frames: the linguistic input of semantic fusion.

Tzirakis, Nguyen, Zafeiriou and Schuller, "Speech emotion recognition using semantic information", ICASSP 2021
(arXiv:2103.02993). The rules (inclusive rounding, overlaps, silence, unknown words) stand in `words/vectors.py`; where
the words and their times come from, in `words/times.py`. Vectors are of word types, looked up in a file:
`word-vectors:FILE`.

This feature is made from an item's words and length; its sound is not opened beyond the header.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..datasets.core.config import option, to_dict
from ..datasets.core.errors import SerbenchError, SerbenchWarning
from ..datasets.core.files import digest, stamp
from .core.feature_table import Array
from .core.word_feature import WordFeature, Words
from .words.coverage import coverage, need_overlap
from .words.times import content_digest, remembered
from .words.vectors import UNKNOWN, Vectors, frames_of_words, read_vectors, spans

if TYPE_CHECKING:
    import pandas as pd

_FILES = ("vectors", "word_times")
"""Settings that name files; the digests of their contents stand in keys and signatures instead."""


@dataclass(frozen=True)
class Config:
    """Settings of the word vectors."""

    vectors: str = option("", "file of word vectors (word2vec text or binary, fastText, GloVe)", source="section 3")
    hop_seconds: float = option(0.1, "distance of two frames [s]", source="released program", low=0.001)
    unknown: str = option("random", "words without a vector", source="released program", choices=UNKNOWN)
    seed: int = option(0, "seed of the random vectors of unknown words", source="free choice", low=0)
    word_times: str = option(
        "", "CSV file or folder of 'serbench words align'; empty = the corpus's own", source="free choice"
    )

    @classmethod
    def from_argument(cls, text: str) -> Config:
        """Settings for the text behind `word-vectors:`."""
        return cls(vectors=text)


class Extractor(WordFeature):
    """Word vectors (frames, dim); zero where nothing is said."""

    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("numpy",)

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        if not config.vectors:
            raise SerbenchError(
                "no file of word vectors is named. Type word-vectors:FILE or --set feature.vectors=FILE; "
                "'serbench words word2vec' makes one from a corpus's transcripts."
            )
        self.vectors: Vectors = _read(config.vectors, stamp(config.vectors))
        self.name = f"word-vectors:{Path(config.vectors).name}"
        self.dim, self.hop_seconds = self.vectors.dim, config.hop_seconds

    def lay(self, words: pd.DataFrame, frames: int) -> Array:
        """Vectors (frames, dim) of a table of words (word, start, end [s])."""
        unknown, seed = self.config.unknown, self.config.seed
        return frames_of_words(words, frames, self.hop_seconds, self.vectors, unknown=unknown, seed=seed)

    def check(self, words: pd.DataFrame) -> None:
        """Raise `SerbenchError` where a table of words can't be laid on frames."""
        spans(words, self.hop_seconds)

    def survey(self, spoken: Sequence[str]) -> None:
        """Refuse vectors of another language, and warn of those that lack more than half of the running words."""
        covered = need_overlap(coverage(spoken, self.vectors), "the corpus")
        if 2 * covered.known_tokens < covered.tokens:
            warnings.warn(f"{self.name} knows few of the words: {covered.line()}.", SerbenchWarning, stacklevel=3)

    def times(self, item: str, words: Words) -> pd.DataFrame:
        """The words of an item: of the file that the settings name, else those of the corpus."""
        if not self.config.word_times:
            return words(item)
        return remembered(self.config.word_times).words(item)

    def labels(self, recognised: str) -> tuple[str, ...]:
        """That words were recognised, and by what: those of the file that the settings name, else the corpus's."""
        own = self.config.word_times
        return super().labels(remembered(own).recognised if own else recognised)

    def identity(self) -> dict[str, Any]:
        """What decides the output: as for any feature, but with the contents of files in place of their names."""
        return {**super().identity(), "config": self._settings()}

    def signature(self) -> str:
        """Short text for a score's signature; the same wherever the files lie."""
        settings = [self._settings(), dict(self.extra_identity())]
        return f"{self.name}.v{self.version}+{digest(settings, 8)}"

    def extra_identity(self) -> Mapping[str, str]:
        """Digests of the vectors and of the word times."""
        digests = {"vectors": self.vectors.sha256}
        if self.config.word_times:
            digests["word_times"] = content_digest(self.config.word_times)
        return digests

    def _settings(self) -> dict[str, Any]:
        return {key: value for key, value in to_dict(self.config).items() if key not in _FILES}


@lru_cache(maxsize=2)
def _read(path: str, state: tuple[int, int]) -> Vectors:
    return read_vectors(path)
