"""Which layer of a pre-trained encoder holds emotion: a probe on each hidden state, and on the learned sum of all.

Pasad, Chou and Livescu (ASRU 2021, arXiv:2107.04734) look into wav2vec 2.0 layer by layer; SUPERB (Interspeech 2021,
arXiv:2105.01051) reads the weights of its learned sum. Both are here side by side, since they need not agree: a layer
may get a large weight because its numbers are large. The control has the same architecture with random weights: what
it reaches comes from the sound, the front end and the probe, not from what the encoder has learned.

Every row is an ordinary record. The sum of all layers comes first, so its features are extracted, and each single layer
is taken out of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ...datasets.core.files import write_bytes, write_text
from ...features.encoders.checkpoint import RANDOM_PREFIX, locate
from ...results.display.numbers import interval, number
from ...results.display.table import Table, records, to_markdown
from ...results.record.folder import Run
from ...results.record.storage import write_csv
from ...results.report.figures import by_layer, png, svg
from ...results.tables.pair_tests import score_intervals
from ..grid.execution import Execution
from ..grid.grid import run_requests
from ..protocol.request import Grid
from ..protocol.setting import Corpora
from .study import Row, Study, base_request, fitting_preset, request_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODEL, SUM = "probe", "sum"
"""The model of every row, and the name of the learned sum of all layers."""
TRAINED, CONTROL = "trained", "random"


@dataclass(frozen=True)
class Layers:
    """What was found: one row per encoder (trained, random) and layer (0, 1 ... sum), and its runs."""

    encoder: str
    dataset: str
    metric: str
    table: pd.DataFrame
    runs: tuple[Run, ...]


def layers_study(encoder: str, *, control: bool = True) -> Study:
    """The rows: the sum of all layers and each layer, of the encoder and of its architecture with random weights."""
    count = locate(encoder).geometry.layers
    names = {TRAINED: encoder}
    if control and not encoder.startswith(RANDOM_PREFIX):
        names[CONTROL] = f"{RANDOM_PREFIX}{encoder}"
    rows = [
        Row(f"{kind} {layer}", MODEL, {"model.encoder": name, "model.layers": "all" if layer == SUM else layer})
        for kind, name in names.items()
        for layer in (SUM, *map(str, range(count + 1)))
    ]
    return Study("layers", f"Layers of {locate(encoder).short}", tuple(rows), "first", "layer")


def run_layers(
    encoder: str, grid: Grid, how: Execution, corpora: Corpora | None = None, *, control: bool = True
) -> Layers:
    """Run every row on the grid's corpus and task, one extraction for all layers of an encoder."""
    study, base = layers_study(encoder, control=control), base_request(grid)
    corpora = corpora or Corpora()
    task = base.task or corpora.get(base.places()[0]).tasks[0].name
    requests = [fitting_preset(study, request_for(study, row, task, base)) for row in study.rows]
    runs = run_requests(requests, how, corpora)
    table = pd.DataFrame(list(_rows(study, runs)))
    return Layers(locate(encoder).short, str(runs[0].spec["dataset"]["name"]), runs[0].task.metric, table, tuple(runs))


def write_all(found: Layers, folder: Path) -> list[Path]:
    """Write layers_DATASET_ENCODER as .csv, .md, .svg and .png; returns their paths."""
    stem = f"layers_{found.dataset}_{found.encoder.replace('/', '-').replace(':', '-')}"
    paths = [write_csv(folder / f"{stem}.csv", found.table)]
    write_text(folder / f"{stem}.md", markdown(found))
    drawn = figure(found)
    for ending, content in (("svg", svg(drawn)), ("png", png(drawn))):
        write_bytes(folder / f"{stem}.{ending}", content)
    return [*paths, *(folder / f"{stem}.{ending}" for ending in ("md", "svg", "png"))]


def figure(found: Layers) -> Figure:
    """Score by layer with intervals, the sum as a line across, and the weights of the sum below."""
    return by_layer(found.table, found.metric, f"{found.encoder} on {found.dataset}")


def markdown(found: Layers) -> str:
    """The table, and the recipe of each row's scores."""
    rows = [
        {
            "encoder": r["encoder"],
            "layer": r["layer"],
            found.metric: number(r["mean"]),
            "95 % interval": interval(r["low"], r["high"]),
            "weight in the sum": "" if np.isnan(r["weight"]) else f"{number(r['weight'])} ± {number(r['weight_sd'])}",
        }
        for r in records(found.table)
    ]
    notes = [
        f"Intervals: bootstrap over {found.table['clusters'].iloc[0]} and trials. Weights: mean and standard deviation "
        "over the trainings of the sum.",
        *(["random: the same architecture with random weights."] if CONTROL in set(found.table["encoder"]) else []),
    ]
    recipes = [f"- {run.signature}" for run in found.runs]
    title = f"# Layers of {found.encoder} on {found.dataset}"
    return "\n".join([title, "", to_markdown(Table("", rows)), "", *notes, "", *recipes, ""])


def _rows(study: Study, runs: Sequence[Run]) -> Iterator[dict[str, object]]:
    weights: dict[str, np.ndarray] = {}
    for row, run in zip(study.rows, runs, strict=True):
        kind, layer = row.label.split(" ")
        intervals, clusters = score_intervals(run)
        target, interval = next(iter(intervals.items()))
        if layer == SUM:
            weights[kind] = layer_weights(run)
        own = weights[kind][:, int(layer)] if layer != SUM else np.array([np.nan])
        yield {
            "encoder": kind,
            "layer": layer,
            "target": target,
            "metric": run.task.metric,
            "mean": interval.estimate,
            "low": interval.low,
            "high": interval.high,
            "clusters": f"{interval.clusters} {clusters.name}s",
            "weight": own.mean(),
            "weight_sd": own.std(ddof=1) if len(own) > 1 else np.nan,
            "run": run.run_id,
        }


def layer_weights(run: Run) -> np.ndarray:
    """The weights of the learned sum, (training, layer)."""
    return np.array([unit["facts"]["layer_weights"] for unit in run.units() if unit["status"] == "done"])
