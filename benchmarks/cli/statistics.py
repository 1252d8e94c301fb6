"""Commands about what results say beyond the mean: power, rank, fairness, calibration, raters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...datasets.core.errors import SerbenchError
from .options import CorpusOptions, DatasetArgument, Results, RunDataset, RunTask, StudyFolder, command
from .results import load, open_run

app = typer.Typer()


@app.command()
def power(
    models: Annotated[list[str], typer.Argument(help="Two or more: MODEL, MODEL:PRESET or a run id.")],
    dataset: Annotated[str, typer.Option(help="The dataset.")],
    task: Annotated[str | None, typer.Option(help="The task; needed when there are runs of several.")] = None,
    difference: Annotated[float, typer.Option(help="Smallest difference that matters, on the metric's scale.")] = 0.02,
    power: Annotated[float, typer.Option(help="Wanted chance to find it.")] = 0.8,
    metric: Annotated[str | None, typer.Option(help="Metric; default: the task's own (UAR or CCC).")] = None,
    results: Results = Path("results"),
) -> None:
    """What the stored trials can find, and how many trials a difference needs."""
    from rich.console import Console

    from ...results.display.recording import keep
    from ...results.tables.needed_trials import power_table, render_power

    if len(set(models)) < 2:
        raise SerbenchError("power is about a difference: name two or more models.")
    runs = load(results, dataset=dataset, task=task)
    table = power_table([runs.named(name) for name in models], difference, metric=metric, wanted=power)
    keep("power", table)
    Console().print(render_power(table))


@app.command()
def rank(
    models: Annotated[list[str] | None, typer.Argument(help="Three or more models; default: all but chance.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="Only this task; may be repeated.")] = None,
    post_hoc: Annotated[str, typer.Option(help="nemenyi or holm.")] = "nemenyi",
    results: Results = Path("results"),
    out: Annotated[Path | None, typer.Option(help="Diagram (.svg, .png or .pdf).")] = None,
) -> None:
    """Rank models across datasets: Friedman's test, post-hoc tests, critical-difference diagram."""
    from rich.console import Console

    from ...results.tables.leaderboard import leaderboard
    from ...results.tables.mean_ranks import (
        across_datasets,
        critical_difference_diagram,
        rank_models,
        render_mean_ranks,
    )

    frame = leaderboard(load(results))
    scores, left_out = across_datasets(frame, models, task)
    for line in left_out:
        typer.echo(f"serbench: left out: {line}", err=True)
    mean_ranks = rank_models(scores)
    if post_hoc not in ("nemenyi", "holm"):
        raise SerbenchError(f"--post-hoc {post_hoc}: expected nemenyi or holm.")
    Console().print(render_mean_ranks(mean_ranks))
    path = out or results / "critical_difference.svg"
    path.parent.mkdir(parents=True, exist_ok=True)
    critical_difference_diagram(mean_ranks, "holm" if post_hoc == "holm" else "nemenyi").savefig(path)
    typer.echo(f"written: {path}")


@app.command()
def fairness(
    runs: Annotated[list[str], typer.Argument(help="MODEL, MODEL:PRESET, run ids or run folders.")],
    dataset: RunDataset = None,
    task: RunTask = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="gender, age, language, role, session, speaker, duration, loudness (from audio); default: all."
        ),
    ] = None,
    resamples: Annotated[int, typer.Option(help="Resamples of each interval, and deals of each test.", min=0)] = 10_000,
    seed: Annotated[int, typer.Option(help="Seed of resamples and deals.", min=0)] = 0,
    results: Results = Path("results"),
    out: StudyFolder = None,
) -> None:
    """Scores, errors, calibration and bias by group of the test items; gaps with intervals and tests over speakers."""
    from ...results.groups.gaps import Resamples
    from ..analyses.beyond import show_fairness
    from ..core.progress import Terminal

    how, folder = Resamples(resamples, seed=seed), out or results / "studies"
    for name in runs:
        for path in show_fairness(open_run(name, results, dataset, task), by or (), how, folder, Terminal()):
            typer.echo(path)


@app.command()
def calibration(
    runs: Annotated[list[str], typer.Argument(help="MODEL, MODEL:PRESET, run ids or run folders.")],
    dataset: RunDataset = None,
    task: RunTask = None,
    results: Results = Path("results"),
    out: StudyFolder = None,
) -> None:
    """How sure a model may be: reliability, proper scores, the risk that is left when it abstains; with a figure."""
    from ..analyses.beyond import show_calibration

    for name in runs:
        for path in show_calibration(open_run(name, results, dataset, task), out or results / "studies"):
            typer.echo(path)


@app.command()
@command
def raters(
    dataset: DatasetArgument,
    source: CorpusOptions,
    task: Annotated[str | None, typer.Option(help="Task of the dataset; default: its first.")] = None,
    resamples: Annotated[int, typer.Option(help="Deals of each test of terciles.", min=0)] = 10_000,
    seed: Annotated[int, typer.Option(help="Seed of draws, ceilings and deals.", min=0)] = 0,
    results: Results = Path("results"),
    out: StudyFolder = None,
) -> None:
    """How far raters agree, what each scores, ceilings; runs against a human and against all that raters said."""
    from ...results.display.table import show
    from ...results.groups.gaps import Resamples
    from ...results.record.folder import load_runs
    from ..analyses.raters import tables_of_corpus, tables_of_runs

    corpus = source.open(dataset)
    asked = corpus.task(task)
    tables = tables_of_corpus(corpus, asked, seed)
    runs = load_runs(results, dataset=corpus.name, task=asked.name)
    beside, notes = tables_of_runs(runs, Resamples(resamples, seed=seed))
    for note in (*notes, *runs.problems.values()):
        typer.echo(f"serbench: {note}", err=True)
    for path in show([*tables, *beside], out or results / "studies"):
        typer.echo(path)
