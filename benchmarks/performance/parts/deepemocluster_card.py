"""DeepEmoCluster on a graphics card, at the paper's size: epochs in float32 and bf16, features, k-means; else no rows.

    python -m serbench.benchmarks.performance.parts.deepemocluster_card [--out FILE.json]

- One semi-supervised epoch of the paper's network on generated features of the full size: 34,280 labelled, 40,000
  unlabelled and 5,958 dev sentences of 5.97 s (section 3), batches of 64 sentences. The second epoch counts. Beside its
  seconds stand the card's utilisation as its driver samples it, and the share of a large matrix product's speed that
  the network's products reach: what is missing to 100 % is spent on memory, on small layers and on reading features.
- The feature pass alone (chunks each second), and k-means on 377,080 x 256 points, K = 10, 20 iterations.
- Waits of the processor for the card for each training step, as PyTorch's own check counts them: 0 is wanted.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from ....sermodels.clustering.kmeans import kmeans
from ....sermodels.core.sermodel import Resources
from ....sermodels.deepemocluster.config import PAPER, Config
from ....sermodels.deepemocluster.model import Model
from ...grid.cost import counting
from ..device_speed import matrix_speed, mean_seconds, precision, with_peak
from ..material import endless
from ..rows import Row, main, row
from .deepemocluster import CHUNKS, CLUSTERS, WIDTH, score
from .training import TASK

LABELLED, POOL, DEV, FRAMES, BANDS = 34_280, 40_000, 5_958, 374, 128


def rows() -> list[Row]:
    """Measurements on the card; none where there is no card."""
    if not torch.cuda.is_available():
        return []
    name, shown = torch.cuda.get_device_name(), []
    for amp in ("off", "bf16"):
        facts = epoch("cuda", amp)
        text = (
            f"deepemocluster:paper on {name}, {'float32' if amp == 'off' else amp}: epoch of {LABELLED:,} + "
            f"{POOL:,} sentences, {facts['share_of_card']:.0%} of a large matrix product, card busy "
            f"{facts['utilisation']:.0%}, {facts['waits_per_step']:.2g} waits for each step"
        )
        shown.append(row(text, {"wall_seconds": facts["seconds"], "peak_mib": facts["peak_mib"]}))
        seconds = feature_pass("cuda", amp)
        shown.append(row(f"feature pass, {amp}: {CHUNKS / seconds:,.0f} chunks/s", {"wall_seconds": seconds}))
    title = f"k-means on {name}, {CHUNKS:,} x {WIDTH}, K {CLUSTERS}, 20 iterations"
    return [*shown, row(title, {"wall_seconds": clustering("cuda")})]


def epoch(
    device: str,
    amp: str,
    sizes: tuple[int, int, int] = (LABELLED, POOL, DEV),
    frames: int = FRAMES,
    config: Config = PAPER,
) -> dict[str, float]:
    """Seconds of a training's second epoch, and what it reached of the card.

    Parameters
    ----------
    sizes : labelled, unlabelled and dev sentences
    """
    labelled, pool, dev = sizes
    with _utilisation(device) as samples:
        log, peak = with_peak(lambda: _fit(device, amp, sizes, frames, config, epochs=2), device)
        taken = list(samples)
    seconds = float(log.epochs[1]["seconds"])
    passes = 4 * labelled + 4 * pool + dev  # a feature pass is 1, a training step forward and backward 3
    chunks = passes * int(log.facts["chunks_per_sentence"])
    operations = 2.0 * chunks * _products(config, int(log.facts["frames_per_chunk"]))
    return {
        "seconds": seconds,
        "share_of_card": operations / seconds / matrix_speed(device, precision(amp == "bf16")),
        "utilisation": sum(taken) / len(taken) / 100 if taken else float("nan"),
        "waits_per_step": waits_per_step(device, amp, config),
        "peak_mib": peak,
    }


def waits_per_step(device: str, amp: str, config: Config = PAPER, steps: int = 8) -> float:
    """How often the processor waits for the card in a step: more waits of a longer epoch over its further steps."""
    counts = []
    for factor in (1, 2):
        size = config.train.batch_size * steps * factor
        with warnings.catch_warnings(record=True) as caught, _checked(device):
            warnings.simplefilter("always")
            _fit(device, amp, (size, 0, 64), 64, config, epochs=1)
        counts.append(sum("synchronizing" in str(one.message) for one in caught))
    return (counts[1] - counts[0]) / steps


def feature_pass(
    device: str, amp: str, sentences: int = LABELLED, frames: int = FRAMES, config: Config = PAPER
) -> float:
    """Seconds of the latent features of all chunks, features read."""
    model = Model(replace(config, train=replace(config.train, epochs=1)), TASK, Resources(seed=1, device=device))
    few = endless(64, "t", frames, BANDS)
    model.fit(few, endless(16, "d", frames, BANDS), score)
    data = replace(endless(sentences, "u", frames, BANDS), labels=None)
    with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=amp == "bf16"):
        return mean_seconds(lambda: model.predict(data), device)


def clustering(device: str, count: int = CHUNKS) -> float:
    """Seconds of k-means on generated points that lie on the device."""
    points = torch.empty(count, WIDTH, device=device).normal_()
    return mean_seconds(lambda: kmeans(points, CLUSTERS, torch.Generator().manual_seed(1), iterations=20), device)


def _fit(device: str, amp: str, sizes: tuple[int, int, int], frames: int, config: Config, epochs: int) -> Any:
    train = replace(config.train, epochs=epochs, patience=0, amp=amp)
    labelled, pool, dev = (endless(n, name, frames, BANDS) for n, name in zip(sizes, "tpd", strict=True))
    model = Model(replace(config, train=train, unlabelled=sizes[1]), TASK, Resources(seed=1, device=device))
    return model.fit(labelled, dev, score, replace(pool, labels=None) if sizes[1] else None)


def _products(config: Config, frames: int) -> int:
    """Multiply-accumulates of one chunk through encoder and both heads."""
    from ....sermodels.deepemocluster.network import ClusterNetwork

    network = ClusterNetwork(frames, BANDS, 1, config).eval()
    with counting() as counted, torch.no_grad():
        hidden = network.latent(torch.zeros(1, frames, BANDS))
        network.emotion(hidden), network.cluster(hidden)
        return counted()


@contextmanager
def _checked(device: str) -> Iterator[None]:
    """Region in which PyTorch warns of every wait for the card."""
    if not device.startswith("cuda"):
        yield
        return
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@contextmanager
def _utilisation(device: str) -> Iterator[list[int]]:
    """Per cent of time that the card is busy, sampled twice a second; empty where the driver's library is missing."""
    samples: list[int] = []
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(0.5):
            try:
                samples.append(int(torch.cuda.utilization()))
            except (ImportError, RuntimeError):
                return

    thread = threading.Thread(target=sample, daemon=True)
    if device.startswith("cuda"):
        thread.start()
    try:
        yield samples
    finally:
        ended.set()


if __name__ == "__main__":
    main(__doc__, rows)
