"""Signals of the synthesiser: glottal source, moving formant filter, frication, all per 5 ms frame and vectorised.

Source: glottal flow derivative of Klatt and Klatt (JASA 1990, "KLGLOTT88": t^2 - t^3 over the open phase, then closure
at once), with the closing step band-limited (two-sample polynomial), jitter, shimmer, a one-pole spectral tilt, and
aspiration noise that follows the open phase. Filter: the all-pole cascade of Klatt (JASA 1980); four formants move,
four upper ones stand. It is applied by overlap-add of Hann-windowed pieces of source, each filtered with the control
values at its middle: no state is carried, so nothing clicks where formants move and all frames are computed at once.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.signal

from .phones import noise_spectra

Array = npt.NDArray[np.float32]
RATE = 16000
HOP = 80
"""Samples of a frame: control values change every 5 ms."""
_FFT = 6 * HOP
"""A piece of two hops, and 20 ms for the filter to ring."""
_FREQUENCIES: npt.NDArray[np.float64] = np.fft.rfftfreq(_FFT, 1.0 / RATE).astype(np.float64)
_TWO_PI = np.float32(2.0 * math.pi / RATE)


def glottal_source(
    pitch: npt.NDArray[np.float64],
    voicing: Array,
    aspiration: Array,
    *,
    tilt: float,
    breath: float,
    roughness: float,
    rng: np.random.Generator,
) -> Array:
    """Glottal flow derivative with noise.

    Parameters
    ----------
    pitch, voicing, aspiration : per frame: Hz, amplitude of voicing, amplitude of noise without voicing
    tilt : pole of the tilt filter, 0 .. 1; the larger, the softer the voice and the longer the glottis stays open
    breath : amplitude of the noise that comes with voicing
    roughness : standard deviation of period lengths (jitter); amplitudes vary three times as much (shimmer)

    Returns
    -------
    array, (frame * HOP,)
    """
    step = np.repeat(pitch, HOP) / RATE
    periods = np.cumsum(step).astype(np.int64)
    step *= (1.0 + roughness * rng.standard_normal(int(periods[-1]) + 1))[periods]
    phase = np.cumsum(step)
    periods = phase.astype(np.int64)
    phase -= periods
    shimmer = 1.0 + 3.0 * roughness * rng.standard_normal(int(periods[-1]) + 1)
    opening = 0.45 + 0.4 * tilt
    x = phase / opening
    opened = x < 1.0
    pulse = np.where(opened, x * (2.0 - 3.0 * x), 0.0) + _band_limited_step((phase - opening) / step)
    flow = np.where(opened, 6.75 * x * x * (1.0 - x), 0.0)
    voice = ramp(voicing)
    voiced = scipy.signal.lfilter([1.0 - tilt], [1.0, -tilt], pulse * shimmer[periods] * voice)
    noise = rng.standard_normal(len(x), dtype=np.float32) * (breath * voice * (0.3 + 0.7 * flow) + ramp(aspiration))
    source: Array = (voiced + noise).astype(np.float32)
    return source


def _band_limited_step(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What a step of height 1 at distance 0 (in samples) lacks to be smooth over the two samples beside it."""
    out = np.zeros_like(distance)
    near = np.flatnonzero(np.abs(distance) < 1.0)
    d = distance[near]
    out[near] = 0.5 * np.where(d < 0.0, (1.0 + d) ** 2, -((1.0 - d) ** 2))
    return out


def filter_source(
    source: Array,
    formants: Array,
    bandwidths: Array,
    noise: Array,
    spectrum: npt.NDArray[np.int64],
    tract: float,
    rng: np.random.Generator,
) -> Array:
    """Send a source through the tract and add frication.

    Parameters
    ----------
    source : (frame * HOP,)
    formants, bandwidths : (frame, 4) in Hz
    noise, spectrum : (frame,) amplitude of frication, and which of the `noise_spectra` shapes it
    tract : formant scale of the speaker, for the parts that don't move

    Returns
    -------
    array, (frame * HOP,)
    """
    sound = scipy.fft.rfft(_pieces(source), _FFT)
    sound *= _cascade(_borders(formants), _borders(bandwidths))
    sound *= _upper_formants(tract)
    hiss = rng.standard_normal(len(noise) * HOP, dtype=np.float32) * ramp(noise)
    active = np.flatnonzero(_borders(noise) > 0.0)
    shapes = noise_spectra(_FREQUENCIES, tract)[np.append(spectrum, spectrum[-1])[active]]
    sound[active] += scipy.fft.rfft(_pieces(hiss)[active], _FFT) * shapes
    return _overlap_add(scipy.fft.irfft(sound, _FFT), len(noise))


def _cascade(formants: Array, bandwidths: Array) -> npt.NDArray[np.complex64]:
    """Frequency response of resonators in a row, from (piece, formant) tables in Hz: (piece, frequency), 1 at 0 Hz."""
    radius = np.exp(-0.5 * _TWO_PI * bandwidths)
    first = -2.0 * radius * np.cos(_TWO_PI * formants)
    polynomial = np.ones((len(formants), 1), np.float32)
    for k in range(formants.shape[1]):
        longer = np.pad(polynomial, ((0, 0), (0, 2)))
        longer[:, 1:-1] += first[:, k : k + 1] * polynomial
        longer[:, 2:] += radius[:, k : k + 1] ** 2 * polynomial
        polynomial = longer
    response: npt.NDArray[np.complex64] = polynomial.sum(axis=1, keepdims=True) / scipy.fft.rfft(polynomial, _FFT)
    return response


def _upper_formants(tract: float) -> npt.NDArray[np.complex64]:
    """Frequency response of the resonators above F4, (frequency,)."""
    centres = np.array([4500.0, 5500.0, 6500.0, 7500.0]) * (0.5 + 0.5 * tract)
    table = centres[None, centres < 0.48 * RATE].astype(np.float32)
    response: npt.NDArray[np.complex64] = _cascade(table, np.full_like(table, 350.0))[0]
    return response


def _pieces(signal: Array) -> Array:
    """Hann-windowed pieces of two hops around each frame border, (frame + 1, 2 * HOP); they add up to the signal."""
    padded = np.pad(signal, HOP)
    window = scipy.signal.get_window("hann", 2 * HOP).astype(np.float32)
    pieces: Array = np.lib.stride_tricks.sliding_window_view(padded, 2 * HOP)[::HOP] * window
    return pieces


def _overlap_add(pieces: Array, frames: int) -> Array:
    """Inverse of `_pieces` for pieces with filter tails, (frame * HOP,)."""
    blocks = pieces.reshape(len(pieces), -1, HOP)
    out: Array = np.zeros((len(pieces) + blocks.shape[1], HOP), np.float32)
    for k in range(blocks.shape[1]):
        out[k : k + len(pieces)] += blocks[:, k]
    signal: Array = out[1 : frames + 1].reshape(-1)
    return signal


def ramp(track: Array) -> Array:
    """Frame values to samples, linear from border to border, (frame * HOP,)."""
    borders = _borders(track)
    steps = np.arange(HOP, dtype=np.float32) / np.float32(HOP)
    samples: Array = (borders[:-1, None] + np.diff(borders)[:, None] * steps).reshape(-1)
    return samples


def _borders(track: Array) -> Array:
    """Mean of the two frames at each border, the first and last value at the ends, (frame + 1, ...)."""
    padded = np.concatenate([track[:1], track, track[-1:]])
    means: Array = np.float32(0.5) * (padded[:-1] + padded[1:])
    return means


def smooth(track: npt.NDArray[np.float64], width: int) -> npt.NDArray[np.float64]:
    """Moving average with a raised-cosine window of `width` (odd) frames along the first axis, ends held."""
    kernel = np.hanning(width + 2)[1:-1]
    half = width // 2
    padded = np.pad(track, [(half, half)] + [(0, 0)] * (track.ndim - 1), mode="edge")
    views = np.lib.stride_tricks.sliding_window_view(padded, width, axis=0)
    smoothed: npt.NDArray[np.float64] = views @ (kernel / kernel.sum())
    return smoothed


def room_noise(samples: int, level: float, rng: np.random.Generator) -> Array:
    """Quiet noise that falls with frequency, root mean square `level` in dBFS, (sample,)."""
    pole = 0.7
    gain = 10.0 ** (level / 20.0) * math.sqrt(1.0 - pole * pole)
    white = rng.standard_normal(samples, dtype=np.float32)
    noise: Array = (gain * scipy.signal.lfilter([1.0], [1.0, -pole], white)).astype(np.float32)
    return noise


def set_level(signal: Array, level: float) -> Array:
    """Scale to a root mean square in dBFS, less where the peak would pass 0.95; silence stays silence."""
    peak = float(np.abs(signal).max(initial=0.0))
    if peak == 0.0:
        return signal
    power = float(np.sqrt(np.mean(np.square(signal, dtype=np.float64))))
    scaled: Array = (signal * min(10.0 ** (level / 20.0) / power, 0.95 / peak)).astype(np.float32)
    return scaled
