"""The samples themselves: one frame per sample, one dimension.

For networks that learn their own front-end from raw audio, such as the paralinguistic extractor of Tzirakis et al.,
"Speech emotion recognition using semantic information", ICASSP 2021 (arXiv:2103.02993), which takes 22 050 Hz.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..datasets.core.config import option
from ..datasets.core.errors import SerbenchError
from .core.feature_extractor import Array, FeatureExtractor


@dataclass(frozen=True)
class Config:
    """Settings of the waveform."""

    sampling_rate: int = option(16000, "rate in Hz that the audio is resampled to", source="free choice", low=1000)
    peak_normalise: bool = option(
        False, "divide each file by its largest magnitude; silence stays zero", source="free choice"
    )


class Extractor(FeatureExtractor):
    """The signal as (samples, 1)."""

    name = "waveform"
    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ()
    dim = 1

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.sampling_rate, self.hop_seconds = config.sampling_rate, 1 / config.sampling_rate

    def extract(self, signal: Array) -> Array:
        """The samples of a signal (samples,) as (samples, 1)."""
        if not len(signal):
            raise SerbenchError("the signal is empty. Expected at least one sample.")
        peak = np.abs(signal).max() if self.config.peak_normalise else 0
        out: Array = signal / peak if peak > 0 else signal
        return np.asarray(out, np.float32)[:, None]
