"""The command `serbench salience`: where MAEC listens in an utterance."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Device, Results, RunDataset, RunTask, RunWithWeights, StudyFolder, Trial
from .results import open_run

app = typer.Typer()


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
