"""The command `serbench study maec`: the paper's claims as an ablation, in and across corpora."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import deepemocluster as common

Texts = list[str] | None


def register(study: typer.Typer) -> None:
    """Add this command to `serbench study`."""
    study.command("maec")(maec)


def maec(
    dataset: common.Dataset = "iemocap",
    test_dataset: Annotated[
        Texts, typer.Option(help="Test on this corpus too, without training on it; may be repeated.")
    ] = None,
    without: Annotated[
        Texts, typer.Option(help="Part to leave out: regularisation, context, gender, instances; default: each.")
    ] = None,
    baseline: Annotated[Texts, typer.Option(help="Model to compare with, or none; default: svm.")] = None,
    task: Annotated[
        str | None, typer.Option(help="Task; default: the corpus's first, with --test-dataset emotion-4.")
    ] = None,
    root: Annotated[Texts, typer.Option(help="Folder of the corpus that is trained on.")] = None,
    release: Annotated[Texts, typer.Option(help="Release of it; default: detected.")] = None,
    test_root: Annotated[Texts, typer.Option(help="Folder of the tested one, or DATASET=FOLDER for several.")] = None,
    test_release: Annotated[Texts, typer.Option(help="Release of it, or DATASET=RELEASE.")] = None,
    test_split: Annotated[str | None, typer.Option(help="Split of it whose test items are tested.")] = None,
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
    """MAEC with and without regularisation, context, gender task and instances, with paired tests."""
    from rich.console import Console
    from rich.markdown import Markdown

    from ...core.progress import Terminal
    from ...grid.grid import places, tested_places
    from ...protocol.protocol import Protocol
    from ...protocol.request import Request
    from ...protocol.setting import Corpora
    from ...studies import maec as study_maec
    from ...studies.study import Execution
    from ..arguments import checked, pairs, resumable, roots

    tested, options = test_dataset or [], pairs("--option", option)
    trained = places([dataset], roots(root, [dataset]), roots(release, [dataset], "--release"), options)
    folders, releases = roots(test_root, tested, "--test-root"), roots(test_release, tested, "--test-release")
    tests = [place for place in tested_places(tested, folders, releases, test_split, options, trained) if place]
    (first,) = trained[0]
    base = Request(
        "",
        first.name,
        first.root,
        first.release,
        first.options,
        task=task,
        preset=preset,
        settings=pairs("--set", set_),
        trials=trials,
        protocol=checked(Protocol(split=split, subsets=subsets, seed=seed)),
    )
    baselines = [] if baseline == ["none"] else baseline or ["svm"]
    shown, corpora = Terminal(), Corpora()
    study = study_maec.ablations(corpora.get(first), without or (), baselines)
    how = Execution(results, device, jobs, threads, save_models, shown)
    with resumable(shown):
        found = study_maec.run_ablations(study, base, tests, how, corpora)
    paths = study_maec.write_all(found, out or results / "studies")
    Console().print(Markdown(study_maec.markdown(study_maec.claims(found), study)))
    for path in paths:
        typer.echo(path)
