"""Hidden states of pre-trained encoders: our extraction beside transformers called clip by clip, and an hour on a card.

    python -m serbench.benchmarks.bench_transformers --data EMODB_ROOT [--out FILE.json]

Random weights of a stated architecture, the last layer, clips of EMO-DB at even steps through its lengths. The other
side is the loop that a user writes: preprocessor, `model(**inputs, output_hidden_states=True)` under `torch.no_grad()`,
one clip after the other. Each side runs in a process of its own, once with torch's default threads and once with one;
reading, decoding and, on our side, hashing and writing to an empty cache are included, starting Python and loading the
weights are not. Peak memory is the process's. The limit is held against the default threads, and has to be kept in
CPU-seconds and in wall seconds; on a busy machine threads that wait for each other make that loop look worse than on a
quiet one, so the row with one thread is the one to read there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets._errors import SerbenchError
from ..datasets._files import write_json
from ._machine import cpu_seconds, peak_mib

Row = dict[str, Any]
ENCODERS = (("wav2vec2-base", 24), ("wavlm-base", 24), ("wav2vec2-reduced", 120), ("wav2vec2-tiny", 240))
"""Random encoder, and number of clips."""
THREADS = ("default", "1")
LIMIT = 1.5
SIDES = ("clip by clip", "serbench")


def clips(data: Path, count: int) -> list[Path]:
    """So many files of EMO-DB at even steps through its lengths."""
    files = sorted((data / "wav").glob("*.wav"), key=lambda p: (p.stat().st_size, p.name))
    if not files:
        raise SerbenchError(f"there is no wav/*.wav in {data}. Expected the folder of EMO-DB.")
    return [files[i] for i in np.linspace(0, len(files) - 1, count).round().astype(int)]


def timed(work: Callable[[], float]) -> dict[str, float]:
    """CPU and wall seconds of `work`, the seconds of audio that it says it went through, and peak memory in MiB."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    audio = work()
    passed = time.perf_counter() - wall
    return {"cpu": cpu_seconds() - cpu, "wall": passed, "peak": peak_mib(), "audio": audio}


def clip_by_clip(data: Path, name: str, count: int) -> dict[str, float]:
    """The network of transformers, called for one clip after the other."""
    import soundfile
    import torch
    from transformers import Wav2Vec2FeatureExtractor

    from ..features._encoder_load import load
    from ..features._encoder_source import locate

    source = locate(f"random:{name}")
    network = load(source).model.eval()
    preprocess = Wav2Vec2FeatureExtractor(**source.preprocessor)  # type: ignore[no-untyped-call]

    def work() -> float:
        audio = 0.0
        for path in clips(data, count):
            signal, rate = soundfile.read(path, dtype="float32")
            inputs = preprocess(signal, sampling_rate=rate, return_tensors="pt")
            with torch.no_grad():
                network(**inputs, output_hidden_states=True).last_hidden_state[0].numpy()
            audio += len(signal) / rate
        return audio

    return timed(work)


def ours(data: Path, name: str, count: int) -> dict[str, float]:
    """`extract` in this process, into an empty cache."""
    import pandas as pd

    from ..features._cache import FeatureCache
    from ..features._extract import extract
    from ..features._extractor import FeatureRequest, build

    made = build(FeatureRequest(f"transformers:random:{name}", (("device", "cpu"),)))
    made.prepare()
    rows = pd.DataFrame({"path": [f"wav/{p.name}" for p in clips(data, count)]}, index=range(count))
    seen = [0.0]
    with tempfile.TemporaryDirectory() as folder:

        def work() -> float:
            extract(rows, data, made, FeatureCache(Path(folder) / "features"),
                    progress=lambda _done, _total, seconds: seen.__setitem__(0, seconds))  # fmt: skip
            return seen[0]

        return timed(work)


def card_row(name: str = "wav2vec2-base", precision: str = "float16", seconds: float = 3600.0) -> Row:
    """An hour of audio in clips of 1 to 9 s on a CUDA card: times real time, and share of its measured matrix rate."""
    import torch

    from ..features._extractor import FeatureRequest, build
    from .cost import counting

    generator = np.random.default_rng(0)
    lengths = np.clip(generator.gamma(7.3, 0.38, size=round(seconds / 2.78)), 1.2, 9.0)
    signals = [generator.standard_normal(int(n * 16000)).astype(np.float32) * 0.1 for n in lengths]
    made = build(FeatureRequest(f"transformers:random:{name}", (("precision", precision), ("pooling", "mean"))))
    made.prepare()
    made.extract_many(signals[:32])
    with counting() as counted:
        made.extract_many(signals[:32])
    operations = 2 * counted() * float(lengths.sum() / lengths[:32].sum())
    found = timed(lambda: float(len(made.extract_many(signals)) and lengths.sum()))
    square = torch.randn(8192, 8192, device="cuda", dtype=getattr(torch, precision))
    torch.cuda.synchronize()
    begun = time.perf_counter()
    for _ in range(10):
        square @ square
    torch.cuda.synchronize()
    limit = 10 * 2 * 8192**3 / (time.perf_counter() - begun)
    speed, share = found["audio"] / found["wall"], operations / found["wall"] / limit
    where = f"{name}, an hour of clips on {torch.cuda.get_device_name()}, {precision}"
    return _row(f"{where}: {speed:.0f} x real time, {share:.1%} of its matrix rate", found)


def rows(data: Path) -> list[Row]:
    """One row per encoder, number of threads and side; ratios of both kinds of seconds stand on our own side."""
    import torch

    found = []
    for name, count in ENCODERS:
        for threads in THREADS:
            found += compared(data, name, count, threads)
    return [*found, card_row()] if torch.cuda.is_available() else found


def compared(data: Path, name: str, count: int, threads: str) -> list[Row]:
    """Both sides with one encoder and number of threads."""
    theirs, own = (_in_process(data, side, name, count, threads) for side in SIDES)
    cpu, wall = theirs["cpu"] / own["cpu"], theirs["wall"] / own["wall"]
    first = _row(_title(name, count, threads, SIDES[0], theirs), theirs)
    second = _row(_title(name, count, threads, SIDES[1], own) + f", {wall:.2f} x in wall seconds", own)
    second["ratio"] = round(cpu, 2)
    if threads == "default":
        second |= {"limit": f">= {LIMIT:g} x", "met": min(cpu, wall) >= LIMIT}
    return [first, second]


def _title(name: str, count: int, threads: str, side: str, cost: dict[str, float]) -> str:
    number = "one thread" if threads == "1" else "default threads"
    factor = cost["wall"] / cost["audio"]
    return f"{name}, {count} clips, {cost['audio']:.0f} s, {number}, {side} (real-time factor {factor:.3f})"


def _row(title: str, cost: dict[str, float]) -> Row:
    return {"title": title, "cpu_seconds": round(cost["cpu"], 2), "wall_seconds": round(cost["wall"], 2),
            "peak_mib": round(cost["peak"])}  # fmt: skip


def _in_process(data: Path, side: str, name: str, count: int, threads: str) -> dict[str, float]:
    env = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    env |= {} if threads == "default" else {"OMP_NUM_THREADS": threads}
    command = [sys.executable, "-m", "serbench.benchmarks.bench_transformers", "--data", str(data.resolve()),
               "--side", side, "--encoder", name, "--clips", str(count)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        raise SerbenchError(f"measuring {name}, {side}, ended with status {done.returncode}: {done.stderr[-800:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Print the rows as JSON, or write them to a file; with --side, measure that side alone."""
    parser = argparse.ArgumentParser(description="Hidden states, beside transformers called clip by clip")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--encoder", default=ENCODERS[0][0])
    parser.add_argument("--clips", type=int, default=ENCODERS[0][1])
    given = parser.parse_args()
    if given.side:
        measure = clip_by_clip if given.side == SIDES[0] else ours
        sys.stdout.write(json.dumps(measure(given.data, given.encoder, given.clips)) + "\n")
    elif given.out is None:
        sys.stdout.write(json.dumps(rows(given.data), indent=1) + "\n")
    else:
        write_json(given.out, rows(given.data))


if __name__ == "__main__":
    main()
