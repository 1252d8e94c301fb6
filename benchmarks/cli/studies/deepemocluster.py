"""Commands of the DeepEmoCluster paper: deepemocluster-table2, -table3 and -table4."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ....datasets.core.errors import SerbenchError

if TYPE_CHECKING:
    from ....datasets.schema.corpus import Corpus
    from ...studies.study import Study

Dataset = Annotated[str, typer.Option(help="Registered dataset.")]
Root = Annotated[str | None, typer.Option(help="Folder of the corpus.")]
Release = Annotated[str | None, typer.Option(help="Release of the corpus; default: detected.")]
Options = Annotated[list[str] | None, typer.Option("--option", help="KEY=VALUE for the dataset.")]
Split = Annotated[str | None, typer.Option(help="Split of the corpus; default: its first.")]
Tasks = Annotated[list[str] | None, typer.Option("--task", help="May be repeated; default: each attribute by itself.")]
Preset = Annotated[str | None, typer.Option(help="Named configuration of every model, such as small or paper.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="model.KEY=VALUE or train.KEY=VALUE, where it fits.")]
Trials = Annotated[int, typer.Option(help="Trainings with different seeds.")]
Subsets = Annotated[int, typer.Option(help="Parts that the test items are cut into.")]
Seed = Annotated[int, typer.Option(help="Seed of the subsets and base of the trials' seeds.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Jobs = Annotated[int, typer.Option(help="Processes that work on trials at the same time.")]
Threads = Annotated[int | None, typer.Option(help="Threads of each process; default: cores / jobs.")]
Results = Annotated[Path, typer.Option(help="Folder that holds runs/.")]
Out = Annotated[Path | None, typer.Option(help="Folder of tables and plot; default: RESULTS/studies.")]
Save = Annotated[bool, typer.Option(help="Keep the weights of every trial, as serbench clusters needs them.")]
Clusters = Annotated[int, typer.Option(help="Number of clusters.")]


def register(study: typer.Typer) -> None:
    """Add these commands to `serbench study`."""
    study.command("deepemocluster-table2")(supervised)
    study.command("deepemocluster-table3")(pool_sizes)
    study.command("deepemocluster-table4")(cluster_numbers)


def supervised(
    dataset: Dataset,
    root: Root = None,
    release: Release = None,
    option: Options = None,
    split: Split = None,
    task: Tasks = None,
    preset: Preset = None,
    set_: Settings = None,
    clusters: Clusters = 10,
    trials: Trials = 5,
    subsets: Subsets = 4,
    seed: Seed = 0,
    device: Device = "auto",
    jobs: Jobs = 1,
    threads: Threads = None,
    results: Results = Path("results"),
    out: Out = None,
    save_models: Save = False,
) -> None:
    """DeepEmoCluster and its three baselines, fully supervised, with paired tests (Table 2)."""
    from ...studies.deepemocluster import table2

    _run(lambda corpus: table2(clusters), **_given(locals()))


def pool_sizes(
    dataset: Dataset,
    size: Annotated[
        list[int] | None, typer.Option(help="Unlabelled sentences; may be repeated. Default: 0, 15000, 40000.")
    ] = None,
    model: Annotated[str, typer.Option(help="deepemocluster, cnn-ae or cnn-vae.")] = "deepemocluster",
    root: Root = None,
    release: Release = None,
    option: Options = None,
    split: Split = None,
    task: Tasks = None,
    preset: Preset = None,
    set_: Settings = None,
    clusters: Clusters = 10,
    trials: Trials = 5,
    subsets: Subsets = 4,
    seed: Seed = 0,
    device: Device = "auto",
    jobs: Jobs = 1,
    threads: Threads = None,
    results: Results = Path("results"),
    out: Out = None,
    save_models: Save = False,
) -> None:
    """Sizes of the unlabelled set (Table 3)."""
    from ...studies.deepemocluster import table3

    known = ("deepemocluster", "cnn-ae", "cnn-vae")
    if model not in known:
        raise SerbenchError(f"--model {model}: expected a semi-supervised model of the paper: {', '.join(known)}.")
    _run(lambda corpus: table3(corpus, size or (), clusters, model), **_given(locals()))


def cluster_numbers(
    dataset: Dataset,
    clusters: Annotated[
        list[int] | None, typer.Option(help="Number of clusters; may be repeated. Default: 10, 20, 30.")
    ] = None,
    unlabelled: Annotated[
        int | None, typer.Option(help="Unlabelled sentences; default: 40000, or the whole pool if that is less.")
    ] = None,
    root: Root = None,
    release: Release = None,
    option: Options = None,
    split: Split = None,
    task: Tasks = None,
    preset: Preset = None,
    set_: Settings = None,
    trials: Trials = 5,
    subsets: Subsets = 4,
    seed: Seed = 0,
    device: Device = "auto",
    jobs: Jobs = 1,
    threads: Threads = None,
    results: Results = Path("results"),
    out: Out = None,
    save_models: Save = False,
) -> None:
    """Numbers of clusters (Table 4)."""
    from ...studies.deepemocluster import table4

    _run(lambda corpus: table4(corpus, clusters or (), unlabelled), **_given(locals()))


def _given(values: dict[str, Any]) -> dict[str, Any]:
    """The arguments that all of the commands share."""
    return {
        key: values[key]
        for key in (
            "dataset",
            "root",
            "release",
            "option",
            "split",
            "task",
            "preset",
            "set_",
            "trials",
            "subsets",
            "seed",
            "device",
            "jobs",
            "threads",
            "results",
            "out",
            "save_models",
        )
    }


def _run(make: Any, **g: Any) -> None:
    """Run the study that `make` gives for the corpus, and say where its files are."""
    from ...core.progress import Terminal
    from ...grid.plan import Request
    from ...protocol.protocol import Protocol
    from ...studies.study import Execution, default_tasks, run_study
    from ...studies.writing import write
    from ..arguments import checked, open_dataset, pairs, resumable

    corpus: Corpus = open_dataset(g["dataset"], g["root"], g["release"], g["option"])
    study: Study = make(corpus)
    protocol = checked(Protocol(split=g["split"], subsets=g["subsets"], seed=g["seed"]))
    base = Request(
        "",
        g["dataset"],
        g["root"],
        g["release"],
        pairs("--option", g["option"]),
        preset=g["preset"],
        settings=pairs("--set", g["set_"]),
        protocol=protocol,
        trials=g["trials"],
    )
    shown = Terminal()
    how = Execution(g["results"], g["device"], g["jobs"], g["threads"], g["save_models"], shown)
    with resumable(shown):
        findings = run_study(study, default_tasks(corpus, g["task"] or ()), base, how)
    for path in write(findings, g["out"] or g["results"] / "studies", corpus.name):
        typer.echo(path)
