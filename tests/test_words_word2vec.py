"""Word2Vec: repeatable in every process, and it learns who keeps company with whom."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.reading.load import load_corpus
from serbench.features.words.word2vec import Config, read_sentences, sentences_of, train

pytest.importorskip("gensim", reason="gensim is not installed; it has no release for every Python")

SMALL = Config(dim=8, window=2, negative=5, min_count=2, epochs=20, lr=0.05)


def two_topics(sentences: int = 400) -> list[list[str]]:
    """Sentences of one topic or the other; the words of a topic are exchangeable."""
    rng = np.random.default_rng(0)
    topics = [[f"{letter}{c}" for c in "abcdef"] for letter in "xy"]
    return [list(rng.choice(topics[i % 2], 6)) for i in range(sentences)]


def test_words_that_keep_the_same_company_are_near() -> None:
    found = train(two_topics(), SMALL)
    unit = found.matrix / np.linalg.norm(found.matrix, axis=1, keepdims=True)
    cosines = unit @ unit.T
    topic = np.array([word[0] for word in found.words])
    same = topic[:, None] == topic[None, :]
    np.fill_diagonal(cosines, np.nan)
    assert np.nanmin(cosines[same]) > np.nanmax(cosines[~same])


def test_it_is_repeatable_in_every_process() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from test_words_word2vec import *; "
        "print(train(two_topics(40), SMALL).sha256)"
    )
    here = str(Path(__file__).parent)
    digests = [
        subprocess.run(
            [sys.executable, "-P", "-c", code, here],
            env={**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "22")
    ]
    assert digests[0] == digests[1] == train(two_topics(40), SMALL).sha256
    other = Config(dim=8, window=2, negative=5, min_count=2, epochs=20, lr=0.05, seed=1)
    assert train(two_topics(40), other).sha256 != digests[0]


def test_vocabulary() -> None:
    text = [["The", "cat,", "the", "dog"], ["the", "<filler>", "...", "cat"], ["bird"]]
    assert train(text, Config(dim=4, min_count=1)).words == ["the", "cat", "bird", "dog"]
    assert train(text, Config(dim=4, min_count=2)).words == ["the", "cat"]
    with pytest.raises(SerbenchError, match="1 of 4 different words occur 3 times"):
        train(text, Config(min_count=3))
    with pytest.raises(SerbenchError, match="0 of 0"):
        train([])


def test_text_of_a_corpus_and_of_a_file(tmp_path: Path) -> None:
    corpus = load_corpus("demo")
    sentences = sentences_of(corpus.utterances)
    assert len(sentences) == 744
    assert sentences[0] == corpus.words(corpus.utterances.index[0])["word"].tolist()
    (tmp_path / "text.txt").write_text("eins zwei\n\ndrei\n")
    assert read_sentences(tmp_path / "text.txt") == [["eins", "zwei"], ["drei"]]
    with pytest.raises(SerbenchError, match="can't be read"):
        read_sentences(tmp_path / "none.txt")
