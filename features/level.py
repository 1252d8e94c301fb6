"""Level: how loud a recording is, one number in dB below full scale (dBFS).

10 log10 of the mean square of all samples, as they are, at their own rate of 16 kHz; silence is -100. It says how an
utterance was recorded as much as how it was spoken. `serbench fairness --by loudness` groups test items by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .core.feature_extractor import Array, FeatureExtractor

FLOOR = 1e-10
"""Mean square of silence."""


@dataclass(frozen=True)
class Config:
    """There is nothing to set."""


class Extractor(FeatureExtractor):
    """The level of an utterance, (1, 1)."""

    version: ClassVar[int] = 1
    sampling_rate = 16000
    dim = 1
    hop_seconds = None
    name = "level"

    def extract(self, signal: Array) -> Array:
        """Level [dBFS] of a signal (samples,) as (1, 1)."""
        power = float(np.mean(np.square(signal, dtype=np.float64))) if len(signal) else 0.0
        return np.array([[10 * np.log10(max(power, FLOOR))]], dtype=np.float32)
