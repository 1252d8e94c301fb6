"""The command `serbench tune`: a search for a model's settings."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import ExecutionOptions, GridOptions, command, resumable

app = typer.Typer()


@app.command()
@command
def tune(
    grid: GridOptions,
    execution: ExecutionOptions,
    budget: Annotated[int, typer.Option(help="Candidates of each training.")] = 20,
    sampler: Annotated[str, typer.Option(help="auto, tpe, random or grid.")] = "auto",
) -> None:
    """Search settings inside each training, by the dev set alone.

    --set model.k=10,20,30 names candidates (with ; between where a value is a list itself), --set
    train.learning_rate=1e-4..1e-2:log a range. Without any, the model's default space is searched.
    """
    from ..grid.grid import run_grid
    from ..tune.search import chosen_settings, searched_grid
    from .run import count_failed

    asked, search = searched_grid(grid.trained("serbench tune"), budget, sampler)
    how = execution.execution(grid.nodes)
    how.display.message(f"{search.budget} candidates in each training, proposed by {search.sampler}:")
    for key, text in search.space.items():
        how.display.message(f"  {key} in {text}")
    with resumable(how.display):
        runs = run_grid(asked, how)
    for one in runs:
        typer.echo(one.path)
        for unit in one.units():
            said = ", ".join(f"{key}={text}" for key, text in chosen_settings(unit).items()) or unit["error"]
            how.display.message(f"trial {unit['trial'] + 1}, fold {unit['fold']}: {said}")
    if count_failed(runs):
        raise typer.Exit(1)
