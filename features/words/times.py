"""Word times: from the corpus's own files, else by alignment with a CTC or a Whisper model, else spread evenly.

| source | meaning |
|---|---|
| corpus | the corpus's own times (TextGrid, wdseg, CSV ...) |
| forced | forced alignment of the transcript with the emissions of a CTC model |
| attention | alignment of the transcript with the cross-attention of a Whisper model (`words/cross_attention.py`) |
| spread | the words share the time evenly; also words that the model can't spell, between two aligned ones |
| asr(MODEL) | the words themselves are what a recogniser heard, and so are the times (`spoken/recogniser.py`) |

Forced alignment is the best path of connectionist temporal classification (Graves, Fernandez, Gomez and Schmidhuber,
ICML 2006, doi 10.1145/1143844.1143891) through the transcript's characters, found by Viterbi's recursion
(`words/forced_alignment.py`). A word lasts from the first frame of its first character to the last frame of its last
one.

A corpus whose own table has a column `source` keeps it. Where that says "spread" (times within transcribed segments),
each run of words without a gap is one segment, and is aligned by force within its own bounds.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import digest, file_sha256, stamp, write_text
from ...datasets.reading.aligned_words import recognised_by
from ...datasets.reading.label_files import numbers, read_columns
from ...datasets.schema.corpus import Corpus
from ..core.audio import read_audio
from ..core.word_feature import Words

if TYPE_CHECKING:
    from .aligner import Aligned, Aligner

COLUMNS = ("item", "word", "start", "end", "source")
SOURCES = ("corpus", "forced", "attention", "spread")
_GAP_SECONDS = 1e-3
Array = npt.NDArray[np.float32]
Word = tuple[str, float, float, str]
"""Text, start and end [s] from the item's own start, source."""


@dataclass(frozen=True)
class WordTimes:
    """Words of many items.

    Attributes
    ----------
    table : item, word, start, end [s], source
    failed : items that could not be used, id -> reason
    silent : items with neither word times nor a transcript
    confidence : of the items that were aligned, how likely the transcript is what was said, 0 .. 1
    doubtful : below this confidence another text is likely to have been said
    heard_seconds : of sound that an aligner was given
    """

    table: pd.DataFrame
    failed: Mapping[str, str]
    silent: tuple[str, ...] = ()
    confidence: Mapping[str, float] = field(default_factory=dict)
    doubtful: float = 0.0
    heard_seconds: float = 0.0

    def words(self, item: str) -> pd.DataFrame:
        """Words of an item: word, start, end, source; empty where there are none."""
        rows = self._rows.get(item, np.empty(0, np.intp))
        return self.table.iloc[rows].drop(columns="item").reset_index(drop=True)

    @cached_property
    def _rows(self) -> dict[str, npt.NDArray[np.intp]]:
        indices = self.table.groupby("item", sort=False).indices
        return {str(item): np.asarray(rows, np.intp) for item, rows in indices.items()}

    @property
    def doubted(self) -> list[str]:
        """Items whose transcript is likely not to be what was said, least likely first."""
        return [i for i, c in sorted(self.confidence.items(), key=lambda pair: pair[1]) if c < self.doubtful]

    @property
    def recognised(self) -> str:
        """`asr(MODEL)` where the words are what a recogniser heard; empty where they are a corpus's own."""
        return recognised_by(self.table["source"])

    def line(self) -> str:
        """One line for people to read."""
        counts = self.table["source"].value_counts()
        parts = ", ".join(
            f"{counts[s]} {s}" for s in (*SOURCES, *sorted(set(counts.index) - {*SOURCES})) if s in counts
        )
        return f"{len(self.table)} words of {self.table['item'].nunique()} items ({parts or 'none'})"


def align_words(
    corpus: Corpus,
    items: Sequence[str],
    aligner: Aligner | None = None,
    *,
    again: bool = False,
    language: str | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> WordTimes:
    """Word times of items of a corpus, by the best source that there is for each.

    Parameters
    ----------
    items : ids of utterances or recordings
    aligner : of transcripts without times; without one, transcripts without times are spread evenly
    language : of all items, where the corpus does not say it (ISO 639-1)
    again : do not take the corpus's own times even where there are some
    progress : called with the number of items done, of all, and seconds of sound that the aligner was given

    Returns
    -------
    the words in order of the items; an item whose audio is needed and can't be read stands in `failed`
    """
    rows: list[tuple[str, *tuple[Any, ...]]] = []
    failed: dict[str, str] = {}
    heard = None if aligner is None else _Heard(aligner, language)
    for done, item in enumerate(items, 1):
        try:
            rows += [(item, *word) for word in _words(corpus, item, heard, again)]
        except SerbenchError as error:
            failed[item] = str(error)
        if progress is not None:
            progress(done, len(items), heard.seconds if heard else 0.0)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    known = set(table["item"])
    silent = tuple(i for i in items if i not in known and i not in failed)
    if heard is None:
        return WordTimes(_typed(table), failed, silent)
    return WordTimes(_typed(table), failed, silent, heard.confidence(), heard.aligner.doubtful, heard.seconds)


def spread(words: Sequence[str], start: float, end: float) -> list[Word]:
    """Words that share the time from `start` to `end` [s] evenly."""
    edges = np.linspace(start, end, len(words) + 1).tolist()
    return [(word, a, b, "spread") for word, a, b in zip(words, edges, edges[1:], strict=False)]


def placed(words: Sequence[str], aligned: Aligned, start: float, end: float, source: str) -> list[Word]:
    """Words by what an aligner found in the time from `start` to `end` [s] of their item.

    Words that it has nothing to say of share the time between their neighbours; all are spread where it has nothing to
    say at all.
    """
    spans = aligned.spans
    if not any(spans):
        return spread(words, start, end)
    out: list[Word] = []
    k = 0
    while k < len(words):
        if (span := spans[k]) is not None:
            out.append((words[k], start + span[0], start + span[1], source))
            k += 1
            continue
        run = next((n for n in range(k, len(words)) if spans[n] is not None), len(words))
        following = spans[run] if run < len(words) else None
        out += spread(words[k:run], out[-1][2] if out else start, end if following is None else start + following[0])
        k = run
    return out


class _Heard:
    """An aligner at work on the items of a corpus, and how sure it was of each."""

    def __init__(self, aligner: Aligner, language: str | None) -> None:
        self.aligner, self.language = aligner, language
        self.seconds = 0.0
        self._sure: dict[str, list[tuple[float, int]]] = {}

    def words(
        self, corpus: Corpus, item: str, words: Sequence[str], start: float = 0.0, end: float = 0.0
    ) -> list[Word]:
        """Words of an item, of the part from `start` to `end` [s] where `end` is given."""
        rate = self.aligner.sampling_rate
        signal, _ = _signal(corpus, item, rate, *((start, end) if end else ()))
        self.seconds += len(signal) / rate
        spoken = corpus.row(item).get("language")
        aligned = self.aligner.align(words, signal, self.language if pd.isna(spoken) else str(spoken))
        self._sure.setdefault(item, []).append((aligned.confidence, len(words)))
        return placed(words, aligned, start, start + len(signal) / rate, self.aligner.source)

    def confidence(self) -> dict[str, float]:
        """Of each item, the mean over its words."""
        return {i: sum(c * n for c, n in parts) / sum(n for _, n in parts) for i, parts in self._sure.items()}


def save(times: WordTimes, path: Path, columns: Sequence[str] = COLUMNS) -> None:
    """Write one CSV of all items (a name that ends in `.csv`), or a folder with one CSV for each item.

    A folder's files are `ITEM.csv` with word, start, end, source: what SEWA's option `alignment` reads.
    """
    rounded = times.table.assign(**{c: times.table[c].round(4) for c in ("start", "end")})
    if path.suffix.lower() == ".csv":
        write_text(path, rounded[list(columns)].to_csv(index=False, lineterminator="\n"))
        return
    for item, part in rounded.groupby("item", sort=False):
        if Path(str(item)).name != str(item):
            raise SerbenchError(f"the id {item!r} can't be a file name. Name one file for all items: --out WORDS.csv")
        write_text(path / f"{item}.csv", part[list(columns[1:])].to_csv(index=False, lineterminator="\n"))


def load(path: Path | str) -> WordTimes:
    """Read what `save` has written, file or folder; files without a column `source` are taken as "corpus".

    Raises
    ------
    SerbenchError
        If nothing is there, a column is missing, or a time is no number.
    """
    place = Path(path).expanduser()
    if place.is_dir():
        parts = [_file(file).assign(item=file.stem) for file in sorted(place.glob("*.csv"))]
    elif place.is_file():
        parts = [_file(place, "item")]
    else:
        parts = []
    if not parts:
        raise SerbenchError(
            f"there are no word times at {str(place)!r}. Expected a CSV file with the columns item, word, start, end, "
            "or a folder of CSV files named after items; 'serbench words align' writes both."
        )
    return WordTimes(_typed(pd.concat(parts, ignore_index=True)), {})


def remembered(path: str) -> WordTimes:
    """`load`, once for a file or folder that stays as it is."""
    return _remembered(path, stamp(path))


def content_digest(path: str) -> str:
    """64 hexadecimal digits of what a file or folder of word times holds; what is none is refused as by `load`."""
    remembered(path)
    place = Path(path).expanduser()
    files = sorted(place.glob("*.csv")) if place.is_dir() else [place]
    return digest([[file.stem, file_sha256(file)] for file in files], 64)


def word_source(corpus: Corpus, alignment: str | Path | None) -> Words:
    """id -> words (word, start, end): of the file or folder `alignment` where one is given, else the corpus's own."""
    return corpus.words if not alignment else load(alignment).words


@lru_cache(maxsize=2)
def _remembered(path: str, state: tuple[int, int]) -> WordTimes:
    return load(path)


def _file(path: Path, *further: str) -> pd.DataFrame:
    table = read_columns(path, (*further, "word", "start", "end"))
    table["source"] = table["source"].fillna("corpus") if "source" in table else "corpus"
    times = {c: numbers(table[c], str(path)) for c in ("start", "end")}
    return table.dropna(subset=["word"]).assign(**times)


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    texts = dict.fromkeys(("item", "word", "source"), "string")
    return table[list(COLUMNS)].astype({**texts, "start": "float64", "end": "float64"})


def _words(corpus: Corpus, item: str, heard: _Heard | None, again: bool) -> Iterable[Word]:
    own = corpus.words(item)
    own = own if "source" in own else own.assign(source="corpus")
    spread_out = bool(own["source"].eq("spread").any())
    if len(own) and (heard is None or not (again or spread_out)):
        return _tuples(own)
    if spread_out and heard is not None:
        return [word for part in _segments(own) for word in _segment(corpus, item, part, heard)]
    text = corpus.row(item)["text"]
    words = own["word"].astype(str).tolist() if pd.isna(text) else str(text).split()
    if not words:
        return []
    if heard is not None:
        return heard.words(corpus, item, words)
    signal, rate = _signal(corpus, item)
    return spread(words, 0.0, len(signal) / rate)


def _tuples(words: pd.DataFrame) -> Iterator[Word]:
    for word, start, end, source in words[["word", "start", "end", "source"]].itertuples(index=False):
        yield str(word), float(start), float(end), str(source)


def _segments(words: pd.DataFrame) -> list[pd.DataFrame]:
    """Runs of words without a gap between them."""
    gap = words["start"].to_numpy()[1:] - words["end"].to_numpy()[:-1] > _GAP_SECONDS
    cuts = [0, *(np.flatnonzero(gap) + 1).tolist(), len(words)]
    return [words.iloc[a:b] for a, b in itertools.pairwise(cuts)]


def _segment(corpus: Corpus, item: str, part: pd.DataFrame, heard: _Heard) -> Iterable[Word]:
    start, end = float(part["start"].iloc[0]), float(part["end"].iloc[-1])
    return heard.words(corpus, item, part["word"].astype(str).tolist(), start, end)


def _signal(
    corpus: Corpus, item: str, rate: int | None = None, start: float | None = None, end: float | None = None
) -> tuple[Array, int]:
    """The item's audio, or a part of it in seconds from the item's own start; at its own rate where none is given."""
    row = corpus.row(item)
    offset = 0.0 if pd.isna(row["start"]) else float(row["start"])
    stop = None if pd.isna(row["end"]) else float(row["end"])
    first = offset + start if start is not None else (offset or None)
    last = offset + end if end is not None else stop
    return read_audio(corpus.audio_path(item), rate, first, last)
