"""A vector of each word as it is said, on a grid of frames: from the word's sound alone, without its text.

Tzirakis, Nguyen, Zafeiriou and Schuller, "Speech emotion recognition using semantic information", ICASSP 2021
(arXiv:2103.02993), say that meaning can be had from speech alone; their release looks words up by their text. Here each
word's stretch of sound goes through a Speech2Vec encoder (`spoken/encoder.py`) and, where one is named, the map into a
space of text (`spaces/map_file.py`): every occurrence has a vector of its own. Words are laid on frames as everywhere
(`words/vectors.py`); a word shorter than the encoder's least, or behind the end of the sound, is zero.

Where the words begin and end is all that is taken from outside: from the corpus, or from a file of `serbench words
align`, both made from a transcript, or of `serbench words transcribe`, made from the sound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..datasets.core.config import option
from ..datasets.core.errors import SerbenchError
from ..datasets.core.files import digest
from .core.feature_table import Array
from .core.word_feature import SpokenWordFeature, Words
from .spoken.occurrences import Config as WordConfig, SpokenWord
from .words.times import content_digest, remembered
from .words.vectors import SILENT, normalise, spans

if TYPE_CHECKING:
    import pandas as pd

    from .spaces.map_file import SpaceMap


@dataclass(frozen=True)
class Config:
    """Settings of the spoken words."""

    encoder: str = option("", "file *.encoder.safetensors of 'serbench words speech2vec'", source="section 3")
    map: str = option(
        "",
        "file *.map.safetensors of 'serbench words align-spaces'; empty = the encoder's own space",
        source="section 3",
    )
    hop_seconds: float = option(0.1, "distance of two frames [s]", source="released program", low=0.001)
    word_times: str = option(
        "",
        "CSV file or folder of 'serbench words transcribe' or 'align'; empty = the corpus's own",
        source="free choice",
    )

    @classmethod
    def from_argument(cls, text: str) -> Config:
        """Settings for the text behind `spoken-words:`."""
        return cls(encoder=text)


class Extractor(SpokenWordFeature):
    """Vectors of spoken words (frames, dim); zero where nothing is said."""

    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = SpokenWord.libraries

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        if not config.encoder:
            raise SerbenchError(
                "no encoder of spoken words is named. Type spoken-words:FILE or --set feature.encoder=FILE; 'serbench "
                "words speech2vec' writes one beside its vectors (*.encoder.safetensors)."
            )
        self.encoder: SpokenWord = SpokenWord(WordConfig(config.encoder))
        self.map: SpaceMap | None = _read_map(config.map) if config.map else None
        self.name = f"spoken-words:{Path(config.encoder).name}"
        self.dim, self.hop_seconds = self.encoder.dim, config.hop_seconds
        self.least_seconds = self.encoder.word_encoder.cuts.min_seconds
        if self.map is not None and self.map.dim != self.dim:
            raise SerbenchError(
                f"the map {config.map!r} takes vectors of {self.map.dim} numbers, those of {config.encoder!r} have "
                f"{self.dim}. Expected the map that was made from this encoder's own vectors."
            )

    def lay_heard(self, words: pd.DataFrame, vectors: Array, frames: int) -> Array:
        """Vectors (frames, dim) of a table of words, from the encoder's, (word, dim)."""
        mapped = vectors if self.map is None else self.map(vectors)
        out = np.zeros((frames, self.dim), np.float32)
        for word, vector, (first, last) in zip(words["word"], mapped, spans(words, self.hop_seconds), strict=True):
            if last >= 0 and normalise(str(word)) not in SILENT:
                out[max(first, 0) : last + 1] = vector
        return out

    def check(self, words: pd.DataFrame) -> None:
        """Raise `SerbenchError` where a table of words can't be laid on frames."""
        spans(words, self.hop_seconds)

    def times(self, item: str, words: Words) -> pd.DataFrame:
        """The words of an item: of the file that the settings name, else those of the corpus."""
        own = self.config.word_times
        return remembered(own).words(item) if own else words(item)

    def labels(self, recognised: str) -> tuple[str, ...]:
        """Who recognised the words, whose bounds these are."""
        own = self.config.word_times
        return super().labels(remembered(own).recognised if own else recognised)

    def identity(self) -> dict[str, Any]:
        """What decides the output: the contents of files in place of their names."""
        return {**super().identity(), "config": {"hop_seconds": self.config.hop_seconds}}

    def signature(self) -> str:
        """Short text for a score's signature; the same wherever the files lie."""
        settings = [{"hop_seconds": self.config.hop_seconds}, dict(self.extra_identity())]
        return f"{self.name}.v{self.version}+{digest(settings, 8)}"

    def extra_identity(self) -> Mapping[str, str]:
        """Digests of encoder, map and word times."""
        digests = dict(self.encoder.extra_identity())
        if self.map is not None:
            digests["map"] = self.map.sha256
        if self.config.word_times:
            digests["word_times"] = content_digest(self.config.word_times)
        return digests


def _read_map(path: str) -> SpaceMap:
    from .spaces.map_file import load_map

    return load_map(path)
