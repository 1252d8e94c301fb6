"""HiGRU: a level written a second time, the order of dialogues, and a label that only a later turn tells."""

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
from serbench.sermodels import higru
from serbench.sermodels.core.sermodel import Data, Resources
from serbench.sermodels.inputs.dialogues import dialogues_of, in_order

EMOTION = Task("emotion", "classification", ("emotion",), labels=("anger", "neutral"))
CONFIG = replace(higru.TINY, train=replace(higru.TINY.train, epochs=25, batch_size=8), pool=1)


def told_by_the_next_turn(n: int = 72) -> Data:
    """Dialogues of six turns; the class of a turn can be heard in the turn after it alone; the last one is no item."""
    rng = np.random.default_rng(3)
    told = rng.integers(0, 2, size=n)  # what turn k says of turn k - 1
    rows = [
        {"id": f"u{k:02}", "path": f"{k}.wav", "speaker": f"s{k % 2}", "turn": k % 6, "dialogue": f"d{k // 6:02}"}
        for k in range(n)
    ]
    table = add_context(make_table(rows), order=("turn",))
    signs = np.array([[2.0, -2.0, 0.0], [-2.0, 2.0, 0.0]])
    arrays = {
        item: (rng.normal(size=(int(rng.integers(3, 7)), 3)) + signs[told[k]]).astype(np.float32)
        for k, item in enumerate(table.index)
    }
    labels = np.roll(told, -1).astype(np.int64)
    whole = Data(EMOTION, table, {"input": FeatureTable.from_arrays(arrays, 0.01)}, labels, turns=table)
    return whole.take([k for k in range(n) if k % 6 != 5])


def right(gold: np.ndarray, predicted: np.ndarray) -> float:
    return float((predicted.argmax(axis=1) == gold).mean())


def score_on_the_other_half(data: Data, config: higru.Config) -> float:
    half = len(data) // 2
    train, test = data.take(range(half)), data.take(range(half, len(data)))
    model = higru.Model(config, EMOTION, Resources(seed=2))
    model.fit(train, train, right)
    return right(test.labels, model.predict(test))


def test_what_a_later_turn_tells_is_learnt_and_not_known_alone_or_untrained() -> None:
    data = told_by_the_next_turn()
    assert score_on_the_other_half(data, CONFIG) > 0.85
    assert score_on_the_other_half(data, replace(CONFIG, turns=1)) < 0.75
    still = replace(CONFIG, train=replace(CONFIG.train, epochs=1, learning_rate=0.0))
    assert score_on_the_other_half(data, still) < 0.75


@pytest.mark.parametrize("fusion", higru.FUSIONS)
def test_a_level_is_its_equations_step_by_step(fusion: str) -> None:
    torch.manual_seed(0)
    level = higru.Level(3, 4, fusion)
    cells = [nn.GRUCell(3, 4), nn.GRUCell(3, 4)]
    for cell, end in zip(cells, ("_l0", "_l0_reverse"), strict=True):
        own = {name: value for name, value in level.gru.state_dict().items() if name.endswith(end)}
        cell.load_state_dict(
            {name.removesuffix(end): value for name, value in own.items() if name.count("_") == end.count("_") + 1}
        )
    steps, lengths = torch.randn(2, 5, 3), torch.tensor([5, 3])
    with torch.no_grad():
        made = level(steps, lengths)
        for k, length in enumerate((5, 3)):
            x = steps[k, :length]
            left, right_ = torch.zeros(length, 4), torch.zeros(length, 4)
            h = torch.zeros(1, 4)
            for t in range(length):
                h = left[t : t + 1] = cells[0](x[t][None], h)
            h = torch.zeros(1, 4)
            for t in reversed(range(length)):
                h = right_[t : t + 1] = cells[1](x[t][None], h)
            attend = [torch.softmax(s @ s.T, dim=1) @ s for s in (left, right_)]
            parts = {
                "none": [left, right_],
                "fusion": [left, x, right_],
                "self-attention": [attend[0], left, x, right_, attend[1]],
            }[fusion]
            expected = torch.tanh(torch.cat(parts, dim=1) @ level.layer.weight.T + level.layer.bias)
            torch.testing.assert_close(made[k, :length], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("by", ["turn", "time"])
def test_turns_stand_in_the_order_of_the_corpus_whatever_the_order_of_the_table(by: str) -> None:
    rng = np.random.default_rng(1)
    speakers = rng.integers(0, 3, size=12)
    rows = [
        {"id": f"t{k:02}", "path": "a.wav", "speaker": f"s{speakers[k]}", "dialogue": "d", "turn": k}
        | ({"dialogue_start": float(k), "dialogue_end": k + 0.5} if by == "time" else {})
        for k in range(12)
    ]
    table = add_context(
        make_table([rows[k] for k in rng.permutation(12)]), order=("turn",) if by == "turn" else ("dialogue_start",)
    )
    arrays = {item: np.zeros((1, 1), np.float32) for item in table.index if item != "t04"}
    data = Data(EMOTION, table.loc[["t07", "t02"]], {"input": FeatureTable.from_arrays(arrays)}, turns=table)
    laid = dialogues_of(data, most=100)
    assert laid.turns == (tuple(f"t{k:02}" for k in range(12) if k != 4),)
    assert laid.places == ((0, 6), (0, 2))
    assert dialogues_of(data, most=5).places == ((1, 1), (0, 2))


def test_turns_that_nothing_orders_go_by_rank_and_circles_come_last() -> None:
    rank = {"a": (2.0, 0), "b": (1.0, 1), "c": (0.0, 2), "d": (0.0, 3)}
    assert in_order({"a": [], "b": [], "c": ["d"], "d": ["c"]}, rank) == ["b", "a", "c", "d"]
    assert in_order({"a": ["elsewhere"], "b": ["a"]}, rank) == ["a", "b"]


def test_an_item_without_a_dialogue_stands_alone() -> None:
    table = make_table([{"id": f"u{k}", "path": "a.wav", "speaker": "s"} for k in range(3)])
    arrays = {item: np.zeros((2, 1), np.float32) for item in table.index}
    laid = dialogues_of(Data(EMOTION, table, {"input": FeatureTable.from_arrays(arrays)}, turns=table), 10)
    assert laid.turns == (("u0",), ("u1",), ("u2",))


def test_a_step_takes_whole_dialogues_until_it_is_full() -> None:
    assert higru.filled([2, 0, 1, 3], [4, 1, 3, 5], 6) == [[2, 0], [1, 3]]
    assert higru.filled([0, 1, 2], [6, 6, 1], 6) == [[0], [1, 2]]
    assert higru.filled([0], [0], 6) == [[0]]


def test_one_vector_per_turn_is_read_as_one_step() -> None:
    data = told_by_the_next_turn(24)
    arrays = {item: data.features["input"][item][:1] for item in data.features["input"]}
    flat = replace_features(data, FeatureTable.from_arrays(arrays))
    model = higru.Model(replace(CONFIG, train=replace(CONFIG.train, epochs=1), pool=5), EMOTION, Resources(seed=1))
    log = model.fit(flat, flat, right)
    assert model.predict(flat).shape == (20, 2)
    assert log.facts["dialogues"] == {"number": 4, "mean_turns": 6.0, "unlabelled_turns": 4}


def replace_features(data: Data, table: FeatureTable) -> Data:
    assert isinstance(data.turns, pd.DataFrame)
    return Data(data.task, data.items, {"input": table}, data.labels, turns=data.turns)
