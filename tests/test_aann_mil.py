"""AANN-MIL: segments, pooling and the three forms of attention written again; which loss teaches what; salience."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.task import Task
from serbench.features.core.feature_table import FeatureTable
from serbench.sermodels import aann_mil
from serbench.sermodels.core.sermodel import Data, Resources

EMOTION = Task("emotion", "classification", ("emotion",), labels=("anger", "neutral"))
CONFIG = replace(aann_mil.TINY, train=replace(aann_mil.TINY.train, epochs=20, batch_size=8))


def told_by_one_segment(n: int = 48) -> tuple[Data, list[int]]:
    """Noise of six segments, one of which holds a band that tells the class; and which segment it is."""
    rng = np.random.default_rng(4)
    classes, places = np.arange(n) % 2, rng.integers(0, 6, size=n)
    arrays = {}
    for k in range(n):
        frames = rng.normal(size=(96, 8)) * 0.3
        frames[places[k] * 16 : places[k] * 16 + 16, 6 if classes[k] else 1] += 3
        arrays[f"u{k:02}"] = frames.astype(np.float32)
    items = pd.DataFrame({"speaker": "s"}, index=list(arrays))
    return Data(EMOTION, items, {"input": FeatureTable.from_arrays(arrays, 0.016)}, classes), places.tolist()


def right(gold: np.ndarray, predicted: np.ndarray) -> float:
    return float((predicted.argmax(axis=1) == gold).mean())


@pytest.mark.parametrize("form", aann_mil.FORMS)
def test_what_one_segment_tells_is_learnt_and_listened_to(form: str) -> None:
    data, places = told_by_one_segment()
    train, test = data.take(range(32)), data.take(range(32, 48))
    model = aann_mil.Model(replace(CONFIG, attention=form), EMOTION, Resources(seed=1))
    model.fit(train, train, right)
    assert right(test.labels, model.predict(test)) > 0.9
    heard = [int(one["weight"].to_numpy().argmax()) for one in model.salience(test)]
    assert np.mean([a == b for a, b in zip(heard, places[32:], strict=True)]) > 0.4  # chance: 1 in 6
    assert all(one["weight"].sum() == pytest.approx(1, abs=1e-5) for one in model.salience(test))
    still = aann_mil.Model(
        replace(CONFIG, attention=form, train=replace(CONFIG.train, epochs=1, learning_rate=0.0)),
        EMOTION,
        Resources(seed=1),
    )
    still.fit(train, train, right)
    assert right(test.labels, still.predict(test)) < 0.75


@pytest.mark.parametrize("form", aann_mil.FORMS)
@pytest.mark.parametrize("classes", [True, False])
def test_the_forms_of_attention_are_their_equations(form: str, classes: bool) -> None:
    torch.manual_seed(0)
    layer = aann_mil.Attention(5, 3, form, classes)
    embeddings, counts = torch.randn(2, 4, 5), torch.tensor([4, 2])
    made = layer(embeddings, counts)[0].detach().numpy()
    value, weight = ((m.weight.detach().numpy(), m.bias.detach().numpy()) for m in (layer.value, layer.weight))
    for k, n in enumerate((4, 2)):
        x = embeddings[k, :n].numpy()
        v = 1 / (1 + np.exp(-(x @ weight[0].T + weight[1])))
        p, f = v / v.sum(axis=0), x @ value[0].T + value[1]
        if form == "feature":
            out = layer.out
            expected = (p * np.maximum(f, 0)).sum(axis=0) @ out.weight.detach().numpy().T + out.bias.detach().numpy()
        else:
            f = np.exp(f) / np.exp(f).sum(axis=1, keepdims=True) if classes else f
            expected = (p * f).sum(axis=0)
            expected = np.log(expected) if classes else expected
        np.testing.assert_allclose(made[k], expected, atol=1e-5)


def test_segments_are_windows_and_the_last_one_holds_the_end() -> None:
    for length in (1, 15, 16, 17, 40, 48):
        frames = np.arange(1, length + 1, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)
        cut = aann_mil.segments(frames, 16, 8)
        expected, start = [], 0
        while True:
            window = frames[start : start + 16]
            expected.append(np.concatenate([window, np.zeros((16 - len(window), 2), np.float32)]))
            if start + 16 >= length:
                break
            start += 8
        np.testing.assert_array_equal(cut, np.stack(expected))


@pytest.mark.parametrize("joint", [False, True])
def test_the_attention_teaches_the_embedding_only_where_it_is_asked_to(joint: bool) -> None:
    torch.manual_seed(0)
    network = aann_mil.Network(8, 2, replace(CONFIG, joint=joint), classes=True)
    attended, pooled, _ = network(torch.randn(5, 16, 8), torch.tensor([3, 2]))
    attended.sum().backward(retain_graph=True)
    taught = any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in network.embed.parameters())
    assert taught == joint
    pooled.sum().backward()
    assert all(p.grad is not None for p in network.embed.parameters())


def test_decisions_are_pooled_over_the_segments_that_are_there() -> None:
    decisions = torch.tensor([[[1.0], [3.0], [9.0]], [[2.0], [4.0], [6.0]]])
    counts = torch.tensor([2, 3])
    assert aann_mil.pool(decisions, counts, "mean").flatten().tolist() == [2.0, 4.0]
    assert aann_mil.pool(decisions, counts, "max").flatten().tolist() == [3.0, 6.0]


def test_a_feature_without_frames_is_refused() -> None:
    arrays = {f"u{k}": np.zeros((1, 4), np.float32) for k in range(4)}
    items = pd.DataFrame({"speaker": "s"}, index=list(arrays))
    data = Data(EMOTION, items, {"input": FeatureTable.from_arrays(arrays)}, np.array([0, 1, 0, 1]))
    with pytest.raises(SerbenchError, match=r"one row per utterance. Expected a feature with frames: --set"):
        aann_mil.Model(CONFIG, EMOTION, Resources()).fit(data, data, right)
