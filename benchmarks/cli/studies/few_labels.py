"""The command `serbench study few-labels`: whether unlabelled speech helps where few speakers are labelled."""

from __future__ import annotations

from typing import Annotated

import typer

from ..options import Dataset, ExecutionOptions, RecipeOptions, StudyFolder, Task, Texts, command, resumable

app = typer.Typer()


@app.command("few-labels")
@command
def few_labels(
    dataset: Dataset,
    recipe: RecipeOptions,
    execution: ExecutionOptions,
    model: Annotated[
        Texts, typer.Option(help="Model that takes an unlabelled pool; may be repeated. Default: seven of them.")
    ] = None,
    labelled: Annotated[
        list[int] | None, typer.Option(help="Labelled training speakers; may be repeated. Default: 1, 2, 4, 8.")
    ] = None,
    task: Task = None,
    out: StudyFolder = None,
) -> None:
    """Scores over the number of labelled speakers, with the others' speech as a pool and without it."""
    from rich.console import Console
    from rich.markdown import Markdown

    from ....results.display.recording import keep
    from ...protocol.setting import Corpora
    from ...studies import few_labels as study
    from ...studies.study import expect_pool

    models = model or list(study.MODELS)
    for name in models:
        expect_pool(name)
    grid, how = recipe.grid([], [dataset], task=task), execution.execution(recipe.on_nodes([dataset]))
    folder = out or how.folder / "studies"
    with resumable(how.display):
        found = study.run_study(grid, how, sorted(set(labelled or study.NUMBERS)), models, folder, Corpora())
    paths = study.write(found, folder, dataset)
    keep("few_labels", study.gains(found))
    Console().print(Markdown(study.markdown(found)))
    for path in paths:
        typer.echo(path)
