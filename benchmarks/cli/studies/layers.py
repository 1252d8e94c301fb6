"""The command `serbench study layers`: which layer of a pre-trained encoder holds emotion."""

from __future__ import annotations

from typing import Annotated

import typer

from ..options import Dataset, ExecutionOptions, RecipeOptions, StudyFolder, Task, command, resumable

app = typer.Typer()


@app.command()
@command
def layers(
    encoder: Annotated[str, typer.Option(help="Folder, name on the Hugging Face hub, or random:NAME.")],
    dataset: Dataset,
    recipe: RecipeOptions,
    execution: ExecutionOptions,
    task: Task = None,
    control: Annotated[bool, typer.Option(help="Also the same architecture with random weights.")] = True,
    out: StudyFolder = None,
) -> None:
    """A probe on each layer of an encoder and on their learned sum, with a control of random weights."""
    from ....results.display.recording import keep
    from ...studies.layers import run_layers, write_all

    grid = recipe.grid([], [dataset], task=task)
    how = execution.execution(recipe.on_nodes([dataset]))
    with resumable(how.display):
        table = run_layers(encoder, grid, how, control=control)
    keep("layers", table)
    for path in write_all(table, out or how.folder / "studies"):
        typer.echo(path)
