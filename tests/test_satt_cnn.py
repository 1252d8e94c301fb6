"""Satt-CNN: the network a second time, long utterances as the mean of their pieces, settings that are refused."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from serbench.benchmarks.conformance.material import TASKS, trained, whole, withheld
from serbench.datasets.core.errors import SerbenchError
from serbench.features.core.feature_table import FeatureTable
from serbench.sermodels.satt_cnn import PRESETS, TINY, Config, Model, SattNetwork


def test_sizes_are_those_of_the_re_implementations() -> None:
    built = SattNetwork(400, 4, PRESETS["default"])
    shapes = [tuple(c.weight.shape) for c in built.convolutions.convolutions]
    assert shapes == [(16, 1, 12, 16), (24, 16, 8, 12), (32, 24, 5, 7)]
    assert built.lstm.lstm.input_size == 32 * (400 // 8)
    assert built.lstm.lstm.hidden_size == 128


def test_outputs_come_from_where_each_direction_ends() -> None:
    """The library's own last states, of each piece without padding."""
    torch.manual_seed(0)
    built = SattNetwork(160, 3, TINY).eval()
    lengths = torch.tensor([100, 61])
    frames = torch.randn(2, 100, 160, generator=torch.Generator().manual_seed(1))
    made = built(frames, lengths)
    for row, length, outputs in zip(frames, lengths.tolist(), made, strict=True):
        steps, _ = built.convolutions(row[None, :length], torch.tensor([length]))
        _, (last, _) = built.lstm.lstm(steps)
        torch.testing.assert_close(outputs, built.head(last.transpose(0, 1).flatten(1))[0])


def test_a_long_utterance_is_the_mean_of_its_pieces() -> None:
    model = trained("satt-cnn", "classification")[0]
    data = withheld(whole("satt-cnn", "classification"))
    table = data.features["input"]
    frames = np.concatenate([table[item] for item in data.ids[:4]])[:700]  # 7 s: three pieces of 233 or 234 frames
    edges = [0, 233, 466, 700]
    parts = {data.ids[k]: frames[a:b] for k, (a, b) in enumerate(itertools.pairwise(edges))}

    def predicted(arrays: dict[str, np.ndarray]) -> np.ndarray:
        features = {"input": FeatureTable.from_arrays(arrays, table.hop_seconds, 16000)}
        return np.asarray(model.predict(dataclasses.replace(data.take(range(len(arrays))), features=features)))

    np.testing.assert_allclose(predicted({data.ids[0]: frames})[0], predicted(parts).mean(axis=0), atol=1e-6)
    assert np.ptp(predicted(parts), axis=0).max() > 1e-3, "the pieces are not all the same"


def test_each_piece_is_trained_with_its_utterances_label() -> None:
    model, log = trained("satt-cnn", "regression")
    data = whole("satt-cnn", "regression").take(range(8))
    counts = [data.features["input"].frames(item) for item in data.ids]
    assert log.facts["pieces"] == sum(-(-count // 300) for count in counts)
    owners = [piece.position for piece in model._pieces]
    expected = (data.labels - data.labels.mean(axis=0)) / data.labels.std(axis=0)
    np.testing.assert_allclose(model._targets.numpy(), expected[owners], rtol=1e-5)


def test_settings_and_features_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SerbenchError, match=r"3 model.channels, 2 model.time_kernels and 3 model.band_kernels"):
        SattNetwork(400, 4, Config(time_kernels=(3, 3)))
    data = whole("satt-cnn", "classification")
    other = {"input": FeatureTable.from_arrays({i: np.zeros((9, 26), np.float32) for i in data.ids}, 0.01, 16000)}
    with pytest.raises(SerbenchError, match=r"26 values per frame. Expected 160, as in training"):
        trained("satt-cnn", "classification")[0].predict(dataclasses.replace(data, features=other))
    single = {"input": FeatureTable.from_arrays({i: np.zeros((1, 26), np.float32) for i in data.ids}, None, 16000)}
    flat = dataclasses.replace(data, features=single)
    with pytest.raises(SerbenchError, match=r"one row per utterance. Expected a feature with frames"):
        Model(replace(TINY), TASKS["classification"]).fit(flat, flat, lambda *_: 0.0)
