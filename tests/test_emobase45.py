"""The 45 descriptors against openSMILE's own deltas, first and second, and against closed forms."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from serbench.datasets.core.errors import SerbenchError
from serbench.features import opensmile as ours
from serbench.features.core.feature_extractor import build
from serbench.features.emobase45 import EMOBASE, NAMES, deltas, with_deltas

RATE = 16000
SECOND_DELTA = """
[delta2:cDeltaRegression]
reader.dmLevel=lld_de
writer.dmLevel=lld_de_de
blocksize=1
writer.levelconf.nT=2500
writer.levelconf.isRb=0
writer.levelconf.growDyn=1
nameAppend=de
copyInputName=1
noPostEOIprocessing=0
deltawin=2

"""


def voice(seconds: float, seed: int = 0) -> np.ndarray:
    """A gliding harmonic tone with pauses and noise."""
    time = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(140 + 60 * np.sin(2 * np.pi * 0.7 * time)) / RATE
    tone = sum(np.sin(k * phase) / k for k in range(1, 12)) * (np.sin(2 * np.pi * 1.3 * time) > -0.6)
    return (0.1 * tone + 0.003 * np.random.default_rng(seed).normal(size=len(time))).astype(np.float32)


@pytest.fixture(scope="module")
def levels(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """openSMILE at three levels: the installed emobase configuration with one more delta component."""
    import opensmile

    source = Path(opensmile.__file__).parent / "core" / "config" / "emobase" / "emobase.conf"
    text = source.read_text(encoding="latin-1")
    instance, place = "instance[delta1].type=cDeltaRegression", "// statistical functionals"
    assert instance in text
    assert place in text
    text = text.replace(instance, f"{instance}\n{instance.replace('delta1', 'delta2')}")
    path = tmp_path_factory.mktemp("smile") / "two_deltas.conf"
    path.write_text(text.replace(place, SECOND_DELTA + place), encoding="latin-1")
    return {level: opensmile.Smile(str(path), level) for level in ("lld", "lld_de", "lld_de_de")}


def named(levels: dict, signal: np.ndarray) -> dict[str, np.ndarray]:
    """Column by openSMILE's name, over the levels."""
    columns = {}
    for smile in levels.values():
        table = smile.process_signal(signal, RATE)
        columns |= {str(name): table[name].to_numpy(dtype=np.float32) for name in table}
    return columns


def test_the_order_is_the_stated_one():
    assert len(NAMES) == len(set(NAMES)) == 45
    assert NAMES[0:2] == ("F0_sma", "F0_sma_de")
    assert NAMES[2:5] == ("pcm_loudness_sma", "pcm_loudness_sma_de", "pcm_loudness_sma_de_de")
    assert NAMES[5:9] == ("voiceProb_sma", "voiceProb_sma_de", "pcm_zcr_sma", "pcm_zcr_sma_de")
    assert NAMES[9] == "mfcc_sma[1]"
    assert NAMES[20] == "mfcc_sma[12]"
    assert NAMES[21] == "mfcc_sma_de[1]"
    assert NAMES[33] == "mfcc_sma_de_de[1]"
    assert NAMES[44] == "mfcc_sma_de_de[12]"


def test_the_names_of_emobase_are_opensmiles():
    assert list(EMOBASE) == ours.Extractor(ours.Config("emobase", "lld")).feature_names


@pytest.mark.parametrize("seconds", [0.08, 0.1, 0.5, 3.0])
def test_every_column_is_bit_for_bit_opensmiles(levels, seconds):
    signal = voice(seconds, seed=int(seconds * 100))
    found = build("emobase45").extract(signal)
    columns = named(levels, signal)
    assert found.dtype == np.float32
    assert found.shape == (len(columns["F0_sma"]), 45)
    for k, name in enumerate(NAMES):
        np.testing.assert_array_equal(found[:, k], columns[name][: len(found)], err_msg=name)


def test_very_short_utterances_keep_their_last_frame():
    """Two or three frames: the slope is that of the sequence with its ends repeated, written a second time."""
    rows = np.random.default_rng(0).normal(size=(3, 26)).astype(np.float32)
    long = np.concatenate([np.repeat(rows[:1], 9, 0), rows, np.repeat(rows[-1:], 9, 0)]).astype(np.float64)
    slope = np.array([-2, -1, 0, 1, 2]) / 10
    first = np.stack([np.correlate(column, slope, "same") for column in long.T], axis=1)[2:-2]
    wanted = first[7:10, EMOBASE.index("F0_sma")]
    np.testing.assert_allclose(with_deltas(rows)[:, 1], wanted, atol=1e-6)


def test_the_delta_of_a_ramp_is_its_slope():
    ramp = np.outer(np.arange(20), [1.0, -3.0]).astype(np.float32)
    np.testing.assert_allclose(deltas(ramp)[2:-2], np.tile([1.0, -3.0], (16, 1)), rtol=1e-6)
    assert not deltas(np.full((7, 2), 5, dtype=np.float32)).any()


def test_silence_is_described_by_finite_numbers():
    found = build("emobase45").extract(np.zeros(RATE, dtype=np.float32))
    assert np.isfinite(found).all()
    assert not found[:, 0:7].any(), "no pitch, loudness or voicing in digital silence"


def test_what_is_too_short_is_refused_in_words():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(SerbenchError, match="short"):
            build("emobase45").extract(np.zeros(100, dtype=np.float32))


def test_the_extractor_says_what_it_gives():
    extractor = build("emobase45")
    assert (extractor.dim, extractor.hop_seconds, extractor.sampling_rate) == (45, 0.01, RATE)
    assert "opensmile" in extractor.identity()["libraries"]
