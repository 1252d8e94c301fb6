"""Commands about trained models that travel: push, pull."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..options import Results, RunDataset, RunTask, RunWithWeights, Trial
from ..results import open_run

app = typer.Typer()


@app.command()
def push(
    run: RunWithWeights,
    target: Annotated[str, typer.Argument(help="Folder, or OWNER/NAME (hf://OWNER/NAME) of the Hugging Face hub.")],
    dataset: RunDataset = None,
    task: RunTask = None,
    trial: Trial = 0,
    fold: Annotated[str | None, typer.Option(help="Fold, likewise; default: the first.")] = None,
    licence: Annotated[str, typer.Option(help="Licence of the weights as the hub names it, such as cc-by-4.0.")] = (
        "unknown"
    ),
    public: Annotated[bool, typer.Option(help="Let everyone see a repository that is made.")] = False,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write the model as ONNX too: features to predictions.")] = False,
    resamples: Annotated[int, typer.Option(help="Resamples of the card's intervals.", min=1)] = 10_000,
    results: Results = Path("results"),
) -> None:
    """Put a run's weights, with their description and a model card, into a folder or a hub repository."""
    from ....results.display.recording import keep
    from ...weights.push import push as put

    done = put(
        open_run(run, results, dataset, task),
        target,
        trial=trial,
        fold=fold,
        licence=licence,
        public=public,
        onnx=onnx,
        resamples=resamples,
    )
    keep("config", done.config)
    for note in done.notes:
        typer.echo(f"serbench: note: {note}", err=True)
    typer.echo(f"written: {done.place} ({done.run_id}, trial {trial}, fold {done.config['fold']})")


@app.command()
def pull(
    source: Annotated[str, typer.Argument(help="Folder, its address (https://...), or OWNER/NAME of the hub.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the model; default: the source's own name.")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a repository.")] = None,
) -> None:
    """Bring a model that 'serbench push' put somewhere into a folder; every file is checked, no pickle is read."""
    from ....results.display.recording import keep
    from ...weights.push import pull as bring

    done = bring(source, out, revision=revision)
    keep("config", done.config)
    typer.echo(done.config["signature"])
    typer.echo(f"written: {done.place} ({done.run_id}, {', '.join(done.notes)})")
    typer.echo(f"to use it: serbench predict FILE.wav --weights {done.place}")
