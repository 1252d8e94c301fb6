"""What features cost: `mel` against a librosa loop, openSMILE in two processes against one, and a warm cache.

    python -m serbench.benchmarks.performance.parts.features --data EMODB_ROOT [--out FILE.json] [--rounds N]

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

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ....datasets.core.errors import SerbenchError
from ....features.core.feature_extractor import build
from ....features.extraction.extract import extract
from ..measure import timed
from ..rows import DATA, DEFAULT_THREADS, ONE_THREAD, Environment, Facts, Row, apart, interleaved, main, row, wav_files

MEL_LIMIT, OPENSMILE_LIMIT = 2.5, 1.7


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


def librosa_mel(path: Path) -> Any:
    """Mel spectrogram of a file as one writes it with librosa: (frame, band)."""
    import librosa

    signal, _ = librosa.load(path, sr=16000)
    signal = signal / np.abs(signal).max()
    return librosa.feature.melspectrogram(
        y=signal, sr=16000, n_fft=512, hop_length=256, n_mels=128, pad_mode="reflect"
    ).T


def by_librosa(data: Path) -> Callable[[], object]:
    """`librosa_mel` of all files."""
    files = wav_files(data)
    librosa_mel(files[0])
    return lambda: [librosa_mel(path).shape for path in files]


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


def run_side(side: str, data: str) -> Facts:
    """Run one side in this process."""
    run = SIDES[side](Path(data))
    with timed() as spent:
        run()
    return spent


def measure_apart(side: str, data: Path, threads: Environment = ONE_THREAD) -> Facts:
    """Run one side in a fresh process with an empty cache."""
    with tempfile.TemporaryDirectory() as cache:
        return apart(__spec__.name, side, env={**threads, "SERBENCH_CACHE": cache}, data=data)


def mel_rows(data: Path, rounds: int = 5) -> list[Row]:
    """`mel` on a cold cache against the librosa loop, with one thread and with librosa's default ones; a warm cache."""
    costs = interleaved({side: partial(measure_apart, side, data) for side in ("mel", "librosa")}, rounds)
    ratio = costs["librosa"]["cpu_seconds"] / costs["mel"]["cpu_seconds"]
    wall = costs["librosa"]["wall_seconds"] / costs["mel"]["wall_seconds"]
    default = measure_apart("librosa", data, DEFAULT_THREADS)
    return [
        row(
            "`mel` of EMO-DB, cold cache, 1 process",
            costs["mel"],
            ratio=ratio,
            wall_ratio=wall,
            limit=f"{MEL_LIMIT:g} x the librosa loop, CPU-seconds",
            met=ratio >= MEL_LIMIT,
        ),
        row("reference: librosa loop, 1 thread, nothing written", costs["librosa"]),
        row("reference: librosa loop, default threads, nothing written", default),
        row("`mel` of EMO-DB, warm cache, look-up and loading", measure_apart("mel-warm", data)),
    ]


def opensmile_rows(data: Path, rounds: int = 1) -> list[Row]:
    """eGeMAPS with two jobs on a cold cache against one process that calls opensmile directly."""
    costs = interleaved({side: partial(measure_apart, side, data) for side in ("egemaps-2", "opensmile")}, rounds)
    ratio = costs["opensmile"]["wall_seconds"] / costs["egemaps-2"]["wall_seconds"]
    return [
        row(
            "`egemaps` of EMO-DB, cold cache, 2 jobs",
            costs["egemaps-2"],
            ratio=ratio,
            limit=f"{OPENSMILE_LIMIT:g} x opensmile directly, wall seconds",
            met=ratio >= OPENSMILE_LIMIT,
        ),
        row("reference: opensmile directly, 1 process, nothing written", costs["opensmile"]),
    ]


def rows(data: Path, rounds: int = 5) -> list[Row]:
    """One row per measurement: title and costs; for ours also ratio to the reference, limit, and whether it is met."""
    return [*mel_rows(data, rounds), *opensmile_rows(data, max(1, rounds - 2))]


RUNS = {side: partial(run_side, side) for side in SIDES}

if __name__ == "__main__":
    main(__doc__, rows, RUNS, {"data": DATA, "rounds": {"type": int, "default": 5}})
