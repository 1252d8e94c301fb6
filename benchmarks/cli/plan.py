"""The command `serbench plan`: what a run will take."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from .options import ExecutionOptions, GridOptions, command

app = typer.Typer()


@app.command()
@command
def plan(
    grid: GridOptions,
    execution: ExecutionOptions,
    pilot: Annotated[bool, typer.Option(help="Try a few items where no record says what a training takes.")] = True,
) -> None:
    """What `serbench run` with the same arguments will take: trainings, hours, memory, disk. Nothing is started."""
    from ..budget.estimate import estimate

    asked, how = grid.trained("serbench plan"), execution.execution(grid.nodes)
    if how.launcher is not None:
        on_card = bool(execution.gpus_per_trial) and how.device == "auto"
        threads = how.threads or execution.cpus_per_trial
        how = replace(how, threads=threads, device="cuda" if on_card else how.device)
    budget = estimate(asked, how, pilots=pilot)
    for line in budget.lines(how.jobs):
        typer.echo(line)
    budget.check()
