"""E2E-deep: the release's sizes, its convolutions a second time, and settings that are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from serbench.benchmarks.conformance.material import TASKS
from serbench.datasets.core.errors import SerbenchError
from serbench.sermodels.e2e_deep import PRESETS, TINY, Config, DeepNetwork, Model
from serbench.sermodels.semantic_fusion.network import initialise


def network(config: Config, samples: int) -> DeepNetwork:
    built = DeepNetwork(samples, 2, config)
    initialise(built, torch.Generator().manual_seed(0))
    return built.eval()


def test_parameters_are_those_of_the_release() -> None:
    """Counted by its code: kernels and biases, two LSTMs of 256 with three peepholes a unit, two outputs."""
    convolutions = 8 * 1 * 64 + 64 + 6 * 64 * 128 + 128 + 6 * 128 * 256 + 256
    lstms = 2 * ((256 + 256) * 4 * 256 + 4 * 256 + 3 * 256)
    assert sum(p.numel() for p in network(PRESETS["default"], 640).parameters()) == convolutions + lstms + 256 * 2 + 2
    assert Config().train.batch_size == 5
    assert Config().sequence_seconds / Config().frame_seconds == 500


def test_features_equal_a_plain_writing_of_each_piece_alone() -> None:
    built, random = network(TINY, 80), torch.Generator().manual_seed(1)
    signals = [torch.randn(count * 80, generator=random) for count in (5, 2)]
    frames = torch.nn.utils.rnn.pad_sequence([s.reshape(-1, 80) for s in signals], batch_first=True)
    made = built.features(frames, torch.tensor([5, 2]))
    for signal, rows in zip(signals, made, strict=True):
        maps = signal[None, None]
        for block, (before, behind) in zip(built.blocks, [(3, 4), (2, 3)], strict=True):
            padded = functional.pad(maps, (before, behind))
            maps = functional.conv1d(padded, block.weight.permute(2, 1, 0), block.bias).clamp(min=0)
            maps = maps.reshape(*maps.shape[:2], -1, block.pool).amax(-1)
        plain = maps[0].t().reshape(len(signal) // 80, -1)
        torch.testing.assert_close(rows[: len(plain)], plain, rtol=1e-5, atol=1e-6)
        assert not rows[len(plain) :].any()


def test_each_lstm_takes_the_states_of_the_one_below() -> None:
    built = network(replace(TINY, layers=2), 80)
    frames, lengths = torch.randn(2, 4, 80, generator=torch.Generator().manual_seed(2)), torch.tensor([4, 4])
    first, second = built.lstms
    expected = second(first(built.features(frames, lengths)))
    torch.testing.assert_close(built.states(frames, lengths), expected)
    index = torch.tensor([[0, 3], [1, 1]])
    rows = built.traces(frames, lengths, index)
    torch.testing.assert_close(rows[1, 0], built.head(expected[1, 1]))
    torch.testing.assert_close(rows[0], built.head(expected[0, [0, 3]]))
    torch.testing.assert_close(built(frames, lengths), built.head(expected.mean(1)))


def test_settings_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(SerbenchError, match=r"2 model.filters, 3 model.kernels and 3 model.pools"):
        Config(filters=(8, 8))
    with pytest.raises(SerbenchError, match=r"model.pools=10,8,8 take 640 samples together, a frame has 320"):
        Model(Config(frame_seconds=0.02), TASKS["regression"])
