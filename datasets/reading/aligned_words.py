"""Word times from forced alignment: Praat's TextGrid (long and short form) and the Sphinx-3 aligner's wdseg.

Both return the table that `Corpus.words` promises: word, start, end in seconds from the utterance's own start, silence
and noise left out.

- TextGrid (Praat manual, "TextGrid file formats"): the tier whose name ends in "words", else the first interval tier;
  one tokeniser reads both forms, since the long one only adds labels. Empty marks and silence marks are no words.
- wdseg: columns SFrm EFrm SegAScr Word in frames of 10 ms, both ends inclusive, so a word lasts from SFrm / 100 to
  (EFrm + 1) / 100 s. `<s>`, `</s>`, `<sil>` and `++NOISE++` are no words; `THE(2)` is the second pronunciation of THE.

Words may also be what a recogniser heard: their column `source` says `asr(MODEL)`, and words of two sources are never
taken together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from ..core.errors import SerbenchError

FRAMES_PER_SECOND = 100
SILENCE = frozenset({"", "sil", "sp", "<sil>", "<eps>", "<p:>"})
_TOKEN = re.compile(r'"((?:[^"]|"")*)"|(<exists>|<absent>)|([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)(?![^\s])')
_FILLER = re.compile(r"^(?:<.*>|\+\+.*\+\+|\[.*\])$")
_ASR = "asr("
_VARIANT = re.compile(r"\(\d+\)$")

Interval = tuple[float, float, str]


def no_words() -> pd.DataFrame:
    """The empty table of words."""
    return _table([])


def read_textgrid(path: Path) -> pd.DataFrame:
    """Words of a TextGrid file: columns word, start, end [s].

    Raises
    ------
    SerbenchError
        If the file is no TextGrid or ends early.
    """
    try:
        tiers = list(_tiers(_decode(path.read_bytes())))
    except (StopIteration, ValueError, RuntimeError) as error:
        raise SerbenchError(f"{str(path)!r} can't be read as a TextGrid: it ends early or is none.") from error
    named = [tier for name, tier in tiers if name.strip().lower().endswith("words")]
    intervals = next(iter(named or [tier for _, tier in tiers]), [])
    return _table([(a, b, mark.strip()) for a, b, mark in intervals if mark.strip().lower() not in SILENCE])


def read_wdseg(path: Path) -> pd.DataFrame:
    """Words of a wdseg file: columns word, start, end [s].

    Raises
    ------
    SerbenchError
        If a row does not hold three whole numbers and a word.
    """
    words: list[Interval] = []
    for number, line in enumerate(path.read_text(encoding="latin-1").splitlines(), 1):
        fields = line.split()
        if not fields or fields[0] == "SFrm" or line.strip().startswith("Total score"):
            continue
        try:
            first, last, word = int(fields[0]), int(fields[1]), fields[3]
        except (IndexError, ValueError) as error:
            raise SerbenchError(
                f"line {number} of {str(path)!r} is {line.strip()!r}. Expected: first frame, last frame, score, word."
            ) from error
        if not _FILLER.match(word):
            words.append((first / FRAMES_PER_SECOND, (last + 1) / FRAMES_PER_SECOND, _VARIANT.sub("", word)))
    return _table(words)


def _decode(data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _tiers(text: str) -> Iterator[tuple[str, list[Interval]]]:
    """Interval tiers by name; point tiers are passed over."""
    tokens = _tokens(text)
    if next(tokens) != "ooTextFile" or next(tokens) != "TextGrid":
        raise ValueError("not a TextGrid")
    float(next(tokens)), float(next(tokens)), next(tokens)
    for _ in range(int(next(tokens))):
        kind, name = next(tokens), next(tokens)
        float(next(tokens)), float(next(tokens))
        size = int(next(tokens))
        if kind == "IntervalTier":
            yield name, [(float(next(tokens)), float(next(tokens)), next(tokens)) for _ in range(size)]
        else:
            for _ in range(2 * size):
                next(tokens)


def _tokens(text: str) -> Iterator[str]:
    """Texts in quotes, flags and numbers of either form, in order; the long form's labels and counters fall away."""
    for match in _TOKEN.finditer(text):
        quoted, flag, number = match.groups()
        yield quoted.replace('""', '"') if quoted is not None else flag or number


def _table(words: list[Interval]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "word": pd.Series([w for _, _, w in words], dtype="string"),
            "start": pd.Series([a for a, _, _ in words], dtype="float64"),
            "end": pd.Series([b for _, b, _ in words], dtype="float64"),
        }
    )


def asr(model: str) -> str:
    """Source of words that a model has recognised; what a run's signature says of them behind `words:`."""
    return f"asr({model})"


def recognised_by(sources: Iterable[str]) -> str:
    """The recogniser that all of some words are from, as `asr` names it; empty where none is from any.

    Raises
    ------
    SerbenchError
        Where words of a corpus and of a recogniser, or of two recognisers, stand in one table.
    """
    kinds = {str(source) if str(source).startswith(_ASR) else "" for source in set(sources)}
    if len(kinds) > 1:
        named = " and ".join(sorted(kind or "words of the corpus" for kind in kinds))
        raise SerbenchError(f"the word times mix {named}. Expected words of one source; name a file for each.")
    return kinds.pop() if kinds else ""
