"""What DeepEmoCluster costs: its k-means, its epochs, prediction with imported networks, memory under a growing pool.

    python -m serbench.benchmarks.performance.parts.deepemocluster [--out FILE.json] [--only PART ...]

with the parts kmeans, epochs, prediction and memory.

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

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ....features.core.process import keep_freed_memory
from ....sermodels.clustering.kmeans import kmeans
from ....sermodels.core.sermodel import Resources
from ....sermodels.deepemocluster.config import FIXED, PAPER
from ....sermodels.deepemocluster.model import Model
from ..material import endless, plain_loop, renamed, speech_files, three_networks
from ..measure import timed
from ..rows import Facts, Row, apart, main, row, rows_of, within
from .training import TASK, generated

CHUNKS, WIDTH, CLUSTERS = 34_280 * 11, 256, 10
LIMITS = {"kmeans": 14.0, "semi-supervised": 38.0, "supervised": 21.0, "prediction": 1.8}
PEAK_LIMIT = 5.5e9 / 2**20
POOLS = (1_000, 3_000, 10_000, 30_000, 100_000)
_apart = partial(apart, __spec__.name)


def rows() -> list[Row]:
    """All measurements as rows of the performance page."""
    return rows_of(ROWS)


def kmeans_rows() -> list[Row]:
    """k-means at paper scale, from both starts, and faiss."""
    shown = []
    for start, backend in (("random", "torch"), ("k-means++", "torch"), ("random", "faiss")):
        facts = _apart("kmeans", start=start, backend=backend)
        if "cpu_seconds" not in facts:
            continue
        title = f"k-means, {CHUNKS:,} x {WIDTH}, K {CLUSTERS}, 20 iterations: {backend}, {start} start"
        shown.append(row(title, facts, **within(facts, cpu_seconds=LIMITS["kmeans"]) if backend == "torch" else {}))
    return shown


def epoch_rows() -> list[Row]:
    """A semi-supervised and a supervised epoch."""
    shown = []
    for kind in ("semi-supervised", "supervised"):
        facts = _apart("epoch", kind=kind)
        title = f"deepemocluster, {kind} epoch: 64 sentences of 11 chunks of each set"
        shown.append(row(title, facts, **within(facts, cpu_seconds=LIMITS[kind], peak_mib=PEAK_LIMIT)))
    return shown


def prediction_rows() -> list[Row]:
    """`predict` and the plain loop, in one process and interleaved."""
    facts = _apart("prediction")
    ours, loop = facts["ours"], facts["loop"]
    title = f"three networks on {facts['files']} files of {facts['audio_seconds']:.0f} s"
    ratio = loop["wall_seconds"] / ours["wall_seconds"]
    return [
        row(f"{title}: one file at a time, librosa, plain layers", loop),
        row(
            f"{title}: predict",
            {**ours, "peak_mib": facts["peak_mib"]},
            ratio=ratio,
            limit=f"{LIMITS['prediction']} times the files per second",
            met=ratio >= LIMITS["prediction"],
        ),
    ]


def memory_rows(pools: Sequence[int] = POOLS) -> list[Row]:
    """Peak memory for each size of the unlabelled pool."""
    title = "training with {:,} unlabelled sentences, peak memory"
    shown = [row(title.format(pool), _apart("memory", pool=pool)) for pool in pools]
    growth = (shown[-1]["peak_mib"] - shown[0]["peak_mib"]) * 2**20 / max(pools[-1] - pools[0], 1)
    shown[-1] |= {"limit": "2 kB more per sentence", "met": growth <= 2000}
    return shown


# What runs in a process of its own


def run_kmeans(start: str = "random", backend: str = "torch", count: int = CHUNKS) -> Facts:
    """Cost of clustering generated points; nothing where faiss is not installed."""
    if backend == "faiss":
        try:
            import faiss  # noqa: F401
        except ImportError:
            return {}
    points = torch.empty(count, WIDTH).normal_(generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    with timed() as spent:
        kmeans(points, CLUSTERS, generator, iterations=20, start=start, backend=backend)
    return spent


def run_epoch(kind: str, sentences: int = 64) -> Facts:
    """Cost of one epoch with the paper's network after another of the same size, with memory kept as in a trial."""
    keep_freed_memory()
    config = replace(PAPER, train=replace(PAPER.train, epochs=1, batch_size=sentences))

    def prepared(n: int) -> Callable[[], object]:
        pool = replace(renamed(generated(n, 3), "p"), labels=None) if kind == "semi-supervised" else None
        train, dev = generated(n, 1), renamed(generated(n, 2), "d")
        return lambda: Model(config, TASK, Resources(seed=1)).fit(train, dev, score, pool)

    epoch = prepared(sentences)
    epoch()
    with timed() as spent:
        epoch()
    return spent


def run_prediction(files: int = 120) -> Facts:
    """Costs of `predict` and of the plain loop on the same files, in interleaved slices of 20."""
    from ...weights.predict import predict

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["SERBENCH_CACHE"] = str(folder / "cache")
        audio, seconds = speech_files(folder, files)
        weights = three_networks(folder)
        loop = plain_loop(weights)
        predict(weights, audio[:1], device="cpu")
        loop(audio[0])
        spent: dict[str, dict[str, float]] = {"ours": {}, "loop": {}}
        for first in range(1, files, 20):
            some = audio[first : first + 20]
            predicted: Callable[[], object] = partial(predict, weights, some, device="cpu")
            for side, work in (("ours", predicted), ("loop", partial(_each, loop, some))):
                with timed() as cost:
                    work()
                spent[side] = {key: spent[side].get(key, 0.0) + value for key, value in cost.items()}
    return {"files": files - 1, "audio_seconds": seconds, **spent}


def run_memory(pool: str, labelled: int = 200) -> Facts:
    """One epoch with a pool of generated sentences of 2.75 s and 32 bands, with memory kept as in a trial."""
    keep_freed_memory()
    config = replace(
        FIXED,
        train=replace(FIXED.train, epochs=1, batch_size=64, keep_mb=64),
        channels=(2,),
        strides=(16,),
        cluster_mb=64,
        unlabelled=int(pool),
        kmeans_iterations=5,
    )
    train, dev, unlabelled = (endless(n, name) for n, name in ((labelled, "t"), (50, "d"), (int(pool), "p")))
    unlabelled = replace(unlabelled, labels=None)
    with timed() as spent:
        Model(config, TASK, Resources(seed=1)).fit(train, dev, score, unlabelled)
    return spent


def _each(work: Callable[[Path], Any], paths: Sequence[Path]) -> None:
    for path in paths:
        work(path)


def score(gold: Any, predicted: Any) -> float:
    """Minus the mean absolute error: a dev metric that costs nothing."""
    return float(-np.abs(gold - predicted).mean())


RUNS: dict[str, Callable[..., Facts]] = {
    "kmeans": run_kmeans,
    "epoch": run_epoch,
    "prediction": run_prediction,
    "memory": run_memory,
}
ROWS: dict[str, Callable[[], list[Row]]] = {
    "kmeans": kmeans_rows,
    "epochs": epoch_rows,
    "prediction": prediction_rows,
    "memory": memory_rows,
}


if __name__ == "__main__":
    main(__doc__, ROWS, RUNS)
