"""Loudness in short frames: the level in decibels and its change, made from sound and so cached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from serbench.datasets.core.config import option
from serbench.datasets.core.errors import SerbenchError
from serbench.features.core.feature_extractor import Array, FeatureExtractor


@dataclass(frozen=True)
class Config:
    """Settings of `loudness`."""

    frame_seconds: float = option(0.05, "length and distance of frames [s]", source="free choice", low=0.001)


class Extractor(FeatureExtractor):
    """Level and change of level, (frames, 2)."""

    version: ClassVar[int] = 1
    sampling_rate = 16000
    dim = 2
    name = "loudness"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.hop_seconds = config.frame_seconds

    def extract(self, signal: Array) -> Array:
        """Level [dB] and change (frames, 2) of a signal (samples,); a rest shorter than a frame is left out."""
        length = round(self.config.frame_seconds * self.sampling_rate)
        frames = signal[: len(signal) // length * length].astype(np.float64).reshape(-1, length)
        if not len(frames):
            raise SerbenchError(f"{len(signal)} samples are shorter than a frame. Expected {length} or more.")
        level = 10 * np.log10((frames**2).mean(axis=1) + 1e-10)
        return np.stack([level, np.diff(level, prepend=level[:1])], axis=1).astype(np.float32)
