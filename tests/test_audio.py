"""Decoding: against soundfile, librosa and hashlib; every reason that a file can't be used."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from serbench.datasets.core.errors import SerbenchError
from serbench.features.core import audio
from serbench.features.core.audio import AudioHashes, audio_sha256, read_audio, resample, signature

RATE = 16000


def speechlike(seconds: float, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Noise under a slow envelope, with all levels in [-0.9, 0.9]."""
    rng = np.random.default_rng(seed)
    n = int(seconds * rate)
    envelope = 0.05 + np.abs(np.sin(np.arange(n) * 2 * np.pi * 3 / rate))
    signal = rng.standard_normal(n) * envelope
    return (0.9 * signal / np.abs(signal).max()).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "subtype"),
    [
        ("a.wav", "PCM_16"),
        ("a.wav", "PCM_24"),
        ("a.wav", "PCM_U8"),
        ("a.wav", "FLOAT"),
        ("a.wav", "ULAW"),
        ("a.flac", "PCM_16"),
        ("a.flac", "PCM_24"),
        ("a.ogg", "VORBIS"),
        ("a.mp3", "MPEG_LAYER_III"),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_formats_give_what_libsndfile_gives(tmp_path: Path, name: str, subtype: str, channels: int) -> None:
    path = tmp_path / name
    data = np.stack([speechlike(0.5, seed=i) for i in range(channels)], axis=1)
    soundfile.write(path, data, RATE, subtype=subtype)
    truth = soundfile.read(path, dtype="float32", always_2d=True)[0].mean(axis=1)
    for content in (None, path.read_bytes()):
        signal, rate = read_audio(path, content=content)
        assert rate == RATE
        assert signal.dtype == np.float32
        assert signal.shape == truth.shape
        # mpg123 rounds differently at different memory addresses
        assert np.abs(signal - truth).max() <= (3e-7 if path.suffix == ".mp3" else 0)
    if path.suffix in (".wav", ".flac"):
        assert np.abs(truth - data.mean(axis=1)).max() < {"PCM_U8": 0.01, "ULAW": 0.05}.get(subtype, 1e-4)
    else:
        assert np.corrcoef(truth, data.mean(axis=1)[: len(truth)])[0, 1] > 0.8


def test_wav_with_other_chunks_and_extensible_header(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, speechlike(0.2), RATE, format="WAVEX", subtype="PCM_16")
    signal, _ = read_audio(path, content=path.read_bytes())
    assert np.array_equal(signal, soundfile.read(path, dtype="float32")[0])
    soundfile.write(path, speechlike(0.2), RATE, subtype="PCM_16")
    plain = path.read_bytes()
    path.write_bytes(plain[:36] + b"LIST\x05\0\0\0INFO!\0" + plain[36:])  # an odd-sized chunk and its padding byte
    assert np.array_equal(read_audio(path, content=path.read_bytes())[0], soundfile.read(path, dtype="float32")[0])


def test_truncated_wav_gives_the_samples_that_are_there(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, speechlike(0.5), RATE)
    whole = read_audio(path)[0]
    path.write_bytes(path.read_bytes()[:-1001])
    for content in (None, path.read_bytes()):
        signal = read_audio(path, content=content)[0]
        assert np.array_equal(signal, whole[: len(signal)])
        assert len(whole) - len(signal) in (500, 501)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_resampling_is_that_of_librosa(tmp_path: Path, rate: int) -> None:
    librosa = pytest.importorskip("librosa")
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([speechlike(0.31, rate), speechlike(0.31, rate, 1)], 1), rate, subtype="FLOAT")
    signal, got = read_audio(path, RATE)
    truth = librosa.load(path, sr=RATE)[0]
    assert got == RATE
    assert signal.shape == truth.shape
    assert np.abs(signal - truth).max() == 0


def test_resampling_keeps_a_tone_and_its_length() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(44100) / 44100).astype(np.float32)
    out = resample(tone, 44100, 16000)
    assert len(out) == 16000
    truth = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    assert np.abs(out - truth)[200:-200].max() < 1e-4  # the filter's ripple; the ends see the signal's begin and end
    assert len(resample(tone[:1], 44100, 16000)) == 1


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg"])
@pytest.mark.parametrize(("start", "end"), [(None, 0.25), (0.1, None), (0.1, 0.4), (0.12345, 0.6789), (0.0, 1.0)])
def test_segments_are_slices(tmp_path: Path, name: str, start: float | None, end: float | None) -> None:
    path = tmp_path / name
    soundfile.write(path, speechlike(1.0), RATE)
    whole = soundfile.read(path, dtype="float32")[0]
    truth = whole[round((start or 0) * RATE) : round((1.0 if end is None else end) * RATE)]
    for content in (None, path.read_bytes()):
        assert np.array_equal(read_audio(path, None, start, end, content=content)[0], truth)


def test_a_segment_is_cut_before_resampling(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, speechlike(1.0, 44100), 44100)
    signal, rate = read_audio(path, RATE, 0.25, 0.75)
    cut = soundfile.read(path, dtype="float32")[0][11025:33075]
    assert rate == RATE
    assert np.array_equal(signal, resample(cut, 44100, RATE))
    assert len(signal) == 8000


def test_an_end_a_little_behind_the_file_is_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, speechlike(1.0), RATE)
    assert len(read_audio(path, None, 0.5, 1.4)[0]) == 8000
    for start, end in [(0.5, 1.6), (1.0, 1.2), (-0.1, 0.5), (2.0, 3.0)]:
        with pytest.raises(SerbenchError, match="leaves"):
            read_audio(path, None, start, end)
    for start, end in [(0.5, 0.5), (0.6, 0.5), (0.5, 0.50001)]:
        with pytest.raises(SerbenchError, match="is empty"):
            read_audio(path, None, start, end)


def bad_file(folder: Path, kind: str) -> Path:
    path = folder / "a.wav"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "lfs":
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n")
    elif kind == "text":
        path.write_text("this is not audio at all, it is a text that someone renamed")
    elif kind == "cut":
        soundfile.write(path, speechlike(0.1), RATE)
        path.write_bytes(path.read_bytes()[:20])
    elif kind == "folder":
        path.mkdir()
    elif kind == "silent header":
        soundfile.write(path, np.zeros(0, np.float32), RATE)
    elif kind == "nan":
        signal = speechlike(0.1)
        signal[7] = np.nan
        signal[9] = np.inf
        soundfile.write(path, signal, RATE, subtype="FLOAT")
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "there is no file"),
        ("empty", "0 bytes"),
        ("lfs", "git lfs pull"),
        ("text", "can't be decoded"),
        ("cut", "can't be decoded"),
        ("folder", "is a folder"),
        ("silent header", "no samples"),
        ("nan", "2 samples"),
    ],
)
def test_bad_files_say_why(tmp_path: Path, kind: str, words: str) -> None:
    path = bad_file(tmp_path, kind)
    with pytest.raises(SerbenchError, match=words) as caught:
        read_audio(path, RATE)
    assert str(path) in str(caught.value)


def test_a_link_to_a_device_or_a_pipe_is_refused_before_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "zero.wav").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.wav")
    for name in ("zero.wav", "pipe.wav"):
        for use in (read_audio, signature):
            with pytest.raises(SerbenchError, match=f"{name} is a device or a pipe. Expected an audio file"):
                use(tmp_path / name)


def test_silence_is_read_however_small_the_file_and_a_claim_of_more_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "silence.flac", np.zeros(400_000), 16000)
    assert len(read_audio(tmp_path / "silence.flac")[0]) == 400_000
    monkeypatch.setattr(audio, "MOST_PER_BYTE", 1)
    with pytest.raises(SerbenchError, match=r"silence.flac has \d+ bytes, and its header claims 400000 samples"):
        read_audio(tmp_path / "silence.flac")


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(os.urandom(300_000))
    truth = hashlib.sha256(path.read_bytes()).hexdigest()
    assert audio_sha256(path) == truth
    assert audio_sha256(path, AudioHashes(tmp_path / "memory")) == truth
    with pytest.raises(SerbenchError, match="there is no file"):
        audio_sha256(tmp_path / "nothing.wav")


@pytest.fixture
def rested(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take files for rested at once."""
    monkeypatch.setattr(audio, "_RACY_SECONDS", -1e9)


@pytest.mark.usefixtures("rested")
def test_digests_are_remembered_over_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"some bytes")
    first = AudioHashes(tmp_path / "memory")
    truth = first.sha256(path)
    first.save()
    monkeypatch.setattr(audio, "audio_sha256", lambda *_: pytest.fail("the file was read again"))
    assert AudioHashes(tmp_path / "memory").sha256(path) == truth


@pytest.mark.usefixtures("rested")
def test_changed_audio_is_noticed_even_with_its_old_size_and_time(tmp_path: Path) -> None:
    path, memory = tmp_path / "a.wav", tmp_path / "memory"
    path.write_bytes(b"some bytes")
    times = os.stat(path)
    hashes = AudioHashes(memory)
    hashes.sha256(path)
    hashes.save()
    path.write_bytes(b"same bytes")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert os.stat(path).st_mtime_ns == times.st_mtime_ns
    for again in (hashes, AudioHashes(memory)):
        assert again.sha256(path) == hashlib.sha256(b"same bytes").hexdigest()


def test_a_file_that_was_just_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"some bytes")
    hashes = AudioHashes(tmp_path / "memory")
    hashes.sha256(path)
    assert hashes.known(path, audio.signature(path)) is None


@pytest.mark.usefixtures("rested")
def test_two_writers_keep_each_others_digests(tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    one, two = AudioHashes(memory), AudioHashes(memory)
    for hashes, name in ((one, "a.wav"), (two, "b.wav")):
        (tmp_path / name).write_bytes(name.encode())
        hashes.sha256(tmp_path / name)
    one.save()
    two.save()
    both = AudioHashes(memory)
    assert all(both.known(tmp_path / n, audio.signature(tmp_path / n)) for n in ("a.wav", "b.wav"))


@pytest.mark.usefixtures("rested")
@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"files": 3}', b'{"files": {"a.wav": [1, 2]}}'])
def test_a_damaged_memory_counts_as_none(tmp_path: Path, damage: bytes) -> None:
    path, memory = tmp_path / "a.wav", tmp_path / "memory"
    path.write_bytes(b"some bytes")
    hashes = AudioHashes(memory)
    hashes.sha256(path)
    hashes.save()
    (file,) = memory.iterdir()
    file.write_bytes(damage)
    assert AudioHashes(memory).sha256(path) == hashlib.sha256(b"some bytes").hexdigest()


@pytest.mark.usefixtures("rested")
def test_no_flipped_bit_of_a_memory_changes_a_digest(tmp_path: Path) -> None:
    path, memory = tmp_path / "a.wav", tmp_path / "memory"
    path.write_bytes(b"some bytes")
    hashes, seen = AudioHashes(memory), signature(path)
    truth = hashes.sha256(path)
    hashes.save()
    (file,) = memory.iterdir()
    whole = file.read_bytes()
    assert AudioHashes(memory).known(path, seen) == truth
    for bit in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        assert AudioHashes(memory).known(path, seen) is None


def test_real_recordings(test_data: Path) -> None:
    paths = sorted((test_data / "emodb" / "wav").glob("*.wav"))[::50]
    assert len(paths) == 11
    for path in paths:
        truth = soundfile.read(path, dtype="float32")[0]
        assert np.array_equal(read_audio(path, RATE, content=path.read_bytes())[0], truth)
