"""The command `serbench study maec`: the paper's claims as an ablation, in and across corpora."""

from __future__ import annotations

from typing import Annotated

import typer

from ..options import (
    Dataset,
    ExecutionOptions,
    RecipeOptions,
    StudyFolder,
    Task,
    TestedOptions,
    Texts,
    command,
    resumable,
)

app = typer.Typer()


@app.command()
@command
def maec(
    recipe: RecipeOptions,
    tests: TestedOptions,
    execution: ExecutionOptions,
    dataset: Dataset = "iemocap",
    task: Task = None,
    without: Annotated[
        Texts, typer.Option(help="Part to leave out: regularisation, context, gender, instances; default: each.")
    ] = None,
    baseline: Annotated[Texts, typer.Option(help="Model to compare with, or none; default: svm.")] = None,
    out: StudyFolder = None,
) -> None:
    """MAEC with and without regularisation, context, gender task and instances, with paired tests."""
    from rich.console import Console

    from ...protocol.setting import Corpora
    from ...studies import maec as paper
    from ...studies.claims import render

    grid, corpora = recipe.grid([], [dataset], **tests.tested(), task=task), Corpora()
    how = execution.execution(recipe.on_nodes([dataset], tests.test_dataset or ()))
    ((place,),) = grid.trained()
    baselines = [] if baseline == ["none"] else baseline or ["svm"]
    study = paper.ablations(corpora.get(place), without or (), baselines, grid.preset)
    with resumable(how.display):
        tested = paper.run_ablations(study, grid, how, corpora)
    paths = paper.write_all(tested, out or how.folder / "studies")
    Console().print(render(paper.claims(tested), paper.TITLE))
    for line in (*study.notes, *paths):
        typer.echo(line)
