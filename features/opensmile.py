"""openSMILE features: any feature set that the `opensmile` distribution ships, as functionals or frame by frame.

F. Eyben, M. Wöllmer and B. Schuller, "openSMILE: the Munich versatile and fast open-source audio feature extractor",
ACM Multimedia 2010. The feature is named `opensmile:SET` or `opensmile:SET:LEVEL`, such as `opensmile:IS10` or
`opensmile:eGeMAPSv02:lld`. openSMILE is free for non-commercial use only (audEERING Research License).

Audio is mono at 16 kHz (openSMILE works at any rate; one rate keeps corpora comparable). Low-level descriptors come
every 10 ms. openSMILE quantises to 16 bit itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from ..datasets._config import option, validate
from ..datasets._errors import SerbenchError
from ._extractor import Array, FeatureExtractor

SETS = (
    "ComParE_2016", "GeMAPSv01b", "eGeMAPSv01b", "eGeMAPSv02", "emobase", "IS09", "IS10", "IS11", "IS12", "IS13",
)  # fmt: skip
LEVELS: Mapping[str, str] = {
    "functionals": "Functionals",
    "lld": "LowLevelDescriptors",
    "lld_de": "LowLevelDescriptors_Deltas",
}
HOP_SECONDS = 0.01


@dataclass(frozen=True)
class Config:
    """Settings of an openSMILE feature."""

    feature_set: str = option("eGeMAPSv02", "name of the feature set", choices=SETS)
    level: str = option("functionals", "functionals (one row), lld (rows of 10 ms) or their deltas", choices=tuple(LEVELS))
    sampling_rate: int = option(16000, "rate in Hz that the audio is resampled to", low=8000)

    @classmethod
    def from_argument(cls, argument: str) -> Config:
        """`SET` or `SET:LEVEL`, as after the colon of the feature's name."""
        feature_set, _, level = argument.partition(":")
        return validate(cls(feature_set, level or "functionals"), "feature.")


class Extractor(FeatureExtractor):
    """One openSMILE feature set at one level: (1, dim) functionals or (frames, dim) descriptors."""

    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("opensmile",)

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.name = f"opensmile:{config.feature_set}:{config.level}"
        self.sampling_rate = config.sampling_rate
        self.dim = int(_smile(config.feature_set, config.level).num_features)
        self.hop_seconds = None if config.level == "functionals" else HOP_SECONDS

    def extract(self, signal: Array) -> Array:
        """Features of a signal (samples,) float32 as (frames, dim) float32.

        Raises
        ------
        SerbenchError
            When the signal is too short for openSMILE to give a row of finite numbers.
        """
        smile = _smile(self.config.feature_set, self.config.level)
        try:
            table = smile.process_signal(signal, self.sampling_rate)
        except Exception as error:  # the native library's errors have no common class
            raise SerbenchError(f"openSMILE failed on {len(signal)} samples: {error}") from error
        values = np.ascontiguousarray(table.to_numpy(dtype=np.float32))
        if not len(values) or not np.isfinite(values).all():
            seconds = len(signal) / self.sampling_rate
            raise SerbenchError(f"openSMILE gave no finite {self.config.level} for {seconds:.2f} s of audio: too short.")
        return values


@lru_cache(maxsize=8)
def _smile(feature_set: str, level: str) -> Any:
    import opensmile

    return opensmile.Smile(opensmile.FeatureSet[feature_set], opensmile.FeatureLevel[LEVELS[level]])
