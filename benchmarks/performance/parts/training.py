"""What a training epoch costs: the CNN regressor's channels-last network against the plain layout, in the same run.

    python -m serbench.benchmarks.performance.parts.training --out FILE.json

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

import copy
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ....datasets.schema.task import Task
from ....features.core.feature_table import FeatureTable
from ....sermodels.chunked.network import ChunkNetwork, Encoder
from ....sermodels.cnn_regressor import PRESETS, Model
from ....sermodels.core.sermodel import Data, Resources
from ..measure import timed
from ..rows import Facts, Row, apart, interleaved, main, row

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
    return nn.Sequential(*layers, nn.Flatten(), copy.deepcopy(encoder.latent), nn.ReLU(), nn.Dropout(encoder.dropout.p))


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

    def build(self, sizes: Mapping[str, Any], generator: torch.Generator) -> ChunkNetwork:
        """The network with its encoder replaced."""
        network = super().build(sizes, generator)
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
    with timed() as spent:
        log = model.fit(train, dev, _ccc)
    epoch = log.epochs[0]
    return {**spent, "train_loss": epoch["loss"], "dev_loss": 1 - epoch["dev_score"]}


def compare_layouts(rounds: int = 3, sentences: int = 64) -> dict[str, Facts]:
    """Interleaved rounds of all layouts, after one small warm-up each; medians, and the memory of one by itself."""
    for layout in LAYOUTS:
        measure_layout(layout, sentences=2)
    facts = interleaved({layout: partial(measure_layout, layout, sentences) for layout in LAYOUTS}, rounds)
    for layout in ("channels_last", "plain"):
        alone = apart(
            __spec__.name, "layout", env={}, layout=layout, sentences=sentences, threads=torch.get_num_threads()
        )
        facts[layout]["peak_mib"] = alone["peak_mib"]
    return facts


def run_layout(layout: str, sentences: str, threads: str) -> Facts:
    """One epoch of a layout in this process, without a warm-up."""
    torch.set_num_threads(int(threads))
    return measure_layout(layout, int(sentences))


LIMIT = 0.65
"""Of the plain layout's CPU-seconds, with losses equal to 1e-5."""


def rows(rounds: int = 3, sentences: int = 64, threads: int = 1) -> list[Row]:
    """One row per layout for the performance page."""
    torch.set_num_threads(threads)
    ours, plain, small = compare_layouts(rounds, sentences).values()
    differ = max(abs(ours[loss] - plain[loss]) for loss in ("train_loss", "dev_loss"))
    title = f"one `cnn-regressor` epoch, {sentences} + {sentences} sentences of 11 chunks"
    ratio, part = (one["cpu_seconds"] / plain["cpu_seconds"] for one in (ours, small))
    limit = f"{LIMIT:g} of the plain CPU-seconds, losses within 1e-5 (here {differ:.0e})"
    met = ratio <= LIMIT and differ <= 1e-5
    return [
        row(f"{title}, plain", plain),
        row(f"{title}, plain, dev pass in small batches", small, ratio=part),
        row(f"{title}, channels last", ours, ratio=ratio, limit=limit, met=met),
    ]


def _ccc(gold: Any, predicted: Any) -> float:
    covariance = ((gold - gold.mean()) * (predicted - predicted.mean())).mean()
    return float(2 * covariance / (gold.var() + predicted.var() + (gold.mean() - predicted.mean()) ** 2))


OPTIONS = {name: {"type": int, "default": usual} for name, usual in (("rounds", 3), ("sentences", 64), ("threads", 1))}

if __name__ == "__main__":
    main(__doc__, rows, {"layout": run_layout}, OPTIONS)
