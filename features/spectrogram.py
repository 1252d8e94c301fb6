"""Log spectrogram on a linear frequency axis: 40 ms Hamming windows every 10 ms, a bin every 10 Hz up to 4 kHz.

What networks on spectrograms take that need no mel scale: A. Satt, S. Rozenberg and R. Hoory, "Efficient emotion
recognition from speech using deep learning on spectrograms", Interspeech 2017 (doi:10.21437/Interspeech.2017-200), and
Y. Li, T. Zhao and T. Kawahara, Interspeech 2019 (doi:10.21437/Interspeech.2019-2594). Public re-implementations of the
first have the same 300 frames and 400 bins for 3 s. Each window is filled up with zeros to a whole period of the bin
distance (100 ms for 10 Hz) before the transform, so that bins lie closer than a window of 40 ms can tell apart.

Free choices: the window, whose length in the papers we could not confirm; the logarithm is that of the power, natural,
with a floor; the last samples that fill no window are left out, and a signal shorter than a window is filled up with
zeros to one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..datasets.core.config import option
from ..datasets.core.errors import SerbenchError
from .core.feature_extractor import Array, FeatureExtractor

CITES = ("satt2017efficient",)
_BLOCK = 512
"""Frames that are transformed together."""


@dataclass(frozen=True)
class Config:
    """Settings of the spectrogram."""

    sampling_rate: int = option(16000, "rate in Hz that the audio is resampled to", source="free choice", low=1000)
    window_seconds: float = option(0.04, "length of the Hamming window [s]", source="free choice", low=0.001)
    hop_seconds: float = option(0.01, "distance of two frames [s]", source="Satt et al. 2017", low=0.001)
    bin_hertz: float = option(10.0, "distance of two bins [Hz]", source="Satt et al. 2017", low=1)
    max_hertz: float = option(4000.0, "bins below this frequency [Hz]", source="Satt et al. 2017", low=1)
    log_floor: float = option(1e-10, "smallest power that the logarithm is taken of", source="free choice", low=1e-30)


class Extractor(FeatureExtractor):
    """Log power spectra, (1 + (samples - window) // hop, bins)."""

    name = "spectrogram"
    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("numpy",)

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        rate = config.sampling_rate
        self.window, self.hop = (max(1, round(s * rate)) for s in (config.window_seconds, config.hop_seconds))
        self.n_fft = round(rate / config.bin_hertz)
        if self.n_fft < self.window or config.max_hertz > rate / 2:
            raise SerbenchError(
                f"bins every {config.bin_hertz:g} Hz up to {config.max_hertz:g} Hz do not fit windows of "
                f"{config.window_seconds:g} s at {rate} Hz. Expected feature.bin_hertz of at most "
                f"{rate / self.window:g} and feature.max_hertz of at most {rate / 2:g}."
            )
        self.sampling_rate, self.hop_seconds = rate, self.hop / rate
        self.dim = max(1, round(config.max_hertz * self.n_fft / rate))

    def extract(self, signal: Array) -> Array:
        """Log power (frames, bins) of a signal (samples,)."""
        if not len(signal):
            raise SerbenchError("the signal is empty. Expected at least one sample.")
        padded = np.pad(signal, (0, max(0, self.window - len(signal))))
        frames = np.lib.stride_tricks.sliding_window_view(padded, self.window)[:: self.hop]
        out = np.empty((len(frames), self.dim), np.float32)
        for first in range(0, len(frames), _BLOCK):
            windowed = frames[first : first + _BLOCK] * np.hamming(self.window)
            spectrum = np.fft.rfft(windowed, self.n_fft)[:, : self.dim]
            power = np.square(spectrum.real) + np.square(spectrum.imag)
            out[first : first + _BLOCK] = np.log(np.maximum(power, self.config.log_floor))
        return out
