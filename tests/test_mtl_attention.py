"""Multitask self-attention: its pooling written again, the two losses, and corpora without gender."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from serbench.benchmarks.conformance.material import TASKS, score, whole
from serbench.datasets.core.errors import SerbenchError
from serbench.sermodels.core.sermodel import Data, Resources
from serbench.sermodels.mtl_attention import TINY, AttentionNetwork, Config, Model

STILL = replace(TINY, train=replace(TINY.train, epochs=1, batch_size=8, learning_rate=0.0), gender_weight=0.4)
"""One step of size 0 over the whole training set: the losses of a network that stays as it is."""


def test_attention_and_pooling_written_again() -> None:
    """Softmax of scaled products for each head, sum with the input, layer norm, moments over a piece's own steps."""
    torch.manual_seed(0)
    built = AttentionNetwork(160, 3, TINY, gender=True).eval()
    frames = torch.randn(2, 100, 160, generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([100, 61])
    made = built.pooled(frames, lengths).detach().numpy()
    steps, counts = built.convolutions(built.normalised(frames, lengths), lengths)
    states = built.lstm(steps, counts).detach().double().numpy()
    inner, outer = (built.attention.in_proj_weight, built.attention.out_proj.weight)
    w, b = inner.detach().double().numpy(), built.attention.in_proj_bias.detach().double().numpy()
    for own, count, expected in zip(states, counts.tolist(), made, strict=True):
        rows = own[:count]
        queries, keys, values = np.split(rows @ w.T + b, 3, axis=1)
        heads = []
        for k in range(TINY.heads):
            part = slice(4 * k, 4 * k + 4)
            weights = np.exp(queries[:, part] @ keys[:, part].T / 2.0)  # sqrt(16 / 4)
            heads.append(weights / weights.sum(axis=1, keepdims=True) @ values[:, part])
        mixed = np.concatenate(heads, axis=1) @ outer.detach().double().numpy().T
        total = rows + mixed + built.attention.out_proj.bias.detach().double().numpy()
        normed = (total - total.mean(1, keepdims=True)) / np.sqrt(total.var(1, keepdims=True) + 1e-5)
        np.testing.assert_allclose(expected, np.concatenate([normed.mean(0), normed.std(0)]), rtol=1e-3, atol=1e-4)


def fitted(config: Config, data: Data, kind: str = "classification") -> tuple[Model, Any]:
    model = Model(config, TASKS[kind], Resources(seed=1))
    train = data.take(range(8))
    return model, model.fit(train, train, score)


@pytest.mark.parametrize("unknown", [(), (2, 5)])
def test_the_loss_is_that_of_both_tasks_over_who_is_known(unknown: tuple[int, ...]) -> None:
    data = whole("mtl-attention", "classification")
    items = data.items.copy()
    items.loc[items.index[list(unknown)], "gender"] = None
    model, log = fitted(STILL, dataclasses.replace(data, items=items))
    train, row = data.take(range(8)), log.epochs[0]
    assert log.facts["gender"] == f"known for {8 - len(unknown)} of 8 training items; a second task"
    emotion = log_loss(train.labels, np.asarray(model.predict(train)), labels=[0, 1, 2])
    assert row["loss_emotion"] == pytest.approx(emotion, rel=1e-4)
    frames = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(train.array(i)) for i in range(8)], batch_first=True)
    with torch.no_grad():
        voices = model.network.both(frames, torch.tensor([len(train.array(i)) for i in range(8)]))[1]
    known = np.setdiff1d(np.arange(8), unknown)
    chances, truth = torch.softmax(voices, 1).numpy()[known], (train.items["gender"] == "male").to_numpy()[known]
    assert row["loss_gender"] == pytest.approx(log_loss(truth, chances, labels=[False, True]), rel=1e-4)
    assert row["loss"] == pytest.approx(row["loss_emotion"] + 0.4 * row["loss_gender"], rel=1e-5)


@pytest.mark.parametrize("gender", [None, "female"])
def test_where_gender_says_nothing_emotion_is_all_there_is(gender: str | None) -> None:
    data = whole("mtl-attention", "regression")
    data = dataclasses.replace(data, items=data.items.assign(gender=gender))
    model, log = fitted(STILL, data, "regression")
    assert model.network.gender is None
    assert log.facts["gender"].endswith("no task")
    assert "loss_gender" not in log.epochs[0]


def test_heads_that_do_not_divide_the_states_are_refused() -> None:
    with pytest.raises(SerbenchError, match=r"model.heads=5 do not divide the 256 values of a state"):
        Config(heads=5)
