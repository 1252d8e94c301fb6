"""Extraction: cold and warm, changed inputs, several processes, killed processes, damaged entries, bad files."""

from __future__ import annotations

import hashlib
import os
import pickle
import signal
import subprocess
import sys
import time
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from serbench.datasets._config import option
from serbench.datasets._errors import SerbenchError
from serbench.features import _extract, _work
from serbench.features._cache import FeatureCache, cache_info, cache_prune, cache_verify
from serbench.features._extract import extract
from serbench.features._extractor import FeatureExtractor, build
from serbench.features._store import FeatureTable

RATE = 16000


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(int(RATE * seconds))).astype(np.float32)


def corpus(root: Path, count: int = 6, seconds: float = 0.5) -> pd.DataFrame:
    """Files a0.wav, a1.wav ... and their rows."""
    root.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        soundfile.write(root / f"a{i}.wav", noise(seconds + 0.01 * i, i), RATE)
    return table({f"u{i}": f"a{i}.wav" for i in range(count)})


def table(paths: dict[str, str], segments: dict[str, tuple[float, float]] | None = None) -> pd.DataFrame:
    rows = pd.DataFrame({"path": pd.Series(paths, dtype="string")})
    for k, column in enumerate(("start", "end")):
        rows[column] = [(segments or {}).get(i, (np.nan, np.nan))[k] for i in rows.index]
    return rows


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureCache:
    monkeypatch.setenv("SERBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("serbench.features._audio._RACY_SECONDS", -1e9)  # files are taken for rested at once
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
def test_cold_and_warm_are_identical_and_equal_the_extractor(tmp_path: Path, cache: FeatureCache, name: str) -> None:
    rows = corpus(tmp_path / "c", 3)
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


def test_a_warm_run_reads_no_audio(tmp_path: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = corpus(tmp_path / "c")
    extract(rows, tmp_path / "c", Toy())
    for name in ("make", "compute"):
        monkeypatch.setattr(_extract, name, lambda *_, **__: pytest.fail("audio was read"))
    warm = extract(rows, tmp_path / "c", Toy())
    assert len(everything(warm)) == 6
    assert Toy.calls == 6


def test_a_changed_file_is_made_again(tmp_path: Path, cache: FeatureCache) -> None:
    root = tmp_path / "c"
    rows = corpus(root)
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
    tmp_path: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = corpus(tmp_path / "c")
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


def test_the_same_audio_under_another_name_is_not_made_again(tmp_path: Path, cache: FeatureCache) -> None:
    root = tmp_path / "c"
    rows = corpus(root, 1)
    extract(rows, root, Toy())
    (root / "a0.wav").rename(root / "b.wav")
    extract(table({"v": "b.wav"}), root, Toy())
    assert Toy.calls == 1


def test_segments_of_one_file(tmp_path: Path, cache: FeatureCache) -> None:
    root = tmp_path / "c"
    corpus(root, 1, 1.0)
    spans = {"x": (0.0, 0.25), "y": (0.25, 0.75), "z": (0.5, 1.0)}
    rows = table(dict.fromkeys(("x", "y", "z", "all"), "a0.wav"), spans)
    for _ in range(2):
        found = extract(rows, root, Toy())
        whole = found["all"]
        assert whole.shape == (160, 2)
        for item, (start, end) in spans.items():
            assert np.array_equal(found[item], whole[round(160 * start) : round(160 * end)])
    assert Toy.calls == 4


def test_bad_files_are_listed_with_their_reasons_and_end_nothing(tmp_path: Path, cache: FeatureCache) -> None:
    root = tmp_path / "c"
    corpus(root, 2)
    (root / "empty.wav").write_bytes(b"")
    (root / "text.wav").write_text("no audio in here")
    (root / "lfs.wav").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    soundfile.write(root / "tiny.wav", noise(0.001), RATE)
    paths = {"good": "a0.wav", "up": "../a.wav", "root": "/etc/passwd", "gone": "gone.wav", "empty": "empty.wav",
             "text": "text.wav", "lfs": "lfs.wav", "tiny": "tiny.wav", "late": "a0.wav", "last": "a1.wav"}  # fmt: skip
    rows = table(paths, {"late": (2.0, 3.0)})
    words = {"up": "leaves the corpus root", "root": "leaves the corpus root", "gone": "there is no file",
             "empty": "0 bytes", "text": "can't be decoded", "lfs": "git lfs pull", "tiny": "at least one frame",
             "late": "leaves"}  # fmt: skip
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
    [(np.zeros((3, 2)), "float64"), (np.zeros((3, 4), np.float32), "(3, 4)"), (np.zeros(3, np.float32), "(3,)"),
     (np.full((3, 2), np.nan, np.float32), "6 of 6 values that are not finite"), (ZeroDivisionError("oops"), "oops"),
     (MemoryError(), "MemoryError"), (SerbenchError("too short"), "too short")],
)  # fmt: skip
def test_what_an_extractor_must_not_give(
    tmp_path: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch, given: Any, words: str
) -> None:
    monkeypatch.setattr(Broken, "given", given)
    found = extract(corpus(tmp_path / "c", 2), tmp_path / "c", Broken())
    assert len(found) == 0
    assert all(words in reason for reason in found.failed.values())
    assert cache_info()["entries"] == 0


def test_an_extractor_that_cannot_work_ends_the_run(
    tmp_path: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(self: Toy) -> None:
        raise SerbenchError("the checkpoint is missing")

    monkeypatch.setattr(Toy, "prepare", prepare)
    with pytest.raises(SerbenchError, match="checkpoint is missing"):
        extract(corpus(tmp_path / "c", 2), tmp_path / "c", Toy())


def test_a_missing_library_ends_the_run(tmp_path: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Broken, "given", ImportError("No module named 'smile'"))
    with pytest.raises(SerbenchError, match=r"broken can't be used: No module named 'smile'.*serbench env"):
        extract(corpus(tmp_path / "c", 2), tmp_path / "c", Broken())


def test_a_cache_that_cannot_be_written_ends_the_run(
    tmp_path: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("serbench.features._section.append", full)
    with pytest.raises(SerbenchError, match="No space left on device"):
        extract(corpus(tmp_path / "c", 2), tmp_path / "c", Toy())


def test_progress_counts_utterances_and_the_audio_that_was_decoded(tmp_path: Path, cache: FeatureCache) -> None:
    rows = pd.concat([corpus(tmp_path / "c", 3), table({"gone": "gone.wav"})])
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


def test_a_damaged_entry_is_found_and_made_again(tmp_path: Path, cache: FeatureCache) -> None:
    rows = corpus(tmp_path / "c")
    truth = everything(extract(rows, tmp_path / "c", Toy()))
    damage(cache.folder)
    assert len(cache_verify()["damaged"]) == 1
    found = extract(rows, tmp_path / "c", Toy())
    assert Toy.calls == 6
    assert everything(found) == truth
    assert Toy.calls == 7
    assert everything(extract(rows, tmp_path / "c", Toy())) == truth
    assert Toy.calls == 7


def test_damage_is_looked_for_at_once_on_demand(tmp_path: Path, cache: FeatureCache) -> None:
    rows = corpus(tmp_path / "c")
    truth = everything(extract(rows, tmp_path / "c", Toy()))
    damage(cache.folder)
    found = extract(rows, tmp_path / "c", Toy(), verify=True)
    assert Toy.calls == 7
    assert everything(found) == truth
    assert Toy.calls == 7


def test_what_is_pruned_during_a_run_is_made_again(tmp_path: Path, cache: FeatureCache) -> None:
    rows = corpus(tmp_path / "c")
    found = extract(rows, tmp_path / "c", Toy())
    truth = everything(found)
    cache_prune(feature="toy")
    assert everything(found) == truth
    assert Toy.calls == 12
    assert everything(extract(rows, tmp_path / "c", Toy())) == truth
    assert Toy.calls == 12


def test_audio_that_changes_during_a_run_is_not_mixed_in(tmp_path: Path, cache: FeatureCache) -> None:
    rows = corpus(tmp_path / "c", 2)
    found = extract(rows, tmp_path / "c", Toy())
    cache_prune(feature="toy")
    soundfile.write(tmp_path / "c" / "a0.wav", noise(1.0, 99), RATE)
    (tmp_path / "c" / "a1.wav").unlink()
    with pytest.raises(SerbenchError, match="was changed"):
        found["u0"]
    with pytest.raises(SerbenchError, match="is gone"):
        found["u1"]


def test_audio_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = corpus(tmp_path / "c", 2)
    real = _work.read_audio

    def slow(path: str, *rest: Any, **more: Any) -> Any:
        out = real(path, *rest, **more)
        if path.endswith("a0.wav"):
            soundfile.write(path, noise(0.7), RATE)
        return out

    monkeypatch.setattr(_work, "read_audio", slow)
    found = extract(rows, tmp_path / "c", Toy())
    assert list(found) == ["u1"]
    assert "changed while it was read" in found.failed["u0"]


def test_a_table_holds_no_arrays(tmp_path: Path, cache: FeatureCache) -> None:
    rows = corpus(tmp_path / "c", 40)
    found = extract(rows, tmp_path / "c", build("waveform"))
    size = sum(4 * found.frames(i) for i in found)
    tracemalloc.start()
    for item in found:
        assert found[item] is not found[item]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size / 8


def test_a_table_can_be_sent_to_another_process(tmp_path: Path, cache: FeatureCache) -> None:
    rows = corpus(tmp_path / "c", 2)
    found = extract(rows, tmp_path / "c", build("mel"))
    assert everything(pickle.loads(pickle.dumps(found))) == everything(found)


def test_jobs_must_be_positive(tmp_path: Path, cache: FeatureCache) -> None:
    with pytest.raises(SerbenchError, match="jobs=0"):
        extract(corpus(tmp_path / "c", 1), tmp_path / "c", Toy(), jobs=0)


def test_two_processes_give_what_one_gives(
    tmp_path: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    rows = pd.concat([corpus(tmp_path / "c", 20), table({"gone": "gone.wav"})])
    seen: list[tuple[int, int, float]] = []
    two = extract(rows, tmp_path / "c", build("mel"), jobs=2, progress=lambda *now: seen.append(now))
    one = extract(rows, tmp_path / "c", build("mel"), FeatureCache(tmp_path / "other" / "features"))
    assert everything(two) == everything(one)
    assert two.failed == one.failed != {}
    assert seen[-1][:2] == (21, 21)
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ
    assert cache_verify()["checked"] == 20


MODULE = '''
import os, signal, time
import numpy as np
from dataclasses import dataclass
from serbench.datasets._errors import SerbenchError
from serbench.features._extractor import FeatureExtractor


@dataclass(frozen=True)
class Config:
    seconds: float = 0.0


class Extractor(FeatureExtractor):
    """One number per file; sleeps, dies or refuses where it is told to."""
    name, version, sampling_rate, dim, hop_seconds = "helper", 1, 16000, 1, None

    def prepare(self):
        if os.environ.get("HELPER_BROKEN"):
            raise SerbenchError("no checkpoint here")

    def extract(self, signal):
        time.sleep(self.config.seconds)
        if len(signal) == 1234:
            os.kill(os.getpid(), signal_number)
        return np.array([[float(signal.sum())]], np.float32)


signal_number = signal.SIGKILL
'''


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module that child processes can import too."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "helper_extractor.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    import helper_extractor

    yield helper_extractor
    del sys.modules["helper_extractor"]


def test_a_file_that_kills_its_process_is_listed_and_ends_nothing(
    tmp_path: Path, cache: FeatureCache, helper: Any
) -> None:
    root = tmp_path / "c"
    rows = corpus(root, 11)
    for i in (3, 8):
        soundfile.write(root / f"a{i}.wav", noise(1)[:1234], RATE)
    found = extract(rows, root, helper.Extractor(helper.Config()), jobs=2)
    assert sorted(found.failed) == ["u3", "u8"]
    assert all("died" in reason for reason in found.failed.values())
    assert len(found) == 9
    truth = soundfile.read(root / "a10.wav", dtype="float32")[0].sum()
    assert found["u10"][0, 0] == np.float32(truth)


def test_an_extractor_that_cannot_work_ends_the_run_of_several_processes(
    tmp_path: Path, cache: FeatureCache, helper: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELPER_BROKEN", "1")
    with pytest.raises(SerbenchError, match="no checkpoint here"):
        extract(corpus(tmp_path / "c", 9), tmp_path / "c", helper.Extractor(helper.Config()), jobs=2)


def test_an_extractor_that_holds_a_device_stays_in_this_process(
    tmp_path: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Toy, "parallel", False)
    assert len(extract(corpus(tmp_path / "c"), tmp_path / "c", Toy(), jobs=2)) == 6
    assert Toy.calls == 6


SCRIPT = """
import hashlib, sys
import pandas as pd
from pathlib import Path
from serbench.features._extract import extract
from serbench.features._extractor import build


def main():
    root = Path(sys.argv[1])
    rows = pd.DataFrame({"path": sorted(p.name for p in root.glob("*.wav"))})
    rows.index = rows["path"]
    if sys.argv[2] == "helper":
        import helper_extractor
        extractor = helper_extractor.Extractor(helper_extractor.Config(0.02))
    else:
        extractor = build(sys.argv[2])
    print("ready", flush=True)
    found = extract(rows, root, extractor, jobs=int(sys.argv[3]))
    assert not found.failed, found.failed
    print(hashlib.sha256(b"".join(found[i].tobytes() for i in sorted(found))).hexdigest(), flush=True)


GUARD
    main()
"""


def start(folder: Path, root: Path, feature: str, jobs: int, guard: str = "if __name__ == '__main__':") -> Any:
    script = folder / "script.py"
    script.write_text(SCRIPT.replace("GUARD", guard))
    return subprocess.Popen(
        [sys.executable, "-P", str(script), str(root), feature, str(jobs)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def expected_digest(rows: pd.DataFrame, root: Path, extractor: FeatureExtractor) -> str:
    """What the script prints, from the extractor alone."""
    signals = (soundfile.read(root / path, dtype="float32")[0] for path in sorted(rows["path"]))
    arrays = [extractor.extract(signal).tobytes() for signal in signals]
    return hashlib.sha256(b"".join(arrays)).hexdigest()


def test_four_processes_at_once_corrupt_nothing_and_finish(tmp_path: Path, cache: FeatureCache) -> None:
    root = tmp_path / "c"
    rows = corpus(root, 60)
    truth = expected_digest(rows, root, build("mel"))
    processes = [start(tmp_path, root, "mel", 1) for _ in range(4)]
    outs = [p.communicate(timeout=100) for p in processes]
    assert [p.returncode for p in processes] == [0] * 4, outs
    assert {out.split()[-1] for out, _ in outs} == {truth}
    report = cache_verify()
    assert report["damaged"] == []
    assert 60 <= report["checked"] <= 240


def entries() -> int:
    return int(cache_info()["entries"])


def wait_for(condition: Any, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_process_killed_in_the_middle_leaves_a_usable_cache(
    tmp_path: Path, cache: FeatureCache, helper: Any, jobs: int
) -> None:
    root = tmp_path / "c"
    rows = corpus(root, 100, 0.05)
    process = start(tmp_path, root, "helper", jobs)
    wait_for(lambda: entries() >= 10)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    wait_for(lambda: not children_of(process.pid))
    there = entries()
    assert 10 <= there < 100
    assert cache_verify()["damaged"] == []
    found = extract(rows, root, helper.Extractor(helper.Config(0.02)))
    assert not found.failed
    assert cache_info()["entries"] == 100  # what was there was not made again, and nothing is there twice
    for i in (0, 50, 99):
        truth = soundfile.read(root / f"a{i}.wav", dtype="float32")[0].sum()
        assert found[f"u{i}"][0, 0] == np.float32(truth)


def children_of(group_leader: int) -> list[str]:
    """Command lines of living processes that hold the helper's script."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            status = (folder / "status").read_text()
        except OSError:
            continue
        if f"parent_pid={group_leader}" in line or f"PPid:\t{group_leader}\n" in status:
            found.append(line)
    return found


def test_cooperating_processes_share_the_work(tmp_path: Path, cache: FeatureCache, helper: Any) -> None:
    root = tmp_path / "c"
    corpus(root, 120, 0.05)
    processes = [start(tmp_path, root, "helper", 1) for _ in range(3)]
    outs = [p.communicate(timeout=100) for p in processes]
    assert [p.returncode for p in processes] == [0] * 3, outs
    assert cache_info()["entries"] < 2 * 120  # three times as many if each had made all


def test_a_script_without_a_guard_is_told_so(tmp_path: Path, cache: FeatureCache) -> None:
    root = tmp_path / "c"
    corpus(root, 9, 0.05)
    process = start(tmp_path, root, "mel", 2, guard="if True:")
    _, error = process.communicate(timeout=100)
    assert process.returncode != 0
    assert "worker processes can't be started" in error
    assert "if __name__ == '__main__':" in error


def test_real_recordings(test_data: Path, cache: FeatureCache) -> None:
    root = test_data / "emodb"
    paths = sorted((root / "wav").glob("*.wav"))[::40]
    rows = table({p.stem: f"wav/{p.name}" for p in paths})
    extractor = build("mel")
    found = extract(rows, root, extractor)
    assert list(found) == [p.stem for p in paths]
    for path in paths:
        assert np.array_equal(found[path.stem], extractor.extract(soundfile.read(path, dtype="float32")[0]))
