"""openSMILE features: against the `opensmile` package called directly."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from serbench.datasets.core.errors import SerbenchError
from serbench.features import opensmile as component
from serbench.features.core.audio import read_audio
from serbench.features.core.feature_extractor import FeatureRequest, build

package = pytest.importorskip("opensmile")


def voice(seconds: float = 1.0, seed: int = 0) -> np.ndarray:
    """A gliding pulse train with some noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(16000 * seconds)) / 16000
    phase = 2 * np.pi * np.cumsum(120 + 60 * np.sin(2 * np.pi * 1.5 * t)) / 16000
    signal = sum(np.sin(k * phase) / k for k in range(1, 15)) + 0.05 * rng.standard_normal(len(t))
    return (0.5 * signal / np.abs(signal).max()).astype(np.float32)


def directly(signal: np.ndarray, feature_set: str, level: str) -> np.ndarray:
    smile = package.Smile(
        feature_set=package.FeatureSet[feature_set], feature_level=package.FeatureLevel[component.LEVELS[level]]
    )
    return smile.process_signal(signal, 16000).to_numpy()


@pytest.mark.parametrize(
    ("feature_set", "level"),
    [
        ("eGeMAPSv02", "functionals"),
        ("eGeMAPSv02", "lld"),
        ("IS10", "functionals"),
        ("emobase", "lld"),
        ("emobase", "lld_de"),
        ("ComParE_2016", "functionals"),
        ("IS09", "lld_de"),
        ("GeMAPSv01b", "functionals"),
    ],
)
def test_equals_the_package_bit_by_bit(feature_set: str, level: str) -> None:
    signal = voice()
    extractor = build(f"opensmile:{feature_set}:{level}")
    got = extractor.extract(signal)
    assert got.dtype == np.float32
    assert got.flags.c_contiguous
    assert np.array_equal(got, directly(signal, feature_set, level))
    assert np.array_equal(got, extractor.extract(signal))
    assert extractor.hop_seconds == (None if level == "functionals" else 0.01)
    assert len(got) == 1 if level == "functionals" else abs(len(got) - 100) <= 5  # windows of 25 or 60 ms, smoothing


@pytest.mark.filterwarnings("ignore:.*deprecated")
@pytest.mark.parametrize("name", [f"{s}:{level}" for s, levels in component.DIMS.items() for level in levels])
def test_stated_dimensions_are_the_packages(name: str) -> None:
    feature_set, _, level = name.partition(":")
    extractor = build(f"opensmile:{name}")
    smile = package.Smile(
        feature_set=package.FeatureSet[feature_set], feature_level=package.FeatureLevel[component.LEVELS[level]]
    )
    assert extractor.dim == smile.num_features
    assert extractor.feature_names == smile.feature_names


def test_every_set_of_the_package_is_there() -> None:
    ours = {package.FeatureSet[name].value for name in component.DIMS}
    assert ours == {member.value for member in package.FeatureSet}


def test_egemaps_is_the_set_of_that_name() -> None:
    signal = voice(seed=3)
    extractor = build("egemaps")
    assert (extractor.name, extractor.dim, extractor.hop_seconds) == ("egemaps", 88, None)
    assert np.array_equal(extractor.extract(signal), directly(signal, "eGeMAPSv02", "functionals"))


def test_functionals_are_the_default_level() -> None:
    assert build("opensmile:IS09").name == "opensmile:IS09:functionals"
    assert build("opensmile").name == "opensmile:eGeMAPSv02:functionals"
    changed = build(FeatureRequest("opensmile:IS09", (("level", "lld"),)))
    assert changed.name == "opensmile:IS09:lld"
    assert changed.digest() == build("opensmile:IS09:lld").digest() != build("opensmile:IS09").digest()


@pytest.mark.parametrize("peak", [1.0, 1.7])
def test_full_scale_does_not_wrap_around(peak: float) -> None:
    signal = voice()
    signal[5000:5010] = peak
    below = signal.copy()
    below[5000:5010] = 32767 / 32768
    extractor = build("opensmile:eGeMAPSv02:lld")
    assert np.array_equal(extractor.extract(signal), extractor.extract(below))


@pytest.mark.parametrize("name", ["egemaps", "opensmile:ComParE_2016:lld", "opensmile:IS10:functionals"])
@pytest.mark.parametrize("samples", [0, 1, 160, 800])
def test_too_short_signals_say_so(name: str, samples: int) -> None:
    with pytest.raises(SerbenchError, match="too short"):
        build(name).extract(voice()[:samples])


def test_silence_is_described_by_finite_numbers() -> None:
    for name in ("egemaps", "opensmile:ComParE_2016:functionals", "opensmile:emobase:lld"):
        assert np.isfinite(build(name).extract(np.zeros(8000, np.float32))).all()


def test_a_used_extractor_can_be_sent_to_another_process() -> None:
    extractor = build("egemaps")
    truth = extractor.extract(voice())
    assert np.array_equal(pickle.loads(pickle.dumps(extractor)).extract(voice()), truth)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("opensmile:eGeMAPSv2", "eGeMAPSv02"),
        ("opensmile:IS10:llds", "lld"),
        ("opensmile:IS10:", "IS10:functionals"),
        ("opensmile:eGeMAPSv02:lld_de", "no level 'lld_de'"),
        ("opensmile:", "opensmile"),
    ],
)
def test_unknown_names_are_answered(name: str, words: str) -> None:
    if name.endswith(":"):
        assert words in build(name).name
        return
    with pytest.raises(SerbenchError, match=words):
        build(name)


def test_long_recordings_lose_nothing() -> None:
    signal = np.tile(voice(2.0), 60)
    got = build("opensmile:emobase:lld").extract(signal)
    assert abs(len(got) - 12000) <= 5


def test_real_recording(test_data: Path) -> None:
    path = test_data / "emodb" / "wav" / "03a01Fa.wav"
    smile = package.Smile(feature_set=package.FeatureSet.eGeMAPSv02, feature_level=package.FeatureLevel.Functionals)
    got = build("egemaps").extract(read_audio(path, 16000)[0])
    assert np.array_equal(got, smile.process_file(str(path)).to_numpy())
