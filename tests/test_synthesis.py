"""The synthesiser against scipy's recursive filters and librosa's pitch tracker; babble's contract; the lexicon."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import scipy.signal

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.demo.babble import lexicon
from serbench.datasets.voice.phones import PHONES
from serbench.datasets.voice.synthesis import babble
from serbench.datasets.voice.vocal_tract import HOP, RATE, filter_source, glottal_source


def decibel(x: np.ndarray) -> float:
    return float(10.0 * np.log10(np.mean(np.square(x)) + 1e-12))


def constant(frames: int, *values: float) -> np.ndarray:
    return np.tile(np.array(values, np.float32), (frames, 1))


def test_the_filter_is_the_cascade_of_resonators() -> None:
    """Constant formants: the same as scipy's recursive filter, four moving resonators and the fixed upper ones."""
    frames, formants, bandwidths = 100, (700.0, 1220.0, 2600.0, 3300.0), (90.0, 110.0, 170.0, 250.0)
    rng = np.random.default_rng(5)
    source = rng.standard_normal(frames * HOP).astype(np.float32)
    silent, flat = np.zeros(frames, np.float32), np.zeros(frames, np.int64)
    made = filter_source(source, constant(frames, *formants), constant(frames, *bandwidths), silent, flat, 1.0, rng)
    expected = source.astype(np.float64)
    for centre, width in [*zip(formants, bandwidths, strict=True), *((f, 350.0) for f in (4500, 5500, 6500, 7500))]:
        radius = np.exp(-np.pi * width / RATE)
        a = [1.0, -2.0 * radius * np.cos(2.0 * np.pi * centre / RATE), radius**2]
        expected = scipy.signal.lfilter([sum(a)], a, expected)
    inside = slice(4 * HOP, -4 * HOP)
    # what a resonance of 90 Hz still rings after 20 ms (-49 dB) is folded back
    assert decibel(made[inside] - expected[inside]) < decibel(expected[inside]) - 35.0


@pytest.mark.parametrize("pitch", [90.0, 140.0, 260.0, 410.0])
def test_the_source_has_its_pitch_and_little_else_between_the_harmonics(pitch: float) -> None:
    frames = 400
    source = glottal_source(
        np.full(frames, pitch),
        np.ones(frames, np.float32),
        np.zeros(frames, np.float32),
        tilt=0.5,
        breath=0.0,
        roughness=0.0,
        rng=np.random.default_rng(1),
    )
    measured = librosa.yin(source, fmin=60, fmax=500, sr=RATE, frame_length=2048)
    assert np.median(measured) == pytest.approx(pitch, rel=0.01)
    spectrum = np.abs(np.fft.rfft(source * np.blackman(len(source)))) ** 2
    frequency = np.fft.rfftfreq(len(source), 1.0 / RATE)
    harmonic = np.abs(frequency / pitch - np.rint(frequency / pitch)) * pitch < 3.0
    audible = frequency < 5000.0
    assert spectrum[audible & ~harmonic].sum() < 1e-3 * spectrum[audible & harmonic].sum()


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("seconds", [0.01, 0.5, 1.2345, 7.0])
def test_babble_has_exactly_the_length_that_was_asked_for(seconds: float, rate: int) -> None:
    signal = babble(seconds, 3, sampling_rate=rate)
    assert signal.shape == (round(seconds * rate),)
    assert signal.dtype == np.float32
    assert np.abs(signal).max() <= 1.0


def test_babble_is_a_function_of_its_arguments() -> None:
    twice = [babble(1.0, 4, gender="male", arousal=0.5) for _ in range(2)]
    np.testing.assert_array_equal(*twice)
    assert not np.array_equal(babble(1.0, 4), babble(1.0, 5))


def test_babble_shows_gender_and_arousal() -> None:
    def pitch(signal: np.ndarray) -> float:
        return float(np.median(librosa.yin(signal, fmin=60, fmax=500, sr=16000)))

    women = [pitch(babble(2.0, seed, gender="female")) for seed in range(6)]
    men = [pitch(babble(2.0, seed, gender="male")) for seed in range(6)]
    assert 150 < np.median(women) < 280
    assert 85 < np.median(men) < 150
    excited = [babble(2.0, seed, arousal=0.9) for seed in range(6)]
    calm = [babble(2.0, seed, arousal=-0.9) for seed in range(6)]
    assert np.mean([decibel(x) for x in excited]) > np.mean([decibel(x) for x in calm]) + 4.0
    assert np.mean([pitch(x) for x in excited]) > np.mean([pitch(x) for x in calm]) + 10.0
    assert all(-32.0 < decibel(x) < -14.0 for x in (*excited, *calm))


def test_babble_refuses_what_it_cannot_say() -> None:
    with pytest.raises(SerbenchError, match="Expected 'female' or 'male'"):
        babble(1.0, 1, gender="robot")
    with pytest.raises(SerbenchError, match="Expected both above 0"):
        babble(0.0, 1)


def test_the_lexicon_is_word_like() -> None:
    words = lexicon().words
    assert len({w.text for w in words}) == len(words) == len({w.phones for w in words})
    assert all(w.text.isascii() and w.text.islower() and w.text.isalpha() for w in words)
    assert all(any(PHONES[p].vowel for p in w.phones) for w in words)
    assert all(w.stress == -1 or PHONES[w.phones[w.stress]].vowel for w in words)
    assert {w.valence > 0 for w in lexicon().pleasant} == {w.valence < 0 for w in lexicon().unpleasant} == {True}
