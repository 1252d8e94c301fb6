"""SUBESCO: names against the published design, the misspelt one, speakers that share a number."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from serbench.benchmarks.corpora.findings import counts
from serbench.datasets import subesco
from serbench.datasets.core.errors import SerbenchError

EMOTIONS = ("ANGRY", "DISGUST", "FEAR", "HAPPY", "NEUTRAL", "SAD", "SURPRISE")


def test_counts_are_the_designs(tmp_path: Path) -> None:
    for gender, number, sentence, emotion, take in product("FM", range(1, 11), range(1, 11), EMOTIONS, range(1, 6)):
        bracket = "]" if (gender, number, sentence, emotion, take) == ("F", 2, 2, "SURPRISE", 3) else ""
        (tmp_path / f"{gender}_{number:02d}_NAME_S_{sentence}_{emotion}_{take}{bracket}.wav").write_bytes(b"")
    corpus = subesco.load(tmp_path)
    assert len(corpus.utterances) == 7000
    assert list(counts(corpus)) == []
    for fold in corpus.folds():
        tested = corpus.utterances[fold.assign(corpus.utterances).eq("test")].drop_duplicates("speaker")
        assert tested["gender"].value_counts().to_dict() == {"female": 2, "male": 2}


def test_the_misspelt_name(miniature: Callable[..., Path]) -> None:
    corpus = subesco.load(miniature("subesco", utterances=140, traps=True))
    assert corpus.row("F_01_ALPHA_S_1_ANGRY_1")["path"] == "F_01_ALPHA_S_1_ANGRY_1].wav"
    assert any("M_01_ALPHA.wav" in note for note in corpus.notes)


def test_a_number_is_a_woman_and_a_man(miniature: Callable[..., Path]) -> None:
    table = subesco.load(miniature("subesco", utterances=140)).utterances
    assert table["speaker"].nunique() == 20
    assert table.groupby("speaker")["gender"].nunique().eq(1).all()


def test_unknown_emotion(tmp_path: Path) -> None:
    (tmp_path / "F_01_OISHI_S_1_BORED_1.wav").write_bytes(b"")
    with pytest.raises(SerbenchError, match="unknown class 'BORED'"):
        subesco.load(tmp_path)
