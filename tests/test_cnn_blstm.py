"""CNN-BLSTM: the network counted and computed a second way; traces on another grid; settings that are refused."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from serbench.benchmarks.conformance.material import TASKS, whole
from serbench.datasets.core.errors import SerbenchError
from serbench.sermodels.cnn_blstm import PRESETS, TINY, BlstmNetwork, Config, Model
from serbench.sermodels.core.sermodel import Resources


def network(config: Config, samples: int, outputs: int = 2) -> BlstmNetwork:
    torch.manual_seed(0)
    return BlstmNetwork(samples, outputs, config).eval()


def test_sizes_are_those_of_the_re_implementations() -> None:
    built = network(PRESETS["default"], 640)
    assert built.first.weight.numel() == 40 * 80, "5 ms at 16 kHz"
    assert built.second.weight.numel() == 40 * 40 * 4000, "500 ms at 8 kHz"
    lstm = [8 * 128 * (inputs + 128 + 2) for inputs in (320 * 2, 256)]  # two directions of four gates, two biases each
    assert sum(p.numel() for p in built.lstm.parameters()) == sum(lstm)


def test_the_network_equals_a_plain_writing_of_each_piece_alone() -> None:
    config = replace(
        PRESETS["small"], filters=6, first_kernel=7, second_kernel=150, time_pool=2, channel_pool=3, units=4
    )
    built, random = network(config, 40), torch.Generator().manual_seed(1)
    signals = [torch.randn(count * 40, generator=random) for count in (6, 3)]
    frames = torch.nn.utils.rnn.pad_sequence([s.reshape(-1, 40) for s in signals], batch_first=True)
    made = built(frames, torch.tensor([6, 3]))
    for signal, outputs in zip(signals, made, strict=True):
        maps = functional.conv1d(functional.pad(signal[None, None], (3, 3)), built.first.weight).clamp(min=0)
        maps = torch.maximum(maps[..., 0::2], maps[..., 1::2])
        maps = functional.conv1d(functional.pad(maps, (74, 75)), built.second.weight)[0]  # (channel, step)
        grouped = maps.reshape(2, 3, -1).amax(1).t().reshape(len(signal) // 40, -1)  # 20 steps x 2 groups a frame
        states = built.lstm.lstm(grouped)[0]
        torch.testing.assert_close(outputs, built.head(states.mean(0)), rtol=1e-4, atol=1e-5)


def test_noise_and_dropout_are_of_training_alone() -> None:
    built = network(replace(TINY, noise=0.5, dropout=0.5), 80)
    frames, lengths = torch.randn(1, 4, 80, generator=torch.Generator().manual_seed(1)), torch.tensor([4])
    torch.testing.assert_close(built(frames, lengths), built(frames, lengths), rtol=0, atol=0)
    assert not torch.equal(built.train()(frames, lengths), built(frames, lengths))


def test_traces_of_another_distance_are_learnt() -> None:
    """Labels every 0.25 s on frames of 0.1 s: as many predictions as labels, and better than their mean."""
    task = replace(TASKS["continuous"], frame_seconds=0.25)
    data = whole("cnn-blstm", "continuous")
    labels = [trace[: len(trace) // 5 * 5].reshape(-1, 5, 2)[:, 2] for trace in data.labels]
    at = [np.rint((np.arange(int(len(t) * 0.1 / 0.25)) + 0.5) * 2.5 - 0.5).astype(int) for t in data.labels]
    labels = [trace[np.minimum(k, len(trace) - 1)] for trace, k in zip(data.labels, at, strict=True)]
    counts = {item: len(trace) for item, trace in zip(data.ids, labels, strict=True)}
    train = dataclasses.replace(data, task=task, labels=labels, frames=counts).take(range(8))
    model = Model(replace(TINY, sequence_seconds=3.0), task, Resources(seed=1))

    def error(gold: list[np.ndarray], predicted: list[np.ndarray]) -> float:
        return -float(np.nanmean((np.concatenate(gold) - np.concatenate(predicted)) ** 2))

    model.fit(train, train, error)
    made = model.predict(dataclasses.replace(train, labels=None))
    assert [len(trace) for trace in made] == [len(trace) for trace in train.labels]
    assert -error(train.labels, list(made)) < 0.5 * float(np.nanvar(np.concatenate(train.labels), axis=0).mean())


def test_settings_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(SerbenchError, match=r"model.channel_pool=7 does not divide model.filters=40"):
        Config(channel_pool=7)
    with pytest.raises(SerbenchError, match=r"model.time_pool=3 does not divide the 640 samples"):
        Model(Config(time_pool=3), TASKS["regression"])
