"""JL-Corpus: names against the published counts, texts, primary and secondary emotions."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from serbench.benchmarks.corpora.findings import counts
from serbench.datasets import jl_corpus
from serbench.datasets.core.errors import SerbenchError

EMOTIONS = (
    "angry",
    "anxious",
    "apologetic",
    "assertive",
    "concerned",
    "encouraging",
    "excited",
    "happy",
    "neutral",
    "sad",
)


def test_counts_are_the_published_ones(tmp_path: Path) -> None:
    for speaker, emotion, sentence, letter, session in product(
        ("female1", "female2", "male1", "male2"), EMOTIONS, range(1, 16), "ab", (1, 2)
    ):
        (tmp_path / f"{speaker}_{emotion}_{sentence}{letter}_{session}.wav").write_bytes(b"")
    corpus = jl_corpus.load(tmp_path)
    assert len(corpus.utterances) == 2400
    assert list(counts(corpus)) == []
    assert len(corpus.folds()) == 4


def test_tasks_of_primary_and_of_all_emotions(miniature: Callable[..., Path]) -> None:
    corpus = jl_corpus.load(miniature("jl-corpus", utterances=40))
    assert len(corpus.items(corpus.task("emotion"))) == 20
    assert len(corpus.items(corpus.task("emotion-10"))) == 40
    assert corpus.task("emotion-10").labels == EMOTIONS
    merged = corpus.task("emotion-4")
    assert merged.mapping["excitement"] == "happiness"
    assert len(corpus.items(merged)) == 20


def test_name_and_text(miniature: Callable[..., Path]) -> None:
    corpus = jl_corpus.load(miniature("jl-corpus", utterances=40, traps=True))
    row = corpus.row("male2_angry_1a_1")
    assert (row["speaker"], row["gender"], row["emotion"], row["text"]) == ("male2", "male", "anger", "Sentence 1.")
    assert (row["sentence"], row["take"]) == ("1", "a1")
    assert corpus.utterances.index[corpus.utterances["text"].isna()].tolist() == ["female1_angry_1a_1"]


def test_unknown_emotion(tmp_path: Path) -> None:
    (tmp_path / "male1_bored_1a_1.wav").write_bytes(b"")
    with pytest.raises(SerbenchError, match="unknown class 'bored' of 'male1_bored_1a_1'"):
        jl_corpus.load(tmp_path)
