"""Items of a corpus through a recogniser: texts and word times, from the cache or heard now.

Items are heard language by language. One whose audio can't be read, or whose language the checkpoint does not know,
stands in `failed`; it never ends the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.reading.aligned_words import asr
from ...datasets.schema.corpus import Corpus
from ..extraction.extract import extract_from
from ..words.times import COLUMNS, WordTimes
from .recogniser import DOUBTFUL, Config, Heard, Recogniser, read

Progress = Callable[[int, int, float], None]
"""(items done, items in all, seconds of audio heard so far in this call)."""


@dataclass(frozen=True)
class Transcripts:
    """What was heard.

    Attributes
    ----------
    model : the recogniser's name
    heard : id -> text, words, confidence
    references : id -> the corpus's own text, of the items that have one
    failed : items that could not be heard, id -> reason
    """

    model: str
    heard: Mapping[str, Heard]
    references: Mapping[str, str]
    failed: Mapping[str, str]

    def times(self) -> WordTimes:
        """The words with their times; items in which nothing was heard have none."""
        source = asr(self.model)
        rows = [(item, *word, source) for item, heard in self.heard.items() for word in heard.words]
        texts = dict.fromkeys(("item", "word", "source"), "string")
        table = pd.DataFrame(rows, columns=list(COLUMNS)).astype({**texts, "start": "float64", "end": "float64"})
        silent = tuple(item for item, heard in self.heard.items() if not heard.words)
        confidence = {item: heard.confidence for item, heard in self.heard.items() if heard.words}
        return WordTimes(table, self.failed, silent, confidence, DOUBTFUL)

    def texts(self) -> pd.DataFrame:
        """One row for each item: what was heard, beside the corpus's own text where there is one."""
        return pd.DataFrame(
            {
                "item": list(self.heard),
                "text": [heard.text for heard in self.heard.values()],
                "reference": [self.references.get(item) for item in self.heard],
                "confidence": [round(heard.confidence, 4) for heard in self.heard.values()],
                "empty": [heard.empty for heard in self.heard.values()],
                "source": asr(self.model),
            }
        )


def transcribe(
    corpus: Corpus,
    items: Sequence[str],
    checkpoint: str,
    *,
    language: str | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Transcripts:
    """What a Whisper checkpoint hears in items of a corpus.

    Parameters
    ----------
    items : ids of utterances or recordings
    checkpoint : its folder, or its name in the hub's cache
    language : of items whose language the corpus does not say
    progress : called with the number of items done, of all, and seconds of audio

    Raises
    ------
    SerbenchError
        Where the checkpoint can't be used at all.
    """
    heard: dict[str, Heard] = {}
    failed: dict[str, str] = {}
    model, done = Recogniser(Config(checkpoint), device).model, 0
    for spoken, rows in _by_language(corpus, items, language):
        recogniser = Recogniser(Config(checkpoint, spoken), device)
        try:
            recogniser.prepare()
        except SerbenchError as error:
            failed |= {str(item): str(error) for item in rows.index}
        else:
            table = extract_from(corpus, rows, recogniser, progress=_further(progress, done, len(items)))
            heard |= {item: read(table[item]) for item in table}
            failed |= table.failed
        done += len(rows)
    order = {item: k for k, item in enumerate(items)}
    texts = {item: text for item in heard if (text := text_of(corpus, item))}
    return Transcripts(model, dict(sorted(heard.items(), key=lambda pair: order[pair[0]])), texts, failed)


def text_of(corpus: Corpus, item: str) -> str:
    """A corpus's own text of an item, or its words with blanks between; empty where it has neither."""
    text = corpus.row(item)["text"]
    if not pd.isna(text) and str(text).strip():
        return str(text)
    return "" if corpus.recognised else " ".join(corpus.words(item)["word"].astype(str))


def _by_language(corpus: Corpus, items: Sequence[str], language: str | None) -> Iterator[tuple[str, pd.DataFrame]]:
    """Rows of the items, in groups of one table and one language ("" = not known)."""
    wanted = set(items)
    for table in (corpus.utterances, corpus.recordings):
        if table is not None:
            rows = table[[str(i) in wanted for i in table.index]]
            spoken = rows["language"].fillna(language or "").astype(str)
            for name, part in rows.groupby(spoken, sort=False):
                yield str(name), part


def _further(progress: Progress | None, before: int, total: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done, _, seconds: progress(before + done, total, seconds)
