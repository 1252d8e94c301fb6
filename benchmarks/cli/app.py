"""The command line. Every command imports what it needs when it runs, so `serbench --help` stays quick."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from ...datasets.core.errors import SerbenchError, SerbenchWarning
from ...datasets.core.libraries import library_failure
from ...datasets.core.stages import stage
from ..core.pulse import pulsing
from . import (
    budget,
    clusters,
    conformance,
    corpora,
    cross,
    report,
    results as results_,
    salience,
    statistics,
    traces,
    tune,
    weights as weights_,
    words,
)
from .arguments import called, checked, grid_arguments, launcher_of, pairs, resumable, roots, without_training
from .studies import group as studies

app = typer.Typer(
    help="Compare speech-emotion-recognition models fairly: one protocol, significance on every difference.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Results = Annotated[Path, typer.Option(help="Folder that holds runs/ and the leaderboard.")]


@app.command()
def run(
    model: Annotated[list[str] | None, typer.Option(help="Registered model; may be repeated.")] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="Registered dataset; may be repeated. A+B: trained on together.")
    ] = None,
    root: Annotated[list[str] | None, typer.Option(help="Folder of the corpus, or DATASET=FOLDER for several.")] = None,
    task: Annotated[
        str | None, typer.Option(help="Task of the dataset, or a shared label set (emotion-4); default: its first.")
    ] = None,
    classes: Annotated[str | None, typer.Option(help="Classes of the task to keep, with commas between.")] = None,
    release: Annotated[list[str] | None, typer.Option(help="Release, or DATASET=RELEASE; default: detected.")] = None,
    test_dataset: Annotated[
        list[str] | None, typer.Option(help="Test on this corpus instead; may be repeated, one training serves all.")
    ] = None,
    test_root: Annotated[list[str] | None, typer.Option(help="Folder of it, or DATASET=FOLDER for several.")] = None,
    test_release: Annotated[list[str] | None, typer.Option(help="Release of it, or DATASET=RELEASE.")] = None,
    test_split: Annotated[str | None, typer.Option(help="Split of it whose test items are tested.")] = None,
    protocol: Annotated[str, typer.Option(help="Protocol.")] = "4x5",
    split: Annotated[str | None, typer.Option(help="Split of the corpus; default: its first.")] = None,
    trials: Annotated[int, typer.Option(help="Trainings with different seeds.")] = 5,
    subsets: Annotated[int, typer.Option(help="Parts that the test items are cut into.")] = 4,
    group: Annotated[str, typer.Option(help="Column that subsets may not cut: auto, none or a column.")] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of the subsets and base of the trials' seeds.")] = 0,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="model.KEY=VALUE, train.KEY=VALUE or feature.KEY=VALUE.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE for the dataset, such as test_clips=plain; DATASET.KEY=VALUE for one of several."),
    ] = None,
    preset: Annotated[str | None, typer.Option(help="Named configuration of the model.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    jobs: Annotated[int, typer.Option(help="Processes that work on trials at the same time.")] = 1,
    threads: Annotated[int | None, typer.Option(help="Threads of each process; default: cores / jobs.")] = None,
    results: Results = Path("results"),
    from_record: Annotated[Path | None, typer.Option(help="Repeat the run of this run folder or run.json.")] = None,
    allow_leak: Annotated[bool, typer.Option(help="Accept a split that leaks; the score is labelled.")] = False,
    save_models: Annotated[bool, typer.Option(help="Keep the weights of every trial beside its record.")] = False,
    weights: Annotated[
        list[Path] | None, typer.Option(help="Score these trained weights as they are, without training; repeatable.")
    ] = None,
    launcher: Annotated[str, typer.Option(help="What works on trials: local processes, or ray.")] = "local",
    address: Annotated[str | None, typer.Option(help="HOST:PORT of the Ray head; default: this machine alone.")] = None,
    cpus_per_trial: Annotated[int | None, typer.Option(help="Processors and threads of a trial on Ray.")] = None,
    gpus_per_trial: Annotated[float | None, typer.Option(help="Graphics cards of a trial on Ray (0.5: half).")] = None,
) -> None:
    """Train and score models on corpora; finished trials are skipped."""
    given = dict(locals())
    from ..core.progress import Terminal
    from ..grid.grid import from_record as repeat, run as run_grid
    from ..protocol.protocol import Protocol

    shown = Terminal()
    with resumable(shown):
        if from_record is not None:
            on = launcher_of(given)
            runs = repeat(from_record, results, device, jobs, threads, save_models, shown, on)
        elif weights:
            from ..grid.grid_weights import run_weights

            without_training(
                {
                    "--set": set_,
                    "--preset": preset,
                    "--test-dataset": test_dataset,
                    "--test-root": test_root,
                    "--test-release": test_release,
                    "--test-split": test_split,
                    "--save-models": save_models,
                    "--launcher": launcher != "local",
                    "two --model": (model or [])[1:],
                }
            )
            runs = run_weights(
                weights,
                dataset or [],
                model=model[0] if model else None,
                root=roots(root, dataset or []),
                release=roots(release, dataset or [], "--release"),
                task=task,
                classes=classes.split(",") if classes else (),
                protocol=checked(Protocol(protocol, split, subsets, group, seed)),
                trials=trials,
                allow_leak=allow_leak,
                options=pairs("--option", option),
                results=results,
                device=device,
                jobs=jobs,
                threads=threads,
                display=shown,
            )
        else:
            runs = run_grid(
                **grid_arguments(given),
                results=results,
                device=device,
                jobs=jobs,
                threads=threads,
                save_models=save_models,
                display=shown,
                launcher=launcher_of(given),
            )
    for one in runs:
        typer.echo(one.path)
    failed = [unit for one in runs for unit in one.units() if unit["status"] != "done"]
    if failed:
        shown.message(f"{len(failed)} trials failed; their records hold the reason. The same command tries them again.")
        raise typer.Exit(1)


@app.command(name="list")
def list_(
    kind: Annotated[
        str | None, typer.Argument(help="models, datasets, features, tasks or presets; default: all.")
    ] = None,
) -> None:
    """Registered models, datasets, features, tasks and presets."""
    from ..core.listing import lines

    for line in lines(kind):
        typer.echo(line)


@app.command()
def env(
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if a required part is not usable.")] = False,
) -> None:
    """Versions, the device, and which parts are usable; where one is not: why, what is lost, what to type."""
    from ..core.environment import report, states

    found = states()
    for line in report(found):
        typer.echo(line)
    if strict and any(one.problem is not None and one.required for one in found):
        raise typer.Exit(1)


clusters.register(app)
cross.register(app)
corpora.register(app)
conformance.register(app)
salience.register(app)
budget.register(app, run)
weights_.register(app)
report.register(app)
results_.register(app)
statistics.register(app)
studies.register(app)
traces.register(app)
words.register(app)
tune.register(app, run)


_standard = warnings.formatwarning


def _one_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Our own warnings without the line of code that they come from."""
    own = category is SerbenchWarning
    return f"serbench: {message}\n" if own else _standard(message, category, filename, lineno, line)


def main() -> None:
    """Entry point of the `serbench` command: a user's error is one message and exit status 2.

    While it works it says where it is, at least every 30 seconds.
    """
    warnings.formatwarning = _one_line
    try:
        with pulsing(), stage(called(sys.argv[1:])):
            app()
    except SerbenchError as error:
        sys.stderr.write(f"serbench: {error}\n")
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except Exception as error:
        failure = library_failure(error)
        if failure is None:
            raise
        sys.stderr.write(f"serbench: {failure}\n")
        sys.exit(2)
