"""The command `serbench study semantic`: fusions, streams and word vectors of semantic fusion, with paired tests."""

from __future__ import annotations

from typing import Annotated

import typer

from ....datasets.core.errors import SerbenchError
from ..options import Dataset, ExecutionOptions, RecipeOptions, StudyFolder, Task, Texts, command, pairs, resumable

app = typer.Typer()
NONE = "none"


@app.command()
@command
def semantic(
    recipe: RecipeOptions,
    execution: ExecutionOptions,
    dataset: Dataset = "sewa",
    task: Task = None,
    vectors: Annotated[
        Texts, typer.Option(help="NAME=FILE of word vectors; may be repeated, the first is the system's. Or none.")
    ] = None,
    words: Annotated[str, typer.Option(help="Word times of the transcript; default: the corpus's own.")] = "",
    recognised: Annotated[str, typer.Option(help="A further row: word times of 'serbench words transcribe'.")] = "",
    encoder: Annotated[str, typer.Option(help="A further row: encoder of spoken words, *.encoder.safetensors.")] = "",
    map_: Annotated[str, typer.Option("--map", help="Map of its vectors, *.map.safetensors.")] = "",
    baseline: Annotated[Texts, typer.Option(help="Model to compare with, or none; default: chance.")] = None,
    out: StudyFolder = None,
) -> None:
    """Fusions, streams, sources of words, kinds of word vectors: paired tests, and scores per culture."""
    from rich.console import Console

    from ...protocol.setting import Corpora
    from ...studies import semantic_fusion as paper
    from ...studies.claims import render

    files, baselines = _vectors(vectors, dataset), [] if baseline == [NONE] else baseline or ["chance"]
    grid, how, corpora = (
        recipe.grid([], [dataset], task=task),
        execution.execution(recipe.on_nodes([dataset])),
        Corpora(),
    )
    ((place,),) = grid.trained()
    corpus = corpora.get(place)
    sources = paper.WordFiles(words, recognised, encoder, map_)
    study = paper.ablations(corpus, files, baselines, sources)
    with resumable(how.display):
        findings = paper.run_ablations(study, grid, how, corpora)
    paths = paper.write_all(findings, out or how.folder / "studies", corpus)
    Console().print(render(paper.claims(findings, corpus.name), paper.TITLE))
    for line in (*study.notes, *paths):
        typer.echo(line)


def _vectors(given: Texts, dataset: str) -> dict[str, str]:
    if given == [NONE]:
        return {}
    if not given:
        raise SerbenchError(
            "expected --vectors NAME=FILE, such as --vectors word2vec=word2vec.vec. To make such a file, type: "
            f"serbench words word2vec {dataset} --partition train --out word2vec.vec. To compare what needs no words: "
            f"--vectors {NONE}."
        )
    return pairs("--vectors", given)
