"""Commands about corpora, features and the cache: check, card, mock, extract, cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import CorpusOptions, Dataset, DatasetArgument, ProtocolOptions, Release, SplitOut, Texts, command, pairs

app = typer.Typer()
cache_app = typer.Typer(help="Look at, verify or empty the feature cache.", no_args_is_help=True)
app.add_typer(cache_app, name="cache")


@app.command()
@command
def check(
    dataset: DatasetArgument,
    source: CorpusOptions,
    out: Annotated[Path | None, typer.Option(help="Write every finding to this CSV file.")] = None,
    jobs: Annotated[int, typer.Option(help="Processes that read audio.")] = 1,
    strict: Annotated[bool, typer.Option(help="End with status 1 if there is an error or a warning.")] = False,
) -> None:
    """The corpus doctor: counts, missing, broken, odd and doubled files, labels off the scale, speaker overlap."""
    from ...results.display.recording import keep
    from ..core.progress import Terminal
    from ..corpora import doctor

    corpus = source.open(dataset)
    shown = Terminal()
    with shown.extraction(f"checking {corpus.name}", len(corpus.utterances)) as progress:
        findings = doctor.check(corpus, jobs=jobs, progress=progress)
    keep("findings", findings)
    for line in doctor.summary(corpus, findings):
        typer.echo(line)
    if out is not None:
        from ...results.record.storage import write_csv

        write_csv(out, findings)
        typer.echo(f"{len(findings)} findings are in {out}")
    if strict and findings["severity"].isin(["error", "warning"]).any():
        raise typer.Exit(1)


@app.command()
@command
def card(
    dataset: DatasetArgument,
    source: CorpusOptions,
    protocol: ProtocolOptions,
    task: Annotated[str | None, typer.Option(help="Task of the dataset; default: its first.")] = None,
    split_out: SplitOut = None,
) -> None:
    """The protocol card: classes, merges, counts, folds, speakers, metric, known problems, licence, citation."""
    from ...results.display.recording import keep
    from ..corpora.card import data, lines

    corpus, cut = source.open(dataset), protocol.cut()
    for line in lines(corpus, corpus.task(task), cut):
        typer.echo(line)
    keep("card", data(corpus, corpus.task(task), cut))
    if split_out is not None:
        from ..protocol.protocol import divide
        from ..protocol.split_files import rows_of, write

        write(split_out, rows_of(divide(corpus, corpus.task(task), cut)))


@app.command()
def mock(
    corpus: Annotated[str, typer.Argument(help="Corpus, such as iemocap.")],
    folder: Annotated[Path, typer.Argument(help="New folder for the miniature copy.")],
    release: Release = None,
    utterances: Annotated[int | None, typer.Option(help="About how many utterances.")] = None,
    traps: Annotated[bool, typer.Option(help="Add the oddities of the real files.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of voices and labels.")] = 0,
    published_size: Annotated[
        bool, typer.Option("--published-size", help="As many utterances as are published, over few recordings.")
    ] = False,
) -> None:
    """Write a small corpus in the real corpus's on-disk layout, with synthetic speech."""
    from ..corpora.mock import write_mock

    sizes = {"utterances": utterances, "published": published_size or None}
    write_mock(corpus, folder, release=release, traps=traps, seed=seed, **sizes)
    typer.echo(f"{corpus} in miniature is in {folder}; type: serbench check {corpus} --root {folder}")


@app.command()
@command
def extract(
    feature: Annotated[str, typer.Argument(help="Registered feature, such as mel or opensmile:IS10:lld.")],
    dataset: Dataset,
    source: CorpusOptions,
    set_: Annotated[Texts, typer.Option("--set", help="feature.KEY=VALUE.")] = None,
    jobs: Annotated[int, typer.Option(help="Processes.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Also write all arrays to this .npz file, by id.")] = None,
) -> None:
    """Make and cache a feature of every utterance of a corpus."""
    import time

    import pandas as pd

    from ...features.cache.cache import FeatureCache
    from ...features.core.feature_extractor import FeatureRequest, build
    from ...features.extraction.extract import extract as extract_all
    from ..core.progress import Terminal

    corpus = source.open(dataset)
    settings = {key.removeprefix("feature."): value for key, value in pairs("--set", set_).items()}
    extractor = build(FeatureRequest(feature, tuple(settings.items())))
    tables = [corpus.utterances] if corpus.recordings is None else [corpus.utterances, corpus.recordings]
    started, seen = time.perf_counter(), [0.0]
    shown = Terminal()
    with shown.extraction(feature, sum(map(len, tables))) as progress:

        def step(done: int, total: int, audio_seconds: float) -> None:
            seen[0] = audio_seconds
            if progress:
                progress(done, total, audio_seconds)

        made = extract_all(
            pd.concat(tables),
            corpus.root,
            extractor,
            FeatureCache(),
            jobs=jobs,
            progress=step,
            source=corpus.audio_source,
            words=corpus.words,
        )
    seconds = time.perf_counter() - started
    typer.echo(
        f"{feature} of {corpus.name}: {len(made)} made or found, {len(made.failed)} failed, {seconds:.1f} s, "
        f"{seen[0] / max(seconds, 1e-9):.0f} x real time"
    )
    for item, reason in made.failed.items():
        typer.echo(f"  left out: {item}: {reason}")
    if out is not None:
        from ...features.extraction.npz import write_npz

        write_npz(out, made)
        typer.echo(f"{len(made)} arrays are in {out}")


@cache_app.command()
def info() -> None:
    """What the cache holds, by feature."""
    from ...features.cache.cache import cache_info

    _print(cache_info())


@cache_app.command()
def verify() -> None:
    """Read every entry and report the damaged ones; they are made again when they are next needed."""
    from ...features.cache.cache import cache_verify

    _print(cache_verify())


@cache_app.command()
def prune(
    older_than_days: Annotated[
        float | None, typer.Option(help="Remove entries that were not used for so long.")
    ] = None,
    max_bytes: Annotated[int | None, typer.Option(help="Keep at most so many bytes, the latest used.")] = None,
    feature: Annotated[str | None, typer.Option(help="Remove entries of this feature.")] = None,
) -> None:
    """Remove entries from the cache."""
    from ...features.cache.cache import cache_prune

    _print(cache_prune(older_than_days=older_than_days, max_bytes=max_bytes, feature=feature))


def _print(facts: object) -> None:
    import json

    from ...results.display.recording import keep

    keep("cache", facts)
    typer.echo(json.dumps(facts, indent=1, default=str))
