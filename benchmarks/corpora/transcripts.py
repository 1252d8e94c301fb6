"""`serbench words transcribe`: what a recogniser hears in a corpus, as word times and as texts beside the corpus's own.

Two files: `OUT` holds word times that every command and model takes in place of the corpus's (their source is
`asr(MODEL)`), and `OUT.texts.csv` (for `words.csv`: `words.texts.csv`) the texts. The corpus's own words are never
changed, and the two never stand in one table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import write_text
from ...datasets.core.libraries import LibraryError
from ...datasets.schema.corpus import Corpus
from ...features.spoken.error_rate import ErrorRate, error_rate
from ...features.spoken.transcribe import Transcripts, text_of, transcribe
from ...features.words.times import WordTimes, save
from ..core.progress import Display, Silent
from .items import chosen_items, needed_language

SHOWN = 5


@dataclass(frozen=True)
class Transcribed:
    """What was heard, how many items were left to their own text, the errors, or why they are not known (`lacking`)."""

    transcripts: Transcripts
    own: int
    errors: ErrorRate | None
    lacking: str = ""

    def data(self) -> dict[str, Any]:
        """The same by name; `errors` has the counts and the rate."""
        errors = None if self.errors is None else {**asdict(self.errors), "rate": self.errors.rate}
        known = {"model": self.transcripts.model, "own": self.own, "errors": errors, "lacking": self.lacking}
        return {**known, **counted(self.transcripts.times()), "failed": dict(self.transcripts.failed)}

    def lines(self) -> Iterator[str]:
        """What there is to say of it."""
        given, times = self.transcripts, self.transcripts.times()
        yield f"{len(times.table)} words of {times.table['item'].nunique()} items, heard by {given.model}"
        if self.own:
            yield f"  {self.own} items have a text and were not heard; --beside hears them too"
        if silent := times.silent:
            shown = ", ".join(f"{item} ({given.heard[item].empty})" for item in silent[:SHOWN])
            yield f"  {len(silent)} items without a word: {shown}"
        if doubted := times.doubted:
            shown = ", ".join(f"{item} ({times.confidence[item]:.2f})" for item in doubted[:SHOWN])
            yield f"  {len(doubted)} texts are likely to be wrong, first of all {shown}"
        if self.errors is not None:
            yield f"  {self.errors.line()}"
        if self.lacking:
            yield f"  {self.lacking}"
        yield from (f"  left out: {item}: {reason}" for item, reason in given.failed.items())


def transcribe_corpus(
    corpus: Corpus,
    out: Path,
    *,
    model: str,
    beside: bool = False,
    items: str = "all",
    language: str | None = None,
    partitions: Sequence[str] = (),
    device: str = "cpu",
    display: Display | None = None,
) -> Transcribed:
    """Write word times and texts of what a Whisper checkpoint hears in a corpus.

    Parameters
    ----------
    out : a CSV file, or a folder for one CSV file per item; the texts are beside it (`texts_beside`)
    model : folder of the checkpoint, or its name in the hub's cache
    beside : hear items that have a text as well; both texts are kept, side by side
    items : "utterances", "recordings" or "all"
    language : of items whose language the corpus does not say
    partitions : default: all

    Raises
    ------
    SerbenchError
        If every item has a text and `beside` is not set, nothing was heard in any, or `language` is given and the
        corpus says the language of all.
    """
    chosen = chosen_items(corpus, items, partitions or None)
    wanted = [item for item in chosen if beside or not text_of(corpus, item)]
    if not wanted:
        raise SerbenchError(
            f"all of {len(chosen)} items of {corpus.name} have words of their own. Type --beside to hear them too: "
            "both are kept, and never mixed."
        )
    language = needed_language(corpus, wanted, language)
    with (display or Silent()).extraction("hearing", len(wanted)) as progress:
        transcripts = transcribe(corpus, wanted, model, language=language, device=device, progress=progress)
    times = transcripts.times()
    if not len(times.table):
        first = next(iter(transcripts.failed.values()), None) or transcripts.heard[times.silent[0]].empty
        raise SerbenchError(f"no words were heard in {len(wanted)} items of {corpus.name}: {first.rstrip('.')}.")
    save(times, out)
    write_text(texts_beside(out), transcripts.texts().to_csv(index=False, lineterminator="\n"))
    return Transcribed(transcripts, len(chosen) - len(wanted), *_errors(transcripts))


def counted(times: WordTimes) -> dict[str, Any]:
    """Word times by numbers and names: words, items, words by their source, items that are doubted, silent, failed."""
    sources = {str(name): int(count) for name, count in times.table["source"].value_counts().items()}
    about = {"words": len(times.table), "items": int(times.table["item"].nunique()), "sources": sources}
    return {**about, "doubted": times.doubted, "silent": list(times.silent), "failed": dict(times.failed)}


def texts_beside(out: Path) -> Path:
    """Where the texts are written: `words.texts.csv` beside `words.csv` or the folder `words`."""
    return out.with_name(f"{out.stem if out.suffix.lower() == '.csv' else out.name}.texts.csv")


def _errors(given: Transcripts) -> tuple[ErrorRate | None, str]:
    """The errors; where jiwer is not there, why they are not known."""
    try:
        return error_rate({item: heard.text for item, heard in given.heard.items()}, given.references), ""
    except LibraryError as error:
        return None, str(error)
