"""Noise added at a signal-to-noise ratio: white, pink (as much power in every octave), and babble of other speakers.

The ratio is that of the mean squares over the whole utterance, pauses included, as published tests take it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ...datasets.core.errors import SerbenchError

Array = npt.NDArray[np.float32]


def with_white(signal: Array, rate: int, ratio: float, draw: np.random.Generator) -> Array:
    """A signal (samples,) with white noise at a ratio in dB."""
    return mixed(signal, draw.standard_normal(len(signal)), ratio)


def with_pink(signal: Array, rate: int, ratio: float, draw: np.random.Generator) -> Array:
    """A signal (samples,) with noise whose power falls by 3 dB an octave, at a ratio in dB."""
    from scipy import fft

    count = fft.next_fast_len(len(signal), real=True)
    spectrum = fft.rfft(draw.standard_normal(count))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[0] = 0  # a constant is no sound
    return mixed(signal, fft.irfft(spectrum, count)[: len(signal)], ratio)


def babble(voices: Sequence[Array], count: int, draw: np.random.Generator) -> npt.NDArray[np.float64]:
    """Voices (samples,) that speak together for `count` samples: equally loud, each repeated from some place on."""
    total = np.zeros(count)
    for voice in voices:
        first = int(draw.integers(len(voice)))
        turned = np.take(voice, np.arange(first, first + count), mode="wrap").astype(np.float64)
        total += turned / max(_level(turned), 1e-9)
    return total


def mixed(signal: Array, noise: npt.NDArray[np.float64], ratio: float) -> Array:
    """Signal and noise, (samples,) each, added at a ratio in dB.

    Raises
    ------
    SerbenchError
        For a signal or noise that is silent: it has no ratio.
    """
    speech, loud = _level(signal.astype(np.float64)), _level(noise)
    if not speech or not loud:
        which = "sound" if not speech else "noise"
        raise SerbenchError(f"the {which} is silent, so there is no signal-to-noise ratio. Take its row out.")
    return np.asarray(signal + noise * (speech / loud * 10 ** (-ratio / 20)), dtype=np.float32)


def _level(signal: npt.NDArray[np.float64]) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(signal**2)))
