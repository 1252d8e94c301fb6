"""What DeepEmoCluster costs: its k-means, its epochs, prediction with imported networks, memory under a growing pool.

    python -m serbench.benchmarks.bench_deepemocluster [--out FILE.json] [--only kmeans epochs prediction memory]

- k-means at the size of MSP-Podcast 1.6's training set: 34,280 sentences of 11 chunks, 256 numbers each, K = 10, 20
  iterations on generated points; faiss beside it where that is installed.
- One epoch of 64 labelled and 64 dev sentences of 11 chunks, with and without 64 unlabelled ones, batch 64, K = 10:
  both stages, both clusterings and the dev pass. The limits stand against what the authors' code takes.
- Files per second of `predict` with three networks of the released size, against a loop that takes one file at a time:
  librosa, plain layers, one network after the other. Both begin with audio files and nothing cached.
- Peak memory of a training whose unlabelled pool grows from 1,000 to 100,000 generated sentences. The network is tiny,
  so that the data path is what is measured; points to cluster are 256 numbers as in the real one.

Each measurement is a process of its own with one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..datasets._files import write_json
from ..sermodels._kmeans import kmeans
from ..sermodels._model import Resources
from ..sermodels.deepemocluster import FIXED, PAPER, Model
from ._bench_material import endless, plain_loop, renamed, speech_files, three_networks
from ._measure import Cost, measure
from .bench_training import TASK, generated

CHUNKS, WIDTH, CLUSTERS = 34_280 * 11, 256, 10
LIMITS = {"kmeans": 14.0, "semi-supervised": 38.0, "supervised": 21.0, "prediction": 1.8}
PEAK_LIMIT = 5.5e9 / 2**20
POOLS = (1_000, 3_000, 10_000, 30_000, 100_000)
_UNIT = 1 if sys.platform == "darwin" else 1024


def rows() -> list[dict[str, Any]]:
    """All measurements as rows of the performance page."""
    return [*kmeans_rows(), *epoch_rows(), *prediction_rows(), *memory_rows()]


def kmeans_rows() -> list[dict[str, Any]]:
    """k-means at paper scale, from both starts, and faiss."""
    found = []
    for start, backend in (("random", "torch"), ("k-means++", "torch"), ("random", "faiss")):
        cost, facts = _apart("kmeans", start=start, backend=backend)
        if not facts:
            continue
        row = _row(f"k-means, {CHUNKS:,} x {WIDTH}, K {CLUSTERS}, 20 iterations: {backend}, {start} start", cost, facts)
        found.append(_limited(row, LIMITS["kmeans"]) if backend == "torch" else row)
    return found


def epoch_rows() -> list[dict[str, Any]]:
    """A semi-supervised and a supervised epoch."""
    found = []
    for kind in ("semi-supervised", "supervised"):
        cost, facts = _apart("epoch", kind=kind)
        row = _row(f"deepemocluster, {kind} epoch: 64 sentences of 11 chunks of each set", cost, facts)
        row = _limited(row, LIMITS[kind])
        row["limit"] += f", {PEAK_LIMIT:.0f} MiB"
        found.append({**row, "met": row["met"] and row["peak_mib"] <= PEAK_LIMIT})
    return found


def prediction_rows() -> list[dict[str, Any]]:
    """`predict` and the plain loop, in one process and interleaved."""
    cost, facts = _apart("prediction")
    ours, loop = facts["ours"], facts["loop"]
    title = f"three networks on {facts['files']} files of {facts['audio_seconds']:.0f} s"
    ratio = loop["wall_seconds"] / ours["wall_seconds"]
    return [
        {"title": f"{title}: one file at a time, librosa, plain layers", **loop},
        {"title": f"{title}: predict", **ours, "peak_mib": round(cost.peak_mib), "ratio": ratio,
         "limit": f"{LIMITS['prediction']} times the files per second", "met": ratio >= LIMITS["prediction"]},
    ]  # fmt: skip


def memory_rows(pools: Sequence[int] = POOLS) -> list[dict[str, Any]]:
    """Peak memory for each size of the unlabelled pool."""
    found = []
    for pool in pools:
        cost, facts = _apart("memory", pool=str(pool))
        found.append(_row(f"training with {pool:,} unlabelled sentences, peak memory", cost, facts))
    growth = (found[-1]["peak_mib"] - found[0]["peak_mib"]) * 2**20 / max(pools[-1] - pools[0], 1)
    found[-1] |= {"limit": "2 kB more per sentence", "met": growth <= 2000}
    return found


# What runs in a process of its own


def run_kmeans(start: str = "random", backend: str = "torch", count: int = CHUNKS) -> dict[str, Any]:
    """Cost of clustering generated points; nothing where faiss is not installed."""
    if backend == "faiss":
        try:
            import faiss  # noqa: F401
        except ImportError:
            return {}
    points = torch.empty(count, WIDTH).normal_(generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    return _timed(lambda: kmeans(points, CLUSTERS, generator, iterations=20, start=start, backend=backend))


def run_epoch(kind: str, sentences: int = 64) -> dict[str, Any]:
    """Cost of one epoch with the paper's network, after one on two sentences."""
    config = replace(PAPER, train=replace(PAPER.train, epochs=1, batch_size=sentences))

    def prepared(n: int) -> Callable[[], object]:
        pool = replace(renamed(generated(n, 3), "p"), labels=None) if kind == "semi-supervised" else None
        train, dev = generated(n, 1), renamed(generated(n, 2), "d")
        return lambda: Model(config, TASK, Resources(seed=1)).fit(train, dev, _score, pool)

    prepared(2)()
    return _timed(prepared(sentences))


def run_prediction(files: int = 120) -> dict[str, Any]:
    """Costs of `predict` and of the plain loop on the same files, in interleaved slices of 20."""
    from .predict import predict

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["SERBENCH_CACHE"] = str(folder / "cache")
        audio, seconds = speech_files(folder, files)
        weights = three_networks(folder)
        loop = plain_loop(weights)
        predict(weights, audio[:1], device="cpu")
        loop(audio[0])
        spent = {"ours": [0.0, 0.0], "loop": [0.0, 0.0]}
        for first in range(1, files, 20):
            some = audio[first : first + 20]
            predicted: Callable[[], object] = partial(predict, weights, some, device="cpu")
            for side, work in (("ours", predicted), ("loop", partial(_each, loop, some))):
                cost = _timed(work)
                spent[side][0] += cost["cpu_seconds"]
                spent[side][1] += cost["wall_seconds"]
    sides = {side: {"cpu_seconds": cpu, "wall_seconds": wall} for side, (cpu, wall) in spent.items()}
    return {"files": files - 1, "audio_seconds": seconds, **sides}


def run_memory(pool: str, labelled: int = 200) -> dict[str, Any]:
    """One epoch with a pool of generated sentences of 2.75 s and 32 bands."""
    config = replace(
        FIXED, train=replace(FIXED.train, epochs=1, batch_size=64, keep_mb=64), channels=(2,), strides=(16,),
        cluster_mb=64, unlabelled=int(pool), kmeans_iterations=5,
    )  # fmt: skip
    train, dev, unlabelled = (endless(n, name) for n, name in ((labelled, "t"), (50, "d"), (int(pool), "p")))
    unlabelled = replace(unlabelled, labels=None)
    return _timed(lambda: Model(config, TASK, Resources(seed=1)).fit(train, dev, _score, unlabelled))


# Measuring


def _each(work: Callable[[Path], Any], paths: Sequence[Path]) -> None:
    for path in paths:
        work(path)


def _score(gold: Any, predicted: Any) -> float:
    return float(-np.abs(gold - predicted).mean())


def _timed(work: Callable[[], object]) -> dict[str, Any]:
    before, started = _cpu(), time.perf_counter()
    work()
    return {"cpu_seconds": _cpu() - before, "wall_seconds": time.perf_counter() - started}


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _apart(what: str, **arguments: str) -> tuple[Cost, dict[str, Any]]:
    """Run one measurement in a process of its own: that process's cost, and what it measured."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "out.json"
        given = [text for key, value in arguments.items() for text in ("--argument", f"{key}={value}")]
        env = {"PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"}
        cost = measure([sys.executable, "-m", __spec__.name, "--run", what, *given, "--out", str(out)], env=env)
        return cost, json.loads(out.read_text(encoding="utf-8"))


def _row(title: str, cost: Cost, facts: Mapping[str, Any]) -> dict[str, Any]:
    """A row with the measured part's seconds and the whole process's peak memory."""
    return {"title": title, "cpu_seconds": facts["cpu_seconds"], "wall_seconds": facts["wall_seconds"],
            "peak_mib": round(cost.peak_mib)}  # fmt: skip


def _limited(row: dict[str, Any], limit: float) -> dict[str, Any]:
    return {**row, "limit": f"{limit:g} CPU-seconds", "met": row["cpu_seconds"] <= limit}


RUNS: dict[str, Callable[..., dict[str, Any]]] = {
    "kmeans": run_kmeans, "epoch": run_epoch, "prediction": run_prediction, "memory": run_memory,
}  # fmt: skip
ROWS: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "kmeans": kmeans_rows, "epochs": epoch_rows, "prediction": prediction_rows, "memory": memory_rows,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the rows as JSON; `--run` is one measurement in this process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, help="JSON file; without it the result is printed")
    parser.add_argument("--only", nargs="+", choices=list(ROWS), help="what is measured; default: all")
    parser.add_argument("--run", choices=list(RUNS))
    parser.add_argument("--argument", action="append", default=[], help="KEY=VALUE for --run")
    given = parser.parse_args(arguments)
    if given.run:
        torch.set_num_threads(1)
        result: Any = RUNS[given.run](**dict(text.split("=", 1) for text in given.argument))
    else:
        result = [row for name in given.only or ROWS for row in ROWS[name]()]
    if given.out:
        write_json(given.out, result)
    else:
        sys.stdout.write(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
