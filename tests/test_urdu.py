"""URDU: names against the published table of speakers and emotions, folds that have every emotion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from serbench.benchmarks.corpora.findings import counts
from serbench.datasets import urdu

PUBLISHED = {
    "A": {"SM1": 22, "SM2": 28, "SM3": 2, "SM4": 48},
    "H": {
        "SF1": 12,
        "SF2": 2,
        "SF3": 2,
        "SF4": 4,
        "SF5": 4,
        "SF6": 14,
        "SF7": 6,
        "SF8": 2,
        "SM17": 2,
        "SM18": 2,
        "SM19": 2,
        "SM3": 2,
        "SM5": 8,
        "SM6": 10,
        "SM7": 28,
    },
    "N": {"SF9": 4, "SM20": 10, "SM21": 4, "SM22": 2, "SM3": 8, "SM5": 72},
    "S": {"SF10": 2, "SF11": 4, "SM23": 6, "SM24": 38, "SM25": 40, "SM26": 2, "SM27": 4, "SM6": 4},
}
"""Emotion letter -> speaker -> number of files in the authors' repository."""
FOLDERS = {"A": "Angry", "H": "Happy", "N": "Neutral", "S": "Sad"}


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("urdu_names")
    for letter, speakers in PUBLISHED.items():
        (root / FOLDERS[letter]).mkdir()
        number = 0
        for speaker, count in speakers.items():
            for own in range(1, count + 1):
                number += 1
                (root / FOLDERS[letter] / f"{speaker}_F{own}_{letter}0{number}.wav").write_bytes(b"")
    return root


def test_the_published_corpus_has_the_published_counts(names: Path) -> None:
    corpus = urdu.load(names)
    assert len(corpus.utterances) == 400
    assert list(counts(corpus)) == []
    speakers = corpus.utterances.drop_duplicates("speaker")["gender"].value_counts().to_dict()
    assert speakers == {"male": 18, "female": 11}


def test_every_fold_of_the_published_corpus_has_every_emotion(names: Path) -> None:
    table = urdu.load(names).utterances
    held = pd.crosstab(table["fold"], table["emotion"])
    assert held.shape == (3, 4)
    assert held.to_numpy().min() >= 10
    assert (table.groupby("speaker")["fold"].nunique() == 1).all()


def test_most_speakers_have_one_emotion(names: Path) -> None:
    """What makes a split that shares speakers worthless; the notes say so."""
    corpus = urdu.load(names)
    emotions = corpus.utterances.groupby("speaker")["emotion"].nunique()
    assert emotions.value_counts().to_dict() == {1: 26, 2: 2, 3: 1}
    assert any("knowing the voice" in note for note in corpus.notes)


def test_name_grammar(names: Path) -> None:
    row = urdu.load(names).row("SF9_F1_N01")
    assert (row["speaker"], row["gender"], row["emotion"], row["language"]) == ("SF9", "female", "neutral", "ur")
    assert urdu.parse_name("SM4_F48_A0100") == ("SM4_F48_A0100", ("SM4", "A"))
    assert urdu.parse_name("SM4_F48_B0100") is None


def test_names_in_another_case_have_the_same_ids(miniature: Callable[..., Path]) -> None:
    corpus = urdu.load(miniature("urdu", utterances=72, traps=True))
    lower = corpus.utterances[corpus.utterances["path"].str.contains("sf9_")]
    assert len(lower) == 6
    assert set(lower["speaker"]) == {"SF9"}
    assert lower.index.str.isupper().all()
