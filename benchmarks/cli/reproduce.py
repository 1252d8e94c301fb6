"""The command `serbench reproduce`: published rows, made again."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import ExecutionOptions, Texts, command, pairs, resumable

app = typer.Typer()


@app.command()
@command
def reproduce(
    execution: ExecutionOptions,
    name: Annotated[
        str | None, typer.Argument(help="DATASET/MODEL of a published row; without it they are listed.")
    ] = None,
    root: Annotated[Texts, typer.Option(help="DATASET=FOLDER of a corpus; may be repeated.")] = None,
    folds: Annotated[str | None, typer.Option(help="Folder of published fold files; default: SERBENCH_FOLDS.")] = None,
    weights: Annotated[
        Texts, typer.Option(help="NAME=FOLDER of a checkpoint; default: in SERBENCH_WEIGHTS, or the hub's cache.")
    ] = None,
    trials: Annotated[int, typer.Option(help="Trainings with different seeds.")] = 5,
    here: Annotated[bool, typer.Option("--here", help="List only what can be run here.")] = False,
) -> None:
    """Run a published result again: printed, ours, difference, inside or outside the spread over trials."""
    from rich.console import Console

    from ...results.display.recording import keep
    from ...results.display.table import to_screen
    from ...results.record.storage import write_csv
    from ..studies import reproduce as again

    places = again.Places(pairs("--root", root), folds, pairs("--weights", weights))
    if name is None:
        rows = again.reproducible(places)
        keep("reproducible", rows)
        for line in again.lines(rows[rows["missing"].eq("")] if here else rows):
            typer.echo(line)
        typer.echo(f"{int(rows['missing'].eq('').sum())} of {len(rows)} published rows can be run here.")
        return
    how = execution.execution({})
    with resumable(how.display):
        frame = again.reproduce(name, places, how, trials)
    keep("reproduce", frame)
    Console().print(to_screen(again.comparison(frame)))
    file = how.folder / f"reproduce_{frame.attrs['name'].replace('/', '_').replace(' ', '-')}.csv"
    typer.echo(f"written: {write_csv(file, frame)}; record: {frame.attrs['run']}")
