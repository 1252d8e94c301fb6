"""The command `serbench salience`: where MAEC listens in an utterance."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .results import open_run


def register(app: typer.Typer) -> None:
    """Add this command to the program."""
    app.command()(salience)


def salience(
    run: Annotated[str, typer.Argument(help="MODEL, MODEL:PRESET, a run id or a run folder; with saved weights.")],
    utterance: Annotated[str, typer.Argument(help="Id of an utterance of the corpus that the run tests.")],
    dataset: Annotated[str | None, typer.Option(help="Dataset, where the name fits several runs.")] = None,
    task: Annotated[str | None, typer.Option(help="Task, likewise.")] = None,
    trial: Annotated[int, typer.Option(help="Trial whose weights are used.")] = 0,
    fold: Annotated[str | None, typer.Option(help="Fold, likewise; default: the one that tests the utterance.")] = None,
    top: Annotated[int, typer.Option(help="Segments that are printed.", min=1)] = 5,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    results: Annotated[Path, typer.Option(help="Folder that holds runs/.")] = Path("results"),
    out: Annotated[Path | None, typer.Option(help="Folder of table and plot; default: RESULTS/studies.")] = None,
) -> None:
    """Which segments the attention chose, drawn over waveform and spectrogram."""
    from ..analyses import salience as analysis
    from ..core.machine import resolve_device
    from ..core.progress import Terminal

    chosen = open_run(run, results, dataset, task)
    found = analysis.find_salience(chosen, utterance, trial, fold, resolve_device(device), Terminal())
    even = 1 / len(found.segments)
    typer.echo(f"{found.item}: {found.said}")
    for row in found.segments.nlargest(top, "weight").to_dict("records"):
        typer.echo(
            f"  {row['start']:6.2f} to {row['end']:6.2f} s  {row['weight']:.1%} of the attention "
            f"({row['weight'] / even:.1f} times an even share)"
        )
    for path in analysis.write(found, out or results / "studies"):
        typer.echo(path)
