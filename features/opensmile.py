"""openSMILE features: any standard set, as low-level descriptors (LLD) every 10 ms or as functionals of an utterance.

Eyben, Wöllmer & Schuller, "openSMILE: the Munich versatile and fast open-source audio feature extractor", ACM
Multimedia 2010 (doi:10.1145/1873951.1874246), through audEERING's Python package. Type `opensmile:SET`,
`opensmile:SET:lld`, `opensmile:SET:lld_de` (the deltas of the LLD) or `opensmile:SET:functionals`.

openSMILE takes 16-bit samples; the package scales by 32768, so a sample of exactly 1 would turn into -1. Samples are
limited to 32767/32768 before. openSMILE's licence allows non-commercial use only.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from ..datasets.core.config import option
from ..datasets.core.errors import SerbenchError, unknown
from ..datasets.core.libraries import library
from .core.feature_extractor import Array, FeatureExtractor

CITES = ("eyben2010opensmile",)
LEVELS = {"lld": "LowLevelDescriptors", "lld_de": "LowLevelDescriptors_Deltas", "functionals": "Functionals"}
DIMS: dict[str, dict[str, int]] = {
    "ComParE_2016": {"lld": 65, "lld_de": 65, "functionals": 6373},
    "GeMAPSv01a": {"lld": 18, "functionals": 62},
    "GeMAPSv01b": {"lld": 18, "functionals": 62},
    "eGeMAPSv01a": {"lld": 23, "functionals": 88},
    "eGeMAPSv01b": {"lld": 23, "functionals": 88},
    "eGeMAPSv02": {"lld": 25, "functionals": 88},
    "emobase": {"lld": 26, "lld_de": 26, "functionals": 988},
    "IS09": {"lld": 16, "lld_de": 16, "functionals": 384},
    "IS10": {"lld": 38, "lld_de": 38, "functionals": 1582},
    "IS11": {"lld": 59, "lld_de": 59, "functionals": 4368},
    "IS12": {"lld": 64, "lld_de": 64, "functionals": 6125},
    "IS13": {"lld": 65, "lld_de": 65, "functionals": 6373},
}
"""Number of features by set and level, so that cached features need no openSMILE."""
HOP_SECONDS = 0.01


@dataclass(frozen=True)
class Config:
    """Which features."""

    feature_set: str = option("eGeMAPSv02", "standard feature set", source="free choice", choices=tuple(DIMS))
    level: str = option("functionals", "LLD, their deltas, or functionals", source="free choice", choices=tuple(LEVELS))
    sampling_rate: int = option(16000, "rate in Hz that the audio is resampled to", source="free choice", low=8000)

    @classmethod
    def from_argument(cls, text: str) -> Config:
        """Settings for "SET" or "SET:LEVEL", the text behind `opensmile:`."""
        feature_set, _, level = text.partition(":")
        if feature_set not in DIMS:
            raise unknown("openSMILE feature set", feature_set, DIMS)
        if level and level not in LEVELS:
            raise unknown("openSMILE level", level, LEVELS)
        return cls(feature_set, level or "functionals")


class Extractor(FeatureExtractor):
    """Features of one set at one level: (frames, features), one frame for functionals."""

    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("opensmile",)

    def __init__(self, config: Config) -> None:
        if config.level not in DIMS[config.feature_set]:
            raise SerbenchError(
                f"the openSMILE set {config.feature_set} has no level {config.level!r}. "
                f"Expected one of: {', '.join(DIMS[config.feature_set])}."
            )
        super().__init__(config)
        self.name = f"opensmile:{config.feature_set}:{config.level}"
        self.set, self.level, self.sampling_rate = config.feature_set, config.level, config.sampling_rate
        self.dim = DIMS[config.feature_set][config.level]
        self.hop_seconds = None if config.level == "functionals" else HOP_SECONDS

    @property
    def feature_names(self) -> list[str]:
        """Names of the features, in the order of the second axis."""
        return [str(name) for name in _smile(self.set, self.level).feature_names]

    def prepare(self) -> None:
        """Load openSMILE."""
        _smile(self.set, self.level)

    def extract(self, signal: Array) -> Array:
        """Features (frames, features) of a signal (samples,)."""
        limited = np.clip(signal, -1, np.float32(32767 / 32768))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Segment too short")
            out: Array = np.asarray(_smile(self.set, self.level)(limited, self.sampling_rate), np.float32)[0].T
        if np.isnan(out).all():
            raise SerbenchError(
                f"{len(signal) / self.sampling_rate:.3f} s are too short for the {self.level} of {self.set}. "
                "Expected a longer utterance; take its row out, or choose another feature."
            )
        return np.ascontiguousarray(out)


@lru_cache(maxsize=4)
def _smile(feature_set: str, level: str) -> Any:
    """The extractor of the package, made once in each process."""
    opensmile = library("opensmile", "the features egemaps and opensmile")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*deprecated")  # older sets are asked for by name, to repeat older work
        return opensmile.Smile(
            feature_set=opensmile.FeatureSet[feature_set], feature_level=opensmile.FeatureLevel[LEVELS[level]]
        )
