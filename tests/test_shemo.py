"""ShEMO: names, transcripts and folds of uneven speakers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from serbench.datasets import shemo

LETTERS = "AFHNSW"


@pytest.fixture(scope="module")
def trapped(miniature: Callable[..., Path]) -> Path:
    return miniature("shemo", utterances=78, traps=True)


def test_name_grammar(trapped: Path) -> None:
    corpus = shemo.load(trapped)
    row = corpus.row("F03S01")
    assert (row["speaker"], row["gender"], row["emotion"], row["language"]) == ("F03", "female", "sadness", "fa")
    assert corpus.row("M02F01")["emotion"] == "fear"
    assert corpus.row("M02W01")["emotion"] == "surprise"
    assert shemo.parse_name("M48X01") is None


def test_transcripts_are_read_without_marks(trapped: Path) -> None:
    corpus = shemo.load(trapped)
    assert corpus.row("F01A01")["text"] == "متن 0."
    assert corpus.utterances["text"].notna().all()
    assert any(note.startswith("1 transcripts have no sound file, such as M47N14") for note in corpus.notes)


def test_without_transcripts_the_notes_say_so(tmp_path: Path) -> None:
    for name in ("F01A01", "F02N01", "M01S01", "M02A01", "M03N01"):
        (tmp_path / f"{name}.wav").write_bytes(b"")
    corpus = shemo.load(tmp_path)
    assert corpus.utterances["text"].isna().all()
    assert any("no transcripts were found" in note for note in corpus.notes)


def test_folds_are_even_where_speakers_are_not(tmp_path: Path) -> None:
    """87 speakers of 1 to 160 utterances; each fold gets its share of every emotion."""
    rng = np.random.default_rng(0)
    sizes = np.minimum(160, 1 + rng.exponential(33, 87).astype(int))
    for number, size in enumerate(sizes):
        speaker = f"{'FM'[number % 2]}{number // 2 + 1:02d}"
        drawn = rng.choice(list(LETTERS), int(size), p=[0.35, 0.02, 0.07, 0.37, 0.12, 0.07])
        for k, letter in enumerate(drawn, 1):
            (tmp_path / f"{speaker}{letter}{k:02d}.wav").write_bytes(b"")
    table = shemo.load(tmp_path).utterances
    shares = pd.crosstab(table["fold"], table["emotion"], normalize="columns")
    assert shares.shape == (5, 6)
    assert shares.to_numpy().min() > 0.15
    assert shares.to_numpy().max() < 0.25
