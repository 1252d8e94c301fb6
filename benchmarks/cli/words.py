"""Commands about words: align, compare, transcribe, speech2vec, word2vec, align-spaces, judge."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .options import CorpusOptions, DatasetArgument, Device, Texts, command, pairs, resumable

Partitions = Annotated[
    Texts, typer.Option("--partition", help="Partition to use, may be repeated; default: all but test ones.")
]
OfAll = Annotated[Texts, typer.Option("--partition", help="Partition to use, may be repeated; default: all.")]
Items = Annotated[str, typer.Option(help="utterances, recordings or all.")]
Language = Annotated[str | None, typer.Option(help="Language, such as de, of items that the corpus says none of.")]
WordFile = Annotated[Path, typer.Option(help="CSV file for all items, or a folder for one CSV file each.")]
words_app = typer.Typer(help="Word times, word vectors, and maps between spaces of them.", no_args_is_help=True)
app = typer.Typer()
app.add_typer(words_app, name="words")


@words_app.command()
@command
def align(
    dataset: DatasetArgument,
    out: WordFile,
    source: CorpusOptions,
    items: Items = "all",
    model: Annotated[
        Path | None,
        typer.Option(help="Folder of a CTC or Whisper model of transformers; or pocketsphinx, for English."),
    ] = None,
    language: Language = None,
    again: Annotated[bool, typer.Option(help="Align even what the corpus has times of.")] = False,
    partition: OfAll = None,
    device: Device = "auto",
) -> None:
    """Word times: the corpus's own, else by alignment with a model, else spread evenly; each word says which."""
    import time

    from ...results.display.recording import keep
    from ..core.machine import peak_mib, resolve_device
    from ..core.progress import Terminal
    from ..corpora import words
    from ..corpora.transcripts import counted

    corpus, started = source.open(dataset), time.perf_counter()
    aligned = words.word_times(
        corpus,
        out,
        items=items,
        model=model,
        language=language,
        again=again,
        partitions=partition or (),
        display=Terminal(),
        device=resolve_device(device) if model else "cpu",
    )
    typer.echo(aligned.line())
    keep("alignment", counted(aligned))
    if heard := aligned.heard_seconds:
        cost = words.AlignmentCost(heard, time.perf_counter() - started, peak_mib())
        typer.echo(f"  {cost.line()}")
        keep("cost", asdict(cost))
    if again and (found := words.against_own(aligned, corpus)) is not None:
        typer.echo(f"  against the corpus's own times: {found.line()}")
        keep("agreement", found.data())
    if doubted := aligned.doubted:
        typer.echo(
            f"  {len(doubted)} of {len(aligned.confidence)} transcripts are likely not what was said, first of all "
            + ", ".join(f"{item} ({aligned.confidence[item]:.3f})" for item in doubted[:5])
        )
    if aligned.silent:
        typer.echo(
            f"  {len(aligned.silent)} items have neither word times nor a transcript, such as {aligned.silent[0]}"
        )
    for item, reason in aligned.failed.items():
        typer.echo(f"  left out: {item}: {reason}")
    typer.echo(out)


@words_app.command()
@command
def compare(
    times: Annotated[Path, typer.Argument(help="Word times of 'serbench words align': file or folder.")],
    dataset: DatasetArgument,
    source: CorpusOptions,
    truth: Annotated[Path | None, typer.Option(help="True times; default: the corpus's own.")] = None,
) -> None:
    """How far onsets of words lie from true ones: the corpus's own (syllables are gathered into words), or a file's."""
    from ...results.display.recording import keep
    from ..corpora.words import onset_errors

    found = onset_errors(times, source.open(dataset), truth)
    typer.echo(found.line())
    keep("agreement", found.data())
    if found.unmatched:
        typer.echo(f"  {len(found.unmatched)} items have fewer true words than words, such as {found.unmatched[0]}")


@words_app.command()
@command
def transcribe(
    dataset: DatasetArgument,
    model: Annotated[str, typer.Option(help="Folder of a Whisper model of transformers.")],
    out: WordFile,
    source: CorpusOptions,
    beside: Annotated[bool, typer.Option(help="Hear items that have a text as well; both are kept.")] = False,
    items: Items = "all",
    language: Language = None,
    partition: OfAll = None,
    device: Device = "auto",
) -> None:
    """Text and word times as a recogniser hears them; word error rate where the corpus has a text."""
    from ...results.display.recording import keep
    from ..core.machine import resolve_device
    from ..core.progress import Terminal
    from ..corpora.transcripts import texts_beside, transcribe_corpus

    done = transcribe_corpus(
        source.open(dataset),
        out,
        model=model,
        beside=beside,
        items=items,
        language=language,
        partitions=partition or (),
        device=resolve_device(device),
        display=Terminal(),
    )
    for line in done.lines():
        typer.echo(line)
    typer.echo(out)
    typer.echo(texts_beside(out))
    keep("transcription", done.data())


@words_app.command()
@command
def speech2vec(
    dataset: DatasetArgument,
    out: Annotated[Path, typer.Option(help="File of vectors to write (.vec, or .bin).")],
    source: CorpusOptions,
    words: Annotated[Path | None, typer.Option(help="Word times of 'serbench words align'.")] = None,
    preset: Annotated[
        str, typer.Option(help="default, quick for small corpora, paper, or auto: by their size.")
    ] = "auto",
    set_: Annotated[Texts, typer.Option("--set", help="KEY=VALUE, or cut.KEY=VALUE.")] = None,
    partition: Partitions = None,
    device: Device = "auto",
) -> None:
    """Vectors of words from their sound (what they mean is disputed: docs/words.md). A killed training is resumed."""
    from ...results.display.recording import keep
    from ..core.machine import resolve_device
    from ..core.progress import Terminal
    from ..corpora import words as steps

    corpus, shown = source.open(dataset), Terminal()
    with resumable(shown):
        made = steps.speech2vec(
            corpus,
            out,
            words=words,
            preset=preset,
            settings=pairs("--set", set_),
            partitions=partition or (),
            device=resolve_device(device),
            display=shown,
        )
    typer.echo(f"{len(made)} words, {made.dim} numbers each: {out}")
    keep("vectors", {"file": str(out), "words": len(made), "dim": made.dim})


@words_app.command()
@command
def word2vec(
    out: Annotated[Path, typer.Option(help="File of vectors to write (.vec, or .bin).")],
    source: CorpusOptions,
    dataset: Annotated[str | None, typer.Argument(help="Registered dataset whose transcripts are the text.")] = None,
    text: Annotated[Path | None, typer.Option(help="Text file, one sentence in each line.")] = None,
    vectors: Annotated[Path | None, typer.Option(help="Take these vectors: word2vec, fastText or GloVe file.")] = None,
    limit: Annotated[int | None, typer.Option(help="Keep so many of them.", min=1)] = None,
    set_: Annotated[Texts, typer.Option("--set", help="KEY=VALUE.")] = None,
    partition: Partitions = None,
) -> None:
    """Vectors of words from text, the same at every run; or vectors of a file in another form."""
    from ...results.display.recording import keep
    from ..corpora import words

    made = words.word2vec(
        out,
        corpus=None if dataset is None else source.open(dataset),
        text=text,
        vectors=vectors,
        settings=pairs("--set", set_),
        partitions=partition or (),
        limit=limit,
    )
    typer.echo(f"{len(made)} words, {made.dim} numbers each: {out}")
    keep("vectors", {"file": str(out), "words": len(made), "dim": made.dim, "doubled": made.doubled})
    if made.doubled:
        typer.echo(f"  {made.doubled} entries of {vectors} were left out: their words had come before")


@words_app.command(name="align-spaces")
def align_spaces(
    source: Annotated[Path, typer.Argument(help="Vectors to map, such as those of Speech2Vec.")],
    target: Annotated[Path, typer.Argument(help="Vectors whose space they are mapped into.")],
    out: Annotated[Path, typer.Option(help="File for the mapped vectors.")],
    mode: Annotated[
        str | None, typer.Option(help="identical, dictionary or adversarial; default: by what is given.")
    ] = None,
    dictionary: Annotated[Path | None, typer.Option(help="Pairs of words, two in each line, to fit to.")] = None,
    test: Annotated[Path | None, typer.Option(help="Pairs of words to test with.")] = None,
    preset: Annotated[
        str, typer.Option(help="Of the adversarial game: default, or published for a graphics card.")
    ] = "default",
    set_: Annotated[Texts, typer.Option("--set", help="KEY=VALUE, or game.KEY=VALUE.")] = None,
    out_target: Annotated[Path | None, typer.Option(help="Write the target vectors too.")] = None,
    device: Device = "auto",
) -> None:
    """Map one space of word vectors into another; precision of translation; a failed adversarial map is refused."""
    from ...results.display.recording import keep
    from ..core.machine import resolve_device
    from ..core.progress import Terminal
    from ..corpora.word_spaces import align_spaces as aligned_spaces, report_lines

    aligned = aligned_spaces(
        source,
        target,
        out,
        mode=mode,
        dictionary=dictionary,
        test=test,
        preset=preset,
        settings=pairs("--set", set_),
        out_target=out_target,
        device=resolve_device(device),
        display=Terminal(),
    )
    for line in report_lines(aligned.report):
        typer.echo(line)
    typer.echo(out)
    keep("map", asdict(aligned.report))


@words_app.command()
@command
def judge(
    vectors: Annotated[Path, typer.Argument(help="File of vectors; the encoder beside it is judged too.")],
    dataset: Annotated[str, typer.Option(help="Registered dataset whose spoken words are judged on.")],
    source: CorpusOptions,
    words: Annotated[Path | None, typer.Option(help="Word times of 'serbench words align'.")] = None,
    classes: Annotated[Path | None, typer.Option(help="CSV file: word, class (and sound), for meaning.")] = None,
    model: Annotated[Path | None, typer.Option(help="Whisper checkpoint, for a row of its encoder.")] = None,
    partition: Annotated[
        Texts, typer.Option("--partition", help="Partition to judge on, may be repeated; default: the test ones.")
    ] = None,
    occurrences: Annotated[int, typer.Option(help="Spoken words that are judged at most.", min=2)] = 1000,
    device: Device = "auto",
) -> None:
    """How near the same word is across speakers, and words of one class to one another, beside simple vectors."""
    from ...results.display.recording import keep
    from ..core.machine import resolve_device
    from ..core.progress import Terminal
    from ..corpora.judging import judge as judged

    judgement = judged(
        vectors,
        source.open(dataset),
        words=words,
        classes=classes,
        model=model,
        partitions=partition or (),
        occurrences=occurrences,
        device=resolve_device(device) if model else "cpu",
        display=Terminal(),
    )
    for line in judgement.lines():
        typer.echo(line)
    keep("judgement", asdict(judgement))
