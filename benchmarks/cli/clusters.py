"""The command `serbench clusters`: the cluster analysis of a run with saved weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...datasets.core.errors import SerbenchError
from .results import open_run

if TYPE_CHECKING:
    from ...results.record.folder import Run


def register(app: typer.Typer) -> None:
    """Add this command to the program."""
    app.command()(clusters)


def clusters(
    run: Annotated[str, typer.Argument(help="MODEL, MODEL:PRESET, a run id or a run folder; with saved weights.")],
    dataset: Annotated[str | None, typer.Option(help="Dataset, where the name fits several runs.")] = None,
    task: Annotated[str | None, typer.Option(help="Task, likewise.")] = None,
    against: Annotated[
        str | None, typer.Option(help="Run to compare with, or none; default: cnn-regressor's under the same protocol.")
    ] = None,
    trial: Annotated[int, typer.Option(help="Trial whose weights are used.")] = 0,
    fold: Annotated[str | None, typer.Option(help="Fold, likewise; default: the first.")] = None,
    items: Annotated[str, typer.Option(help="Items of the fold: test, dev or train.")] = "test",
    number: Annotated[int | None, typer.Option("--clusters", help="Default: the model's own, or 10.", min=2)] = None,
    layer: Annotated[str, typer.Option(help="auto (what the model clusters itself, else h) or h.")] = "auto",
    projection: Annotated[str, typer.Option(help="pca or tsne.")] = "pca",
    plot: Annotated[str, typer.Option(help="box or violin.")] = "box",
    seed: Annotated[int, typer.Option(help="Seed of k-means, t-SNE and shuffles.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="Threads; default: all cores.")] = None,
    results: Annotated[Path, typer.Option(help="Folder that holds runs/.")] = Path("results"),
    out: Annotated[Path | None, typer.Option(help="Folder of tables and plots; default: RESULTS/studies.")] = None,
) -> None:
    """Emotion in the clusters of learned features: distributions, projection, variance ratios, NMI."""
    from ..analyses import clusters as analysis
    from ..analyses.cluster_files import write
    from ..core.machine import limit_threads, resolve_device
    from ..core.progress import Terminal

    choices = {
        "items": (items, analysis.ITEMS),
        "layer": (layer, ("auto", "h")),
        "projection": (projection, ("pca", "tsne")),
        "plot": (plot, ("box", "violin")),
    }
    for name, (value, known) in choices.items():
        if value not in known:
            raise SerbenchError(f"--{name} {value}: expected one of: {', '.join(known)}.")
    chosen = open_run(run, results, dataset, task)
    options = analysis.Options(trial, fold, items, number, layer, projection, plot, seed)
    analysis.find_weights(chosen, options)
    other = _other(chosen, against, results, dataset, task)
    where = resolve_device(device)
    if threads is not None:
        limit_threads(threads)
    found = analysis.analyse(chosen, other, options, where, Terminal())
    for path in write(found, out or results / "studies", plot):
        typer.echo(path)


def _other(run: Run, against: str | None, results: Path, dataset: str | None, task: str | None) -> Run | None:
    from ..analyses.clusters import BASELINE, find_baseline

    if against == "none" or (against is None and run.spec["model"]["name"] == BASELINE):
        return None
    other = find_baseline(run) if against is None else open_run(against, results, dataset, task)
    if other.run_id == run.run_id:
        raise SerbenchError(f"--against {against} is the run itself. Name another one, or none.")
    return other
