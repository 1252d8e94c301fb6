"""Mel spectrogram as DeepEmoCluster takes it: 128 bands of the power spectrum, 32 ms frames every 16 ms, no logarithm.

Lin, Sridhar & Busso, "DeepEmoCluster: a semi-supervised framework for latent cluster representation of speech
emotions", ICASSP 2021 (doi:10.1109/ICASSP39728.2021.9414035), section 4.1, and the authors' released code
(github.com/winston-lin-wei-cheng/DeepEmoClusters), which computes it with librosa 0.7. Mel scale and area
normalisation are those of Slaney's Auditory Toolbox (Interval Research TR 1998-010). With the defaults the result
equals `librosa.feature.melspectrogram(y / max|y|, sr=16000, n_fft=512, hop_length=256, pad_mode="reflect").T`.

What differs: the paper says magnitude spectrogram, the code uses the power; the default is the code's. A silent file,
which the code turns into 0/0, stays zero. Transform and band sums are in double precision, so the relative error of
every value is that of rounding to float32, however quiet the band.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..datasets.core.config import option
from ..datasets.core.errors import SerbenchError
from .core.feature_extractor import Array, FeatureExtractor

CITES = ("lin2021deepemocluster",)
Samples = npt.NDArray[np.float64]

_BLOCK = 256
"""Frames that are transformed together: few enough for a processor's own cache, enough to hide what a call costs."""

_CODE = "released code"


@dataclass(frozen=True)
class Config:
    """Settings of the mel spectrogram."""

    sampling_rate: int = option(16000, "rate in Hz that the audio is resampled to", source=_CODE, low=1000)
    n_fft: int = option(512, "frame length in samples (32 ms)", source="section 4.1", low=2)
    hop: int = option(256, "distance of two frames in samples (16 ms)", source="section 4.1", low=1)
    bands: int = option(128, "number of mel bands", source="section 4.1", low=1)
    fmin: float = option(0.0, "lowest frequency in Hz", source=_CODE, low=0)
    fmax: float = option(8000.0, "highest frequency in Hz", source=_CODE, low=1)
    power: float = option(2.0, "exponent of the magnitude: 2 is power, 1 is magnitude", source=_CODE, low=0.1, high=4)
    pad_mode: str = option(
        "reflect", "what is added at both ends", source=_CODE + " (librosa 0.7)", choices=("reflect", "constant")
    )
    peak_normalise: bool = option(True, "divide each file by its largest magnitude; silence stays zero", source=_CODE)
    log: bool = option(False, "natural logarithm of the bands", source="not in the paper, not in the code")
    log_floor: float = option(1e-10, "smallest value that the logarithm is taken of", source="free choice", low=1e-30)


class Extractor(FeatureExtractor):
    """Mel spectrogram, (1 + samples // hop, bands)."""

    name = "mel"
    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "scipy")

    def __init__(self, config: Config) -> None:
        if config.fmax > config.sampling_rate / 2 or config.fmin >= config.fmax:
            raise SerbenchError(
                f"mel bands from {config.fmin:g} to {config.fmax:g} Hz do not fit a rate of {config.sampling_rate} Hz. "
                "Expected fmin < fmax <= half the rate; set feature.fmin, feature.fmax or feature.sampling_rate."
            )
        super().__init__(config)
        self.sampling_rate, self.dim = config.sampling_rate, config.bands
        self.hop_seconds = config.hop / config.sampling_rate

    def extract(self, signal: Array) -> Array:
        """Mel spectrogram (frames, bands) of a signal (samples,); frames = 1 + samples // hop."""
        c: Config = self.config
        if not len(signal):
            raise SerbenchError("the signal is empty. Expected at least one sample.")
        padded = pad(signal, c.n_fft, c.hop, c.pad_mode, _peak(signal) if c.peak_normalise else None)
        weights = _bank(c.sampling_rate, c.n_fft, c.bands, c.fmin, c.fmax)
        out = np.empty((1 + (len(padded) - c.n_fft) // c.hop, c.bands), np.float32)
        for first, power in power_spectra(padded, c.n_fft, c.hop):
            if c.power != 2:
                power = power ** (c.power / 2)
            out[first : first + power.shape[1]] = (weights @ power).T
        return np.log(np.maximum(out, np.float32(c.log_floor))) if c.log else out


def power_spectra(padded: Samples, n_fft: int, hop: int) -> Iterator[tuple[int, npt.NDArray[np.float64]]]:
    """Squared magnitudes of the Hann-windowed frames of a padded signal (samples,), some frames at a time.

    Yields
    ------
    first : index of the block's first frame
    power : (n_fft // 2 + 1, frames of the block), valid until the next block
    """
    count, bins = 1 + (len(padded) - n_fft) // hop, n_fft // 2 + 1
    frames: npt.NDArray[np.float64] = np.ndarray((count, n_fft), np.float64, padded, strides=(8 * hop, 8))
    window = _hann(n_fft)
    step = -(-count // -(-count // _BLOCK))  # blocks of about the same length
    windowed = _scratch.array("windowed", step, n_fft)
    spectrum = _scratch.array("spectrum", bins, 2 * step).view(np.complex128)
    power, imaginary = _scratch.array("power", bins, step), _scratch.array("imaginary", bins, step)
    for first in range(0, count, step):
        n = min(step, count - first)
        np.multiply(frames[first : first + n], window, out=windowed[:n])
        np.fft.rfft(windowed[:n], axis=-1, out=spectrum.T[:n])
        np.square(spectrum[:, :n].real, out=power[:, :n])
        np.square(spectrum[:, :n].imag, out=imaginary[:, :n])
        yield first, np.add(power[:, :n], imaginary[:, :n], out=power[:, :n])


class _Scratch(threading.local):
    """Arrays that are used again for every signal: fresh memory costs more than the sums that are done in it."""

    def __init__(self) -> None:
        self._kept: dict[str, npt.NDArray[np.float64]] = {}

    def array(self, name: str, *shape: int) -> npt.NDArray[np.float64]:
        """An array of any content, valid until the same name is asked for again; only small ones are kept."""
        size = math.prod(shape)
        array = self._kept.get(name)
        if array is None or len(array) < size:
            array = np.empty(size)
            if size <= _KEPT:
                self._kept[name] = array
        return array[:size].reshape(shape)


_KEPT = 1 << 19
_scratch = _Scratch()


def pad(
    signal: npt.NDArray[np.floating[Any]], n_fft: int, hop: int, mode: str, peak: np.floating[Any] | None = None
) -> Samples:
    """A signal (samples,), divided by `peak`, with n_fft // 2 samples more at both ends: zeros, or its reflection.

    The end samples are not repeated. What is reflected at the right is the part of the signal that the frames there
    reach, and a part that is too short is reflected back and forth, as librosa does it from 0.10 on. By default this
    differs from the reflection of the whole signal (librosa up to 0.9) only where the length is a multiple of the hop,
    and there in the last sample, under the window's foot: by some 1e-4 of a value of the last frame. The array is
    valid until the next call.
    """
    n, width = len(signal), n_fft // 2
    out = _scratch.array("padded", n + 2 * width)
    middle = out[width : width + n]
    if peak is None:
        middle[:] = signal
    else:
        np.divide(signal, peak, out=middle)  # in the signal's own precision
    tail = (n + width - n_fft) // hop + 1  # the first frame that reaches the right end
    begin = tail * hop - width
    if mode == "constant":
        out[:width] = out[width + n :] = 0
    elif tail <= -(-width // hop):  # no frame reaches only one end
        out[:] = np.pad(middle, width, mode="reflect")
    else:
        out[:width] = out[2 * width : width : -1]
        if n - begin > width:
            out[width + n :] = out[n + width - 2 : n - 2 : -1]
        else:
            out[width + n :] = np.pad(middle[begin:], (0, width), mode="reflect")[n - begin :]
    return out


def slaney_bank(sampling_rate: int, n_fft: int, bands: int, fmin: float, fmax: float) -> npt.NDArray[np.float64]:
    """Triangular filters (bands, n_fft // 2 + 1), equally spaced on Slaney's mel scale.

    The corners of band m are the mel points m, m + 1 and m + 2; its height is 2 / (its width in Hz), so its area is 1.
    """
    corners = mel_to_hz(np.linspace(hz_to_mel(fmin), hz_to_mel(fmax), bands + 2))
    bins = np.fft.rfftfreq(n_fft, 1 / sampling_rate)
    left, centre, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
    return np.maximum(0, np.minimum(rising, falling)) * 2 / (right - left)


# Slaney's scale is linear below 1 kHz (15 mel, 200/3 Hz each) and logarithmic above (27 steps to a factor of 6.4).
_LINEAR, _KNEE, _STEP = 200 / 3, 1000.0, np.log(6.4) / 27


def hz_to_mel(hz: float) -> float:
    """Frequency in Hz on Slaney's mel scale."""
    return hz / _LINEAR if hz < _KNEE else _KNEE / _LINEAR + float(np.log(hz / _KNEE)) / _STEP


def mel_to_hz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Points of Slaney's mel scale in Hz."""
    knee = _KNEE / _LINEAR
    return np.where(mel < knee, mel * _LINEAR, _KNEE * np.exp(_STEP * (np.maximum(mel, knee) - knee)))


def _peak(signal: Array) -> np.float32 | None:
    """The largest magnitude of a signal; None for silence, which is not to be divided."""
    peak = max(signal.max(), -signal.min())
    return peak if peak > 0 else None


@lru_cache(maxsize=8)
def _hann(length: int) -> npt.NDArray[np.float64]:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)


@lru_cache(maxsize=8)
def _bank(sampling_rate: int, n_fft: int, bands: int, fmin: float, fmax: float) -> Any:
    """The filters as a sparse matrix (bands, n_fft // 2 + 1): a bin belongs to two bands at most."""
    from scipy.sparse import csr_array

    return csr_array(slaney_bank(sampling_rate, n_fft, bands, fmin, fmax))
