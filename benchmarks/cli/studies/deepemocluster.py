"""Commands of the DeepEmoCluster paper: deepemocluster-table2, -table3 and -table4; and -why, in planted worlds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ....datasets.core.errors import unknown
from ..options import Dataset, ExecutionOptions, RecipeOptions, Results, StudyFolder, Texts, command, resumable

if TYPE_CHECKING:
    from ....datasets.schema.corpus import Corpus
    from ...studies.study import Study

app = typer.Typer()
Tasks = Annotated[Texts, typer.Option("--task", help="May be repeated; default: each attribute by itself.")]
CLASSIFIER = "classifier"
Clusters = Annotated[int, typer.Option(help="Number of clusters.")]


@app.command("deepemocluster-table2")
@command
def supervised(
    dataset: Dataset,
    recipe: RecipeOptions,
    execution: ExecutionOptions,
    task: Tasks = None,
    clusters: Clusters = 10,
    out: StudyFolder = None,
) -> None:
    """DeepEmoCluster and its three baselines, fully supervised, with paired tests (Table 2)."""
    from ...studies.deepemocluster import table2

    _run(lambda corpus: table2(clusters), dataset, recipe, execution, task, out)


@app.command("deepemocluster-table3")
@command
def pool_sizes(
    dataset: Dataset,
    recipe: RecipeOptions,
    execution: ExecutionOptions,
    task: Tasks = None,
    size: Annotated[
        list[int] | None, typer.Option(help="Unlabelled sentences; may be repeated. Default: 0, 15000, 40000.")
    ] = None,
    model: Annotated[str, typer.Option(help="Any model that takes an unlabelled pool.")] = "deepemocluster",
    clusters: Clusters = 10,
    out: StudyFolder = None,
) -> None:
    """Sizes of the unlabelled set (Table 3)."""
    from ...studies.deepemocluster import table3
    from ...studies.study import expect_pool

    expect_pool(model)
    _run(lambda corpus: table3(corpus, size or (), clusters, model), dataset, recipe, execution, task, out)


@app.command("deepemocluster-table4")
@command
def cluster_numbers(
    dataset: Dataset,
    recipe: RecipeOptions,
    execution: ExecutionOptions,
    task: Tasks = None,
    clusters: Annotated[
        list[int] | None, typer.Option(help="Number of clusters; may be repeated. Default: 10, 20, 30.")
    ] = None,
    unlabelled: Annotated[
        int | None, typer.Option(help="Unlabelled sentences; default: 40000, or the whole pool if that is less.")
    ] = None,
    out: StudyFolder = None,
) -> None:
    """Numbers of clusters (Table 4)."""
    from ...studies.deepemocluster import table4

    _run(lambda corpus: table4(corpus, clusters or (), unlabelled), dataset, recipe, execution, task, out)


@app.command("deepemocluster-why")
@command
def why(
    part: Annotated[
        str, typer.Option(help="parts, choices, labels, models, paper: the rows. Or classifier: its speed.")
    ] = "parts",
    seeds: Annotated[int, typer.Option(min=2, help="Planted worlds, and trainings of each row.")] = 6,
    labelled: Annotated[int, typer.Option(min=2, help="Labelled sentences, three of each speaker.")] = 12,
    pool: Annotated[int, typer.Option(min=1, help="Unlabelled sentences.")] = 300,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of a training with the pool.")] = 12,
    results: Results = Path("results"),
    out: StudyFolder = None,
) -> None:
    """When and why an unlabelled pool helps: what is changed, beside supervised training with as many steps."""
    from rich.console import Console

    from ....results.display.table import to_screen
    from ...core.machine import limit_threads
    from ...planted import classifier
    from ...planted.why import ROWS, sweep, table, write, write_page
    from ...planted.world import World

    if part not in (*ROWS, CLASSIFIER):
        raise unknown("part of deepemocluster-why", part, (*ROWS, CLASSIFIER))
    limit_threads(1)
    folder = out or results / "studies"
    if part == CLASSIFIER:
        shown = classifier.table(epochs)
        paths = [write_page(shown, folder, part)]
    else:
        world = World(labelled=labelled, labelled_speakers=max(1, labelled // 3), pool=pool)
        gains = sweep(ROWS[part], range(seeds), world, epochs)
        shown, paths = table(gains), write(gains, folder, part)
    Console().print(to_screen(shown))
    for path in paths:
        typer.echo(path)


def _run(
    make: Callable[[Corpus], Study],
    dataset: str,
    recipe: RecipeOptions,
    execution: ExecutionOptions,
    task: Texts,
    out: Path | None,
) -> None:
    """Run the study that `make` gives for the corpus, and say where its files are."""
    from ...protocol.setting import Corpora
    from ...studies.deepemocluster import run_study
    from ...studies.writing import write

    grid, how, corpora = (
        recipe.grid([], [dataset], task=task),
        execution.execution(recipe.on_nodes([dataset])),
        Corpora(),
    )
    ((place,),) = grid.trained()
    with resumable(how.display):
        findings = run_study(make(corpora.get(place)), grid, how, corpora)
    for path in write(findings, out or how.folder / "studies", place.name):
        typer.echo(path)
