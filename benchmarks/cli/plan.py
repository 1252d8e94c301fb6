"""The command `serbench plan`: what a run will take."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from .options import ExecutionOptions, GridOptions, command

if TYPE_CHECKING:
    from ..budget.estimate import Budget

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
    say(estimate(asked, how, pilots=pilot), how.jobs)


def say(budget: Budget, jobs: int) -> None:
    """Say what something will take, and refuse a disk that is too small."""
    from ...results.display.recording import keep

    for line in budget.lines(jobs):
        typer.echo(line)
    for name, value in budget.data().items():
        keep(name, value)
    budget.check()
