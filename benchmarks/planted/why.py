"""Why a pool helps or hurts DeepEmoCluster: one part after the other is changed, in worlds where it must help.

Every row is trained on the same worlds and seeds, and set against the same supervised rival (`trainings.rivals`), so
that rows differ by their own change alone. A gain is the difference of the test CCC, its interval that of a paired
t-test over the seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...datasets.core.files import write_text
from ...datasets.core.stages import track
from ...results.display.numbers import interval, number
from ...results.display.table import Table, to_markdown
from ...results.record.storage import write_csv
from ...results.statistics.significance import paired_t
from .trainings import EPOCHS, Trained, Variant, supervised, train
from .world import World, planted

STEM = "deepemocluster-why"
BEFORE = {"model.labelled_passes": "1", "model.whiten": "0", "model.warm_start": "false"}
"""What `fixed` was: one pass of stage 2, k-means on the points as they are, a new top layer in each stage."""
SLOW = {"model.encoder_optimiser": "sgd", "model.encoder_rate": "1e-3"}
TEXT = {"model.cluster_optimiser": "sgd", "model.cluster_rate": "1e-3", "model.top_rate": "1e-3"}
RELEASED = {**SLOW, "model.optimisers": "released"}


@dataclass(frozen=True)
class Row:
    """A row of the study: what is changed about the default, how it is trained, in which world."""

    variant: Variant
    world: Mapping[str, Any] = field(default_factory=dict)


def _row(name: str, settings: Mapping[str, str] | None = None, **more: Any) -> Row:
    world = more.pop("world", {})
    return Row(Variant(name, settings=settings or {}, **more), world)


NOTE = (
    "CCC over the seeds; rival: supervised training, the best on dev data of one with as many epochs, one with as many "
    "steps, and one of those without clusters; gain: test - rival, with the interval of a paired t-test. loss: "
    "cross-entropy of the pool's pseudo-labels in the last epoch; NMI: of its clusters with those of the epoch before."
)

ROWS: dict[str, tuple[Row, ...]] = {
    "parts": (
        _row("fixed"),
        _row("no whitening", {"model.whiten": "0"}),
        _row("no warm start", {"model.warm_start": "false"}),
        _row("none of the three (before)", BEFORE),
        _row("before, lambda 0.1", {**BEFORE, "model.cluster_weight": "0.1"}),
        _row("before, encoder by SGD 1e-3", {**BEFORE, **SLOW}),
        _row("before, the release's optimisers", {**BEFORE, **RELEASED}),
        _row("before, clusters of h", {**BEFORE, "model.cluster_input": "h"}),
        _row("before, whitening and warm start", {"model.labelled_passes": "1"}),
    ),
    "choices": (
        _row("fixed"),
        _row("lambda 0.1", {"model.cluster_weight": "0.1"}),
        _row("clusters of h", {"model.cluster_input": "h"}),
        _row("encoder by SGD 1e-3", SLOW),
        _row("K = 3", {"model.clusters": "3"}),
        _row("K = 20", {"model.clusters": "20"}),
        _row("half the pool is foreign", world={"foreign": 0.5}),
    ),
    "paper": (
        _row("paper", preset="paper"),
        _row("paper, the text to the letter", TEXT, preset="paper"),
        _row("paper, stage 2 as long as stage 1", {"model.labelled_passes": "0"}, preset="paper"),
    ),
    "labels": tuple(
        _row(f"{n} labelled", world={"labelled": n, "labelled_speakers": n // 3}) for n in (12, 24, 48, 96)
    ),
    "models": (
        _row("deepemocluster"),
        *(_row(name, model=name) for name in ("cnn-ae", "cnn-vae", "ladder", "mean-teacher", "pseudo-label", "ssae")),
        _row("ladder:gamma", model="ladder", preset="gamma"),
    ),
}
"""Part of the study -> its rows."""


@dataclass(frozen=True)
class Gain:
    """A row's scores over the seeds, beside those of its rival."""

    row: Row
    trained: tuple[Trained, ...]
    rival: tuple[Trained, ...]

    def line(self) -> dict[str, Any]:
        """Means, and the paired difference of the test scores with its 95 % interval."""
        scores = {"test": [t.test for t in self.trained], "rival": [t.test for t in self.rival]}
        test = paired_t(scores["test"], scores["rival"])
        return {
            "row": self.row.variant.name,
            "dev": float(np.mean([t.dev for t in self.trained])),
            "rival_dev": float(np.mean([t.dev for t in self.rival])),
            "test": float(np.mean(scores["test"])),
            "rival": float(np.mean(scores["rival"])),
            "gain": test.difference,
            "low": test.low,
            "high": test.high,
            "n": test.n,
            "cluster_loss": float(np.mean([t.last.get("unlabelled_loss", np.nan) for t in self.trained])),
            "nmi": float(np.mean([t.last.get("unlabelled_nmi", np.nan) for t in self.trained])),
            "seconds": float(np.mean([t.seconds for t in self.trained])),
        }


def sweep(rows: Sequence[Row], seeds: Sequence[int], base: World | None = None, epochs: int = EPOCHS) -> list[Gain]:
    """Train every row on every seed's world, and the rival of each world once."""
    held: dict[tuple[World, int], Trained] = {}
    gains = []
    for row in track(list(rows), "rows"):
        world = replace(base or World(), **row.world)
        trained, rival = [], []
        for seed in track(list(seeds), row.variant.name):
            made = planted(world, seed)
            if (world, seed) not in held:
                held[world, seed] = supervised(made, seed, epochs)
            trained.append(train(row.variant, made, seed, epochs))
            rival.append(held[world, seed])
        gains.append(Gain(row, tuple(trained), tuple(rival)))
    return gains


def table(gains: Sequence[Gain]) -> Table:
    """The rows as they are read."""
    cells = [
        {
            "model": str(line["row"]),
            "dev": number(line["dev"]),
            "test": number(line["test"]),
            "rival": number(line["rival"]),
            "gain": number(line["gain"], "+.3f"),
            "95 % interval": interval(line["low"], line["high"], "+.3f"),
            "loss": number(line["cluster_loss"], ".2f"),
            "NMI": number(line["nmi"], ".2f"),
        }
        for line in (gain.line() for gain in gains)
    ]
    return Table("What an unlabelled pool gains in a planted world", cells, NOTE)


def write(gains: Sequence[Gain], folder: Path, name: str) -> list[Path]:
    """Write deepemocluster-why_NAME.csv (full precision) and .md; returns the paths."""
    frame = pd.DataFrame([gain.line() for gain in gains])
    return [write_csv(folder / f"{STEM}_{name}.csv", frame), write_page(table(gains), folder, name)]


def write_page(shown: Table, folder: Path, name: str) -> Path:
    """Write a table as deepemocluster-why_NAME.md; returns the path."""
    path = folder / f"{STEM}_{name}.md"
    write_text(path, to_markdown(shown, "#") + "\n")
    return path
