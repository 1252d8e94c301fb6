"""The command `serbench run`: models on corpora."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from .options import CAREFUL, ExecutionOptions, GridOptions, command, resumable

if TYPE_CHECKING:
    from ...results.record.folder import Run

app = typer.Typer()
StopAfter = Annotated[
    str | None,
    typer.Option(help="Stop after 55m (or 90s, 1h30m) with exit status 75; the same command goes on from there."),
]


@app.command()
@command
def run(grid: GridOptions, execution: ExecutionOptions, stop_after: StopAfter = None) -> None:
    """Train and score models on corpora; finished trials are skipped."""
    from ..core.ending import stopping_after
    from ..grid.grid import repeat, run_grid

    how = execution.execution(grid.nodes)
    careful = grid.protocol == CAREFUL
    how = replace(how, save_models=True) if careful else how
    with resumable(how.display), stopping_after(stop_after):
        runs = run_grid(grid.asked(), how) if grid.from_record is None else repeat(grid.from_record, how)
    for one in runs:
        typer.echo(one.path)
    if careful:
        from ...results.groups.gaps import Resamples
        from ..analyses import beyond

        with resumable(how.display), stopping_after(stop_after):
            for path in beyond.careful(runs, how, Resamples(), how.folder / "studies"):
                typer.echo(path)
    if failed := count_failed(runs):
        how.display.message(
            f"{failed} trials failed; their records hold the reason. The same command tries them again."
        )
        raise typer.Exit(1)


def count_failed(runs: Sequence[Run]) -> int:
    """Units that are recorded as failed."""
    return sum(unit["status"] != "done" for one in runs for unit in one.units())
