"""Word2Vec vectors of a corpus's transcripts or of a text file, made with gensim, the same in every process.

Mikolov, Sutskever, Chen, Corrado and Dean, "Distributed representations of words and phrases and their
compositionality", NIPS 2013 (arXiv:1310.4546): skip-gram with negative sampling. Numbers are those that the
semantic-fusion authors trained with (glam-imperial/semantic_speech_emotion_recognition): 100 numbers, window 4, 64
negative samples, words that occur 7 times or more; epochs and learning rates are gensim's. Differs from theirs:
negative sampling stands for noise-contrastive estimation, gensim's passes for 3,000,000 steps of 128 pairs at a rate of
0.1, and sentences of any length count where theirs have more than five words.

gensim is repeatable with one worker; its own hash function depends on PYTHONHASHSEED, so another is handed in. Words
are normalised as in `words/vectors.py`. Vectors come out with the most frequent words first.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...datasets.core.config import option, validate
from ...datasets.core.errors import SerbenchError
from ...datasets.core.libraries import library
from ...datasets.core.stages import noted, stage
from .vectors import SILENT, Vectors, normalise

_RELEASE, _GENSIM = "released program", "gensim"


@dataclass(frozen=True)
class Config:
    """Settings of Word2Vec."""

    dim: int = option(100, "length of a vector", source=_RELEASE, low=1)
    window: int = option(4, "words on each side", source=_RELEASE, low=1)
    negative: int = option(64, "negative samples of a pair", source=_RELEASE, low=1)
    min_count: int = option(7, "words that occur less often are left out", source=_RELEASE, low=1)
    skip_gram: bool = option(True, "skip-gram; false = continuous bag of words", source=_RELEASE)
    subsample: float = option(0.0, "threshold of the subsampling of frequent words; 0 = none", source=_RELEASE, low=0)
    epochs: int = option(5, "passes over the text", source=_GENSIM, low=1)
    lr: float = option(0.025, "learning rate at the beginning; it falls linearly to 0.0001", source=_GENSIM, low=0)
    seed: int = option(0, "seed of start values, negative samples and windows", source="free choice", low=0)


def train(sentences: Iterable[Sequence[str]], config: Config | None = None) -> Vectors:
    """Vectors of the words of sentences, the most frequent first.

    Raises
    ------
    SerbenchError
        If no word occurs `min_count` times, or nothing but one word.
    """
    config = validate(config or Config())
    text = [plain for s in sentences if (plain := [w for w in map(normalise, s) if w not in SILENT])]
    counts = Counter(word for sentence in text for word in sentence)
    frequent = sum(count >= config.min_count for count in counts.values())
    if frequent < 2:
        raise SerbenchError(
            f"{frequent} of {len(counts)} different words occur {config.min_count} times or more. Expected two at "
            "least; give more text, or lower the bound: --set min_count=1."
        )
    gensim = library("gensim.models", "Word2Vec")
    with stage("passes over the text", config.epochs):
        model = gensim.Word2Vec(
            text,
            vector_size=config.dim,
            window=config.window,
            negative=config.negative,
            min_count=config.min_count,
            sg=int(config.skip_gram),
            sample=config.subsample,
            epochs=config.epochs,
            alpha=config.lr,
            seed=config.seed + 1,
            workers=1,
            hashfxn=_hash,
            sorted_vocab=0,
            callbacks=[_counted()],
        )
    words = sorted(model.wv.index_to_key, key=lambda word: (-counts[word], word))
    rows = [model.wv.key_to_index[word] for word in words]
    return Vectors(words, np.ascontiguousarray(model.wv.vectors[rows], np.float32))


def sentences_of(table: pd.DataFrame) -> list[list[str]]:
    """The transcripts of a corpus table, one sentence each; rows without one are left out."""
    return [str(text).split() for text in table["text"].dropna()]


def read_sentences(path: Path | str) -> list[list[str]]:
    """The sentences of a text file, one in each line, words with blanks between.

    Raises
    ------
    SerbenchError
        If the file can't be read.
    """
    try:
        return [line.split() for line in Path(path).expanduser().read_text(encoding="utf-8-sig").splitlines() if line]
    except (OSError, UnicodeDecodeError) as error:
        raise SerbenchError(f"the text {str(path)!r} can't be read: {error}. Expected lines of UTF-8.") from error


def _counted() -> Any:
    """What gensim calls to have the passes counted."""
    from gensim.models.callbacks import CallbackAny2Vec

    class Counted(CallbackAny2Vec):  # type: ignore[misc]
        def on_epoch_end(self, model: Any) -> None:
            noted("")

    return Counted()


def _hash(text: str) -> int:
    """A hash of a word that is the same in every process."""
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))
