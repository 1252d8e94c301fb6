"""The cluster analysis of the DeepEmoCluster paper: is there emotion in the clusters of the learned features?

Lin, Sridhar and Busso (ICASSP 2021, DOI 10.1109/ICASSP39728.2021.9414035), section 5.4, which compares the attributes'
distributions between clusters by eye. Here the chunks of the test items are clustered by k-means as in training
(features of `deepemocluster`: what its own k-means sees; of the other models: the latent h), each chunk has its
sentence's labels, and beside the plots stand two numbers (`analyses/cluster_measures.py`), each with the value that it
has by chance: the ratio of variances between and within clusters, and the NMI with the emotion classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.core.stages import track
from ...datasets.schema.corpus import Corpus
from ...results.record.folder import Run, load_runs
from ..core.progress import Display, Silent
from ..grid.source import build_data, extract_features, needed_rows
from ..grid.training import plan_training
from ..protocol.request import Request
from ..protocol.setting import Corpora, Setting
from ..studies.study import fitting
from ..weights.saved import fold_of, saved_weights
from .cluster_contents import contents
from .cluster_measures import Floats, in_order, measure, project

CLUSTERS = 10
"""Where neither the model nor the user names a number (section 5.2)."""
ITERATIONS = 20
KNOWN = {
    "items": ("test", "dev", "train"),
    "layer": ("auto", "h"),
    "projection": ("pca", "tsne"),
    "plot": ("box", "violin"),
}
BASELINE = "cnn-regressor"


@dataclass(frozen=True)
class Choices:
    """What is analysed: the unit, its items, number of clusters (None = the model's), layer, projection and seed."""

    trial: int = 0
    fold: str | None = None
    items: str = "test"
    clusters: int | None = None
    layer: str = "auto"
    projection: str = "pca"
    plot: str = "box"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what there is no choice of."""
        for name, known in KNOWN.items():
            if (value := getattr(self, name)) not in known:
                raise SerbenchError(f"--{name} {value}: expected one of: {', '.join(known)}.")


@dataclass(frozen=True)
class Clustered:
    """One system's clusters.

    Attributes
    ----------
    name, run_id : of the run
    chunks : one row per chunk: id, chunk, cluster, x and y (its place on the projection), attributes, emotion
    attributes : names of the attribute columns
    measures : one row per attribute (and one for the emotion classes): measure, target, value, chance, n
    contents : what else the clusters hold (`analyses/cluster_contents.py`); empty where that is not known
    """

    name: str
    run_id: str
    chunks: pd.DataFrame
    attributes: tuple[str, ...]
    measures: pd.DataFrame
    contents: pd.DataFrame = field(default_factory=pd.DataFrame)


def analyse(
    run: Run, against: Run | None, choices: Choices, device: str = "cpu", display: Display | None = None
) -> list[Clustered]:
    """Cluster the features of a run, and of another one alike.

    Raises
    ------
    SerbenchError
        For a model without chunks, weights that are not there (says what to type), a corpus that has changed, or more
        clusters than chunks.
    """
    runs = [run] if against is None else [run, against]
    weights = [find_weights(one, choices) for one in runs]  # before any work
    k = choices.clusters or int(run.spec["model"]["config"].get("clusters", CLUSTERS))
    shown = display or Silent()
    pairs = track(list(zip(runs, weights, strict=True)), "clustering runs")
    return [_clustered(one, file, k, choices, device, shown) for one, file in pairs]


def rival(run: Run, named: Run | None, *, wanted: bool = True) -> Run | None:
    """The run to compare with: the one that is named, else the baseline's (for the baseline itself, none)."""
    if not wanted or (named is None and run.spec["model"]["name"] == BASELINE):
        return None
    other = named or find_baseline(run)
    if other.run_id == run.run_id:
        raise SerbenchError(f"--against {run.name} is the run itself. Name another one, or none.")
    return other


def find_baseline(run: Run) -> Run:
    """The run of the CNN regressor beside a run: same corpus, task and protocol, and if several, the same preset."""
    same = [
        r
        for r in load_runs(run.results, model=BASELINE, dataset=run.spec["dataset"]["name"], task=run.task.name)
        if r.protocol_digest == run.protocol_digest and r.run_id != run.run_id
    ]
    alike = [r for r in same if r.spec["model"]["preset"] == run.spec["model"]["preset"]] or same
    if len(alike) == 1:
        return alike[0]
    if alike:
        there = ", ".join(sorted(r.run_id for r in alike))
        raise SerbenchError(f"there are several runs of {BASELINE} to compare with: {there}. Name one with --against.")
    request = Request.from_dict(run.spec["arguments"])
    wanted = replace(request, model=BASELINE, settings=fitting(BASELINE, request.settings))
    raise SerbenchError(
        f"there is no run of {BASELINE} on {run.spec['dataset']['name']}, task {run.task.name}, under the protocol of "
        f"{run.run_id} to compare with. Type\n  {wanted.command()} --save-models{_place(run.results)}\n"
        "or --against none."
    )


def find_weights(run: Run, choices: Choices, command: str = "clusters {run}") -> Path:
    """The file of a unit's weights; an error that says how to get it, where it is missing.

    `command` is what the user typed after `serbench`, with `{run}` in the run's place.
    """
    return saved_weights(run, choices.trial, choices.fold, command)


def _clustered(run: Run, weights: Path, k: int, choices: Choices, device: str, display: Display) -> Clustered:
    import torch

    from ...sermodels.clustering.kmeans import kmeans

    points, untrained, table, attributes = _features(run, weights, choices, device, display)
    if len(points) < k:
        fewer = max(2, len(points) // 2)
        raise SerbenchError(f"there are {len(points)} chunks for {k} clusters. Type --clusters {fewer}.")
    labels, fresh = (
        kmeans(torch.from_numpy(rows), k, torch.Generator().manual_seed(choices.seed), iterations=ITERATIONS).assignment
        for rows in (points, untrained)
    )
    by = table[attributes[0]].to_numpy(dtype=np.float64) if attributes else points[:, 0]
    place = project(points, choices.projection, choices.seed)
    chunks = table.assign(cluster=in_order(labels, by), x=place[:, 0], y=place[:, 1])
    measures, held = measure(chunks, attributes, choices.seed), contents(chunks, attributes, fresh, choices.seed)
    return Clustered(run.name, run.run_id, chunks, attributes, measures, held)


def _features(
    run: Run, weights: Path, choices: Choices, device: str, display: Display
) -> tuple[Floats, Floats, pd.DataFrame, tuple[str, ...]]:
    """Features (chunk, dim), those of fresh weights, what is known of each chunk, and the names of its attributes."""
    from ...sermodels.chunked.chunked_model import ChunkedModel
    from ...sermodels.core.persist import load_model
    from ...sermodels.core.sermodel import Resources

    model = load_model(weights, Resources(device=device))
    if not isinstance(model, ChunkedModel):
        raise SerbenchError(
            f"the model {model.name!r} has no chunks to cluster. Expected deepemocluster or one of the cnn models."
        )
    request = Request.from_dict(run.spec["arguments"])
    plan = plan_training([request], Corpora(), run.spec["model"]["config"])
    setting = plan.setting
    if setting.dataset()["digest"] != run.spec["dataset"]["digest"]:
        raise SerbenchError(
            f"the corpus on disk is not the one that {run.run_id} was made with. Give the recorded one, or run again."
        )
    corpus, task, ids = _fold_items(setting, choices.trial, fold_of(run, choices.fold), choices.items)
    rows = needed_rows(corpus, task, ids, context=model.uses_context)
    tables = extract_features(corpus, rows, plan.features, 1, display)
    data, _ = build_data(corpus, task, ids, tables, labelled=False)
    points, untrained = (one.chunk_features(data, choices.layer) for one in (model, model.untrained()))
    count = len(points) // len(data)
    attributes = tuple(a for a in corpus.scales if data.items[a].notna().any())
    known = [column for column in ("speaker", "path") if data.items[column].notna().any()]
    labels = data.items[[*attributes, "emotion", *known]].reset_index(names="id").rename(columns={"path": "recording"})
    table = labels.loc[labels.index.repeat(count)].reset_index(drop=True)
    table = table.assign(chunk=np.tile(np.arange(count), len(data)), level=model.chunk_levels(data))
    return points, untrained, table, attributes


def _fold_items(setting: Setting, trial: int, fold: str, items: str) -> tuple[Corpus, Any, tuple[str, ...]]:
    division = setting.division(trial, fold)
    if items == "test":
        return setting.tested, setting.asked, tuple(division.test)
    return setting.corpus, setting.task, tuple(getattr(division, items))


def _place(results: Path) -> str:
    return "" if results == Path("results") else f" --results {results}"
