"""The log spectrogram: its definition written again, tones where they belong, and what can't be had."""

from __future__ import annotations

import numpy as np
import pytest

from serbench.datasets.core.errors import SerbenchError
from serbench.features.core.feature_extractor import FeatureRequest, build
from serbench.features.spectrogram import Config, Extractor


def noise(count: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(3).standard_normal(count)).astype(np.float32)


def test_it_is_the_sum_that_it_is_defined_by() -> None:
    """Each bin as the product of the windowed samples with a complex wave of its frequency."""
    signal, made = noise(1000), Extractor(Config()).extract(noise(1000))
    time, window = np.arange(640) / 16000, 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(640) / 639)
    assert made.shape == (1 + (1000 - 640) // 160, 400)
    for frame in range(len(made)):
        samples = signal[160 * frame : 160 * frame + 640].astype(np.float64) * window
        for k in (0, 1, 37, 250, 399):
            expected = np.log(np.abs((samples * np.exp(-2j * np.pi * 10 * k * time)).sum()) ** 2)
            assert made[frame, k] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("hertz", "distance"), [(440, 10.0), (1000, 25.0), (3975, 25.0)])
def test_a_tone_is_loudest_in_its_bin(hertz: int, distance: float) -> None:
    extractor = Extractor(Config(bin_hertz=distance))
    made = extractor.extract(np.sin(2 * np.pi * hertz * np.arange(16000) / 16000).astype(np.float32))
    assert made.shape == (97, round(4000 / distance))
    assert set(made.argmax(axis=1)) == {round(hertz / distance)}
    assert extractor.hop_seconds == 0.01


def test_blocks_of_frames_are_as_one() -> None:
    signal = noise(16000 * 7)
    whole, tail = Extractor(Config()).extract(signal), Extractor(Config()).extract(signal[160 * 600 :])
    np.testing.assert_array_equal(whole[600:], tail)


def test_silence_is_the_floor_and_a_short_signal_one_frame() -> None:
    extractor = Extractor(Config())
    assert np.unique(extractor.extract(np.zeros(1600, np.float32))) == np.float32(np.log(1e-10))
    short, filled = noise(100), np.zeros(640, np.float32)
    filled[:100] = short
    np.testing.assert_array_equal(extractor.extract(short), extractor.extract(filled))


@pytest.mark.parametrize(("key", "value"), [("bin_hertz", "40"), ("max_hertz", "9000")])
def test_bins_that_do_not_fit_are_refused(key: str, value: str) -> None:
    with pytest.raises(
        SerbenchError, match=r"Expected feature.bin_hertz of at most 25 and feature.max_hertz of .* 8000"
    ):
        build(FeatureRequest("spectrogram", ((key, value),)))


def test_an_empty_signal_is_refused() -> None:
    with pytest.raises(SerbenchError, match="empty"):
        Extractor(Config()).extract(np.zeros(0, np.float32))
