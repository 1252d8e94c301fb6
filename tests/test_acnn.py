"""ACNN: its equations written again, and the second view."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from serbench.benchmarks.conformance.material import TASKS, score, whole
from serbench.sermodels.acnn import PRESETS, TINY, AttentiveNetwork, Config, Model, second_view
from serbench.sermodels.core.sermodel import Data, Resources


def network(config: Config = TINY, dim: int = 26, views: int = 0) -> AttentiveNetwork:
    torch.manual_seed(0)
    return AttentiveNetwork(dim, 3, config, views).eval()


def test_the_equations_written_again() -> None:
    """Convolution, maximum, softmax and sum in numpy, each piece alone, also one that is shorter than a maximum."""
    config = replace(TINY, kernels=4, kernel_frames=4, pool_frames=5, pool_step=3)
    built, random = network(config, dim=3), np.random.default_rng(1)
    weight, bias = (p.detach().numpy() for p in (built.convolution.weight, built.convolution.bias))
    rows = [random.standard_normal((length, 3)).astype(np.float32) for length in (17, 9, 2)]
    frames = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(r) for r in rows], batch_first=True)
    made = built.attended(frames, torch.tensor([17, 9, 2])).detach().numpy()
    for row, z in zip(rows, made, strict=True):
        padded = np.pad(row, ((1, 2), (0, 0)))
        windows = np.stack([padded[t : t + 4] for t in range(len(row))])  # (frame, step, band)
        maps = np.einsum("tsb,kbs->tk", windows, weight) + bias
        maps = np.pad(np.maximum(maps, 0), ((0, max(0, 5 - len(row))), (0, 0)))
        x = np.array([maps[t : t + 5].max(axis=0) for t in range(0, len(maps) - 4, 3)])
        a = np.exp(x @ built.score.weight.detach().numpy()[0])
        np.testing.assert_allclose(z, (a / a.sum()) @ x, rtol=1e-4, atol=1e-6)


def test_attention_without_a_score_is_even_over_a_pieces_own_columns() -> None:
    built = network()
    torch.nn.init.zeros_(built.score.weight)
    weights, counts = built.listens(torch.ones(2, 120, 26), torch.tensor([120, 45]))
    assert counts.tolist() == [31, 6]  # of windows of 30 frames, one every 3
    torch.testing.assert_close(weights[1, :6], torch.full((6,), 1 / 6))
    assert not weights[1, 6:].any()


def test_presets_say_whether_they_see_attributes() -> None:
    assert Model.labels(PRESETS["default"]) == ()
    assert Model.labels(PRESETS["multi-view"]) == ("views:attributes",)


def with_attributes(unknown: int | None = None) -> Data:
    data = whole("acnn", "classification")
    random = np.random.default_rng(5)
    items = data.items.assign(arousal=random.uniform(1, 7, len(data)), valence=random.uniform(1, 7, len(data)))
    if unknown is not None:
        items.loc[items.index[unknown], "valence"] = np.nan
    return dataclasses.replace(data, items=items)


def test_the_second_view_is_z_scores_of_who_has_both() -> None:
    data = with_attributes(unknown=3)
    views = second_view(data)
    assert views is not None
    assert np.isnan(views[3]).all()
    known = np.delete(np.arange(len(data)), 3)
    np.testing.assert_allclose(views[known].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(views[known].std(axis=0), 1, atol=1e-6)
    assert np.corrcoef(views[known, 0], data.items["arousal"].to_numpy()[known])[0, 1] == pytest.approx(1)
    assert second_view(whole("acnn", "classification")) is None


def fitted(config: Config, data: Data) -> tuple[Model, Any]:
    model = Model(config, TASKS["classification"], Resources(seed=1))
    train = data.take(range(8))
    return model, model.fit(train, train, score)


def test_the_loss_of_two_views_is_their_weighted_mean() -> None:
    """Against scikit-learn's log loss and the CCC of its definition, on the batch that is the whole training set."""
    data = with_attributes(unknown=3)
    one_epoch = replace(TINY, view_weight=0.3, train=replace(TINY.train, epochs=1, batch_size=8, learning_rate=0.0))
    model, log = fitted(one_epoch, data)
    assert log.facts["views"] == "classes and attributes"
    train, row = data.take(range(8)), log.epochs[0]
    chances = np.asarray(model.predict(train))
    assert row["loss_classes"] == pytest.approx(log_loss(train.labels, chances, labels=[0, 1, 2]), rel=1e-4)
    built, views = model.network, second_view(train)
    assert built is not None
    frames = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(train.array(i)) for i in range(8)], batch_first=True)
    lengths = torch.tensor([len(train.array(i)) for i in range(8)])
    with torch.no_grad():
        made = built.views(built.attended(frames, lengths)).numpy()
    known = np.delete(np.arange(8), 3)
    p, g = made[known], views[known]
    covariance = ((p - p.mean(0)) * (g - g.mean(0))).mean(0)
    ccc = 2 * covariance / (p.var(0) + g.var(0) + (p.mean(0) - g.mean(0)) ** 2)
    assert row["loss_attributes"] == pytest.approx(1 - ccc.mean(), rel=1e-3)
    assert row["loss"] == pytest.approx(0.7 * row["loss_classes"] + 0.3 * row["loss_attributes"], rel=1e-5)


def test_without_attributes_there_is_one_view() -> None:
    one_epoch = replace(TINY, view_weight=0.3, train=replace(TINY.train, epochs=1))
    model, log = fitted(one_epoch, whole("acnn", "classification"))
    assert log.facts["views"] == "one: no attributes"
    assert model.network.views is None
