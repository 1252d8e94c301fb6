"""Commands about results: leaderboard, compare, and runs made of others: fuse, ensemble."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...datasets.core.errors import SerbenchError
from .options import Results

if TYPE_CHECKING:
    from ...results.record.folder import Run, Runs

app = typer.Typer()


@app.command()
def leaderboard(
    results: Results = Path("results"),
    dataset: Annotated[str | None, typer.Option(help="Only this dataset.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    digest: Annotated[str | None, typer.Option(help="Only runs of this protocol digest.")] = None,
    bootstrap: Annotated[int, typer.Option(help="Intervals by this many resamples, such as 10000.")] = 0,
    cluster: Annotated[str, typer.Option(help="What is resampled: auto, utterance or a column.")] = "auto",
    references: Annotated[bool, typer.Option(help="Show published results below each ranking.")] = False,
    verify: Annotated[bool, typer.Option(help="Check leaderboard.csv against the predictions instead.")] = False,
) -> None:
    """Rank the models of every dataset and task; writes leaderboard.csv and leaderboard.md."""
    from rich.console import Console

    from ...datasets.core.files import write_text
    from ...results.display.recording import keep
    from ...results.stress.table import with_stress
    from ...results.tables import leaderboard as board, references as published
    from ...results.tables.pair_tests import Resampling

    if verify:
        _verify(results)
        return
    runs = load(results, dataset=dataset, task=task)
    frame = with_stress(board.leaderboard(runs, protocol_digest=digest), runs)
    if bootstrap:
        frame = board.with_intervals(frame, runs, Resampling(bootstrap=bootstrap, cluster=cluster))
    path = board.write_leaderboard(frame, results)
    beside = published.beside(frame, runs) if references else None
    below = "" if beside is None else "\n" + published.to_markdown(beside)
    write_text(results / "leaderboard.md", board.to_markdown(frame) + below)
    keep("leaderboard", frame)
    Console().print(board.to_rich(frame))
    if beside is not None:
        keep("references", beside)
        Console().print(published.render(beside))
    typer.echo(f"written: {path} and {results / 'leaderboard.md'}")


@app.command()
def compare(
    models: Annotated[list[str], typer.Argument(help="Two or more: MODEL, MODEL:PRESET or a run id.")],
    dataset: Annotated[str, typer.Option(help="The dataset.")],
    task: Annotated[str | None, typer.Option(help="The task; needed when there are runs of several.")] = None,
    metric: Annotated[str | None, typer.Option(help="Metric; default: the task's own (UAR or CCC).")] = None,
    bootstrap: Annotated[int, typer.Option(help="Resamples of speakers and trials; 0 = none.")] = 10_000,
    swaps: Annotated[int, typer.Option(help="Random swaps of predictions; 0 = none.")] = 10_000,
    cluster: Annotated[str, typer.Option(help="What is resampled and swapped: auto, utterance or a column.")] = "auto",
    adjust: Annotated[str, typer.Option(help="For many tests: holm, or bh (Benjamini and Hochberg).")] = "holm",
    seed: Annotated[int, typer.Option(help="Seed of resamples and swaps.")] = 0,
    results: Results = Path("results"),
    out: Annotated[Path | None, typer.Option(help="CSV file; default: RESULTS/compare_DATASET.csv.")] = None,
) -> None:
    """Paired significance tests between models over the scores of subsets x trials."""
    from rich.console import Console

    from ...results.display.recording import keep
    from ...results.record.folder import run_row
    from ...results.tables.compare import compare as compare_runs, render_compare, write_compare
    from ...results.tables.leaderboard import mixed_versions
    from ...results.tables.pair_tests import Resampling, further_tests, render_further

    if adjust not in ("holm", "bh"):
        raise SerbenchError(f"--adjust {adjust}: expected holm or bh.")
    runs = load(results, dataset=dataset, task=task)
    chosen = [runs.named(name) for name in models]
    frame = compare_runs(chosen, metric=metric)
    frame = further_tests(frame, chosen, Resampling(bootstrap, swaps, cluster, seed))
    path = write_compare(frame, out or results / f"compare_{dataset}.csv")
    keep("compare", frame)
    Console().print(render_compare(frame))
    Console().print(render_further(frame, "bh" if adjust == "bh" else "holm"))
    if mixed := mixed_versions(map(run_row, chosen)):
        typer.echo(f"Note: {mixed}")
    typer.echo(f"written: {path}")


@app.command()
def fuse(
    first: Annotated[str, typer.Argument(metavar="RUN", help="MODEL, MODEL:PRESET, a run id or a run folder.")],
    second: Annotated[str, typer.Argument(metavar="RUN", help="Another run of the same protocol.")],
    dataset: Annotated[str | None, typer.Option(help="The dataset, where the names alone say too little.")] = None,
    task: Annotated[str | None, typer.Option(help="The task, likewise.")] = None,
    steps: Annotated[int, typer.Option(help="Steps of the weight between 0 and 1.")] = 20,
    results: Results = Path("results"),
) -> None:
    """Late fusion of two runs, weighted by what is best on dev in each trial and fold; makes a run."""
    from ...results.fusion import late_fusion

    run = late_fusion.fuse(*_named([first, second], results, dataset, task), steps=steps)
    typer.echo(late_fusion.weights_table(run).to_string(index=False, float_format="%.3f"))
    _made(run)


@app.command()
def ensemble(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="One run or several of the same protocol.")],
    over: Annotated[
        str, typer.Option(help="trials (all in one: one trial) or runs (trial by trial); default: runs if several.")
    ] = "",
    dataset: Annotated[str | None, typer.Option(help="The dataset, where the names alone say too little.")] = None,
    task: Annotated[str | None, typer.Option(help="The task, likewise.")] = None,
    results: Results = Path("results"),
) -> None:
    """Mean of the predictions of a run's trials, or of several runs; makes a run."""
    from ...results.fusion.ensemble import ensemble as mean_of

    _made(mean_of(_named(runs, results, dataset, task), over))


def _named(names: list[str], results: Path, dataset: str | None, task: str | None) -> list[Run]:
    """The runs that are named, the folder being read once."""
    from ...results.record.folder import Run

    runs = None if all(Path(name).is_dir() for name in names) else load(results, dataset=dataset, task=task)
    return [Run.open(Path(name)) if runs is None or Path(name).is_dir() else runs.named(name) for name in names]


def _made(run: Run) -> None:
    """Say what a run made of others is, and how it scored."""
    scores = run.scores()
    own = scores[scores["metric"].eq(run.task.metric)]
    for target, values in own.groupby("target", sort=False)["value"]:
        typer.echo(f"{run.name}, {target}: {run.task.metric} {values.mean():.3f} over {len(values)} scores")
    typer.echo(run.signature)
    typer.echo(f"written: {run.path}")


def load(results: Path, *, dataset: str | None = None, task: str | None = None) -> Runs:
    """Runs under a results folder; damaged ones are named on standard error."""
    from ...results.record.folder import some_runs

    runs = some_runs(results, dataset=dataset, task=task)
    for problem in runs.problems.values():
        typer.echo(f"serbench: left out: {problem}", err=True)
    return runs


def open_run(name: str, results: Path, dataset: str | None = None, task: str | None = None) -> Run:
    """The run that a folder, `MODEL`, `MODEL:PRESET` or a run id (or its beginning) names."""
    from ...results.record.folder import Run

    return Run.open(Path(name)) if Path(name).is_dir() else load(results, dataset=dataset, task=task).named(name)


def _verify(results: Path) -> None:
    """Print what of leaderboard.csv does not follow from the predictions, and end with status 1 if anything."""
    from ...results.display.recording import keep
    from ...results.tables.verify import verify_leaderboard

    checked = verify_leaderboard(results)
    keep("verify", {"rows": checked.rows, "runs": checked.runs, "problems": list(checked.problems)})
    for problem in checked.problems:
        typer.echo(problem)
    if checked.problems:
        typer.echo(f"{len(checked.problems)} findings: leaderboard.csv does not follow from the predictions.", err=True)
        raise typer.Exit(1)
    typer.echo(f"{checked.rows} rows of {checked.runs} runs follow from the stored predictions.")
