"""The command `serbench study semantic`: fusions, streams and word vectors of semantic fusion, with paired tests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ....datasets.core.errors import SerbenchError
from . import deepemocluster as common

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
    root: common.Root = None,
    release: common.Release = None,
    option: common.Options = None,
    split: common.Split = None,
    preset: common.Preset = None,
    set_: common.Settings = None,
    trials: common.Trials = 5,
    subsets: common.Subsets = 4,
    seed: common.Seed = 0,
    device: common.Device = "auto",
    jobs: common.Jobs = 1,
    threads: common.Threads = None,
    results: common.Results = Path("results"),
    out: common.Out = None,
    save_models: common.Save = False,
) -> None:
    """Fusions, sound and words alone, kinds of word vectors: paired tests, and scores per culture."""
    from rich.console import Console

    from ...core.progress import Terminal
    from ...protocol.protocol import Protocol
    from ...protocol.request import Request
    from ...protocol.setting import Corpora
    from ...studies import semantic_fusion
    from ...studies.claims import render
    from ...studies.study import Execution
    from ..arguments import checked, pairs, resumable

    base = Request(
        "",
        dataset,
        root,
        release,
        pairs("--option", option),
        task=task,
        preset=preset,
        settings=pairs("--set", set_),
        trials=trials,
        protocol=checked(Protocol(split=split, subsets=subsets, seed=seed)),
    )
    shown, corpora, files = Terminal(), Corpora(), _vectors(vectors, dataset)
    corpus = corpora.get(base.places()[0])
    study = semantic_fusion.ablations(corpus, files, _baselines(baseline))
    how = Execution(results, device, jobs, threads, save_models, shown)
    with resumable(shown):
        found = semantic_fusion.run_ablations(study, base, how, corpora)
    paths = semantic_fusion.write_all(found, out or results / "studies", corpus)
    claims = semantic_fusion.claims(found, corpus.name)
    Console().print(render(claims, semantic_fusion.TITLE))
    for note in study.notes:
        typer.echo(note)
    for path in paths:
        typer.echo(path)


def _vectors(given: Texts, dataset: str) -> dict[str, str]:
    from ..arguments import pairs

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
