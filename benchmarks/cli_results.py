"""Commands about results: leaderboard, compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..datasets._errors import SerbenchError

if TYPE_CHECKING:
    from ..results.records import Run

Results = Annotated[Path, typer.Option(help="Folder that holds runs/ and the leaderboard.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    app.command()(leaderboard)
    app.command()(compare)


def leaderboard(
    results: Results = Path("results"),
    dataset: Annotated[str | None, typer.Option(help="Only this dataset.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    digest: Annotated[str | None, typer.Option(help="Only runs of this protocol digest.")] = None,
) -> None:
    """Rank the models of every dataset and task; writes leaderboard.csv and leaderboard.md."""
    from rich.console import Console

    from ..datasets._files import write_text
    from ..results import leaderboard as board

    runs = load(results, dataset=dataset, task=task)
    frame = board.leaderboard(runs, protocol_digest=digest)
    path = board.write_leaderboard(frame, results)
    write_text(results / "leaderboard.md", board.to_markdown(frame))
    Console().print(board.to_rich(frame))
    typer.echo(f"written: {path} and {results / 'leaderboard.md'}")


def compare(
    models: Annotated[list[str], typer.Argument(help="Two or more: MODEL, MODEL:PRESET or a run id.")],
    dataset: Annotated[str, typer.Option(help="The dataset.")],
    task: Annotated[str | None, typer.Option(help="The task; needed when there are runs of several.")] = None,
    metric: Annotated[str | None, typer.Option(help="Metric; default: the task's own (UAR or CCC).")] = None,
    results: Results = Path("results"),
    out: Annotated[Path | None, typer.Option(help="CSV file; default: RESULTS/compare_DATASET.csv.")] = None,
) -> None:
    """Paired significance tests between models over the scores of subsets x trials."""
    from rich.console import Console

    from ..results.compare import compare as compare_runs
    from ..results.compare import render_compare, write_compare

    runs = load(results, dataset=dataset, task=task)
    frame = compare_runs([choose(runs, name) for name in models], metric=metric)
    path = write_compare(frame, out or results / f"compare_{dataset}.csv")
    Console().print(render_compare(frame))
    typer.echo(f"written: {path}")


def load(results: Path, *, dataset: str | None = None, task: str | None = None) -> list[Run]:
    """Runs under a results folder; damaged ones are named on standard error."""
    from ..results.records import load_runs

    runs = load_runs(results, dataset=dataset, task=task)
    for problem in runs.problems.values():
        typer.echo(f"serbench: left out: {problem}", err=True)
    if not runs:
        raise SerbenchError(
            f"there are no runs under {str(results / 'runs')!r}"
            f"{f' for {dataset}' if dataset else ''}{f' and the task {task}' if task else ''}. "
            "Type 'serbench run --model chance --dataset demo' to make one."
        )
    return runs


def choose(runs: list[Run], name: str) -> Run:
    """The one run that `MODEL`, `MODEL:PRESET` or a run id (or its beginning) names."""
    model, _, preset = name.partition(":")
    found = [r for r in runs if r.run_id == name or r.run_id.startswith(name + "_")] or [
        r for r in runs if r.spec["model"]["name"] == model and (not preset or r.spec["model"]["preset"] == preset)
    ]
    if len(found) > 1 and not preset:
        found = [r for r in found if r.spec["model"]["preset"] == "default"] or found
    if len(found) == 1:
        return found[0]
    there = ", ".join(sorted(r.run_id for r in found or runs))
    problem = "names several runs" if found else "names no run"
    raise SerbenchError(f"{name!r} {problem}. Expected MODEL, MODEL:PRESET, a run id, or a --task. There are: {there}.")
