"""The command `serbench clusters`: the cluster analysis of a run with saved weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Device, Results, RunDataset, RunTask, RunWithWeights, StudyFolder, Threads, Trial
from .results import open_run

app = typer.Typer()


@app.command()
def clusters(
    run: RunWithWeights,
    dataset: RunDataset = None,
    task: RunTask = None,
    against: Annotated[
        str | None, typer.Option(help="Run to compare with, or none; default: cnn-regressor's under the same protocol.")
    ] = None,
    trial: Trial = 0,
    fold: Annotated[str | None, typer.Option(help="Fold, likewise; default: the first.")] = None,
    items: Annotated[str, typer.Option(help="Items of the fold: test, dev or train.")] = "test",
    number: Annotated[int | None, typer.Option("--clusters", help="Default: the model's own, or 10.", min=2)] = None,
    layer: Annotated[str, typer.Option(help="auto (what the model clusters itself, else h) or h.")] = "auto",
    projection: Annotated[str, typer.Option(help="pca or tsne.")] = "pca",
    plot: Annotated[str, typer.Option(help="box or violin.")] = "box",
    seed: Annotated[int, typer.Option(help="Seed of k-means, t-SNE and shuffles.")] = 0,
    device: Device = "auto",
    threads: Threads = None,
    results: Results = Path("results"),
    out: StudyFolder = None,
) -> None:
    """Emotion in the clusters of learned features: distributions, projection, variance ratios, NMI."""
    from ..analyses import clusters as analysis
    from ..analyses.cluster_files import write
    from ..core.machine import limit_threads, resolve_device
    from ..core.progress import Terminal

    choices = analysis.Choices(trial, fold, items, number, layer, projection, plot, seed)
    chosen = open_run(run, results, dataset, task)
    analysis.find_weights(chosen, choices)
    named = None if against in (None, "none") else open_run(str(against), results, dataset, task)
    other = analysis.rival(chosen, named, wanted=against != "none")
    where = resolve_device(device)
    if threads is not None:
        limit_threads(threads)
    for path in write(analysis.analyse(chosen, other, choices, where, Terminal()), out or results / "studies", plot):
        typer.echo(path)
