"""What features cost: `mel` against a librosa loop, openSMILE in two processes against one, and a warm cache.

    python -m serbench.benchmarks.bench_features --data EMODB_ROOT [--out FILE.json] [--rounds N]

All files of EMO-DB (535, 24.8 min), each measurement in a process of its own with an empty cache, after its imports and
one file to warm up; rounds are interleaved, so that a busy machine slows both sides alike, and the median round is
reported. Extraction through the cache is decoding, hashing, the feature and writing; the references write nothing:

- `librosa`: `librosa.load(file, sr=16000)`, division by the peak, `librosa.feature.melspectrogram` with the same
  settings, file by file. Numerical libraries use one thread on both sides. On several processors librosa spends more
  CPU-seconds with its default threads than with one, which is shown as a further row;
- `opensmile`: `Smile.process_file`, eGeMAPSv02 functionals, file by file.

Compare CPU-seconds; wall times of a shared machine mean little, except for the two processes, where wall is the point.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from ..datasets._errors import SerbenchError
from ..datasets._files import write_json
from ..features._extract import extract
from ..features._extractor import build

MEL_LIMIT, OPENSMILE_LIMIT = 2.5, 1.7
Costs = dict[str, float]
"""cpu_seconds, wall_seconds, peak_mib, audio_seconds of one measurement."""


def wav_files(data: Path) -> list[Path]:
    """The recordings of an EMO-DB folder."""
    files = sorted((data / "wav").glob("*.wav"))
    if not files:
        raise SerbenchError(f"{data} holds no wav/*.wav. Expected the folder of EMO-DB; type --data FOLDER.")
    return files


def cached(feature: str, jobs: int, *, warm: bool = False) -> Callable[[Path], Callable[[], object]]:
    """`feature` of all files through the cache: extraction, or, when warm, the look-up and loading of all arrays."""

    def prepare(data: Path) -> Callable[[], object]:
        files = wav_files(data)
        rows = pd.DataFrame({"path": [f"wav/{f.name}" for f in files]}, index=[f.stem for f in files])
        extract(rows if warm else rows[:1], data, build(feature))  # one file to warm up, or all

        def run() -> object:
            table = extract(rows, data, build(feature), jobs=jobs)
            if table.failed or len(table) != len(files):
                raise SerbenchError(f"{len(table.failed)} of {len(files)} files failed: {table.failed}")
            return [table[item].shape for item in table] if warm else None

        return run

    return prepare


def by_librosa(data: Path) -> Callable[[], object]:
    """Mel spectrograms as one writes them with librosa."""
    import librosa
    import numpy as np

    def one(path: Path) -> object:
        signal, _ = librosa.load(path, sr=16000)
        signal = signal / np.abs(signal).max()
        return librosa.feature.melspectrogram(
            y=signal, sr=16000, n_fft=512, hop_length=256, n_mels=128, pad_mode="reflect"
        ).T

    files = wav_files(data)
    one(files[0])
    return lambda: [one(path).shape for path in files]  # type: ignore[attr-defined]


def by_opensmile(data: Path) -> Callable[[], object]:
    """Functionals as one writes them with the opensmile package."""
    import opensmile

    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    files = wav_files(data)
    smile.process_file(str(files[0]))
    return lambda: [smile.process_file(str(path)).shape for path in files]


SIDES: dict[str, Callable[[Path], Callable[[], object]]] = {
    "mel": cached("mel", 1),
    "mel-warm": cached("mel", 1, warm=True),
    "librosa": by_librosa,
    "egemaps-2": cached("egemaps", 2),
    "opensmile": by_opensmile,
}


def measure_here(side: str, data: Path) -> Costs:
    """Run one side in this process."""
    run = SIDES[side](data)
    before, started = _cpu_seconds(), time.perf_counter()
    run()
    wall, cpu = time.perf_counter() - started, _cpu_seconds() - before
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {"cpu_seconds": cpu, "wall_seconds": wall, "peak_mib": peak / 1024}


def measure_apart(side: str, data: Path, *, one_thread: bool = True) -> Costs:
    """Run one side in a fresh process with an empty cache."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment = {k: v for k, v in os.environ.items() if k not in threads} | (threads if one_thread else {})
    command = [sys.executable, "-P", "-m", __spec__.name if __spec__ else __name__, "--data", str(data), "--side", side]
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(command, env=environment | {"SERBENCH_CACHE": cache}, capture_output=True, text=True)
    if done.returncode:
        raise SerbenchError(f"{' '.join(command)} ended with status {done.returncode}: {done.stderr[-800:]}")
    costs: Costs = json.loads(done.stdout.splitlines()[-1])
    return costs


def interleaved(sides: tuple[str, ...], data: Path, rounds: int) -> dict[str, Costs]:
    """Median costs of several sides that take turns."""
    found: dict[str, list[Costs]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            found[side].append(measure_apart(side, data))
    return {side: {k: statistics.median(c[k] for c in costs) for k in costs[0]} for side, costs in found.items()}


def mel_rows(data: Path, rounds: int = 5) -> list[dict[str, Any]]:
    """`mel` on a cold cache against the librosa loop, with one thread and with librosa's default ones; a warm cache."""
    costs = interleaved(("mel", "librosa"), data, rounds)
    ratio = costs["librosa"]["cpu_seconds"] / costs["mel"]["cpu_seconds"]
    wall = costs["librosa"]["wall_seconds"] / costs["mel"]["wall_seconds"]
    limit = {"ratio": round(ratio, 2), "wall_ratio": round(wall, 2),
             "limit": f"{MEL_LIMIT:g} x the librosa loop, CPU-seconds", "met": ratio >= MEL_LIMIT}  # fmt: skip
    default = measure_apart("librosa", data, one_thread=False)
    return [
        _row("`mel` of EMO-DB, cold cache, 1 process", costs["mel"]) | limit,
        _row("reference: librosa loop, 1 thread, nothing written", costs["librosa"]),
        _row("reference: librosa loop, default threads, nothing written", default),
        _row("`mel` of EMO-DB, warm cache, look-up and loading", measure_apart("mel-warm", data)),
    ]


def opensmile_rows(data: Path, rounds: int = 1) -> list[dict[str, Any]]:
    """eGeMAPS with two jobs on a cold cache against one process that calls opensmile directly."""
    costs = interleaved(("egemaps-2", "opensmile"), data, rounds)
    ratio = costs["opensmile"]["wall_seconds"] / costs["egemaps-2"]["wall_seconds"]
    limit = {"ratio": round(ratio, 2), "limit": f"{OPENSMILE_LIMIT:g} x opensmile directly, wall seconds",
             "met": ratio >= OPENSMILE_LIMIT}  # fmt: skip
    return [
        _row("`egemaps` of EMO-DB, cold cache, 2 jobs", costs["egemaps-2"]) | limit,
        _row("reference: opensmile directly, 1 process, nothing written", costs["opensmile"]),
    ]


def rows(data: Path, rounds: int = 5) -> list[dict[str, Any]]:
    """One row per measurement: title and costs; for ours also ratio to the reference, limit, and whether it is met."""
    return [*mel_rows(data, rounds), *opensmile_rows(data, max(1, rounds - 2))]


def _row(title: str, cost: Costs) -> dict[str, Any]:
    return {"title": title, "cpu_seconds": round(cost["cpu_seconds"], 3),
            "wall_seconds": round(cost["wall_seconds"], 3), "peak_mib": round(cost["peak_mib"])}  # fmt: skip


def _cpu_seconds() -> float:
    """User and system time of this process and its ended children."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usages)


def main() -> None:
    """Print the rows as JSON, or write them to a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder of EMO-DB, with wav/ in it")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", choices=SIDES, help="measure one side in this process and print its costs")
    given = parser.parse_args()
    if given.side:
        sys.stdout.write(json.dumps(measure_here(given.side, given.data)) + "\n")
        return
    found = rows(given.data, given.rounds)
    if given.out is None:
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
    else:
        write_json(given.out, found)


if __name__ == "__main__":
    main()
