"""What a training epoch costs: the CNN regressor's channels-last network against the plain layout, in the same run.

    python -m serbench.benchmarks.bench_training --out FILE.json

One supervised epoch of 64 generated sentences of 11 s (704 chunks of 62 x 128) and a pass over 64 dev sentences, with
the paper's network and optimisers, through the same training loop. Layouts:

- `channels_last`: the model as it is (channels-last order, training in blocks that stay in the cache, batch
  normalisation folded into the convolutions in evaluation, a sentence or so at a time in passes without training);
- `plain`: an `nn.Sequential` of Conv2d, BatchNorm2d and ReLU in the usual order, the dev pass in one batch;
- `plain_small_batches`: the same with the dev pass in as small batches as ours, to tell the two gains apart.

Rounds are interleaved, so that a busy machine slows all layouts alike. Compare CPU-seconds; wall times of a shared
machine mean little. Peak memory is that of a process that does nothing else.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ..datasets._files import write_json
from ..datasets._task import Task
from ..features._store import FeatureTable
from ..sermodels._emocluster import ChunkNetwork, Encoder
from ..sermodels._model import Data, Resources
from ..sermodels.cnn_regressor import PRESETS, Model

LAYOUTS = ("channels_last", "plain", "plain_small_batches")
TASK = Task("arousal", "regression", ("arousal",), scales={"arousal": (1.0, 7.0)})
FRAMES, BANDS, HOP = 688, 128, 256 / 16000
"""Mel frames of 11 s."""


def plain_layers(encoder: Encoder) -> nn.Sequential:
    """The encoder in the usual memory order, layer by layer: (chunk, 1, time, mel) -> (chunk, width)."""
    layers: list[nn.Module] = []
    for convolution, norm in zip(encoder.convolutions, encoder.norms, strict=True):
        plain = copy.deepcopy(convolution).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        layers += [plain, copy.deepcopy(norm), nn.ReLU()]
    return nn.Sequential(
        *layers, nn.Flatten(), copy.deepcopy(encoder.latent), nn.ReLU(), nn.Dropout(encoder.dropout.p)
    )


class PlainEncoder(nn.Module):
    """The plain layers behind the encoder's interface."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.layers = plain_layers(encoder)

    def forward(self, chunks: Tensor) -> Tensor:
        """(chunk, time, mel) -> (chunk, width)."""
        hidden: Tensor = self.layers(chunks.unsqueeze(1))
        return hidden


class PlainModel(Model):
    """The CNN regressor with the plain encoder and the same weights."""

    def build(self, sizes: Mapping[str, Any], generator: torch.Generator) -> nn.Module:
        """The network with its encoder replaced."""
        network = super().build(sizes, generator)
        assert isinstance(network, ChunkNetwork)
        network.encoder = PlainEncoder(network.encoder)  # type: ignore[assignment]
        return network


def generated(sentences: int, seed: int) -> Data:
    """Sentences of 11 s whose mel powers tell the label a little, as arrays in memory."""
    generator = np.random.default_rng(seed)
    labels = generator.uniform(1, 7, size=(sentences, 1))
    arrays = {
        f"s{i}": np.exp(generator.normal(0.3 * labels[i], 1.0, size=(FRAMES, BANDS))).astype(np.float32)
        for i in range(sentences)
    }
    items = pd.DataFrame(index=pd.Index(list(arrays), name="id"))
    return Data(TASK, items, {"input": FeatureTable.from_arrays(arrays, HOP)}, labels)


def measure_layout(layout: str, sentences: int = 64) -> dict[str, float]:
    """One epoch and one dev pass: CPU-seconds, wall seconds, training loss, dev loss (1 - CCC of sentence scores)."""
    train, dev = generated(sentences, 1), generated(sentences, 2)
    paper = PRESETS["paper"]
    micro_batch = sentences if layout == "plain" else 0
    config = replace(paper, train=replace(paper.train, epochs=1, batch_size=sentences, micro_batch=micro_batch))
    model = (Model if layout == "channels_last" else PlainModel)(config, TASK, Resources(seed=1))
    cpu, wall = _cpu_seconds(), time.perf_counter()
    log = model.fit(train, dev, _ccc)
    spent = {"cpu_seconds": _cpu_seconds() - cpu, "seconds": time.perf_counter() - wall}
    row = log.epochs[0]
    return {**spent, "train_loss": row["loss"], "dev_loss": 1 - row["dev_score"]}


def compare_layouts(rounds: int = 3, sentences: int = 64, layouts: Sequence[str] = LAYOUTS) -> dict[str, Any]:
    """Interleaved rounds of all layouts, after one small warm-up each; medians, and each one's ratio to `plain`."""
    for layout in layouts:
        measure_layout(layout, sentences=2)
    found: dict[str, list[dict[str, float]]] = {layout: [] for layout in layouts}
    for _ in range(rounds):
        for layout in layouts:
            found[layout].append(measure_layout(layout, sentences))
    result: dict[str, Any] = {}
    for layout, runs in found.items():
        result[layout] = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        result[layout]["rounds_cpu_seconds"] = [round(run["cpu_seconds"], 3) for run in runs]
        pairs = zip(runs, found["plain"], strict=True)
        result[layout]["cpu_ratio_to_plain"] = statistics.median(a["cpu_seconds"] / b["cpu_seconds"] for a, b in pairs)
    return result


def peak_mib(layout: str, sentences: int = 64, threads: int = 1) -> float:
    """Largest resident memory, in MiB, of a process that runs one epoch of a layout."""
    command = [sys.executable, "-m", __spec__.name, "--measure", layout, "--sentences", str(sentences)]
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [*command, "--threads", str(threads)], capture_output=True, text=True, check=True, env=environment
    )
    return float(json.loads(done.stdout)["peak_mib"])


def bench(rounds: int = 3, sentences: int = 64, threads: int = 1) -> dict[str, Any]:
    """Everything: times, losses, memory of the training epoch, and what it ran on."""
    torch.set_num_threads(threads)
    layouts = compare_layouts(rounds, sentences)
    for layout in ("channels_last", "plain"):
        layouts[layout]["peak_mib"] = peak_mib(layout, sentences, threads)
    return {
        "what": f"one epoch of cnn-regressor: {sentences} train and {sentences} dev sentences of 11 chunks of 62 x 128",
        "threads": threads, "torch": torch.__version__, "rounds": rounds, "layouts": layouts,
    }  # fmt: skip


LIMIT = 0.65
"""Of the plain layout's CPU-seconds, with losses equal to 1e-5."""


def rows() -> list[dict[str, Any]]:
    """One row per layout for the performance page."""
    layouts = bench()["layouts"]
    ours, plain = layouts["channels_last"], layouts["plain"]
    apart = max(abs(ours[loss] - plain[loss]) for loss in ("train_loss", "dev_loss"))
    found = []
    for layout in ("plain", "channels_last"):
        row = layouts[layout]
        found.append({"title": f"one `cnn-regressor` epoch, 64 + 64 sentences of 11 chunks, {layout.replace('_', ' ')}",
                      "cpu_seconds": row["cpu_seconds"], "wall_seconds": row["seconds"], "peak_mib": row["peak_mib"]})
    ratio = ours["cpu_ratio_to_plain"]
    found[-1] |= {"ratio": ratio, "limit": f"{LIMIT:g} of the plain CPU-seconds, losses within 1e-5 (here {apart:.0e})",
                  "met": ratio <= LIMIT and apart <= 1e-5}  # fmt: skip
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, help="JSON file; without it the result is printed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sentences", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--measure", choices=LAYOUTS, help="run one epoch of one layout and print its peak memory")
    given = parser.parse_args(arguments)
    if given.measure:
        torch.set_num_threads(given.threads)
        result: dict[str, Any] = {**measure_layout(given.measure, given.sentences), "peak_mib": _own_peak_mib()}
    else:
        result = bench(given.rounds, given.sentences, given.threads)
    if given.out:
        write_json(given.out, result)
    else:
        sys.stdout.write(json.dumps(result, indent=1) + "\n")


def _own_peak_mib() -> float:
    """Largest resident set of this process; the kernel's rusage would count the process that started it too."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _ccc(gold: Any, predicted: Any) -> float:
    covariance = ((gold - gold.mean()) * (predicted - predicted.mean())).mean()
    return float(2 * covariance / (gold.var() + predicted.var() + (gold.mean() - predicted.mean()) ** 2))


if __name__ == "__main__":
    main()
