"""The command `serbench study ladder`: what the evaluation alone does to a score."""

from __future__ import annotations

from typing import Annotated

import typer

from ..options import Dataset, ExecutionOptions, RecipeOptions, StudyFolder, Task, Texts, command, resumable

app = typer.Typer()


@app.command()
@command
def ladder(
    recipe: RecipeOptions,
    execution: ExecutionOptions,
    dataset: Dataset = "emodb",
    model: Annotated[
        Texts, typer.Option(help="Model with --refit and model.normalise; default: linear and svm.")
    ] = None,
    task: Task = None,
    out: StudyFolder = None,
) -> None:
    """Own split, leave-one-speaker-out, refit, normalised by speaker; --split: a foreign split beside the own one."""
    from rich.console import Console
    from rich.markdown import Markdown

    from ....results.display.recording import keep
    from ...studies import ladder as study

    how = execution.execution(recipe.on_nodes([dataset]))
    with resumable(how.display):
        frame = study.ladder(recipe.grid(model or ["linear", "svm"], [dataset], task=task), how)
    paths = study.write(frame, out or how.folder / "studies")
    keep("ladder", frame)
    Console().print(Markdown(study.markdown(frame)))
    for path in paths:
        typer.echo(path)
