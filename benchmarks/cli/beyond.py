"""Commands about what a mean score hides: fairness."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Results, RunDataset, RunTask, StudyFolder
from .results import open_run

app = typer.Typer()


@app.command()
def fairness(
    runs: Annotated[list[str], typer.Argument(help="MODEL, MODEL:PRESET, run ids or run folders.")],
    dataset: RunDataset = None,
    task: RunTask = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help="gender, age, language, role, session, speaker or duration; may be repeated; default: all."),
    ] = None,
    resamples: Annotated[int, typer.Option(help="Resamples of each interval, and deals of each test.", min=0)] = 10_000,
    seed: Annotated[int, typer.Option(help="Seed of resamples and deals.", min=0)] = 0,
    results: Results = Path("results"),
    out: StudyFolder = None,
) -> None:
    """Scores, errors, calibration and bias by group of the test items; gaps with intervals and tests over speakers."""
    from rich.console import Console

    from ...results.display.table import on_screen, write_table
    from ...results.groups.gaps import Resamples
    from ...results.groups.table import fairness as measure, tables

    for name in runs:
        shown = tables(measure(open_run(name, results, dataset, task), by or (), Resamples(resamples, seed=seed)))
        Console().print(on_screen(shown))
        for table in shown:
            for path in write_table(table, out or results / "studies"):
                typer.echo(path)
