"""The command `serbench cross`: cross-corpus matrices."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from .options import ExecutionOptions, RecipeOptions, command, resumable


class Spread(TyperCommand):
    """A command whose options named in `SEVERAL` take all words up to the next option: `--datasets a b c`."""

    SEVERAL = ("--models", "--datasets")

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the option before each of its words, then parse as usual."""
        return super().parse_args(ctx, spread(args, self.SEVERAL))


def spread(args: list[str], names: Collection[str]) -> list[str]:
    """`--datasets a b` as `--datasets a --datasets b`."""
    repeated: list[str] = []
    current = ""
    for word in args:
        if word.startswith("-"):
            current = word if word in names else ""
            repeated += [] if current else [word]
        else:
            repeated += [current, word] if current else [word]
    return repeated


app = typer.Typer()


@app.command(cls=Spread)
@command
def cross(
    models: Annotated[list[str], typer.Option(help="Registered models (MODEL or MODEL:PRESET), blanks between.")],
    datasets: Annotated[list[str], typer.Option(help="Two or more datasets, blanks between.")],
    recipe: RecipeOptions,
    execution: ExecutionOptions,
    task: Annotated[str, typer.Option(help="Shared label set, or a task that all have (arousal).")] = "emotion-4",
    leave_one_out: Annotated[
        bool, typer.Option("--leave-one-out", help="Train on all corpora but one together too.")
    ] = False,
) -> None:
    """Train on each corpus and test on each: matrix as CSV and heatmaps, with the drop against in-corpus."""
    from rich.console import Console

    from ...results.display.recording import keep
    from ...results.tables.matrix import render_matrix, write_matrix
    from ..studies.cross import cross as run_cross

    how = execution.execution(recipe.on_nodes(datasets))
    with resumable(how.display):
        frame = run_cross(recipe.grid(models, datasets, task=task), how, leave_one_out=leave_one_out)
    written = write_matrix(frame, how.folder)
    keep("matrix", frame)
    Console().print(render_matrix(frame))
    typer.echo(f"written: {', '.join(map(str, written))}")
