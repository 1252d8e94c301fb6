"""Commands about what a trained model has learned: clusters, salience, traces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Device, Results, RunDataset, RunName, RunTask, RunWithWeights, StudyFolder, Threads, Trial
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


@app.command()
def salience(
    run: RunWithWeights,
    utterance: Annotated[str, typer.Argument(help="Id of an utterance of the corpus that the run tests.")],
    dataset: RunDataset = None,
    task: RunTask = None,
    trial: Trial = 0,
    fold: Annotated[str | None, typer.Option(help="Fold, likewise; default: the one that tests the utterance.")] = None,
    top: Annotated[int, typer.Option(help="Segments that are printed.", min=1)] = 5,
    device: Device = "auto",
    results: Results = Path("results"),
    out: StudyFolder = None,
) -> None:
    """Which segments the attention chose, drawn over waveform and spectrogram."""
    from ..analyses import salience as analysis
    from ..core.machine import resolve_device
    from ..core.progress import Terminal

    chosen = open_run(run, results, dataset, task)
    heard = analysis.find_salience(chosen, utterance, trial, fold, resolve_device(device), Terminal())
    even = 1 / len(heard.segments)
    typer.echo(f"{heard.item}: {heard.said}")
    for row in heard.segments.nlargest(top, "weight").to_dict("records"):
        typer.echo(
            f"  {row['start']:6.2f} to {row['end']:6.2f} s  {row['weight']:.1%} of the attention "
            f"({row['weight'] / even:.1f} times an even share)"
        )
    for path in analysis.write(heard, out or results / "studies"):
        typer.echo(path)


@app.command()
def traces(
    run: RunName,
    recording: Annotated[str, typer.Argument(help="Id of a recording that the run tests, such as Devel_01.")],
    dataset: RunDataset = None,
    task: RunTask = None,
    trial: Annotated[list[int] | None, typer.Option(help="Trial that is drawn; may be repeated. Default: all.")] = None,
    start: Annotated[float | None, typer.Option(help="First second that is shown.")] = None,
    end: Annotated[float | None, typer.Option(help="Second that the stretch ends at.")] = None,
    results: Results = Path("results"),
    out: StudyFolder = None,
) -> None:
    """Prediction and gold standard over time, with waveform and words: PNG, SVG and CSV."""
    from ..analyses.traces import find_traces
    from ..analyses.traces_figure import write

    chosen = open_run(run, results, dataset, task)
    drawn = find_traces(chosen, recording, trial or (), start, end)
    typer.echo(
        f"{drawn.item}, {drawn.begin:.1f} to {drawn.end:.1f} s: {len(drawn.time)} frames, "
        f"{len(drawn.words)} words, trials {', '.join(map(str, drawn.predicted))}"
    )
    for target, scores in drawn.scores().items():
        typer.echo(f"  {target}: CCC of this stretch {', '.join(f'{score:.3f}' for score in scores)}")
    for note in drawn.notes:
        typer.echo(f"  {note}")
    for path in write(drawn, out or results / "studies"):
        typer.echo(path)
