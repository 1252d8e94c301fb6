"""EMOVO: names against the published design."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from serbench.benchmarks.corpora.findings import counts
from serbench.datasets import emovo
from serbench.datasets.core.errors import SerbenchError

CODES = ("dis", "gio", "neu", "pau", "rab", "sor", "tri")
SENTENCES = ("b1", "b2", "b3", "d1", "d2", "l1", "l2", "l3", "l4", "n1", "n2", "n3", "n4", "n5")


def test_counts_are_the_designs(tmp_path: Path) -> None:
    for speaker in ("f1", "f2", "f3", "m1", "m2", "m3"):
        (tmp_path / speaker).mkdir()
        for code, sentence in product(CODES, SENTENCES):
            (tmp_path / speaker / f"{code}-{speaker}-{sentence}.wav").write_bytes(b"")
    corpus = emovo.load(tmp_path)
    assert len(corpus.utterances) == 588
    assert list(counts(corpus)) == []
    assert len(corpus.folds()) == 6
    assert corpus.utterances.groupby("gender").size().to_dict() == {"female": 294, "male": 294}
    row = corpus.row("pau-m1-d2")
    assert (row["emotion"], row["speaker"], row["text"]) == ("fear", "m1", "Porti con te quella cosa?")


def test_upper_case_and_a_folder_above(miniature: Callable[..., Path]) -> None:
    corpus = emovo.load(miniature("emovo", utterances=42, traps=True))
    row = corpus.row("dis-m3-b1")
    assert row["path"] == "EMOVO/m3/DIS-M3-B1.wav"
    assert row["speaker"] == "m3"
    assert any("dis-f1-x9.wav" in note for note in corpus.notes)


def test_unknown_emotion(tmp_path: Path) -> None:
    (tmp_path / "xxx-f1-b1.wav").write_bytes(b"")
    with pytest.raises(SerbenchError, match="unknown class 'xxx' of 'xxx-f1-b1'"):
        emovo.load(tmp_path)
