"""Word vectors: files of them, and the words of an utterance laid on a grid of frames.

The rules are those of Tzirakis, Nguyen, Zafeiriou and Schuller, "Speech emotion recognition using semantic
information", ICASSP 2021 (arXiv:2103.02993), as the authors' released program has them (glam-imperial/
semantic_speech_emotion_recognition, BSD-3):

- a word fills the frames from round(start / hop) to round(end / hop), both included; at hops of 0.1 s that is their
  `int(round(t, 1) * 10)`. A frame that two words share belongs to the later one. Frames without a word are zero.
- words are compared in lower case and without punctuation; `<` and `>` stay, so that non-verbal tokens survive. Of
  vectors whose words become the same the first one counts. `<filler>` and words of punctuation alone are silence.
- a non-verbal token such as `<laughter>` takes the vector of a word for it (`NON_VERBAL`), the last one that is there.
- a word without a vector gets uniform random numbers in [0, 1), the same for every occurrence of the word. Theirs were
  unseeded; here they follow from a seed and the word alone. ("random"; such a vector is longer than any word's: of 100
  numbers 5.8, where Speech2Vec's have length 1. "matched" draws a direction at random, with the vocabulary's median
  length.)

Differs: other hops than 0.1 s; punctuation of all scripts; English names of non-verbal tokens as well.

| file | form |
|---|---|
| word2vec text, fastText `.vec`, released Speech2Vec | a line "V d", then a word and d numbers in each line |
| GloVe text | the same without the first line |
| word2vec binary (`.bin`) | a line "V d", then word, blank, d little-endian float32, with or without a line break |

A name that ends in `.gz` is unpacked. Of a word that comes twice the first vector is kept.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...datasets.core.errors import SerbenchError
from .vector_files import read_table, write_table

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

Array = npt.NDArray[np.float32]
UNKNOWN = ("random", "zero", "matched")
SILENT = frozenset({"", "<filler>"})
"""Normalised words that are taken as silence."""
NON_VERBAL: Mapping[str, tuple[str, ...]] = {
    "<laughter>": ("laughter", "lachen", "gelächter"),
    "<slightlaughter>": ("laughter", "lachen", "gelächter"),
    "<breathing>": ("breathing", "atmung"),
    "<moaning>": ("moaning", "stöhnen"),
    "<contempt>": ("contempt", "verachtung"),
    "<fumbling>": ("fumbling", "fummeln"),
    "<clearingthroat>": ("throat", "räuspern"),
    "<coughing>": ("coughing", "husten"),
    "<singing>": ("singing", "singen"),
    "<disgust>": ("disgust", "ekeln"),
    "<clicking>": ("clicking", "klicken"),
}
"""SEWA's non-verbal tokens -> words whose vectors stand for them; the last one that the vocabulary has is taken."""
Span = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Vectors:
    """A vocabulary and its vectors, the most frequent words first.

    Attributes
    ----------
    words : the words as their file has them, no word twice
    matrix : (word, dim) float32, all finite
    doubled : entries of the file that were left out because their word had come before
    """

    words: list[str]
    matrix: Array
    doubled: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        if self.matrix.ndim != 2 or len(self.matrix) != len(self.words) or self.matrix.dtype != np.float32:
            raise SerbenchError(
                f"{len(self.words)} words and {self.matrix.dtype} vectors {self.matrix.shape} were given. Expected "
                "float32 (word, dim) with a row for each word."
            )
        if len(self.index) != len(self.words):
            raise SerbenchError(
                f"{len(self.words)} words were given, {len(self.index)} of them different. Expected each word once."
            )

    def __len__(self) -> int:
        return len(self.words)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.matrix.shape[1])

    @cached_property
    def index(self) -> dict[str, int]:
        """Word as written -> row of `matrix`."""
        return {word: row for row, word in enumerate(self.words)}

    @cached_property
    def normalised(self) -> dict[str, int]:
        """Normalised word -> row of `matrix`; the first of several."""
        rows: dict[str, int] = {}
        for row, word in enumerate(self.words):
            rows.setdefault(normalise(word), row)
        return rows

    @cached_property
    def length(self) -> float:
        """Median length of a vector."""
        return float(np.median(np.linalg.norm(self.matrix.astype(np.float64), axis=1)))

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of words and numbers, 64 hexadecimal digits; the same for a text and a binary file of them."""
        hashed = hashlib.sha256(f"{len(self)} {self.dim}\n".encode())
        hashed.update("\n".join(self.words).encode("utf-8", "surrogatepass"))
        hashed.update(np.ascontiguousarray(self.matrix, "<f4").tobytes())
        return hashed.hexdigest()

    def row(self, word: str) -> int | None:
        """Row of a word of a transcript by the rules above; None where it has no vector (silence included)."""
        plain = normalise(word)
        if plain in SILENT:
            return None
        if plain in self.normalised:
            return self.normalised[plain]
        there = [self.normalised[stand_in] for stand_in in NON_VERBAL.get(plain, ()) if stand_in in self.normalised]
        return there[-1] if there else None


def read_vectors(path: Path | str, *, dim: int | None = None, limit: int | None = None) -> Vectors:
    """Read a file of word vectors, in any of the forms above.

    Parameters
    ----------
    path : the file
    dim : length of vector that is needed; None takes any
    limit : read so many vectors at most, from the file's beginning (the most frequent words)

    Raises
    ------
    SerbenchError
        If the file is missing, of another form, broken (with the line), shorter or longer than its first line says, or
        holds vectors of another length than `dim`.
    """
    words, matrix = read_table(path, limit)
    if dim is not None and matrix.shape[1] != dim:
        raise SerbenchError(
            f"{str(path)!r} holds vectors of {matrix.shape[1]} numbers. Expected {dim}; name another file, or set the "
            f"size to {matrix.shape[1]} where it is a setting."
        )
    first: dict[str, int] = {}
    for row, word in enumerate(words):
        first.setdefault(word, row)
    if len(first) == len(words):
        return Vectors(words, matrix)
    return Vectors(list(first), matrix[list(first.values())], doubled=len(words) - len(first))


def write_vectors(path: Path | str, vectors: Vectors) -> None:
    """Write a file of vectors, binary if its name ends in `.bin`, else text that gives the same float32 when read.

    Raises
    ------
    SerbenchError
        For a word that is empty or has white space in it: neither form can hold it.
    """
    write_table(path, vectors.words, vectors.matrix)


@lru_cache(maxsize=200_000)
def normalise(word: str) -> str:
    """A word in lower case without punctuation and blanks, `<` and `>` kept (Unicode form C)."""
    folded = unicodedata.normalize("NFC", word.lower())
    return "".join(c for c in folded if c in "<>" or unicodedata.category(c)[0] not in "PSZC")


def random_vector(word: str, dim: int, seed: int) -> Array:
    """Vector (dim,) of uniform numbers in [0, 1) that follows from the normalised word and the seed alone."""
    return _drawing(word, seed).random(dim, dtype=np.float32)


def matched_vector(word: str, dim: int, length: float, seed: int) -> Array:
    """Vector (dim,) of a length in a random direction that follows from the normalised word and the seed alone."""
    direction = _drawing(word, seed).standard_normal(dim)
    return np.asarray(direction * (length / np.linalg.norm(direction)), np.float32)


def vector_of(word: str, vectors: Vectors, unknown: str = "random", seed: int = 0) -> Array | None:
    """Vector (dim,) of a word of a transcript; None for silence. See `frames_of_words` for `unknown` and `seed`."""
    if normalise(word) in SILENT:
        return None
    row = vectors.row(word)
    if row is not None:
        return np.asarray(vectors.matrix[row])
    if unknown == "matched":
        return matched_vector(word, vectors.dim, vectors.length, seed)
    return random_vector(word, vectors.dim, seed) if unknown == "random" else np.zeros(vectors.dim, np.float32)


def frames_of_words(
    words: pd.DataFrame, frames: int, hop_seconds: float, vectors: Vectors, *, unknown: str = "random", seed: int = 0
) -> Array:
    """Lay words on a grid of frames.

    Parameters
    ----------
    words : table of words in the order in which they are laid down: word, start, end [s]
    frames : number of frames; what lies behind them is cut off
    hop_seconds : distance of two frames in seconds
    vectors : the vocabulary
    unknown : "random" or "matched" (a random vector for each word without one, see above), or "zero"
    seed : of the random vectors

    Returns
    -------
    array (frames, dim) float32; zero where nothing is said

    Raises
    ------
    SerbenchError
        For an unknown `unknown`, a missing column, and times that are missing or run backwards.
    """
    if unknown not in UNKNOWN:
        raise SerbenchError(f"unknown={unknown!r} is not allowed. Expected one of: {', '.join(UNKNOWN)}.")
    out = np.zeros((frames, vectors.dim), np.float32)
    for word, (first, last) in zip(_texts(words), spans(words, hop_seconds), strict=True):
        vector = vector_of(word, vectors, unknown, seed)
        if vector is not None and last >= 0:
            out[max(first, 0) : last + 1] = vector
    return out


def spans(words: pd.DataFrame, hop_seconds: float) -> list[Span]:
    """First and last frame of each word of a table (word, start, end [s]), not cut to any number of frames.

    The times are rounded to whole hops without an intermediate rounding, halves to the even number. At hops of 0.1 s
    this is int(round(t, 1) * 10).
    """
    columns = [_times(words, column) for column in ("start", "end")]
    hop = Fraction(str(hop_seconds))
    if hop <= 0:
        raise SerbenchError(f"hop_seconds={hop_seconds} is out of range. Expected a positive number of seconds.")
    covered = []
    for row, (start, end) in enumerate(zip(*columns, strict=True)):
        if not start <= end:
            raise SerbenchError(
                f"word {row + 1} ({_texts(words)[row]!r}) lasts from {start} to {end} s. Expected start <= end, both "
                "known; correct the word times."
            )
        covered.append((round(Fraction(start) / hop), round(Fraction(end) / hop)))
    return covered


def _drawing(word: str, seed: int) -> np.random.Generator:
    drawn = hashlib.sha256(f"{seed}|{normalise(word)}".encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng(int.from_bytes(drawn[:16], "little"))


def _texts(words: pd.DataFrame) -> list[str]:
    return [str(word) for word in _column(words, "word").tolist()]


def _times(words: pd.DataFrame, column: str) -> list[float]:
    return [float(value) for value in _column(words, column).to_numpy(np.float64, na_value=np.nan).tolist()]


def _column(words: pd.DataFrame, column: str) -> pd.Series[Any]:
    if column not in words:
        given = ", ".join(map(str, words))
        raise SerbenchError(f"the table of words has the columns {given}. Expected word, start, end.")
    return words[column]
