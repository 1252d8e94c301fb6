"""Commands that train models many times over: tune, a search for settings, and curve, shares of the training set."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import ExecutionOptions, GridOptions, StudyFolder, command, resumable

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


@app.command()
@command
def curve(
    grid: GridOptions,
    execution: ExecutionOptions,
    shares: Annotated[str, typer.Option(help="Shares of the training items, with commas between.")] = "0.1,0.2,0.5,1",
    out: StudyFolder = None,
) -> None:
    """Learning curve: the same folds with shares of their training speakers, and the power law that scores follow."""
    from ...results.curves.table import tables
    from ...results.display.table import show
    from ...results.report.curve_figure import curve_figure
    from ...results.report.figures import write_figure
    from ..studies.curve import curve as learn, shares_of

    how, folder = execution.execution(grid.nodes), out or execution.results / "studies"
    with resumable(how.display):
        done = learn(grid.trained("serbench curve"), shares_of(shares), how)
    shown = tables(done)
    signatures = [f"{row.model} {row.share:g}  {row.signature}" for row in done.points.itertuples()]
    for path in (*show(shown, folder, signatures), *write_figure(curve_figure(done), folder, shown[0].name)):
        typer.echo(path)
