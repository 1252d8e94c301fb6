"""The vector of one spoken word by a saved encoder, as a feature: what the cache addresses it by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from ...datasets.core.config import option
from ...datasets.core.files import stamp
from ..core.feature_extractor import Array, FeatureExtractor
from .encoder import WordEncoder, load_encoder


@dataclass(frozen=True)
class Config:
    """Settings of a spoken word."""

    encoder: str = option("", "file *.encoder.safetensors of 'serbench words speech2vec'", source="free choice")


class SpokenWord(FeatureExtractor):
    """One vector of length 1 for a word's sound, (1, dim)."""

    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "scipy", "librosa", "torch")
    hop_seconds = None

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.word_encoder: WordEncoder = _encoder(config.encoder, stamp(config.encoder))
        self.name = f"spoken-word:{Path(config.encoder).name}"
        self.dim, self.sampling_rate = self.word_encoder.dim, self.word_encoder.cuts.sampling_rate

    @property
    def parameters(self) -> int:
        """Number of scalars of the encoder."""
        return sum(p.numel() for p in self.word_encoder.lstm.parameters())

    def extract(self, signal: Array) -> Array:
        """The vector (1, dim) of a word's sound (samples,)."""
        return self.word_encoder.vectors([signal])

    def identity(self) -> dict[str, Any]:
        """What decides the vector, wherever the encoder lies and whatever its file is called."""
        return {**super().identity(), "name": "spoken-word", "config": {}}

    def extra_identity(self) -> Mapping[str, str]:
        """The digest of the encoder."""
        return {"encoder": self.word_encoder.sha256}


@lru_cache(maxsize=2)
def _encoder(path: str, state: tuple[int, int]) -> WordEncoder:
    return load_encoder(path)
