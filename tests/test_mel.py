"""The mel spectrogram: against librosa, a second writing of the equations, and the authors' own frame counts."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serbench.datasets.core.errors import SerbenchError
from serbench.features.core.audio import read_audio
from serbench.features.core.feature_extractor import FeatureRequest, build
from serbench.features.mel import Config, Extractor, pad, slaney_bank

librosa = pytest.importorskip("librosa")


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


def by_librosa(signal: np.ndarray, **changes: Any) -> np.ndarray:
    """What the released code computes."""
    settings = {"sr": 16000, "n_fft": 512, "hop_length": 256, "pad_mode": "reflect"} | changes
    return librosa.feature.melspectrogram(y=signal / np.abs(signal).max(), **settings).T


def relative(got: np.ndarray, truth: np.ndarray) -> float:
    """Largest relative difference of one value, however small the value."""
    assert got.shape == truth.shape
    return float((np.abs(got - truth) / np.abs(truth)).max())


@pytest.mark.parametrize("samples", [10, 100, 255, 256, 257, 258, 511, 512, 513, 767, 768, 769, 4000, 33333, 70000])
def test_equals_librosa_in_double_precision(samples: int) -> None:
    signal = noise(samples)
    normalised = (signal / np.abs(signal).max()).astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # librosa finds signals of less than a frame strange
        truth = librosa.feature.melspectrogram(y=normalised, sr=16000, n_fft=512, hop_length=256, pad_mode="reflect").T
    got = build("mel").extract(signal)
    assert got.dtype == np.float32
    assert got.shape == (1 + samples // 256, 128)
    assert relative(got, truth) < 1e-6  # rounding to float32 is 6e-8


@pytest.mark.parametrize(("n_fft", "hop"), [(512, 256), (512, 128), (512, 300), (400, 160), (64, 63), (513, 257)])
def test_equals_librosa_at_every_length(n_fft: int, hop: int) -> None:
    settings = (("n_fft", str(n_fft)), ("hop", str(hop)), ("bands", "12"), ("peak_normalise", "false"))
    extractor = build(FeatureRequest("mel", settings))
    for samples in (*range(n_fft // 2 + 1, 3 * n_fft, 17), 2 * hop, 3 * hop, 7 * hop, 7 * hop + 1, 7 * hop - 1):
        signal = noise(samples)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            truth = librosa.feature.melspectrogram(
                y=signal.astype(np.float64), sr=16000, n_fft=n_fft, hop_length=hop, n_mels=12, pad_mode="reflect"
            ).T
        assert relative(extractor.extract(signal), truth) < 1e-6, samples


def test_the_reflection_is_that_of_the_whole_signal_but_for_one_sample() -> None:
    for samples in (257, 300, 511, 512, 700, 768, 1000, 32000):
        signal = noise(samples).astype(np.float64)
        got, truth = pad(signal, 512, 256, "reflect").copy(), np.pad(signal, 256, mode="reflect")
        assert np.array_equal(got[:-1], truth[:-1])
        assert (got[-1] == truth[-1]) == (samples % 256 != 0)


def test_equals_librosa_as_the_released_code_calls_it(test_data: Path) -> None:
    extractor = build("mel")
    paths = sorted((test_data / "emodb" / "wav").glob("*.wav"))[::25]
    assert len(paths) == 22
    for path in paths:
        signal, _ = read_audio(path, 16000)
        assert relative(extractor.extract(signal), by_librosa(signal)) < 1e-5


def test_frame_counts_are_those_of_the_authors_program(test_data: Path) -> None:
    extractor = build("mel")
    with (test_data / "deepemoclusters_official" / "expected_emodb.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    (column,) = [c for c in rows[0] if "frame" in c.lower()]
    (name,) = [c for c in rows[0] if "file" in c.lower()]
    for row in rows[::20]:
        signal, _ = read_audio(test_data / "emodb" / "wav" / Path(row[name]).with_suffix(".wav").name, 16000)
        assert len(extractor.extract(signal)) == int(row[column])


def test_one_frame_by_the_equations() -> None:
    """Frame 3 of a signal: the sums of the definition, written out."""
    signal = noise(2000)
    signal /= np.abs(signal).max()
    start = 3 * 256 - 256
    n, k = np.arange(512), np.arange(257)
    frame = signal[start : start + 512].astype(np.float64) * np.sin(np.pi * n / 512) ** 2
    power = np.abs(np.exp(-2j * np.pi * np.outer(k, n) / 512) @ frame) ** 2

    def slaney(hz: float) -> float:
        return 3 * hz / 200 if hz < 1000 else 15 + 27 * np.log(hz / 1000) / np.log(6.4)

    top, grid = slaney(8000), np.linspace(0, 8000, 800_001)
    mels = np.array([slaney(f) for f in grid[::1000]])
    assert np.all(np.diff(mels) > 0)
    corners = np.interp(np.arange(130) * top / 129, [slaney(f) for f in grid], grid)
    truth = []
    for m in range(128):
        low, mid, high = corners[m : m + 3]
        weights = [max(0.0, min((f - low) / (mid - low), (high - f) / (high - mid))) for f in k * 16000 / 512]
        truth.append(2 / (high - low) * np.dot(weights, power))
    got = build("mel").extract(signal)[3]
    assert np.allclose(got, truth, rtol=1e-4)  # the corners are interpolated on a grid of 0.01 Hz


@pytest.mark.parametrize(
    ("rate", "n_fft", "bands", "low", "high"),
    [(16000, 512, 128, 0, 8000), (16000, 400, 80, 0, 8000), (22050, 1024, 40, 50, 7600), (8000, 256, 23, 300, 900)],
)
def test_filters_are_librosas(rate: int, n_fft: int, bands: int, low: float, high: float) -> None:
    truth = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=bands, fmin=low, fmax=high, dtype=np.float64)
    assert np.abs(slaney_bank(rate, n_fft, bands, low, high) - truth).max() < 1e-12


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        ({"power": "1"}, {"power": 1.0}),
        ({"pad_mode": "constant"}, {"pad_mode": "constant"}),
        ({"hop": "160", "n_fft": "400", "bands": "40"}, {"hop_length": 160, "n_fft": 400, "n_mels": 40}),
        ({"fmin": "100", "fmax": "4000", "bands": "20"}, {"fmin": 100.0, "fmax": 4000.0, "n_mels": 20}),
        ({"n_fft": "401", "hop": "100", "bands": "30"}, {"n_fft": 401, "hop_length": 100, "n_mels": 30}),
    ],
)
def test_settings(settings: dict[str, str], changes: dict[str, Any]) -> None:
    signal = noise(5001)
    extractor = build(FeatureRequest("mel", tuple(settings.items())))
    got = extractor.extract(signal)
    assert relative(got, by_librosa(signal, **changes)) < 1e-5
    assert got.shape[1] == extractor.dim
    assert extractor.hop_seconds == changes.get("hop_length", 256) / 16000


def test_logarithm_and_its_floor() -> None:
    signal = np.concatenate([noise(4000), np.zeros(4000, np.float32)])
    plain = build("mel").extract(signal)
    got = build(FeatureRequest("mel", (("log", "true"), ("log_floor", "1e-6")))).extract(signal)
    assert np.allclose(got, np.log(np.maximum(plain, 1e-6)), rtol=1e-6)
    assert np.isclose(got.min(), np.log(1e-6))


def test_peak_normalisation() -> None:
    signal = noise(4000)
    loud, quiet = (build("mel").extract(np.float32(gain) * signal) for gain in (1, 0.25))
    assert np.array_equal(loud, quiet)  # a power of two is exact
    raw = build(FeatureRequest("mel", (("peak_normalise", "false"),))).extract(signal)
    assert np.allclose(raw, loud * np.abs(signal).max() ** 2, rtol=1e-5)


@pytest.mark.parametrize("samples", [1, 2, 300, 5000])
def test_silence_stays_zero(samples: int) -> None:
    got = build("mel").extract(np.zeros(samples, np.float32))
    assert got.shape == (1 + samples // 256, 128)
    assert not got.any()


def test_one_sample_and_none() -> None:
    got = build("mel").extract(np.full(1, 0.3, np.float32))
    assert got.shape == (1, 128)
    assert np.isfinite(got).all()
    with pytest.raises(SerbenchError, match="empty"):
        build("mel").extract(np.zeros(0, np.float32))


def test_a_result_does_not_depend_on_what_came_before() -> None:
    extractor = build("mel")
    signals = [noise(n, seed=n) for n in (40000, 300, 90000, 5000, 3_000_000, 40000)]
    alone = [Extractor(Config()).extract(s).copy() for s in signals]
    assert all(np.array_equal(extractor.extract(s), a) for s, a in zip(signals * 2, alone * 2, strict=True))
    before = signals[0].copy()
    extractor.extract(signals[0])
    assert np.array_equal(signals[0], before)


@pytest.mark.parametrize("settings", [{"fmax": "9000"}, {"fmin": "8000"}, {"sampling_rate": "8000"}])
def test_bands_must_fit_the_rate(settings: dict[str, str]) -> None:
    with pytest.raises(SerbenchError, match="fmin < fmax"):
        build(FeatureRequest("mel", tuple(settings.items())))


def test_waveform() -> None:
    signal = noise(1000)
    extractor = build(FeatureRequest("waveform", (("sampling_rate", "22050"),)))
    got = extractor.extract(signal)
    assert (extractor.dim, extractor.sampling_rate, extractor.hop_seconds) == (1, 22050, 1 / 22050)
    assert got.dtype == np.float32
    assert np.array_equal(got, signal[:, None])
    peaked = build(FeatureRequest("waveform", (("peak_normalise", "true"),)))
    assert np.abs(peaked.extract(signal)).max() == 1
    assert not peaked.extract(np.zeros(5, np.float32)).any()
    with pytest.raises(SerbenchError, match="empty"):
        extractor.extract(np.zeros(0, np.float32))
