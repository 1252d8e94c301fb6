"""A small source-filter synthesiser: phones and a delivery in, speech-like babble out.

A `Score` says which phones follow each other and for how long, a `Voice` whose they are, a `Delivery` how they are
said. From the three come control tracks every 5 ms: formants that run into each other (coarticulation), amplitudes of
voicing, breath and frication, and pitch with declination, accents and a final movement. `voice/vocal_tract.py` turns
the tracks into a signal. `express` is the one place where feelings become sound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.signal

from ..core.errors import SerbenchError
from .phones import PAUSE, PHONES, SPECTRA
from .vocal_tract import HOP, RATE, Array, filter_source, glottal_source, room_noise, set_level, smooth


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


def express(
    arousal: float, valence: float, dominance: float, weights: npt.NDArray[np.float64] | None = None
) -> Delivery:
    """How an affective state sounds (each about -1 to 1); `weights` scale the nine cues, in the order of the fields."""
    a, v, d = arousal, valence, dominance
    w = np.ones(9) if weights is None else weights
    return Delivery(
        pitch=w[0] * (2.8 * a - 1.2 * d),
        range=math.exp(w[1] * (0.35 * a + 0.2 * v)),
        rate=math.exp(w[2] * 0.16 * a),
        level=-22.5 + w[3] * (2.8 * a + 1.0 * d),
        tilt=w[4] * (-0.16 * a - 0.12 * d),
        breath=math.exp(w[5] * (-0.5 * a - 0.5 * d)),
        final=-2.5 + w[6] * (-1.5 * d + 1.2 * v),
        mouth=math.exp(w[7] * 0.06 * a),
        smile=math.exp(w[8] * 0.04 * v),
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
    tracks = _tracks(score, speaker, delivery)
    source = glottal_source(
        _pitch(score, speaker, delivery, rng),
        tracks.voice,
        tracks.breath,
        tilt=float(np.clip(speaker.tilt + delivery.tilt, 0.1, 0.93)),
        breath=speaker.breath * delivery.breath,
        roughness=speaker.roughness * delivery.breath**0.25,
        rng=rng,
    )
    signal = filter_source(
        source, tracks.formants, tracks.bandwidths, tracks.noise, tracks.spectrum, speaker.tract, rng
    )
    return set_level(signal, delivery.level)


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
    signal = np.pad(signal, (0, max(0, size - len(signal))))[:size] + room_noise(size, -70.0, rng)
    return np.clip(signal, -1.0, 1.0)


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
        targets = _context_formants(score.phones, i) if name in ("h", PAUSE) else phone.formants
        edges = np.rint(np.cumsum([0.0, *(part.share for part in phone.parts)]) * frames).astype(int)
        for part, length in zip(phone.parts, np.diff(edges), strict=True):
            rows.append((part.voice, part.breath, part.noise, SPECTRA.index(phone.spectrum), phone.damping, *targets))
            lengths.append(length)
    table = np.repeat(np.array(rows), lengths, axis=0)
    shift = speaker.tract * np.array([delivery.mouth, delivery.smile, delivery.smile, 1.0])
    formants = smooth(table[:, 5:], 13) * shift
    bandwidths = (np.array([70.0, 90.0, 140.0, 220.0]) + 0.02 * formants) * smooth(table[:, 4:5], 7)
    gain = _loudness(score)
    return _Tracks(
        voice=(gain * smooth(table[:, 0], 7)).astype(np.float32),
        breath=(0.1 * gain * smooth(table[:, 1], 5)).astype(np.float32),
        noise=(0.25 * gain * smooth(table[:, 2], 3)).astype(np.float32),
        spectrum=table[:, 3].astype(np.int64),
        formants=formants.astype(np.float32),
        bandwidths=bandwidths.astype(np.float32),
    )


def _loudness(score: Score) -> npt.NDArray[np.float64]:
    """Linear gain per frame: stressed vowels 2.5 dB up, 3 dB down over the utterance, the last sound fades."""
    decibel = np.repeat(np.where(score.stressed, 2.5, 0.0), score.frames)
    decibel = smooth(decibel, 15) - 3.0 * np.linspace(0.0, 1.0, len(decibel))
    gain: npt.NDArray[np.float64] = 10.0 ** (decibel / 20.0)
    sounding = [i for i, p in enumerate(score.phones) if p != PAUSE]
    if sounding:
        end = int(score.frames[: sounding[-1] + 1].sum())
        fade = min(int(score.frames[sounding[-1]]), 16)
        gain[end - fade : end] *= np.cos(np.linspace(0.0, 1.4, fade))
        gain[end:] *= 0.17
    return gain


def _context_formants(phones: Sequence[str], position: int) -> tuple[float, float, float, float]:
    """/h/ and silence take the tract shape of the next vowel, or of the last one."""
    for name in (*phones[position + 1 :], *reversed(phones[:position])):
        if PHONES[name].vowel:
            return PHONES[name].formants
    return PHONES["@"].formants


def _pitch(score: Score, speaker: Voice, delivery: Delivery, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Pitch per frame in Hz: declination, an accent on each stressed vowel, a final movement, slow drift."""
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
    semitones += smooth(rng.normal(0.0, 1.2, n), 31)
    hertz: npt.NDArray[np.float64] = speaker.pitch * 2.0 ** (semitones / 12.0)
    return hertz.clip(55.0, 600.0)
