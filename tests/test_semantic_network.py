"""Semantic fusion's network: the released graph's outputs, and its parts against PyTorch's and their equations."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from serbench.datasets.schema.task import Task
from serbench.sermodels.core.speed import as_written
from serbench.sermodels.semantic_fusion.fast import convolutions, pieces
from serbench.sermodels.semantic_fusion.layers import ConvPool, PeepholeLstm
from serbench.sermodels.semantic_fusion.model import PRESETS, Model
from serbench.sermodels.semantic_fusion.network import (
    Attention,
    Fusion,
    NetworkConfig,
    SemanticNetwork,
    frame_features,
    initialise,
    reach_frames,
    whole_frames,
)

TRACE = Task(
    "traces",
    "continuous",
    ("arousal", "valence", "liking"),
    frame_seconds=0.1,
    scales=dict.fromkeys(("arousal", "valence", "liking"), (-1.0, 1.0)),
)


# The released graph.


def golden(folder: Path, frames: int) -> tuple[SemanticNetwork, list[Tensor], dict[str, Any]]:
    """The network with the recipe's weights, its inputs and target, and the graph's outputs for them."""
    draw = np.random.default_rng(11)
    spec = json.loads((folder / f"spec_{frames}.json").read_text(encoding="utf-8"))
    held = {n.removesuffix(":0"): (draw.standard_normal(shape) * scale).astype(np.float32) for n, shape, scale in spec}
    sizes = ((4410, 0.1), (100, 1.0), (3, 0.1))
    given = [(draw.standard_normal((2, frames, n)) * scale).astype(np.float32) for n, scale in sizes]
    network = SemanticNetwork(4410, frames, 100, 3, NetworkConfig(), bounded=True)
    weights = {"label_mean": np.zeros(3), "label_std": np.ones(3), "gain": np.ones(())}
    for k, name in enumerate(("conv1d", "conv1d_1", "conv1d_2")):
        weights[f"blocks.{k}.weight"] = held[f"audio_model/{name}/kernel"]
        weights[f"blocks.{k}.bias"] = held[f"audio_model/{name}/bias"]
    parallel = [f"fully_connected{end}" for end in ("", "_1", "_2")]
    dense = {"audio": ["attn_model/fully_connected"], "words": ["attn_model/fully_connected_1"], "layer": parallel}
    for layer, names in dense.items():
        weights[f"fusion.{layer}.weight"] = np.concatenate([held[f"{n}/weights"] for n in names], axis=1).T
        weights[f"fusion.{layer}.bias"] = np.concatenate([held[f"{n}/biases"] for n in names])
    for layer, name in (("first", ""), ("second", "_self12"), ("third", "_self123")):
        weights[f"fusion.{layer}.weight"] = held[f"attn_model{name}/attn/attn_selector/w"].ravel()
    for part in ("kernel", "bias"):
        i, j, f, o = np.split(held[f"recurrent/rnn/lstm_cell/{part}"], 4, axis=-1)
        weights[f"lstm.{part}"] = np.concatenate([i, f, j, o], axis=-1)
    weights["lstm.peepholes"] = np.stack([held[f"recurrent/rnn/lstm_cell/w_{gate}_diag"] for gate in "ifo"])
    weights["head.weight"] = held["recurrent/fully_connected/weights"].T
    weights["head.bias"] = held["recurrent/fully_connected/biases"]
    network.load_state_dict({k: torch.tensor(np.ascontiguousarray(v), dtype=torch.float32) for k, v in weights.items()})
    expected = dict(np.load(folder / f"golden_2_{frames}_seed11.npz"))
    return network.eval(), [torch.from_numpy(g) for g in given], expected


@pytest.mark.parametrize("frames", [20, 100])
def test_the_released_graph_is_reproduced(test_data: Path, frames: int) -> None:
    network, (audio, words, target), expected = golden(test_data / "semantic_golden", frames)
    with torch.inference_mode():
        outputs = network(audio, words)
    np.testing.assert_allclose(outputs.numpy(), expected["pred"], rtol=0, atol=1e-5)
    loss = Model(PRESETS["released"], TRACE).losses_of(outputs, target)["loss"]
    assert float(loss) == pytest.approx(float(expected["loss"]), abs=1e-5)


def test_the_released_network_has_the_released_number_of_weights() -> None:
    network = SemanticNetwork(4410, 100, 100, 3, NetworkConfig(), bounded=True)
    without_effect = 3  # a constant added to both scores of each of the three attentions
    assert sum(p.numel() for p in network.parameters()) == 7_211_559 - without_effect
    assert network.features == 4410
    assert frame_features(4410, 20, NetworkConfig()) == 4400
    assert frame_features(4410, 300, NetworkConfig()) == 4410


# The convolution blocks.


class PlainBlock(nn.Module):
    """The block in PyTorch's layers; `mask` is what dropout keeps."""

    def __init__(self, block: ConvPool) -> None:
        super().__init__()
        kernel, channels, filters = block.weight.shape
        self.pad = nn.ConstantPad1d(((kernel - 1) // 2, kernel - 1 - (kernel - 1) // 2), 0.0)
        self.convolution = nn.Conv1d(channels, filters, kernel).double()
        self.convolution.weight.data = block.weight.detach().permute(2, 1, 0).clone()
        self.convolution.bias.data = block.bias.detach().clone()  # type: ignore[union-attr]
        self.pool = nn.MaxPool1d(block.pool)

    def forward(self, maps: Tensor, mask: Tensor | None = None, share: float = 1.0) -> Tensor:
        found = self.pool(torch.relu(self.convolution(self.pad(maps.transpose(1, 2))))).transpose(1, 2)
        return found if mask is None else found * mask / share


BLOCKS = [(3, 4, 6, 5, 203), (1, 5, 8, 10, 207), (2, 3, 6, 5, 31), (2, 3, 3, 4, 9), (1, 7, 3, 2, 50), (4, 2, 1, 3, 40)]


def block_and_maps(shape: tuple[int, ...], dropout: float = 0.0) -> tuple[ConvPool, Tensor]:
    channels, filters, kernel, pool, time = shape
    generator = torch.Generator().manual_seed(sum(shape))
    block = ConvPool(channels, filters, kernel, pool, dropout).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter, generator=generator)
    maps = torch.randn(3, time, channels, dtype=torch.double, generator=generator)
    maps[0, time // 5 : time // 2] = 0
    maps[1] = 0
    maps[1, :2] = 1
    return block, maps


@pytest.mark.parametrize("shape", BLOCKS)
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("piece", [200, 2000, 500_000])
def test_blocks_piece_by_piece_are_the_plain_ones(
    shape: tuple[int, ...], dropout: float, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE_BYTES", piece)
    block, maps = block_and_maps(shape, dropout)
    plain, several = PlainBlock(block), shape[0] > 1
    ours, theirs = (maps.clone().requires_grad_(several) for _ in range(2))
    torch.manual_seed(3)
    found = block.train()(ours)
    torch.manual_seed(3)
    mask = convolutions.kept(tuple(found.shape), dropout).double() if dropout else None
    expected = plain(theirs, mask, 1 - dropout)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    weights = torch.randn(found.shape, dtype=torch.double, generator=torch.Generator().manual_seed(4))
    found.backward(weights)
    expected.backward(weights)
    assert block.weight.grad is not None
    assert plain.convolution.weight.grad is not None
    kernel_gradient = plain.convolution.weight.grad.permute(2, 1, 0)
    torch.testing.assert_close(block.weight.grad, kernel_gradient, rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(block.bias.grad, plain.convolution.bias.grad, rtol=1e-10, atol=1e-11)  # type: ignore[union-attr]
    if several:
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-11)


def test_equal_steps_give_the_gradient_to_the_first_one() -> None:
    block, _ = block_and_maps((2, 3, 3, 4, 9))
    maps = torch.ones(1, 12, 2, dtype=torch.double)
    block(maps).sum().backward()
    plain = PlainBlock(block)
    plain(maps).sum().backward()
    torch.testing.assert_close(block.weight.grad, plain.convolution.weight.grad.permute(2, 1, 0))  # type: ignore[union-attr]


def test_gradients_agree_with_finite_differences() -> None:
    block, maps = block_and_maps((2, 3, 6, 5, 31))
    given = maps[2:, :15].clone().requires_grad_()  # without silence, where steps are equal
    arguments = (given, block.weight, block.bias)
    assert torch.autograd.gradcheck(lambda x, w, b: convolutions.SeveralChannels.apply(x, w, b, None, 5), arguments)


def test_a_first_block_whose_input_needs_a_gradient_gives_it() -> None:
    block, maps = block_and_maps((1, 5, 8, 10, 207))
    ours, theirs = (maps.clone().requires_grad_() for _ in range(2))
    block(ours).sum().backward()
    PlainBlock(block)(theirs).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_the_number_of_threads_changes_no_bit() -> None:
    block, maps = block_and_maps((3, 4, 6, 5, 203))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            given = maps.clone().requires_grad_()
            block.zero_grad()
            outputs = block(given)
            outputs.square().sum().backward()
            assert block.weight.grad is not None
            assert given.grad is not None
            found.append([outputs.detach(), block.weight.grad.clone(), given.grad.clone()])
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_dropout_keeps_its_share_and_rests_in_evaluation() -> None:
    torch.manual_seed(1)
    for share in (0.5, 0.2):
        kept = convolutions.kept((400, 500), share)
        deviation = np.sqrt(share * (1 - share) / kept.numel())
        assert abs(float(kept.double().mean()) - (1 - share)) < 4 * deviation
    one, other = (convolutions.kept((50, 50), 0.5) for _ in range(2))
    assert not torch.equal(one, other)
    block, maps = block_and_maps((3, 4, 6, 5, 203), dropout=0.5)
    assert torch.equal(block.eval()(maps), block(maps))
    assert not torch.equal(block.train()(maps), block(maps))


# The LSTM.


def written_out(lstm: PeepholeLstm, inputs: Tensor, clip: float) -> Tensor:
    """The module's equations, frame by frame, left to automatic differentiation."""
    cell = hidden = inputs.new_zeros(len(inputs), lstm.units)
    p_i, p_f, p_o = lstm.peepholes
    states = []
    for t in range(inputs.shape[1]):
        i, f, g, o = (torch.cat([inputs[:, t], hidden], 1) @ lstm.kernel + lstm.bias).chunk(4, 1)
        i, f = torch.sigmoid(i + p_i * cell), torch.sigmoid(f + 1 + p_f * cell)
        cell = torch.clamp(f * cell + i * torch.tanh(g), -clip, clip)
        hidden = torch.sigmoid(o + p_o * cell) * torch.tanh(cell)
        states.append(hidden)
    return torch.stack(states, 1)


def lstm_and_inputs() -> tuple[PeepholeLstm, Tensor]:
    generator = torch.Generator().manual_seed(7)
    lstm = PeepholeLstm(3, 4).double()
    for parameter in lstm.parameters():
        nn.init.normal_(parameter, generator=generator)
    return lstm, torch.randn(2, 9, 3, dtype=torch.double, generator=generator)


@pytest.mark.parametrize("clip", [100.0, 0.4])
def test_the_lstm_is_its_equations(clip: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PeepholeLstm, "cell_clip", clip)
    lstm, inputs = lstm_and_inputs()
    gradients = []
    for make in (lstm, lambda x: written_out(lstm, x, clip)):
        given = inputs.clone().requires_grad_()
        lstm.zero_grad()
        states = make(given)
        (states * torch.arange(states.numel()).view_as(states)).sum().backward()
        assert given.grad is not None
        gradients.append([states.detach(), given.grad, *(p.grad.clone() for p in lstm.parameters())])  # type: ignore[union-attr]
    for ours, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)


def test_without_peepholes_it_is_the_librarys_lstm() -> None:
    lstm, inputs = lstm_and_inputs()
    nn.init.zeros_(lstm.peepholes)
    library = nn.LSTM(3, 4, batch_first=True).double()
    library.weight_ih_l0.data, library.weight_hh_l0.data = lstm.kernel[:3].t().clone(), lstm.kernel[3:].t().clone()
    library.bias_ih_l0.data = lstm.bias.detach() + torch.tensor([0.0, 1.0, 0.0, 0.0]).repeat_interleave(4)
    library.bias_hh_l0.data.zero_()
    torch.testing.assert_close(lstm(inputs), library(inputs)[0])


# Fusion.


def test_attention_is_a_softmax_of_two_scores() -> None:
    generator = torch.Generator().manual_seed(2)
    attention = Attention(6)
    nn.init.normal_(attention.weight, generator=generator)
    first, second = torch.randn(2, 4, 5, 6, generator=generator)
    scores = torch.stack([first @ attention.weight, second @ attention.weight], -1) / 6**0.5
    share = torch.softmax(scores, -1)
    torch.testing.assert_close(attention(first, second), share[..., :1] * first + share[..., 1:] * second)


@pytest.mark.parametrize("streams", ["both", "audio", "words"])
@pytest.mark.parametrize("fusion", ["concat", "attention", "disentangled"])
def test_every_fusion_is_what_it_says(streams: str, fusion: str) -> None:
    config = NetworkConfig(streams=streams, fusion=fusion, projection=8, width=6)
    torch.manual_seed(5)
    layers = Fusion(7, 5, config)
    initialise(
        network := SemanticNetwork(100, 10, 5, 2, replace(config, pools=(5, 2, 2)), bounded=True),
        torch.Generator().manual_seed(1),
    )
    assert torch.isfinite(network(torch.randn(2, 10, 100), torch.randn(2, 10, 5))).all()
    for part in (layers.first, layers.second, layers.third):
        if part is not None:
            nn.init.normal_(part.weight)
    audio, words = torch.randn(2, 3, 7), torch.randn(2, 3, 5)
    given = [torch.relu(layer(x)) for layer, x in ((layers.audio, audio), (layers.words, words)) if layer is not None]
    joint = torch.cat(given, -1) if layers.first is None else layers.first(*given)
    assert (layers.first is None) == (streams != "both" or fusion == "concat")
    a, *rest = torch.relu(layers.layer(joint)).split(6, -1)
    if fusion != "disentangled":
        assert not rest
        torch.testing.assert_close(layers(audio, words), a)
        return
    v, liking = rest
    torch.testing.assert_close(layers(audio, words), layers.third(layers.second(a, v), liking))  # type: ignore[misc]
    layers.config = replace(config, order="alv")
    torch.testing.assert_close(layers(audio, words), layers.third(layers.second(a, liking), v))  # type: ignore[misc]


def test_frames_are_slices_of_time_then_channel() -> None:
    config = NetworkConfig(filters=(2, 3, 4), kernels=(3, 3, 3), pools=(5, 2, 2), dropout=0.0, chunked=False)
    network = SemanticNetwork(50, 4, 5, 2, config, bounded=True)
    initialise(network, torch.Generator().manual_seed(1))
    audio = torch.randn(2, 4, 50)
    maps = audio.reshape(2, 1, -1)
    for block in network.blocks:
        kernel, bias = block.weight.permute(2, 1, 0), block.bias  # type: ignore[operator, union-attr]
        maps = functional.max_pool1d(torch.relu(functional.conv1d(maps, kernel, bias, padding=1)), block.pool)  # type: ignore[arg-type]
    assert maps.shape == (2, 4, 10)  # (batch, channel, time)
    torch.testing.assert_close(network.paralinguistic(audio), maps.transpose(1, 2).reshape(2, 4, 10))


def test_silence_behind_an_utterance_changes_nothing() -> None:
    config = NetworkConfig(filters=(4, 4, 5), pools=(5, 4, 2), projection=16, width=8, units=8)
    network = SemanticNetwork(400, 25, 5, 3, config, bounded=True).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.5, generator=torch.Generator().manual_seed(parameter.numel()))
    generator = torch.Generator().manual_seed(1)
    frames = 13
    total = -(-(frames + reach_frames(400, config)) // whole_frames(400, config)) * whole_frames(400, config)
    audio, words = torch.zeros(1, total, 400), torch.zeros(1, total, 5)
    audio[:, :frames] = torch.randn(1, frames, 400, generator=generator)
    alone = network.utterances(audio, words, torch.tensor([frames]))
    long, more = functional.pad(audio, (0, 0, 0, 20)), functional.pad(words, (0, 0, 0, 20))
    company = torch.cat([long, torch.randn(1, total + 20, 400, generator=generator)]), torch.cat([more, more])
    together = network.utterances(*company, torch.tensor([frames, total + 20]))
    torch.testing.assert_close(alone[0], together[0], rtol=0, atol=1e-6)


# The benchmark's plain writing.


def test_the_plain_writing_of_the_benchmark_computes_the_same() -> None:
    from serbench.benchmarks.performance.parts.semantic import generated

    network = SemanticNetwork(
        4410, 20, 100, 3, NetworkConfig(filters=(8, 8, 10), projection=32, width=16, units=8), bounded=True
    )
    initialise(network, torch.Generator().manual_seed(1))
    audio, words, _ = generated(2, 20)
    network.eval()
    with as_written():
        plain = network(audio, words)
    torch.testing.assert_close(network(audio, words), plain[..., :3], rtol=0, atol=1e-6)
