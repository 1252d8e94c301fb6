"""Commands about trained weights: predict with them, score them on perturbed audio, import those of other programs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ...datasets.core.errors import SerbenchError
from .options import CorpusOptions, Device, Results, RunDataset, RunTask, StudyFolder, Threads, command, resumable

app = typer.Typer()


@app.command()
@command
def predict(
    source: CorpusOptions,
    audio: Annotated[list[Path] | None, typer.Argument(help="Audio files, or folders of them.")] = None,
    weights: Annotated[list[Path] | None, typer.Option(help="Trained weights; may be repeated.")] = None,
    out: Annotated[Path, typer.Option(help="CSV file: file, then one column per target.")] = Path("predictions.csv"),
    model: Annotated[str | None, typer.Option(help="Model that the weights are of; default: any.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Predict every utterance of this dataset instead.")] = None,
    partition: Annotated[str | None, typer.Option(help="Only this partition of the dataset, such as test3.")] = None,
    submission: Annotated[bool, typer.Option(help="Write the columns of the dataset's own label file.")] = False,
    device: Device = "auto",
    jobs: Annotated[int, typer.Option(help="Processes that make features.")] = 1,
    threads: Annotated[int | None, typer.Option(help="Threads; default: the machine's cores.")] = None,
) -> None:
    """Write the predictions of trained weights on audio files or a corpus to a CSV file."""
    if bool(audio) == bool(dataset):
        raise SerbenchError("expected either audio files (or folders), or --dataset; one of the two.")
    from ...datasets.core.files import write_text
    from ..core.machine import limit_threads
    from ..core.progress import Terminal
    from ..weights import predict as predictor

    shown = Terminal()
    given = source.open(dataset) if dataset else list(audio or [])
    if threads is not None:
        import torch  # noqa: F401  (so that the limit reaches it)

        limit_threads(threads)
    if dataset is None and (partition is not None or submission):
        raise SerbenchError("--partition and --submission are about a --dataset.")
    done = predictor.predict(
        weights or [], given, model=model, partition=partition, device=device, jobs=jobs, display=shown
    )
    if submission:
        from ..weights.submission import submission as in_its_form

        write_text(out, predictor.to_csv(replace(done, table=in_its_form(done.table, str(dataset)))))
    else:
        write_text(out, predictor.to_csv(done))
    for file, reason in done.failed.items():
        shown.message(f"left out: {file}: {reason}")
    left = f"; {len(done.failed)} files are left out" if done.failed else ""
    typer.echo(f"{done.table['file'].nunique()} files are in {out}{left}")


@app.command(name="import")
def import_(
    model: Annotated[str, typer.Argument(help="Model, such as deepemocluster.")],
    file: Annotated[Path, typer.Argument(help="Checkpoint of the authors' program.")],
    norm: Annotated[Path, typer.Option(help="Folder of the normalisation constants.")],
    out: Annotated[Path, typer.Option(help="The weights: a file that ends in .safetensors, or a folder for it.")],
    target: Annotated[str | None, typer.Option(help="What it predicts; default: told by the file's name.")] = None,
) -> None:
    """Read weights that a model's authors released; nothing in their files is executed."""
    from ...sermodels import registry
    from ...sermodels.core.persist import save_model

    trained, notes = registry.part(model, "importer").convert(file, norm, target)
    requests = trained.requests(trained.config, trained.task)
    path = save_model(trained, out, requests, notes)
    typer.echo(f"{model} for {trained.task.name}, {trained.parameters} parameters: {path}")


@app.command()
def stress(
    runs: Annotated[list[str], typer.Argument(help="MODEL, MODEL:PRESET, run ids or run folders; with saved weights.")],
    dataset: RunDataset = None,
    task: RunTask = None,
    with_: Annotated[
        list[str] | None,
        typer.Option("--with", help="Perturbations, by commas or repeated: noise,babble,reverb ...; default: all."),
    ] = None,
    levels: Annotated[
        list[str] | None, typer.Option(help="KIND=LEVEL,LEVEL; or LEVEL,LEVEL for a single kind; may be repeated.")
    ] = None,
    resamples: Annotated[int, typer.Option(help="Resamples of each interval; 0 = none.", min=0)] = 10_000,
    seed: Annotated[int, typer.Option(help="Seed of the resamples.", min=0)] = 0,
    device: Device = "auto",
    jobs: Annotated[int, typer.Option(help="Processes that make features; default: the machine's cores.")] = 1,
    threads: Threads = None,
    results: Results = Path("results"),
    out: StudyFolder = None,
) -> None:
    """Score stored runs on perturbed test audio, without training: noise, rooms, codecs, level, cuts, speed, pitch."""
    from ...features.perturbations.perturbation import perturbations
    from ...results.groups.gaps import Resamples
    from ..core.progress import Terminal
    from ..grid.execution import Execution
    from ..stress.perturbed_run import stress as measure
    from ..stress.writing import show_stress
    from .results import open_run

    wanted = perturbations(with_ or (), levels or ())
    chosen = [open_run(name, results, dataset, task) for name in runs]
    shown = Terminal()
    with resumable(shown):
        measure(chosen, wanted, Execution(results, device, jobs, threads, display=shown))
    kinds = list(dict.fromkeys(one.kind for one in wanted))
    for path in show_stress(chosen, kinds, Resamples(resamples, seed=seed), out or results / "studies"):
        typer.echo(path)
