"""CaFE: names against the published design, folders of any spelling, two archives in one place."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from serbench.benchmarks.corpora.findings import counts
from serbench.datasets import cafe
from serbench.datasets.core.errors import SerbenchError


def test_counts_are_the_designs(tmp_path: Path) -> None:
    for actor, letter, intensity, sentence in product(range(1, 13), "CDJNPST", "12", range(1, 7)):
        if not (letter == "N" and intensity == "2"):
            (tmp_path / f"{actor:02d}-{letter}-{intensity}-{sentence}.wav").write_bytes(b"")
    corpus = cafe.load(tmp_path)
    assert len(corpus.utterances) == 936
    assert list(counts(corpus)) == []
    assert [len(corpus.folds(split)) for split in corpus.splits] == [6, 12]
    for fold in corpus.folds():
        tested = corpus.utterances[fold.assign(corpus.utterances).eq("test")]
        assert len(tested) == 156
        assert tested.drop_duplicates("speaker")["gender"].tolist() == ["male", "female"]


def test_name_grammar_does_not_rest_on_folders(miniature: Callable[..., Path]) -> None:
    corpus = cafe.load(miniature("cafe", utterances=84, traps=True))
    row = corpus.row("06-C-1-1")
    assert row["path"] == "CaFE_48k/ColŠre/Faible/06-C-1-1.wav"
    assert (row["emotion"], row["speaker"], row["gender"], row["intensity"]) == ("anger", "06", "female", "mild")
    assert (row["pair"], row["text"]) == ("05+06", "Un cheval fou dans mon jardin.")
    assert any("13-N-1-1.wav" in note for note in corpus.notes)


def test_both_archives_in_one_place(tmp_path: Path) -> None:
    (tmp_path / "01-N-1-1.wav").write_bytes(b"")
    (tmp_path / "CaFE_192k").mkdir()
    (tmp_path / "CaFE_192k/01-N-1-1.aiff").write_bytes(b"")
    with pytest.raises(SerbenchError, match="two files for one id, 01-N-1-1"):
        cafe.load(tmp_path)
    assert len(cafe.load(tmp_path / "CaFE_192k").utterances) == 1
