"""IAAN: its attention written a second time, turns that are missing, and a label that only the context tells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from serbench.datasets.schema.context import add_context
from serbench.datasets.schema.corpus import make_table
from serbench.datasets.schema.task import Task
from serbench.features.core.feature_table import FeatureTable
from serbench.sermodels import iaan
from serbench.sermodels.core.sermodel import Data, Resources
from serbench.sermodels.dialogue.layers import AdditiveAttention, masked_softmax, recurrent
from serbench.sermodels.inputs.turns import TurnFrames

EMOTION = Task("emotion", "classification", ("emotion",), labels=("anger", "neutral"))
CONFIG = replace(iaan.TINY, train=replace(iaan.TINY.train, epochs=15, batch_size=8), pool=1, smoothing=0.0)


def told_by_the_turn_before(n: int = 64, *, dialogues: bool = True) -> Data:
    """Dialogues of two speakers in turn; the class of a turn can be heard in the interlocutor's last turn alone."""
    rng = np.random.default_rng(3)
    told = rng.integers(0, 2, size=n)  # what turn k says of turn k + 1
    rows = [
        {
            "id": f"u{k:02}",
            "path": f"{k}.wav",
            "speaker": f"s{k % 2}",
            "turn": k % 8,
            "dialogue": f"d{k // 8}" if dialogues else None,
        }
        for k in range(n)
    ]
    table = add_context(make_table(rows), order=("turn",)) if dialogues else make_table(rows)
    signs = np.array([[2.0, -2.0, 0.0], [-2.0, 2.0, 0.0]])
    arrays = {
        item: (rng.normal(size=(int(rng.integers(4, 9)), 3)) + signs[told[k]]).astype(np.float32)
        for k, item in enumerate(table.index)
    }
    labels = np.array([0 if k % 8 == 0 else told[k - 1] for k in range(n)], dtype=np.int64)
    whole = Data(EMOTION, table, {"input": FeatureTable.from_arrays(arrays, 0.01)}, labels, turns=table)
    return whole.take([k for k in range(n) if k % 8]) if dialogues else whole


def right(gold: np.ndarray, predicted: np.ndarray) -> float:
    return float((predicted.argmax(axis=1) == gold).mean())


def fitted(data: Data, config: iaan.Config) -> tuple[iaan.Model, Data]:
    """A model trained on the first half of the dialogues, and the other half."""
    half = len(data) // 2
    train, test = data.take(range(half)), data.take(range(half, len(data)))
    model = iaan.Model(config, EMOTION, Resources(seed=2))
    model.fit(train, train, right)
    return model, test


def test_what_the_context_alone_tells_is_learnt_and_not_known_without_it_or_untrained() -> None:
    data = told_by_the_turn_before()
    model, test = fitted(data, CONFIG)
    assert right(test.labels, model.predict(test)) > 0.9
    deaf, test = fitted(data, replace(CONFIG, context=False))
    assert right(test.labels, deaf.predict(test)) < 0.75
    still = replace(CONFIG, train=replace(CONFIG.train, epochs=1, learning_rate=0.0))
    assert right(test.labels, fitted(data, still)[0].predict(test)) < 0.75


def test_attention_is_the_equation_written_again() -> None:
    torch.manual_seed(0)
    layer = AdditiveAttention(4, 3, contexts=2)
    frames, lengths = torch.randn(2, 5, 4), torch.tensor([5, 3])
    contexts = [torch.randn(2, 4), torch.randn(2, 4)]
    pooled, weights = layer(frames, lengths, contexts)
    w, b, u = (p.detach().numpy() for p in (layer.frame.weight, layer.frame.bias, layer.score.weight))
    others = [other.weight.detach().numpy() for other in layer.context]  # type: ignore[union-attr]
    for k, length in enumerate((5, 3)):
        score = []
        for h in frames[k, :length].numpy():
            inside = w @ h + b + sum(o @ c[k].numpy() for o, c in zip(others, contexts, strict=True))
            score.append(float((u @ np.tanh(inside))[0]))
        alpha = np.exp(score) / np.exp(score).sum()
        np.testing.assert_allclose(weights[k, :length].detach().numpy(), alpha, atol=1e-6)
        np.testing.assert_allclose(pooled[k].detach().numpy(), alpha @ frames[k, :length].numpy(), atol=1e-6)
    assert (weights[1, 3:] == 0).all()


def test_a_gru_stops_where_the_turn_ends_and_a_missing_turn_is_zeros() -> None:
    torch.manual_seed(0)
    gru, cell = nn.GRU(3, 4, batch_first=True), nn.GRUCell(3, 4)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in gru.state_dict().items()})
    frames, lengths = torch.randn(3, 6, 3), torch.tensor([6, 2, 0])
    states = recurrent(gru, frames, lengths)
    for k, length in enumerate(lengths.tolist()):
        h = torch.zeros(1, 4)
        for t in range(length):
            h = cell(frames[k, t][None], h)
            torch.testing.assert_close(states[k, t], h[0])
        assert (states[k, length:] == 0).all()
    assert (masked_softmax(torch.ones(1, 3), torch.zeros(1, 3, dtype=torch.bool)) == 0).all()


def test_turns_are_averaged_cut_and_padded() -> None:
    table = FeatureTable.from_arrays({"a": np.arange(7, dtype=np.float32)[:, None], "b": np.ones((2, 1), np.float32)})
    turns = TurnFrames(table, lambda _, frames: frames, pool=2, most=3, keep_bytes=0)
    frames, lengths = turns.padded(["a", None, "b"])
    assert lengths.tolist() == [3, 0, 1]
    assert frames[..., 0].tolist() == [[0.5, 2.5, 4.5], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
    assert turns.padded([None])[0].shape == (1, 1, 1)


def test_without_dialogues_the_current_turn_is_judged_alone_and_the_record_says_so() -> None:
    data = told_by_the_turn_before(16, dialogues=False)
    config = replace(CONFIG, train=replace(CONFIG.train, epochs=1))
    model = iaan.Model(config, EMOTION, Resources(seed=2))
    log = model.fit(data, data, right)
    assert log.facts["context"] == "none, the current turn alone"
    assert model.predict(data).shape == (16, 2)


def test_salience_is_a_distribution_over_the_frames_of_the_turn() -> None:
    data = told_by_the_turn_before(16)
    config = replace(CONFIG, train=replace(CONFIG.train, epochs=1), pool=2)
    model = iaan.Model(config, EMOTION, Resources(seed=2))
    model.fit(data, data, right)
    table = data.features["input"]
    for item, one in zip(data.ids, model.salience(data), strict=True):
        assert isinstance(one, pd.DataFrame)
        assert len(one) == -(-table.frames(item) // 2)
        assert one["weight"].sum() == pytest.approx(1, abs=1e-6)
        assert one["end"].iloc[-1] == pytest.approx(table.frames(item) * 0.01)
