"""Perturbations of waveforms, each measured on its result: ratios, spectra, decay, rates, durations, frequencies."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from scipy import signal as dsp

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.core.libraries import LibraryError
from serbench.datasets.reading.load import load_corpus
from serbench.features.cache.cache import FeatureCache
from serbench.features.core.audio import read_audio, resample
from serbench.features.core.feature_extractor import FeatureRequest, build
from serbench.features.extraction.extract import extract
from serbench.features.perturbations import codecs, rooms
from serbench.features.perturbations.change import Change, Perturbed, perturbed
from serbench.features.perturbations.kinds import KINDS
from serbench.features.perturbations.perturbation import Perturbation, check, kinds_of, parsed, perturbations

RATE = 16000
QUIET = (0.02 * np.random.default_rng(1).standard_normal(2 * RATE)).astype(np.float32)


def changed(name: str, sound: np.ndarray = QUIET, rate: int = RATE) -> np.ndarray:
    (one,) = parsed([name])
    return Change(one)(sound, rate)


def sine(hertz: float, seconds: float = 1.0, rate: int = RATE, level: float = 0.3) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def pitch_of(sound: np.ndarray, rate: int = RATE) -> float:
    """The strongest frequency in Hz, between two bins by a parabola through the logarithms."""
    level = np.log(np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) + 1e-12)
    k = int(level.argmax())
    a, b, c = level[k - 1 : k + 2]
    return (k + 0.5 * (a - c) / (a - 2 * b + c)) * rate / len(sound)


def decibels(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(a.astype(np.float64) ** 2) / np.mean(b.astype(np.float64) ** 2)))


@pytest.mark.parametrize("kind", ["white", "pink"])
@pytest.mark.parametrize("ratio", [20, 0])
def test_noise_is_at_its_ratio(kind: str, ratio: int) -> None:
    out = changed(f"{kind}:{ratio}")
    assert decibels(QUIET, out - QUIET) == pytest.approx(ratio, abs=0.01)


def test_pink_noise_has_as_much_power_in_every_octave_and_white_twice_as_much_in_each_higher_one() -> None:
    sound = np.tile(QUIET, 8)
    for kind, step in (("pink", 0.0), ("white", 3.01)):
        noise = changed(f"{kind}:0", sound).astype(np.float64) - sound
        at, power = dsp.welch(noise, RATE, nperseg=4096)
        octaves = [10 * np.log10(power[(at >= f) & (at < 2 * f)].sum()) for f in (125, 250, 500, 1000, 2000)]
        assert np.diff(octaves) == pytest.approx([step] * 4, abs=0.5)


def test_babble_is_of_other_speakers_at_its_ratio(tmp_path: Path) -> None:
    """Each speaker is a tone: that of the own speaker is not in the noise, those of the others are."""
    tones = {"a": 500.0, "b": 1100.0, "c": 1900.0, "d": 3100.0}
    rows = []
    for k, (speaker, hertz) in enumerate(sorted(tones.items()) * 2):
        soundfile.write(tmp_path / f"{k}.wav", sine(hertz, 0.5 + 0.05 * k), RATE)
        rows.append({"path": f"{k}.wav", "speaker": speaker, "arousal": 1 + k})
    pd.DataFrame(rows).to_csv(tmp_path / "toy.csv", index=False)
    corpus = load_corpus("table", tmp_path / "toy.csv")
    by = perturbed(corpus, Perturbation("babble", 5.0))
    own = corpus.utterances.index[corpus.utterances["speaker"].eq("b")][0]
    change = by.of(str(own))
    assert change is not None
    noise = change(QUIET, RATE).astype(np.float64) - QUIET
    assert decibels(QUIET, noise) == pytest.approx(5, abs=0.01)
    at, power = dsp.welch(noise, RATE, nperseg=2048)
    heard = {speaker: 10 * math.log10(power[abs(at - hertz).argmin()]) for speaker, hertz in tones.items()}
    assert min(heard[s] for s in "acd") > heard["b"] + 20
    assert by.identity() != perturbed(corpus, Perturbation("babble", 10.0)).identity()
    alone = load_corpus("table", tmp_path / "toy.csv")
    alone.utterances["speaker"] = "a"
    with pytest.raises(SerbenchError, match="babble is of other speakers"):
        perturbed(alone, Perturbation("babble", 5.0))


@pytest.mark.parametrize("seconds", [0.3, 0.6])
@pytest.mark.parametrize("room", range(len(rooms.ROOMS)))
def test_rooms_have_the_reverberation_time_that_was_asked_for(room: int, seconds: float) -> None:
    import pyroomacoustics

    response = rooms.impulse_response(room, seconds, RATE)
    assert pyroomacoustics.experimental.measure_rt60(response, RATE, decay_db=30) == pytest.approx(seconds, rel=0.03)
    energy = np.cumsum(response[::-1] ** 2)[::-1]
    level = 10 * np.log10(energy / energy[0])
    measured = 2 * (np.argmax(level < -35) - np.argmax(level < -5)) / RATE
    assert measured == pytest.approx(seconds, rel=0.1)


def test_reverberation_keeps_level_place_and_length_and_reads_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    click = np.zeros(RATE, np.float32)
    click[4000] = 0.01
    out = changed("reverb:0.3", click)
    assert len(out) == RATE
    assert abs(int(np.abs(out).argmax()) - 4000) <= 1
    assert decibels(out, click) == pytest.approx(0, abs=0.01)
    rooms.impulse_response.cache_clear()
    monkeypatch.setattr(rooms, "_simulated", lambda *_: pytest.fail("it was kept"))
    assert np.array_equal(changed("reverb:0.3", click), out)


def test_a_flipped_bit_of_a_kept_room_is_found_and_the_room_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(rooms, "_simulated", lambda *_: np.arange(400.0))
    rooms.impulse_response.__wrapped__(0, 0.3, RATE)
    (file,) = tmp_path.rglob("*.npy")
    whole = file.read_bytes()
    for byte in range(0, len(whole), 7):
        file.write_bytes(whole[:byte] + bytes([whole[byte] ^ 1 << byte % 8]) + whole[byte + 1 :])
        assert np.array_equal(rooms.impulse_response.__wrapped__(0, 0.3, RATE), np.arange(400.0))
        assert file.read_bytes() == whole


def test_mu_law_is_its_closed_form() -> None:
    """Levels of G.711, ((2 m + 33) 2^e - 33) / 8192 for mantissa m of 0..15 and exponent e of 0..7, half a step off."""
    levels = np.array([((2 * m + 33) * 2**e - 33) / 8192 for e in range(8) for m in range(16)])
    sound = np.linspace(-0.95, 0.95, 4001).astype(np.float32)
    out = changed("mulaw:8000", sound, 8000)
    assert np.abs(out[:, None] - np.concatenate([-levels, levels])).min(axis=1).max() < 1e-6
    exponent = np.floor(np.log2(np.ceil(np.abs(sound) * 8192) + 33)) - 5
    assert np.all(np.abs(sound - out) <= (2**exponent + 1) / 8192)


def test_the_telephone_band_by_its_spectrum() -> None:
    losses = {}
    for hertz in (100, 300, 1000, 3400, 6000):
        tone = sine(hertz)
        losses[hertz] = decibels(changed("telephone:3400", tone)[4000:12000], tone[4000:12000])
    assert losses[1000] == pytest.approx(0, abs=0.1)
    assert losses[300] == pytest.approx(-6, abs=0.3)
    assert losses[3400] == pytest.approx(-6, abs=0.3)
    assert max(losses[100], losses[6000]) < -40
    assert decibels(changed("telephone:4000", sine(1000, rate=8000), 8000), sine(1000, rate=8000)) > -0.1


def test_gain_in_decibels_and_full_scale() -> None:
    assert decibels(changed("gain:-30"), QUIET) == pytest.approx(-30, abs=1e-4)
    loud = changed("gain:40", sine(440))
    assert np.abs(loud).max() == 1
    assert decibels(loud, np.sign(sine(440)) + 1e-9) == pytest.approx(0, abs=0.5)


def test_the_share_that_is_clipped() -> None:
    out = changed("clipping:10")
    limit = np.abs(out).max()
    assert (np.abs(out) >= limit).mean() == pytest.approx(0.10, abs=0.001)
    assert np.array_equal(out[np.abs(out) < limit], QUIET[np.abs(out) < limit])


def test_cut_ends_are_silent_and_what_empties_a_sound_is_refused() -> None:
    out = changed("silence:0.3")
    assert not out[:4800].any()
    assert not out[-4800:].any()
    assert np.array_equal(out[4800:-4800], QUIET[4800:-4800])
    with pytest.raises(SerbenchError, match=r"silence:1 .* leaves nothing of its 2\.00 s\. Expected a milder level"):
        changed("silence:1")
    with pytest.raises(SerbenchError, match="the sound is silent"):
        changed("white:10", np.zeros(RATE, np.float32))


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_speed_by_duration_and_frequency(factor: float) -> None:
    out = changed(f"speed:{factor}", sine(440, 2))
    assert len(out) == pytest.approx(2 * RATE / factor, abs=2)
    assert pitch_of(out) == pytest.approx(440 * factor, rel=1e-3)


def test_pitch_by_a_sine_at_the_same_duration() -> None:
    for semitones in (-4, 3):
        out = changed(f"pitch:{semitones}", sine(440, 2))
        assert len(out) == 2 * RATE
        assert pitch_of(out[8000:24000]) == pytest.approx(440 * 2 ** (semitones / 12), rel=5e-3)


def speech() -> np.ndarray:
    from serbench.datasets.voice.synthesis import babble

    return np.asarray(babble(2.0, 3), dtype=np.float32)


@pytest.mark.parametrize(("name", "kilobits"), [("mp3:64", 64), ("mp3:24", 24), ("opus:32", 32), ("gsm:1", 13)])
def test_codecs_take_the_rate_that_was_asked_for(name: str, kilobits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, write = [], soundfile.write

    def counted(stream: object, *args: object, **more: object) -> None:
        write(stream, *args, **more)
        sizes.append(stream.tell())

    monkeypatch.setattr(soundfile, "write", counted)
    sound = np.tile(speech(), 3)
    out = changed(name, sound)
    assert sizes[0] * 8 / (len(sound) / RATE) / 1000 == pytest.approx(kilobits, rel=0.15)
    assert len(out) == len(sound)


@pytest.mark.parametrize("name", ["mp3:64", "mp3:16", "opus:32", "gsm:1", "mulaw:8000"])
@pytest.mark.parametrize("rate", [16000, 22050])
def test_codecs_move_nothing_in_time(name: str, rate: int) -> None:
    sound = resample(speech(), RATE, rate)
    out = changed(name, sound, rate)
    lags = dsp.correlation_lags(len(sound), len(sound))
    assert abs(lags[dsp.correlate(out, sound).argmax()]) <= 0.002 * rate
    assert len(out) == len(sound)
    assert 0.1 < decibels(out, out - sound) < 60


def test_coding_again_loses_more() -> None:
    sound = speech()
    once, again = changed("gsm:1", sound), changed("gsm:4", sound)
    assert decibels(sound, once - sound) > decibels(sound, again - sound) + 1


def test_randomness_follows_from_samples_and_perturbation_alone() -> None:
    a = changed("white:10")
    assert np.array_equal(a, changed("white:10"))
    assert np.array_equal(a, Change(Perturbation("white", 10.0), "somebody")(QUIET, RATE))
    noise = {name: changed(name).astype(np.float64) - QUIET for name in ("white:10", "white:5")}
    assert abs(np.corrcoef(*noise.values())[0, 1]) < 0.05
    other = QUIET[::-1].copy()
    assert abs(np.corrcoef(noise["white:10"], changed("white:10", other).astype(np.float64) - other)[0, 1]) < 0.05


def test_what_goes_beyond_full_scale_is_brought_back() -> None:
    loud = sine(300, level=0.9)
    out = changed("white:0", loud)
    assert np.abs(out).max() == 1
    scale = float(out @ loud / (loud @ loud))
    assert decibels(scale * loud, out - scale * loud) == pytest.approx(0, abs=0.2)


def test_all_models_hear_the_same_samples_and_share_the_cache(
    noise_clips: Callable[..., pd.DataFrame], tmp_path: Path
) -> None:
    rows, cache = noise_clips(tmp_path / "sound", 3), FeatureCache(tmp_path / "cache")
    by = Perturbed(Perturbation("white", 5.0), {})
    decoded: list[float] = []

    def at(rate: int) -> dict[str, np.ndarray]:
        request = FeatureRequest("waveform", (("sampling_rate", str(rate)),))
        more = {"changes": by, "progress": lambda *p: decoded.append(p[2])}
        made = extract(rows, tmp_path / "sound", build(request), cache, **more)
        return {item: made[item][:, 0] for item in made}

    wide, low = at(16000), at(8000)
    for item in wide:
        signal, rate = read_audio(tmp_path / "sound" / rows.loc[item, "path"], None)
        assert np.array_equal(wide[item], Change(by.perturbation)(signal, rate))
        assert np.array_equal(low[item], resample(wide[item], 16000, 8000))
    decoded.clear()
    again = at(16000)
    assert max(decoded) == 0
    assert all(np.array_equal(again[item], wide[item]) for item in wide)
    plain = extract(rows, tmp_path / "sound", build("waveform"), cache)
    none = Perturbed(Perturbation("gain", 0.0), {})
    untouched = extract(rows, tmp_path / "sound", build("waveform"), cache, changes=none)
    assert all(np.array_equal(plain[item], untouched[item]) for item in plain)
    assert not np.array_equal(plain["u0"][:, 0], wide["u0"])


def test_a_file_that_is_emptied_fails_alone(noise_clips: Callable[..., pd.DataFrame], tmp_path: Path) -> None:
    rows = noise_clips(tmp_path, 6)  # 0.50 to 0.55 s
    by = Perturbed(Perturbation("silence", 0.26), {})
    made = extract(rows, tmp_path, build("waveform"), FeatureCache(tmp_path / "cache"), changes=by)
    assert set(made.failed) == {"u0", "u1", "u2"}
    assert "silence:0.26" in made.failed["u0"]
    assert len(made) == 3


def test_every_kind_has_four_levels_within_its_bounds_and_works() -> None:
    sound = speech()
    for name, kind in KINDS.items():
        assert len(kind.levels) >= 4
        for one in perturbations([name]):
            assert parsed([one.name]) == [one]
            assert one.changes
    for one in parsed(["white:20", "telephone:2000", "clipping:20", "pitch:-4", "mulaw:6000"]):
        out = Change(one)(sound, RATE)
        assert out.dtype == np.float32
        assert np.isfinite(out).all()


def test_names_and_levels_are_read() -> None:
    assert kinds_of(["noise,codec"]) == ["white", "pink", "mp3", "opus", "gsm", "mulaw"]
    assert kinds_of([]) == list(KINDS)
    assert [one.name for one in perturbations(["noise"], ["12"])] == ["white:12", "pink:12"]
    named = perturbations(["gain", "white"], ["gain=-3,-6", "white=inf"])
    assert [one.name for one in named] == ["gain:-3", "gain:-6", "white:inf"]
    assert [one.name for one in parsed(["noise:10,reverb:0.5", "white:10"])] == ["white:10", "pink:10", "reverb:0.5"]
    assert not parsed(["white:inf"])[0].changes


@pytest.mark.parametrize(
    ("names", "levels", "said"),
    [
        (["nois"], [], "unknown perturbation 'nois'. Did you mean 'noise'"),
        (["white"], ["loud"], r"white:loud is no level of white\. Expected dB SNR, -40 to 100, such as 20, 10, 5, 0"),
        (["speed"], ["9"], r"speed:9 is out of range\. Expected times, 0\.25 to 4.*; 1 changes nothing"),
        (["white,gain"], ["10"], "with several perturbations, expected NAME=LEVEL"),
        (["white"], ["gain=3"], "gain is not among those of --with"),
        (["white"], [","], "names no level"),
        (["gsm"], ["1.5"], "whole number"),
    ],
)
def test_what_is_no_perturbation_is_refused(names: list[str], levels: list[str], said: str) -> None:
    with pytest.raises(SerbenchError, match=said):
        perturbations(names, levels)


def test_a_perturbation_without_a_level_is_refused() -> None:
    with pytest.raises(SerbenchError, match=r"'noise' names no level\. Expected NAME:LEVEL, such as noise:10"):
        parsed(["noise"])


def test_a_codec_that_is_lacking_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundfile, "available_formats", lambda: {"WAV": "", "OGG": ""})
    check(parsed(["gsm:1", "opus:32", "white:5"]))
    with pytest.raises(SerbenchError, match=r"libsndfile .* does not write MPEG_LAYER_III .* --upgrade soundfile"):
        check(parsed(["white:5", "mp3:32"]))
    with pytest.raises(SerbenchError, match="does not write"):
        codecs.check("OGG", "SPEEX")


def test_a_library_that_is_lacking_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyroomacoustics", None)
    check(parsed(["white:5", "reverb:0"]))
    with pytest.raises(LibraryError, match=r"reverberation \(reverb\) needs the library pyroomacoustics"):
        check(parsed(["reverb:0.3"]))
