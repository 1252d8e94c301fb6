"""What channels and recorders do to a signal (samples,): band limits, level, clipping, cut ends, speed, pitch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
LOWEST_HZ = 300.0
"""Lower edge of the telephone band (ITU-T G.712)."""
ORDER = 8


def telephone(signal: Array, rate: int, highest: float, draw: np.random.Generator) -> Array:
    """The band from 300 Hz to `highest` Hz, by a Butterworth filter in both directions, which moves nothing in time.

    At both edges 6 dB are lost; where the rate holds no more than `highest`, only the lower edge is cut.
    """
    from scipy.signal import butter, sosfiltfilt

    edges = (LOWEST_HZ, highest) if highest < 0.49 * rate else LOWEST_HZ
    sections = butter(ORDER, edges, "bandpass" if highest < 0.49 * rate else "highpass", fs=rate, output="sos")
    padding = min(3 * (2 * len(sections) + 1), len(signal) - 1)
    return np.asarray(sosfiltfilt(sections, signal, padlen=padding), dtype=np.float32)


def gain(signal: Array, rate: int, decibels: float, draw: np.random.Generator) -> Array:
    """Louder or softer; what would go beyond full scale is cut off there, as a converter does."""
    return np.asarray(np.clip(signal * 10 ** (decibels / 20), -1, 1), dtype=np.float32)


def clipping(signal: Array, rate: int, percent: float, draw: np.random.Generator) -> Array:
    """The loudest `percent` of the samples are cut off at one magnitude, as by an amplifier that is driven too hard."""
    limit = np.quantile(np.abs(signal), 1 - percent / 100)
    return np.clip(signal, -limit, limit).astype(np.float32)


def silence(signal: Array, rate: int, seconds: float, draw: np.random.Generator) -> Array:
    """The first and the last `seconds` are cut away to silence; the length stays."""
    count = round(seconds * rate)
    out = signal.copy()
    out[:count] = 0
    out[max(len(out) - count, 0) :] = 0
    return out


def speed(signal: Array, rate: int, factor: float, draw: np.random.Generator) -> Array:
    """As a tape that runs so many times as fast: shorter and higher, or longer and lower (Ko et al. 2015)."""
    import soxr

    return np.asarray(soxr.resample(signal, rate * factor, rate, quality="HQ"), dtype=np.float32)


def pitch(signal: Array, rate: int, semitones: float, draw: np.random.Generator) -> Array:
    """Higher or lower by semitones at the same tempo, by librosa's phase vocoder."""
    from librosa.effects import pitch_shift

    return np.asarray(pitch_shift(signal, sr=rate, n_steps=semitones, res_type="soxr_hq"), dtype=np.float32)
