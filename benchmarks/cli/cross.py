"""The command for cross-corpus matrices."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from .arguments import checked, pairs, resumable, roots


class Spread(TyperCommand):
    """A command whose options named in `SEVERAL` take all words up to the next option: `--datasets a b c`."""

    SEVERAL = ("--models", "--datasets")

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the option before each of its words, then parse as usual."""
        return super().parse_args(ctx, spread(args, self.SEVERAL))


def spread(args: list[str], names: Collection[str]) -> list[str]:
    """`--datasets a b` as `--datasets a --datasets b`."""
    found: list[str] = []
    current = ""
    for word in args:
        if word.startswith("-"):
            current = word if word in names else ""
            found += [] if current else [word]
        else:
            found += [current, word] if current else [word]
    return found


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(cls=Spread)(cross)


def cross(
    models: Annotated[list[str], typer.Option(help="Registered models (MODEL or MODEL:PRESET), blanks between.")],
    datasets: Annotated[list[str], typer.Option(help="Two or more datasets, blanks between.")],
    task: Annotated[str, typer.Option(help="Shared label set, or a task that all have (arousal).")] = "emotion-4",
    root: Annotated[list[str] | None, typer.Option(help="DATASET=FOLDER; repeat it.")] = None,
    release: Annotated[list[str] | None, typer.Option(help="DATASET=RELEASE; default: detected.")] = None,
    classes: Annotated[
        str | None, typer.Option(help="Classes to keep, with commas between; default: all that every corpus has.")
    ] = None,
    leave_one_out: Annotated[
        bool, typer.Option("--leave-one-out", help="Train on all corpora but one together too.")
    ] = False,
    trials: Annotated[int, typer.Option(help="Trainings with different seeds.")] = 5,
    subsets: Annotated[int, typer.Option(help="Parts that the test items are cut into.")] = 4,
    group: Annotated[str, typer.Option(help="Column that subsets may not cut: auto, none or a column.")] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of the subsets and base of the trials' seeds.")] = 0,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="model.KEY=VALUE, train.KEY=VALUE or feature.KEY=VALUE.")
    ] = None,
    option: Annotated[list[str] | None, typer.Option(help="DATASET.KEY=VALUE for a dataset.")] = None,
    preset: Annotated[str | None, typer.Option(help="Named configuration of the models.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    jobs: Annotated[int, typer.Option(help="Processes that work on trials at the same time.")] = 1,
    threads: Annotated[int | None, typer.Option(help="Threads of each process; default: cores / jobs.")] = None,
    results: Annotated[Path, typer.Option(help="Folder of runs/; the matrix is written there.")] = Path("results"),
    allow_leak: Annotated[bool, typer.Option(help="Accept what leaks; the scores are labelled.")] = False,
    save_models: Annotated[bool, typer.Option(help="Keep the weights of every trial beside its record.")] = False,
) -> None:
    """Train on each corpus and test on each: matrix as CSV and heatmaps, with the drop against in-corpus."""
    from rich.console import Console

    from ...results.tables.matrix import render_matrix, write_matrix
    from ..core.progress import Terminal
    from ..protocol.protocol import Protocol
    from ..studies.cross import cross as run_cross

    shown = Terminal()
    given: dict[str, Any] = {
        "task": task,
        "root": roots(root, datasets),
        "release": roots(release, datasets, "--release"),
        "classes": classes.split(",") if classes else (),
        "leave_one_out": leave_one_out,
        "preset": preset,
        "settings": pairs("--set", set_),
        "protocol": checked(Protocol(subsets=subsets, group=group, seed=seed)),
        "trials": trials,
        "allow_leak": allow_leak,
        "options": pairs("--option", option),
        "results": results,
        "device": device,
        "jobs": jobs,
        "threads": threads,
        "save_models": save_models,
        "display": shown,
    }
    with resumable(shown):
        frame = run_cross(models, datasets, **given)
    written = write_matrix(frame, results)
    Console().print(render_matrix(frame))
    typer.echo(f"written: {', '.join(map(str, written))}")
