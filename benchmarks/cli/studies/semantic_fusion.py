"""The command `serbench study semantic`: fusions, streams and word vectors of semantic fusion, with paired tests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..datasets._errors import SerbenchError
from . import cli_study_deepemocluster as common

Texts = list[str] | None
NONE = "none"


def register(study: typer.Typer) -> None:
    """Add this command to `serbench study`."""
    study.command("semantic")(semantic)


def semantic(
    dataset: common.Dataset = "sewa",
    vectors: Annotated[
        Texts, typer.Option(help="NAME=FILE of word vectors; may be repeated, the first is the system's. Or none.")
    ] = None,
    baseline: Annotated[Texts, typer.Option(help="Model to compare with, or none; default: chance.")] = None,
    task: Annotated[str | None, typer.Option(help="Task; default: the corpus's first (traces of sewa).")] = None,
    root: common.Root = None, release: common.Release = None, option: common.Options = None,
    split: common.Split = None, preset: common.Preset = None, set_: common.Settings = None,
    trials: common.Trials = 5, subsets: common.Subsets = 4, seed: common.Seed = 0, device: common.Device = "auto",
    jobs: common.Jobs = 1, threads: common.Threads = None, results: common.Results = Path("results"),
    out: common.Out = None, save_models: common.Save = False,
) -> None:  # fmt: skip
    """Fusions, sound and words alone, kinds of word vectors: paired tests, and scores per culture."""
    from rich.console import Console

    from . import study_semantic
    from ._arguments import checked, pairs, resumable
    from ._claims import render
    from ._progress import Terminal
    from ._study import Execution
    from .protocol import Protocol
    from .request import Request
    from .setting import Corpora

    base = Request(
        "", dataset, root, release, pairs("--option", option), task=task, preset=preset,
        settings=pairs("--set", set_), trials=trials,
        protocol=checked(Protocol(split=split, subsets=subsets, seed=seed)),
    )  # fmt: skip
    shown, corpora, files = Terminal(), Corpora(), _vectors(vectors, dataset)
    corpus = corpora.get(base.places()[0])
    study = study_semantic.ablations(corpus, files, _baselines(baseline))
    how = Execution(results, device, jobs, threads, save_models, shown)
    with resumable(shown):
        found = study_semantic.run_ablations(study, base, how, corpora)
    paths = study_semantic.write_all(found, out or results / "studies", corpus)
    claims = study_semantic.claims(found, corpus.name)
    Console().print(render(claims, study_semantic.TITLE))
    for note in study.notes:
        typer.echo(note)
    for path in paths:
        typer.echo(path)


def _vectors(given: Texts, dataset: str) -> dict[str, str]:
    from ._arguments import pairs

    if given == [NONE]:
        return {}
    if not given:
        raise SerbenchError(
            "expected --vectors NAME=FILE, such as --vectors word2vec=word2vec.vec. To make such a file, type: "
            f"serbench words word2vec {dataset} --partition train --out word2vec.vec. To compare what needs no words: "
            f"--vectors {NONE}."
        )
    return pairs("--vectors", given)


def _baselines(given: Texts) -> list[str]:
    return [] if given == [NONE] else given or ["chance"]
