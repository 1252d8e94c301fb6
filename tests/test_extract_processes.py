"""Extraction in several processes: the same bytes, killed workers and runs, shared work, scripts without a guard."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from serbench.datasets.core.errors import SerbenchError
from serbench.features.cache.cache import FeatureCache, cache_info, cache_verify
from serbench.features.core.feature_extractor import FeatureExtractor, build
from serbench.features.core.feature_table import FeatureTable
from serbench.features.extraction.extract import extract

RATE = 16000
Clips = Callable[..., pd.DataFrame]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureCache:
    monkeypatch.setenv("SERBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("serbench.features.core.audio._RACY_SECONDS", -1e9)  # files are taken for rested at once
    return FeatureCache()


def everything(found: FeatureTable) -> dict[str, bytes]:
    return {item: found[item].tobytes() for item in found}


def test_two_processes_give_what_one_gives(
    tmp_path: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch, noise_clips: Clips
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    rows = noise_clips(tmp_path / "c", 20)
    rows.loc["gone", "path"] = "gone.wav"
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
from serbench.datasets.core.errors import SerbenchError
from serbench.features.core.feature_extractor import FeatureExtractor


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
    tmp_path: Path, cache: FeatureCache, helper: Any, noise_clips: Clips
) -> None:
    root = tmp_path / "c"
    rows = noise_clips(root, 11)
    for i in (3, 8):
        soundfile.write(root / f"a{i}.wav", np.full(1234, 0.1), RATE)
    found = extract(rows, root, helper.Extractor(helper.Config()), jobs=2)
    assert sorted(found.failed) == ["u3", "u8"]
    assert all("died" in reason for reason in found.failed.values())
    assert len(found) == 9
    truth = soundfile.read(root / "a10.wav", dtype="float32")[0].sum()
    assert found["u10"][0, 0] == np.float32(truth)


def test_an_extractor_that_cannot_work_ends_the_run_of_several_processes(
    tmp_path: Path, cache: FeatureCache, helper: Any, monkeypatch: pytest.MonkeyPatch, noise_clips: Clips
) -> None:
    monkeypatch.setenv("HELPER_BROKEN", "1")
    with pytest.raises(SerbenchError, match="no checkpoint here"):
        extract(noise_clips(tmp_path / "c", 9), tmp_path / "c", helper.Extractor(helper.Config()), jobs=2)


SCRIPT = """
import hashlib, sys
import pandas as pd
from pathlib import Path
from serbench.features.extraction.extract import extract
from serbench.features.core.feature_extractor import build


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
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def expected_digest(rows: pd.DataFrame, root: Path, extractor: FeatureExtractor) -> str:
    """What the script prints, from the extractor alone."""
    signals = (soundfile.read(root / path, dtype="float32")[0] for path in sorted(rows["path"]))
    arrays = [extractor.extract(signal).tobytes() for signal in signals]
    return hashlib.sha256(b"".join(arrays)).hexdigest()


def test_four_processes_at_once_corrupt_nothing_and_finish(
    tmp_path: Path, cache: FeatureCache, noise_clips: Clips
) -> None:
    root = tmp_path / "c"
    rows = noise_clips(root, 60)
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
    tmp_path: Path, cache: FeatureCache, helper: Any, jobs: int, noise_clips: Clips
) -> None:
    root = tmp_path / "c"
    rows = noise_clips(root, 100, 0.05)
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


def test_cooperating_processes_share_the_work(
    tmp_path: Path, cache: FeatureCache, helper: Any, noise_clips: Clips
) -> None:
    root = tmp_path / "c"
    noise_clips(root, 120, 0.05)
    processes = [start(tmp_path, root, "helper", 1) for _ in range(3)]
    outs = [p.communicate(timeout=100) for p in processes]
    assert [p.returncode for p in processes] == [0] * 3, outs
    assert cache_info()["entries"] < 2 * 120  # three times as many if each had made all


def test_a_script_without_a_guard_is_told_so(tmp_path: Path, cache: FeatureCache, noise_clips: Clips) -> None:
    root = tmp_path / "c"
    noise_clips(root, 9, 0.05)
    process = start(tmp_path, root, "mel", 2, guard="if True:")
    _, error = process.communicate(timeout=100)
    assert process.returncode != 0
    assert "worker processes can't be started" in error
    assert "if __name__ == '__main__':" in error
