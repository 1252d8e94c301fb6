"""A small source-filter synthesiser: phones and a delivery in, speech-like babble out.

Source: glottal flow derivative of Klatt and Klatt (JASA 1990, "KLGLOTT88": a parabola-cubic open phase, closure at
once), its closing step band-limited, with jitter, shimmer, a one-pole spectral tilt and aspiration noise that follows
the open phase. Filter: the cascade of Klatt (JASA 1980), four formants that move from phone to phone and four fixed
upper ones; frication bypasses it. Control values change every 5 ms; the filter is applied by overlap-add of
short windowed pieces of source in the frequency domain, which vectorises where a recursive filter would not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.signal

from ._errors import SerbenchError
from ._phones import PAUSE, PHONES, SPECTRA, noise_spectra

Array = npt.NDArray[np.float32]
RATE = 16000
HOP = 80
"""Samples between two control values (5 ms)."""
_FFT = 6 * HOP
_FREQUENCIES = np.fft.rfftfreq(_FFT, 1.0 / RATE)


@dataclass(frozen=True)
class Voice:
    """A speaker's body: pitch in Hz, formant scale against the male reference, tilt and breath of the relaxed voice."""

    gender: str
    pitch: float
    tract: float
    tilt: float = 0.6
    breath: float = 0.03
    roughness: float = 0.01


@dataclass(frozen=True)
class Delivery:
    """How something is said, relative to the relaxed voice.

    Attributes
    ----------
    pitch : shift of the pitch level in semitones
    range : factor on the size of pitch movements
    rate : factor on the speed
    level : loudness of the speech in dBFS (root mean square over the whole signal)
    tilt : added to the pole of the tilt filter; larger is softer
    breath : factor on aspiration
    final : pitch movement on the last syllable in semitones
    mouth, smile : factors on F1, and on F2 and F3
    """

    pitch: float = 0.0
    range: float = 1.0
    rate: float = 1.0
    level: float = -22.0
    tilt: float = 0.0
    breath: float = 1.0
    final: float = -3.0
    mouth: float = 1.0
    smile: float = 1.0


def voice(gender: str, rng: np.random.Generator) -> Voice:
    """Draw a speaker: adult pitch and vocal-tract length of that gender, and a voice quality."""
    pitch, tract = (205.0, 1.15) if gender == "female" else (115.0, 1.0)
    return Voice(
        gender=gender,
        pitch=pitch * 2.0 ** (rng.uniform(-3.0, 3.0) / 12.0),
        tract=tract * rng.uniform(0.95, 1.05),
        tilt=rng.uniform(0.5, 0.7),
        breath=rng.uniform(0.02, 0.05),
        roughness=rng.uniform(0.006, 0.014),
    )


def express(arousal: float, valence: float, dominance: float, weights: npt.NDArray[np.float64] | None = None) -> Delivery:
    """The delivery of an affective state (each about -1 to 1); `weights` scale the nine cues in the order of the fields."""
    a, v, d = arousal, valence, dominance
    w = np.ones(9) if weights is None else weights
    return Delivery(
        pitch=w[0] * (3.0 * a - 1.2 * d),
        range=math.exp(w[1] * (0.5 * a + 0.2 * v)),
        rate=math.exp(w[2] * 0.16 * a),
        level=-23.0 + w[3] * (3.5 * a + 2.0 * d),
        tilt=w[4] * (-0.16 * a - 0.12 * d),
        breath=math.exp(w[5] * (-0.5 * a - 0.7 * d)),
        final=-2.5 + w[6] * (-1.5 * d + 1.0 * v),
        mouth=math.exp(w[7] * 0.06 * a),
        smile=math.exp(w[8] * 0.025 * v),
    )


@dataclass(frozen=True)
class Score:
    """What is to be said and when: phones with their durations in frames of 5 ms, and which vowels are stressed."""

    phones: tuple[str, ...]
    frames: npt.NDArray[np.int64]
    stressed: npt.NDArray[np.bool_]

    @property
    def seconds(self) -> float:
        """Length of the signal."""
        return int(self.frames.sum()) * HOP / RATE


def timing(
    phones: Sequence[str], stressed: Sequence[bool], rate: float, rng: np.random.Generator, final: float = 1.45
) -> Score:
    """Give each phone its duration: intrinsic, times stress, final lengthening (last three phones), chance and rate."""
    seconds = np.array([PHONES[p].seconds for p in phones])
    accents = np.array(stressed, dtype=bool)
    seconds = seconds * np.where(accents, 1.25, 1.0) * np.exp(rng.normal(0.0, 0.12, len(seconds))) / rate
    voiced = [i for i, p in enumerate(phones) if p != PAUSE]
    seconds[voiced[-3:]] *= final
    return Score(tuple(phones), np.maximum(np.rint(seconds * RATE / HOP), 3).astype(np.int64), accents)


def synthesise(score: Score, speaker: Voice, delivery: Delivery, rng: np.random.Generator) -> Array:
    """Speak a score.

    Returns
    -------
    array, (sample,) float32 at 16 kHz, of `score.seconds` length, within -0.95 .. 0.95
    """
    n = int(score.frames.sum())
    tracks = _tracks(score, speaker, delivery)
    pitch = _pitch(score, speaker, delivery, rng)
    source = _source(pitch, tracks, speaker, delivery, rng)
    spectrum = scipy.fft.rfft(_pieces(source), _FFT)
    spectrum *= _cascade(tracks.formants, tracks.bandwidths)
    spectrum *= _upper_formants(speaker.tract)
    _add_frication(spectrum, tracks, speaker, rng)
    signal = _overlap_add(scipy.fft.irfft(spectrum, _FFT), n)
    return _set_level(signal, delivery.level)


def babble(
    seconds: float,
    seed: int,
    *,
    gender: str = "female",
    arousal: float = 0.0,
    valence: float = 0.0,
    sampling_rate: int = RATE,
) -> Array:
    """Speech-like babble of an exact length: random syllables by a random speaker of that gender.

    Parameters
    ----------
    seconds : length; the result has exactly round(seconds * sampling_rate) samples
    seed : the same arguments give the same samples
    gender : "female" or "male"
    arousal, valence : -1 .. 1; change pitch, its range, rate, level, tilt, breathiness and formants

    Returns
    -------
    array, (sample,) float32 in -1 .. 1
    """
    if gender not in ("female", "male"):
        raise SerbenchError(f"babble was given gender={gender!r}. Expected 'female' or 'male'.")
    if not seconds > 0 or sampling_rate < 1:
        raise SerbenchError(f"babble was given {seconds} s at {sampling_rate} Hz. Expected both above 0.")
    rng = np.random.default_rng((int(seed), 7))
    speaker = voice(gender, rng)
    delivery = express(arousal, valence, arousal)
    total = max(3, math.ceil(seconds * RATE / HOP))
    signal = synthesise(_random_score(total, delivery.rate, rng), speaker, delivery, rng)
    if sampling_rate != RATE:
        common = math.gcd(sampling_rate, RATE)
        signal = scipy.signal.resample_poly(signal, sampling_rate // common, RATE // common).astype(np.float32)
    size = round(seconds * sampling_rate)
    return np.clip(np.pad(signal, (0, max(0, size - len(signal))))[:size], -1.0, 1.0)


def _random_score(total: int, rate: float, rng: np.random.Generator) -> Score:
    """Random syllables with a pause now and then, fitted to `total` frames."""
    onsets, vowels, codas = "ptkbdgmnlrsxfvzhwj", "aeiouy@", "nmlrst"
    phones: list[str] = [PAUSE]
    stressed: list[bool] = [False]
    expected = 0.0
    while expected < total * HOP / RATE:
        accent = bool(rng.random() < 0.4)
        syllable = onsets[rng.integers(len(onsets))] + vowels[rng.integers(len(vowels))]
        syllable += codas[rng.integers(len(codas))] if rng.random() < 0.3 else ""
        syllable += PAUSE if rng.random() < 0.1 else ""
        phones += syllable
        stressed += [accent and PHONES[p].vowel for p in syllable]
        expected += sum(PHONES[p].seconds for p in syllable) / rate
    score = timing([*phones, PAUSE], [*stressed, False], rate, rng)
    edges = np.rint(np.cumsum(score.frames) * total / score.frames.sum()).astype(np.int64)
    return replace(score, frames=np.diff(edges, prepend=0))


@dataclass(frozen=True)
class _Tracks:
    """Control values per frame (frame,), formants and bandwidths (frame, 4) in Hz, spectrum index of the frication."""

    voice: Array
    breath: Array
    noise: Array
    spectrum: npt.NDArray[np.int64]
    formants: Array
    bandwidths: Array


def _tracks(score: Score, speaker: Voice, delivery: Delivery) -> _Tracks:
    """Spread the phones' targets over their frames and let neighbours run into each other (coarticulation)."""
    rows, lengths = [], []
    for i, (name, frames) in enumerate(zip(score.phones, score.frames, strict=True)):
        phone = PHONES[name]
        formants = _context_formants(score.phones, i) if name in ("h", PAUSE) else phone.formants
        edges = np.rint(np.cumsum([0.0, *(part.share for part in phone.parts)]) * frames).astype(int)
        for part, length in zip(phone.parts, np.diff(edges), strict=True):
            rows.append((part.voice, part.breath, part.noise, SPECTRA.index(phone.spectrum), phone.damping, *formants))
            lengths.append(length)
    table = np.repeat(np.array(rows), lengths, axis=0)
    shift = speaker.tract * np.array([delivery.mouth, delivery.smile, delivery.smile, 1.0])
    formants = _smooth(table[:, 5:], 13) * shift
    bandwidths = (np.array([70.0, 90.0, 140.0, 220.0]) + 0.02 * formants) * _smooth(table[:, 4:5], 7)
    return _Tracks(
        voice=_smooth(table[:, 0], 7).astype(np.float32),
        breath=_smooth(table[:, 1], 5).astype(np.float32),
        noise=_smooth(table[:, 2], 3).astype(np.float32),
        spectrum=table[:, 3].astype(np.int64),
        formants=formants.astype(np.float32),
        bandwidths=bandwidths.astype(np.float32),
    )


def _context_formants(phones: Sequence[str], position: int) -> tuple[float, float, float, float]:
    """/h/ and silence take the tract shape of the next vowel, or of the last one."""
    for name in (*phones[position + 1 :], *reversed(phones[:position])):
        if PHONES[name].vowel:
            return PHONES[name].formants
    return PHONES["@"].formants


def _pitch(score: Score, speaker: Voice, delivery: Delivery, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Fundamental frequency per frame in Hz: declination, an accent on each stressed vowel, a final movement, slow drift."""
    n = int(score.frames.sum())
    time = np.arange(n) * HOP / RATE
    ends = np.cumsum(score.frames) * HOP / RATE
    centres = ends - 0.5 * score.frames * HOP / RATE
    semitones = -1.5 * (time / max(time[-1], 0.1) - 0.5)
    for centre in centres[score.stressed]:
        semitones += rng.uniform(1.0, 3.0) * np.exp(-0.5 * ((time - centre) / 0.075) ** 2)
    vowels = centres[[PHONES[p].vowel for p in score.phones]]
    if len(vowels):
        semitones += delivery.final / (1.0 + np.exp(-(time - vowels[-1]) / 0.04))
    semitones = semitones * delivery.range + delivery.pitch
    semitones += _smooth(rng.normal(0.0, 1.2, n), 31)
    return np.clip(speaker.pitch * 2.0 ** (semitones / 12.0), 55.0, 600.0)


def _source(
    pitch: npt.NDArray[np.float64], tracks: _Tracks, speaker: Voice, delivery: Delivery, rng: np.random.Generator
) -> Array:
    """Glottal flow derivative with tilt and aspiration noise, (sample,)."""
    f0 = np.repeat(pitch, HOP) / RATE
    cycles = np.cumsum(f0).astype(np.int64)
    rough = speaker.roughness * delivery.range
    f0 *= (1.0 + rough * rng.standard_normal(int(cycles[-1]) + 2))[cycles]
    phase = np.cumsum(f0)
    cycles = phase.astype(np.int64)
    phase -= cycles
    shimmer = (1.0 + 3.0 * rough * rng.standard_normal(int(cycles[-1]) + 2))[cycles]
    tilt = float(np.clip(speaker.tilt + delivery.tilt, 0.1, 0.93))
    opening = 0.45 + 0.4 * tilt
    x = phase / opening
    pulse = np.where(x < 1.0, x * (2.0 - 3.0 * x), 0.0) + _closing_step((phase - opening) / f0)
    flow = np.where(x < 1.0, 6.75 * x * x * (1.0 - x), 0.0)
    voiced = scipy.signal.lfilter([1.0 - tilt], [1.0, -tilt], pulse * shimmer * _ramp(tracks.voice))
    noise = rng.standard_normal(len(x), dtype=np.float32)
    breath = speaker.breath * delivery.breath * _ramp(tracks.voice) * (0.3 + 0.7 * flow) + 0.1 * _ramp(tracks.breath)
    return (voiced + noise * breath).astype(np.float32)


def _closing_step(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Two-sample polynomial correction that band-limits the step of height 1 at distance 0 (in samples)."""
    after = np.where((distance >= 0) & (distance < 1), -0.5 * (1.0 - distance) ** 2, 0.0)
    return after + np.where((distance > -1) & (distance < 0), 0.5 * (1.0 + distance) ** 2, 0.0)


def _cascade(formants: Array, bandwidths: Array) -> npt.NDArray[np.complex64]:
    """Frequency response of the moving resonators at each frame border, (frame + 1, frequency), 1 at 0 Hz."""
    formants, bandwidths = _borders(formants), _borders(bandwidths)
    radius = np.exp(-math.pi * bandwidths / RATE)
    first = -2.0 * radius * np.cos(2.0 * math.pi * formants / RATE)
    polynomial = np.ones((len(formants), 1), np.float32)
    for k in range(formants.shape[1]):
        longer = np.pad(polynomial, ((0, 0), (0, 2)))
        longer[:, 1:-1] += first[:, k : k + 1] * polynomial
        longer[:, 2:] += radius[:, k : k + 1] ** 2 * polynomial
        polynomial = longer
    response: npt.NDArray[np.complex64] = polynomial.sum(axis=1, keepdims=True) / scipy.fft.rfft(polynomial, _FFT)
    return response


def _upper_formants(tract: float) -> npt.NDArray[np.complex64]:
    """Frequency response of the fixed resonators above F4, (frequency,)."""
    centres = np.array([4500.0, 5500.0, 6500.0, 7500.0]) * (0.5 + 0.5 * tract)
    centres = centres[centres < 0.48 * RATE]
    table = np.repeat(centres[None].astype(np.float32), 1, axis=0)
    return _cascade(table, np.full_like(table, 350.0))[0]


def _add_frication(
    spectrum: npt.NDArray[np.complex64], tracks: _Tracks, speaker: Voice, rng: np.random.Generator
) -> None:
    """Add fricative and burst noise, shaped by each frame's spectrum, to the pieces that have any."""
    noise = rng.standard_normal(len(tracks.noise) * HOP, dtype=np.float32) * _ramp(tracks.noise)
    active = np.flatnonzero(_borders(tracks.noise) > 0)
    shapes = noise_spectra(_FREQUENCIES, speaker.tract)
    index = np.append(tracks.spectrum, tracks.spectrum[-1])[active]
    spectrum[active] += scipy.fft.rfft(_pieces(noise)[active], _FFT) * (0.25 * shapes[index])


def _pieces(signal: Array) -> Array:
    """Hann-windowed pieces of two hops around each frame border, (frame + 1, 2 * HOP); they add up to the signal."""
    padded = np.pad(signal, HOP)
    window = scipy.signal.get_window("hann", 2 * HOP).astype(np.float32)
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * HOP)[::HOP] * window


def _overlap_add(pieces: Array, frames: int) -> Array:
    """Inverse of `_pieces` for pieces with filter tails, (frame * HOP,)."""
    blocks = pieces.reshape(len(pieces), -1, HOP)
    out = np.zeros((len(pieces) + blocks.shape[1], HOP), np.float32)
    for k in range(blocks.shape[1]):
        out[k : k + len(pieces)] += blocks[:, k]
    return out[1 : frames + 1].reshape(-1)


def _ramp(track: Array) -> Array:
    """Frame values to samples, linear between frame centres, (frame * HOP,)."""
    borders = _borders(track)
    steps = np.arange(HOP, dtype=np.float32) / HOP
    return (borders[:-1, None] + np.diff(borders)[:, None] * steps).reshape(-1)


def _borders(track: Array) -> Array:
    """Mean of the two frames at each border, the first and last value at the ends, (frame + 1, ...)."""
    padded = np.concatenate([track[:1], track, track[-1:]])
    return 0.5 * (padded[:-1] + padded[1:])


def _smooth(track: npt.NDArray[np.float64], width: int) -> npt.NDArray[np.float64]:
    """Moving average with a raised-cosine window of `width` frames along the first axis, ends held."""
    kernel = np.hanning(width + 2)[1:-1]
    half = width // 2
    padded = np.pad(track, [(half, half)] + [(0, 0)] * (track.ndim - 1), mode="edge")
    views = np.lib.stride_tricks.sliding_window_view(padded, width, axis=0)
    smoothed: npt.NDArray[np.float64] = views @ (kernel / kernel.sum())
    return smoothed


def _set_level(signal: Array, level: float) -> Array:
    """Scale to a root mean square in dBFS, less where the peak would pass 0.95."""
    power = float(np.sqrt(np.mean(np.square(signal, dtype=np.float64))))
    peak = float(np.abs(signal).max())
    if peak <= 0.0:
        return signal
    return (signal * min(10.0 ** (level / 20.0) / power, 0.95 / peak)).astype(np.float32)
