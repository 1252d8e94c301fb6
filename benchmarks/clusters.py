"""The cluster analysis of the DeepEmoCluster paper: is there emotion in the clusters of the learned features?

Lin, Sridhar and Busso (ICASSP 2021, DOI 10.1109/ICASSP39728.2021.9414035), section 5.4, which compares the attributes'
distributions between clusters by eye. Here the chunks of the test items are clustered by k-means as in training
(features of `deepemocluster`: what its own k-means sees; of the other models: the latent h), each chunk has its
sentence's labels, and beside the plots stand two numbers, each with the value that it has by chance:

- ratio: variance of an attribute between the clusters over that within them, sum_k n_k (m_k - m)^2 / sum_k sum_i
  (x_ki - m_k)^2; 0 when all clusters have the same mean;
- NMI of the clusters with the emotion classes, normalised by the mean of the two entropies.

Chance: the mean of the same number with the labels shuffled among sentences, chunks of a sentence staying together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..datasets._corpus import Corpus
from ..datasets._errors import SerbenchError
from ..datasets._files import write_text
from ..results._display import markdown_table, number
from ..results._storage import write_csv
from ..results.records import Run, load_runs
from ._progress import Display, Silent
from ._study import fitting, save_figure
from .plan import needed_rows, rebuild
from .request import Request
from .setting import Corpora, Setting
from .trial import build_data
from .work import extract_features

Floats = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.int64]
CLUSTERS = 10
"""Where neither the model nor the user names a number (section 5.2)."""
ITERATIONS = 20
SHUFFLES = 20
ITEMS = ("test", "dev", "train")
BASELINE = "cnn-regressor"


@dataclass(frozen=True)
class Options:
    """What is analysed: the unit, its items, number of clusters (None = the model's), layer, projection and seed."""

    trial: int = 0
    fold: str | None = None
    items: str = "test"
    clusters: int | None = None
    layer: str = "auto"
    projection: str = "pca"
    plot: str = "box"
    seed: int = 0


@dataclass(frozen=True)
class Clustered:
    """One system's clusters.

    Attributes
    ----------
    name, run_id : of the run
    chunks : one row per chunk: id, chunk, cluster, x and y (its place on the projection), attributes, emotion
    attributes : names of the attribute columns
    measures : one row per attribute (and one for the emotion classes): measure, target, value, chance, n
    """

    name: str
    run_id: str
    chunks: pd.DataFrame
    attributes: tuple[str, ...]
    measures: pd.DataFrame


def analyse(
    run: Run, against: Run | None, options: Options, device: str = "cpu", display: Display | None = None
) -> list[Clustered]:
    """Cluster the features of a run, and of another one alike.

    Raises
    ------
    SerbenchError
        For a model without chunks, weights that are not there (says what to type), a corpus that has changed, or more
        clusters than chunks.
    """
    runs = [run] if against is None else [run, against]
    weights = [find_weights(one, options) for one in runs]  # before any work
    k = options.clusters or int(run.spec["model"]["config"].get("clusters", CLUSTERS))
    shown = display or Silent()
    return [_clustered(one, file, k, options, device, shown) for one, file in zip(runs, weights, strict=True)]


def find_baseline(run: Run) -> Run:
    """The run of the CNN regressor beside a run: same corpus, task and protocol, and if several, the same preset."""
    same = [r for r in load_runs(run.results, model=BASELINE, dataset=run.spec["dataset"]["name"], task=run.task.name)
            if r.protocol_digest == run.protocol_digest and r.run_id != run.run_id]  # fmt: skip
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


def find_weights(run: Run, options: Options, command: str = "clusters {run}") -> Path:
    """The file of a unit's weights; an error that says how to get it, where it is missing.

    `command` is what the user typed after `serbench`, with `{run}` in the run's place.
    """
    if run.spec["model"].get("weights"):
        raise SerbenchError(f"{run.run_id} scores given weights. Expected a run that trained a model.")
    fold = _fold(run, options.fold)
    stem = run.unit_files(options.trial, fold)[0].with_suffix(".safetensors")
    for file in (stem, run.path / f"unit-{options.trial}-{fold}.safetensors"):
        if file.is_file():
            return file
    there = sorted(p.name for p in run.path.glob("unit-*.safetensors"))
    unit = run.unit(options.trial, fold)
    if there:
        remedy = f"There are: {', '.join(there)}. Choose one with --trial and --fold."
    elif unit is not None and unit["status"] == "done":
        folder = f"{run.results}-models"
        remedy = (
            "Its trials are finished and would not be trained again, so train them in another folder. Type\n"
            f"  serbench run --from-record {run.path} --save-models --results {folder}\n"
            f"  serbench {command.format(run=run.run_id)} --results {folder}"
        )
    else:
        remedy = f"Type\n  {run.fill_line(max(options.trial + 1, 1))} --save-models"
    raise SerbenchError(f"the run {run.run_id} has no weights of trial {options.trial}, fold {fold!r}. {remedy}")


def variance_ratio(values: Floats, labels: Labels) -> float:
    """Variance between clusters over variance within them; values that are no numbers don't count.

    Infinite where clusters differ and nothing varies within them, NaN where nothing varies at all.
    """
    known = np.isfinite(values)
    values, labels = values[known], labels[known]
    if not len(values):
        return float("nan")
    counts = np.bincount(labels)
    means = np.bincount(labels, values) / np.maximum(counts, 1)
    between = float((counts * (means - values.mean()) ** 2).sum())
    within = float(((values - means[labels]) ** 2).sum())
    if within <= 1e-12 * max(between, 1.0):
        return float("inf") if between > 1e-12 else float("nan")
    return between / within


def class_nmi(classes: npt.NDArray[Any], labels: Labels) -> float:
    """NMI of clusters with classes (text; missing ones don't count); NaN with fewer than two classes."""
    from ..sermodels._partitions import nmi

    known = ~pd.isna(classes)
    codes, found = pd.factorize(classes[known])
    return nmi(labels[known], codes.astype(np.int64)) if len(found) > 1 else float("nan")


def measure(chunks: pd.DataFrame, attributes: Sequence[str], seed: int) -> pd.DataFrame:
    """Ratios and NMI of clustered chunks (columns id, cluster, the attributes, emotion), with their chance values."""
    labels = chunks["cluster"].to_numpy(dtype=np.int64)
    rows = []
    for target in (*attributes, "emotion"):
        column = chunks[target].to_numpy(dtype=object if target == "emotion" else np.float64)
        name, score = ("NMI", class_nmi) if target == "emotion" else ("ratio", variance_ratio)
        rows.append({"measure": name, "target": target, "value": score(column, labels),
                     "chance": _by_chance(score, column, labels, chunks["id"], seed),
                     "n": int((~pd.isna(column)).sum())})  # fmt: skip
    return pd.DataFrame(rows)


def write(found: Sequence[Clustered], folder: Path, plot: str = "box") -> list[Path]:
    """Write clusters_RUN.csv (measures), _chunks.csv, .md, _distribution.png and _projection.png; returns the paths."""
    from ._cluster_figures import distributions, projections

    stem = f"clusters_{found[0].run_id}"
    measures = pd.concat([one.measures.assign(system=one.name, run=one.run_id) for one in found], ignore_index=True)
    chunks = pd.concat([one.chunks.assign(system=one.name) for one in found], ignore_index=True)
    paths = [write_csv(folder / f"{stem}.csv", measures), write_csv(folder / f"{stem}_chunks.csv", chunks)]
    write_text(folder / f"{stem}.md", markdown(found))
    paths.append(folder / f"{stem}.md")
    drawings = {"projection": projections(found)}
    if found[0].attributes:
        drawings["distribution"] = distributions(found, plot)
    for name, drawn in drawings.items():
        save_figure(drawn, folder / f"{stem}_{name}.png")
        paths.append(folder / f"{stem}_{name}.png")
    return paths


def markdown(found: Sequence[Clustered]) -> str:
    """The measures side by side, and each system's clusters."""
    rows = []
    for r in found[0].measures.to_dict("records"):
        cells = {"model": f"{r['measure']} {r['target']}"}
        for one in found:
            here = one.measures[one.measures["target"].eq(r["target"])].iloc[0]
            cells |= {one.name: number(here["value"]), f"{one.name}, by chance": number(here["chance"])}
        rows.append(cells)
    parts = ["# Emotion in the clusters", "", markdown_table(rows).replace("| model |", "| measure |", 1), "",
             "ratio: variance of the attribute between clusters over that within them. NMI: with the emotion classes. "
             f"By chance: mean over {SHUFFLES} shuffles of the labels among sentences."]  # fmt: skip
    for one in found:
        parts += ["", f"## {one.name}", "", f"{one.run_id}", "", markdown_table(_cluster_rows(one))]
    return "\n".join([*parts, ""])


def _cluster_rows(one: Clustered) -> list[dict[str, str]]:
    """Size, means and most frequent emotion of each cluster."""
    rows = []
    for cluster, part in one.chunks.groupby("cluster"):
        usual = part["emotion"].dropna().mode()
        rows.append({
            "cluster": str(cluster), "chunks": str(len(part)), "sentences": str(part["id"].nunique()),
            **{f"mean {a}": number(float(part[a].mean())) for a in one.attributes},
            "most frequent emotion": f"{usual.iloc[0]} ({part['emotion'].eq(usual.iloc[0]).mean():.0%})"
                                     if len(usual) else "-",
        })  # fmt: skip
    return rows


def _clustered(run: Run, weights: Path, k: int, options: Options, device: str, display: Display) -> Clustered:
    import torch

    from ..sermodels._kmeans import kmeans

    points, table, attributes = _features(run, weights, options, device, display)
    if len(points) < k:
        fewer = max(2, len(points) // 2)
        raise SerbenchError(f"there are {len(points)} chunks for {k} clusters. Type --clusters {fewer}.")
    generator = torch.Generator().manual_seed(options.seed)
    labels = kmeans(torch.from_numpy(points), k, generator, iterations=ITERATIONS).assignment
    by = table[attributes[0]].to_numpy(dtype=np.float64) if attributes else points[:, 0]
    place = project(points, options.projection, options.seed)
    chunks = table.assign(cluster=in_order(labels, by), x=place[:, 0], y=place[:, 1])
    return Clustered(run.name, run.run_id, chunks, attributes, measure(chunks, attributes, options.seed))


def in_order(labels: Labels, values: Floats) -> Labels:
    """The same clusters, numbered by the rising mean of some values, from 0; the largest numbers are empty ones."""
    known = np.isfinite(values)
    k = int(labels.max()) + 1
    counts = np.bincount(labels[known], minlength=k)
    means = np.bincount(labels[known], values[known], minlength=k) / np.maximum(counts, 1)
    order = np.argsort(np.where(counts > 0, means, np.inf), kind="stable")
    return np.asarray(np.argsort(order)[labels], dtype=np.int64)


def project(points: Floats, kind: str, seed: int) -> Floats:
    """Points (chunk, dim) on a plane, (chunk, 2): principal components, or t-SNE started from them."""
    from sklearn.decomposition import PCA

    width = min(2, *points.shape)
    plane = PCA(width, svd_solver="full").fit_transform(points.astype(np.float64))
    plane = np.pad(plane, ((0, 0), (0, 2 - width)))
    if kind == "pca":
        return plane
    from sklearn.manifold import TSNE

    perplexity = min(30.0, max(2.0, (len(points) - 1) / 3))
    return np.asarray(TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(points))


def _features(
    run: Run, weights: Path, options: Options, device: str, display: Display
) -> tuple[Floats, pd.DataFrame, tuple[str, ...]]:
    """Features (chunk, dim), a row of labels for each chunk, and the names of the attributes among them."""
    from ..sermodels._chunked import ChunkedModel
    from ..sermodels._model import Resources
    from ..sermodels._persist import load_model

    model = load_model(weights, Resources(device=device))
    if not isinstance(model, ChunkedModel):
        raise SerbenchError(
            f"the model {model.name!r} has no chunks to cluster. Expected deepemocluster or one of the cnn models."
        )
    request = Request.from_dict(run.spec["arguments"])
    plan = rebuild(request, run.path, run.spec["model"]["config"], Corpora())
    setting = plan.setting
    if setting.dataset()["digest"] != run.spec["dataset"]["digest"]:
        raise SerbenchError(
            f"the corpus on disk is not the one that {run.run_id} was made with. Give the recorded one, or run again."
        )
    corpus, task, ids = _items(setting, options.trial, _fold(run, options.fold), options.items)
    tables = extract_features(corpus, needed_rows(corpus, task, ids, type(model)), plan, 1, display)
    data, _ = build_data(corpus, task, ids, tables, labelled=False)
    points = model.chunk_features(data, options.layer)
    count = len(points) // len(data)
    attributes = tuple(a for a in corpus.scales if data.items[a].notna().any())
    labels = data.items[[*attributes, "emotion"]].reset_index(names="id")
    table = labels.loc[labels.index.repeat(count)].reset_index(drop=True)
    return points, table.assign(chunk=np.tile(np.arange(count), len(data))), attributes


def _items(setting: Setting, trial: int, fold: str, items: str) -> tuple[Corpus, Any, tuple[str, ...]]:
    division = setting.division(trial, fold)
    if items == "test":
        return setting.tested, setting.asked, tuple(division.test)
    return setting.corpus, setting.task, tuple(getattr(division, items))


def _fold(run: Run, asked: str | None) -> str:
    if asked is not None and asked not in run.folds:
        there = ", ".join(run.folds)
        raise SerbenchError(f"--fold {asked!r}: {run.run_id} has no such fold. Expected one of: {there}.")
    return run.folds[0] if asked is None else asked


def _by_chance(
    score: Callable[[npt.NDArray[Any], Labels], float], column: npt.NDArray[Any], labels: Labels, ids: pd.Series[str],
    seed: int,
) -> float:  # fmt: skip
    codes, first = pd.factorize(ids)[0], np.flatnonzero(~ids.duplicated().to_numpy())
    by_sentence, generator = column[first], np.random.default_rng(seed)
    return float(np.mean([score(generator.permutation(by_sentence)[codes], labels) for _ in range(SHUFFLES)]))


def _place(results: Path) -> str:
    return "" if results == Path("results") else f" --results {results}"
