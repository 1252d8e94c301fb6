"""Extraction: cold and warm, changed inputs, damaged entries, bad files, bad extractors."""

from __future__ import annotations

import os
import pickle
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from serbench.datasets.core.config import option
from serbench.datasets.core.errors import SerbenchError
from serbench.features.cache.cache import FeatureCache, cache_info, cache_prune, cache_verify
from serbench.features.core.feature_extractor import FeatureExtractor, build
from serbench.features.core.feature_table import FeatureTable
from serbench.features.extraction import extract as extract_module, file_tasks
from serbench.features.extraction.extract import extract

RATE = 16000
Clips = Callable[..., pd.DataFrame]


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(int(RATE * seconds))).astype(np.float32)


def table(paths: dict[str, str], segments: dict[str, tuple[float, float]] | None = None) -> pd.DataFrame:
    rows = pd.DataFrame({"path": pd.Series(paths, dtype="string")})
    for k, column in enumerate(("start", "end")):
        rows[column] = [(segments or {}).get(i, (np.nan, np.nan))[k] for i in rows.index]
    return rows


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureCache:
    monkeypatch.setenv("SERBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("serbench.features.core.audio._RACY_SECONDS", -1e9)  # files are taken for rested at once
    return FeatureCache()


@dataclass(frozen=True)
class Config:
    gain: float = option(1.0, "factor")


class Toy(FeatureExtractor):
    """Mean and peak of blocks of 100 samples, times the gain; counts its calls."""

    name = "toy"
    version = 1
    sampling_rate = RATE
    dim = 2
    hop_seconds = 100 / RATE
    calls = 0

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__(Config(gain))

    def extract(self, signal: np.ndarray) -> np.ndarray:
        type(self).calls += 1
        blocks = signal[: len(signal) // 100 * 100].reshape(-1, 100)
        return np.stack([blocks.mean(1), blocks.max(1)], axis=1) * np.float32(self.config.gain)


@pytest.fixture(autouse=True)
def _count_from_zero() -> None:
    Toy.calls = 0


def everything(found: FeatureTable) -> dict[str, bytes]:
    return {item: found[item].tobytes() for item in found}


@pytest.mark.parametrize("name", ["mel", "waveform", "egemaps", "opensmile:emobase:lld"])
def test_cold_and_warm_are_identical_and_equal_the_extractor(
    tmp_path: Path, cache: FeatureCache, name: str, noise_clips: Clips
) -> None:
    rows = noise_clips(tmp_path / "c", 3)
    extractor = build(name)
    cold = extract(rows, tmp_path / "c", extractor)
    warm = extract(rows, tmp_path / "c", build(name))
    assert everything(cold) == everything(warm)
    for i, item in enumerate(rows.index):
        samples = soundfile.read(tmp_path / "c" / f"a{i}.wav", dtype="float32")[0]
        truth = extractor.extract(samples)
        assert np.array_equal(warm[item], truth)
        assert warm.frames(item) == len(truth)
        assert warm.shapes[item] == truth.shape
    assert (warm.dim, warm.hop_seconds, warm.sampling_rate) == (extractor.dim, extractor.hop_seconds, RATE)
    assert list(warm) == list(rows.index)
    assert warm.failed == {}


def test_a_warm_run_reads_no_audio(
    tmp_path: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch, noise_clips: Clips
) -> None:
    rows = noise_clips(tmp_path / "c")
    extract(rows, tmp_path / "c", Toy())
    for name in ("make", "compute"):
        monkeypatch.setattr(extract_module, name, lambda *_, **__: pytest.fail("audio was read"))
    warm = extract(rows, tmp_path / "c", Toy())
    assert len(everything(warm)) == 6
    assert Toy.calls == 6


def test_a_changed_file_is_made_again(tmp_path: Path, cache: FeatureCache, noise_clips: Clips) -> None:
    root = tmp_path / "c"
    rows = noise_clips(root)
    before = everything(extract(rows, root, Toy()))
    path = root / "a2.wav"
    state = path.stat()
    data = bytearray(path.read_bytes())
    data[1000:1002] = b"\x11\x22"
    path.write_bytes(data)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # same size, same time
    after = extract(rows, root, Toy())
    assert Toy.calls == 7
    assert [i for i in before if before[i] != after[i].tobytes()] == ["u2"]
    path.write_bytes(soundfile_bytes(noise(0.9)))
    assert extract(rows, root, Toy()).frames("u2") == int(0.9 * RATE) // 100


def soundfile_bytes(signal: np.ndarray) -> bytes:
    import io

    stream = io.BytesIO()
    soundfile.write(stream, signal, RATE, format="WAV")
    return stream.getvalue()


def test_a_changed_configuration_or_version_is_made_again(
    tmp_path: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch, noise_clips: Clips
) -> None:
    rows = noise_clips(tmp_path / "c")
    plain = extract(rows, tmp_path / "c", Toy())
    double = extract(rows, tmp_path / "c", Toy(2.0))
    assert Toy.calls == 12
    assert np.array_equal(double["u1"], 2 * plain["u1"])
    monkeypatch.setattr(Toy, "version", 2)
    extract(rows, tmp_path / "c", Toy())
    assert Toy.calls == 18
    monkeypatch.setattr(Toy, "version", 1)
    assert np.array_equal(extract(rows, tmp_path / "c", Toy())["u1"], plain["u1"])
    assert Toy.calls == 18


def test_the_same_audio_under_another_name_is_not_made_again(
    tmp_path: Path, cache: FeatureCache, noise_clips: Clips
) -> None:
    root = tmp_path / "c"
    rows = noise_clips(root, 1)
    extract(rows, root, Toy())
    (root / "a0.wav").rename(root / "b.wav")
    extract(table({"v": "b.wav"}), root, Toy())
    assert Toy.calls == 1


def test_segments_of_one_file(tmp_path: Path, cache: FeatureCache, noise_clips: Clips) -> None:
    root = tmp_path / "c"
    noise_clips(root, 1, 1.0)
    spans = {"x": (0.0, 0.25), "y": (0.25, 0.75), "z": (0.5, 1.0)}
    rows = table(dict.fromkeys(("x", "y", "z", "all"), "a0.wav"), spans)
    for _ in range(2):
        found = extract(rows, root, Toy())
        whole = found["all"]
        assert whole.shape == (160, 2)
        for item, (start, end) in spans.items():
            assert np.array_equal(found[item], whole[round(160 * start) : round(160 * end)])
    assert Toy.calls == 4


def test_bad_files_are_listed_with_their_reasons_and_end_nothing(
    tmp_path: Path, cache: FeatureCache, noise_clips: Clips
) -> None:
    root = tmp_path / "c"
    noise_clips(root, 2)
    (root / "empty.wav").write_bytes(b"")
    (root / "text.wav").write_text("no audio in here")
    (root / "lfs.wav").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    soundfile.write(root / "tiny.wav", noise(0.001), RATE)
    paths = {
        "good": "a0.wav",
        "up": "../a.wav",
        "root": "/etc/passwd",
        "gone": "gone.wav",
        "empty": "empty.wav",
        "text": "text.wav",
        "lfs": "lfs.wav",
        "tiny": "tiny.wav",
        "late": "a0.wav",
        "last": "a1.wav",
    }
    rows = table(paths, {"late": (2.0, 3.0)})
    words = {
        "up": "leaves the corpus root",
        "root": "leaves the corpus root",
        "gone": "there is no file",
        "empty": "0 bytes",
        "text": "can't be decoded",
        "lfs": "git lfs pull",
        "tiny": "at least one frame",
        "late": "leaves",
    }
    for _ in range(2):
        found = extract(rows, root, Toy())
        assert list(found) == ["good", "last"]
        assert list(found.failed) == list(words)
        for item, part in words.items():
            assert part in found.failed[item]


class Broken(Toy):
    """Gives what an extractor must not give."""

    name = "broken"
    given: Any = None

    def extract(self, signal: np.ndarray) -> np.ndarray:
        if isinstance(self.given, Exception):
            raise self.given
        return self.given


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.zeros((3, 2)), "float64"),
        (np.zeros((3, 4), np.float32), "(3, 4)"),
        (np.zeros(3, np.float32), "(3,)"),
        (np.full((3, 2), np.nan, np.float32), "6 of 6 values that are not finite"),
        (ZeroDivisionError("oops"), "oops"),
        (MemoryError(), "MemoryError"),
        (SerbenchError("too short"), "too short"),
    ],
)
def test_what_an_extractor_must_not_give(
    tmp_path: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch, given: Any, words: str, noise_clips: Clips
) -> None:
    monkeypatch.setattr(Broken, "given", given)
    found = extract(noise_clips(tmp_path / "c", 2), tmp_path / "c", Broken())
    assert len(found) == 0
    assert list(found.failed) == ["u0", "u1"]
    assert all(words in reason for reason in found.failed.values())
    assert cache_info()["entries"] == 0


def test_an_extractor_that_cannot_work_ends_the_run(
    tmp_path: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch, noise_clips: Clips
) -> None:
    def prepare(self: Toy) -> None:
        raise SerbenchError("the checkpoint is missing")

    monkeypatch.setattr(Toy, "prepare", prepare)
    with pytest.raises(SerbenchError, match="checkpoint is missing"):
        extract(noise_clips(tmp_path / "c", 2), tmp_path / "c", Toy())


def test_a_missing_library_ends_the_run(
    tmp_path: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch, noise_clips: Clips
) -> None:
    monkeypatch.setattr(Broken, "given", ImportError("No module named 'smile'"))
    with pytest.raises(SerbenchError, match=r"a library can't be loaded \(No module named 'smile'\).*serbench env"):
        extract(noise_clips(tmp_path / "c", 2), tmp_path / "c", Broken())


def test_a_cache_that_cannot_be_written_ends_the_run(
    tmp_path: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch, noise_clips: Clips
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("serbench.features.cache.section.append", full)
    with pytest.raises(SerbenchError, match="No space left on device"):
        extract(noise_clips(tmp_path / "c", 2), tmp_path / "c", Toy())


def test_progress_counts_utterances_and_the_audio_that_was_decoded(
    tmp_path: Path, cache: FeatureCache, noise_clips: Clips
) -> None:
    rows = pd.concat([noise_clips(tmp_path / "c", 3), table({"gone": "gone.wav"})])
    seen: list[tuple[int, int, float]] = []
    extract(rows, tmp_path / "c", Toy(), progress=lambda *now: seen.append(now))
    assert [s[:2] for s in seen] == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    assert seen[-1][2] == pytest.approx(0.5 + 0.51 + 0.52)
    seen.clear()
    extract(rows, tmp_path / "c", Toy(), progress=lambda *now: seen.append(now))
    assert seen == [(3, 4, 0.0), (4, 4, 0.0)]


def damage(folder: Path) -> None:
    """Flip a bit in the middle of every pack's first array."""
    for path in folder.rglob("*.pack"):
        data = bytearray(path.read_bytes())
        data[200] ^= 4
        path.write_bytes(data)


def test_a_damaged_entry_is_found_and_made_again(tmp_path: Path, cache: FeatureCache, noise_clips: Clips) -> None:
    rows = noise_clips(tmp_path / "c")
    truth = everything(extract(rows, tmp_path / "c", Toy()))
    damage(cache.folder)
    assert len(cache_verify()["damaged"]) == 1
    found = extract(rows, tmp_path / "c", Toy())
    assert Toy.calls == 6
    assert everything(found) == truth
    assert Toy.calls == 7
    assert everything(extract(rows, tmp_path / "c", Toy())) == truth
    assert Toy.calls == 7


def test_damage_is_looked_for_at_once_on_demand(tmp_path: Path, cache: FeatureCache, noise_clips: Clips) -> None:
    rows = noise_clips(tmp_path / "c")
    truth = everything(extract(rows, tmp_path / "c", Toy()))
    damage(cache.folder)
    found = extract(rows, tmp_path / "c", Toy(), verify=True)
    assert Toy.calls == 7
    assert everything(found) == truth
    assert Toy.calls == 7


def test_what_is_pruned_during_a_run_is_made_again(tmp_path: Path, cache: FeatureCache, noise_clips: Clips) -> None:
    rows = noise_clips(tmp_path / "c")
    found = extract(rows, tmp_path / "c", Toy())
    truth = everything(found)
    cache_prune(feature="toy")
    assert everything(found) == truth
    assert Toy.calls == 12
    assert everything(extract(rows, tmp_path / "c", Toy())) == truth
    assert Toy.calls == 12


def test_audio_that_changes_during_a_run_is_not_mixed_in(
    tmp_path: Path, cache: FeatureCache, noise_clips: Clips
) -> None:
    rows = noise_clips(tmp_path / "c", 2)
    found = extract(rows, tmp_path / "c", Toy())
    cache_prune(feature="toy")
    soundfile.write(tmp_path / "c" / "a0.wav", noise(1.0, 99), RATE)
    (tmp_path / "c" / "a1.wav").unlink()
    with pytest.raises(SerbenchError, match="was changed"):
        found["u0"]
    with pytest.raises(SerbenchError, match="is gone"):
        found["u1"]


def test_audio_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch, noise_clips: Clips
) -> None:
    rows = noise_clips(tmp_path / "c", 2)
    real = file_tasks.read_audio

    def slow(path: str, *rest: Any, **more: Any) -> Any:
        out = real(path, *rest, **more)
        if path.endswith("a0.wav"):
            soundfile.write(path, noise(0.7), RATE)
        return out

    monkeypatch.setattr(file_tasks, "read_audio", slow)
    found = extract(rows, tmp_path / "c", Toy())
    assert list(found) == ["u1"]
    assert "changed while it was read" in found.failed["u0"]


def test_a_table_holds_no_arrays(tmp_path: Path, cache: FeatureCache, noise_clips: Clips) -> None:
    rows = noise_clips(tmp_path / "c", 40)
    found = extract(rows, tmp_path / "c", build("waveform"))
    size = sum(4 * found.frames(i) for i in found)
    tracemalloc.start()
    for item in found:
        assert found[item] is not found[item]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size / 8


def test_a_table_can_be_sent_to_another_process(tmp_path: Path, cache: FeatureCache, noise_clips: Clips) -> None:
    rows = noise_clips(tmp_path / "c", 2)
    found = extract(rows, tmp_path / "c", build("mel"))
    assert everything(pickle.loads(pickle.dumps(found))) == everything(found)


def test_jobs_must_be_positive(tmp_path: Path, cache: FeatureCache, noise_clips: Clips) -> None:
    with pytest.raises(SerbenchError, match="jobs=0"):
        extract(noise_clips(tmp_path / "c", 1), tmp_path / "c", Toy(), jobs=0)


def test_an_extractor_that_holds_a_device_stays_in_this_process(
    tmp_path: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch, noise_clips: Clips
) -> None:
    monkeypatch.setattr(Toy, "parallel", False)
    assert len(extract(noise_clips(tmp_path / "c"), tmp_path / "c", Toy(), jobs=2)) == 6
    assert Toy.calls == 6


def test_real_recordings(test_data: Path, cache: FeatureCache) -> None:
    root = test_data / "emodb"
    paths = sorted((root / "wav").glob("*.wav"))[::40]
    rows = table({p.stem: f"wav/{p.name}" for p in paths})
    extractor = build("mel")
    found = extract(rows, root, extractor)
    assert list(found) == [p.stem for p in paths]
    for path in paths:
        assert np.array_equal(found[path.stem], extractor.extract(soundfile.read(path, dtype="float32")[0]))
