"""Semantic fusion: the released graph's outputs, the network's parts against PyTorch's, frames, delay and bad input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from serbench.datasets._config import to_dict
from serbench.datasets._corpus import make_table
from serbench.datasets._errors import SerbenchError
from serbench.datasets._task import Task
from serbench.features._store import FeatureTable
from serbench.features._wordvec import Vectors, random_vector, write_vectors
from serbench.sermodels import _semantic_convolutions as convolutions
from serbench.sermodels import _semantic_delay as delays
from serbench.sermodels import _semantic_lstm as lstms
from serbench.sermodels import _semantic_words as semantic_words
from serbench.sermodels._losses import ccc_losses
from serbench.sermodels._model import Data, Resources
from serbench.sermodels._semantic_frames import Frames, Words, turn_mask
from serbench.sermodels._semantic_network import (
    Attention,
    Fusion,
    NetworkConfig,
    SemanticNetwork,
    frame_features,
    initialise,
    reach_frames,
    whole_frames,
)
from serbench.sermodels.semantic_fusion import PRESETS, TINY, Config, Model, block_batch, utterance_batch

HOP, RATE = 0.1, 2000
TRACE = Task("traces", "continuous", ("arousal", "valence", "liking"), frame_seconds=HOP,
             scales=dict.fromkeys(("arousal", "valence", "liking"), (-1.0, 1.0)))  # fmt: skip
CLASSES = Task("emotion", "classification", ("emotion",), labels=("a", "b"))
RATED = Task("arousal", "regression", ("arousal",), scales={"arousal": (1.0, 5.0)})
NO_WORDS = pd.DataFrame({"word": [], "start": [], "end": []})


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

    def __init__(self, block: convolutions.ConvPool) -> None:
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


def block_and_maps(shape: tuple[int, ...], dropout: float = 0.0) -> tuple[convolutions.ConvPool, Tensor]:
    channels, filters, kernel, pool, time = shape
    generator = torch.Generator().manual_seed(sum(shape))
    block = convolutions.ConvPool(channels, filters, kernel, pool, dropout).double()
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
    monkeypatch.setattr(convolutions, "PIECE_BYTES", piece)
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
    assert torch.autograd.gradcheck(lambda x, w, b: convolutions.Block.apply(x, w, b, None, 5), arguments)


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


def written_out(lstm: lstms.PeepholeLstm, inputs: Tensor, clip: float) -> Tensor:
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


def lstm_and_inputs() -> tuple[lstms.PeepholeLstm, Tensor]:
    generator = torch.Generator().manual_seed(7)
    lstm = lstms.PeepholeLstm(3, 4).double()
    for parameter in lstm.parameters():
        nn.init.normal_(parameter, generator=generator)
    return lstm, torch.randn(2, 9, 3, dtype=torch.double, generator=generator)


@pytest.mark.parametrize("clip", [100.0, 0.4])
def test_the_lstm_is_its_equations(clip: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lstms, "CELL_CLIP", clip)
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
    initialise(network := SemanticNetwork(100, 10, 5, 2, replace(config, pools=(5, 2, 2)), bounded=True),
               torch.Generator().manual_seed(1))  # fmt: skip
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


# Frames.


def traced(
    counts: list[int], seconds: list[float], *, words: Any = None, turns: pd.DataFrame | None = None,
    labels: Any = None, seed: int = 0,
) -> Data:  # fmt: skip
    """Recordings r0, r1 ... of noise, each side p of dialogue d."""
    generator = np.random.default_rng(seed)
    ids = [f"r{i}" for i in range(len(counts))]
    sizes = [(round(s * RATE), 1) for s in seconds]
    arrays = {i: generator.normal(size=size).astype(np.float32) for i, size in zip(ids, sizes, strict=True)}
    table = FeatureTable.from_arrays(arrays, 1 / RATE, RATE)
    rows = [{"id": i, "path": f"{i}.wav", "speaker": f"p{k}", "dialogue": f"d{k}"} for k, i in enumerate(ids)]
    items = make_table(rows)
    return Data(TRACE, items, {"input": table}, labels, words, dict(zip(ids, counts, strict=True)), turns)


def turns_table(rows: list[tuple[str, str, float, float]]) -> pd.DataFrame:
    columns = ("dialogue", "speaker", "dialogue_start", "dialogue_end")
    return make_table([{"id": f"t{k}", "path": "x.wav", **dict(zip(columns, row, strict=True))}
                       for k, row in enumerate(rows)])  # fmt: skip


def frames_of(data: Data, words: Words | None = None) -> Frames:
    return Frames(data, HOP, words or Words(None, 5), 2**20)


def test_turns_decide_the_half_of_a_frame() -> None:
    rows = [("d0", "p0", 0.26, 0.5), ("d0", "other", 0.6, 0.8), ("d1", "p0", 0.0, 9.0), ("d0", "p0", 0.9, 3.0)]
    data = traced([12, 4], [1.2, 0.4], turns=turns_table(rows))
    frames = frames_of(data)
    own = [3 <= k <= 5 or k >= 9 for k in range(12)]
    assert frames.own(0).tolist() == own
    assert frames.own(1).all(), "no turns are known of this person in this dialogue"
    halves = frames.audio(0, 0, 12).reshape(12, 2, 200)
    signal = data.array(0)[:, 0].reshape(12, 200)
    for k in range(12):
        np.testing.assert_array_equal(halves[k, 0 if own[k] else 1], signal[k])
        assert not halves[k, 1 if own[k] else 0].any()
    assert frames.sides() == {"recordings_with_turns": 1, "recordings_without_turns": 1}


def test_turn_rounding_is_the_released_one() -> None:
    generator = np.random.default_rng(3)
    for _ in range(200):
        start, end = np.sort(generator.uniform(0, 4, size=2).round(3)).tolist()
        expected = np.zeros(50, dtype=bool)
        expected[int(round(start, 1) * 10) : int(round(end, 1) * 10) + 1] = True
        found = turn_mask(pd.DataFrame({"word": [""], "start": [start], "end": [end]}), 50, HOP)
        assert found.tolist() == expected.tolist(), (start, end)


def test_sound_shorter_or_longer_than_its_labels() -> None:
    frames = frames_of(traced([10, 3], [0.65, 0.9]))
    first = frames.audio(0, 0, 10).reshape(10, 2, 200)[:, 0]
    np.testing.assert_array_equal(first.ravel()[:1300], frames.data.array(0)[:, 0])
    assert not first.ravel()[1300:].any()
    assert frames.audio(0, 8, 10).shape == (2, 400)
    second = frames.audio(1, 0, 50)
    assert second.shape == (3, 400), "sound behind the last label is not used"
    np.testing.assert_array_equal(second.reshape(3, 2, 200)[:, 0].ravel(), frames.data.array(1)[:600, 0])


def test_blocks_are_filled_up_with_silence() -> None:
    frames = frames_of(traced([7], [0.7]))
    assert frames.blocks(5) == [(0, 0), (0, 5)]
    sound, words = block_batch(frames, frames.blocks(5), 5)
    assert sound.shape == (2, 5, 400)
    assert words.shape == (2, 5, 5)
    assert not sound[1, 2:].any()
    np.testing.assert_array_equal(sound.reshape(10, 400)[:7].numpy(), frames.audio(0, 0, 7))


def vocabulary() -> Vectors:
    return Vectors(["yes", "no"], np.arange(10, dtype=np.float32).reshape(2, 5) + 1)


def test_words_fill_their_frames_and_items_without_words_are_silent() -> None:
    table = pd.DataFrame({"word": ["yes", "no", "maybe"], "start": [0.1, 0.3, 0.6], "end": [0.3, 0.4, 0.7]})

    def words(item: str) -> pd.DataFrame:
        if item == "r2":
            raise SerbenchError("the transcript of r2 is lost.")
        return table if item == "r0" else NO_WORDS

    frames = frames_of(traced([9, 9, 9], [0.9, 0.9, 0.9], words=words), Words(vocabulary(), 5, "random", 4))
    found, yes, no = frames.vectors(0), *vocabulary().matrix
    silence, unknown = np.zeros(5), random_vector("maybe", 5, 4)
    expected = [silence, yes, yes, no, no, silence, unknown, unknown, silence]
    np.testing.assert_array_equal(found, np.array(expected, dtype=np.float32))
    assert not frames.vectors(1).any()
    assert not frames.vectors(2).any()
    assert frames.words.spoken(frames.data, "r1") == (None, "no words")
    assert frames.words.spoken(frames.data, "r2") == (None, "the transcript of r2 is lost.")


def test_utterances_are_followed_by_enough_silence() -> None:
    data = spoken(6)
    frames = frames_of(data)
    sound, words, lengths = utterance_batch(frames, range(6), TINY)
    assert lengths.tolist() == [int(np.ceil(len(data.array(i)) / 200 - 1e-9)) for i in range(6)]
    assert sound.shape[1] >= max(lengths) + reach_frames(400, TINY)
    assert sound.shape[1] * 400 % (5 * 4 * 2) == 0
    assert words.shape == (6, sound.shape[1], 5)


# Delay.


def test_labels_move_forward_and_predictions_back() -> None:
    trace = np.arange(8.0)[:, None]
    moved = delays.shifted(trace, 3)
    np.testing.assert_array_equal(moved[:, 0], [3, 4, 5, 6, 7, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(delays.delayed(moved, 3)[:, 0], [3, 3, 3, 3, 4, 5, 6, 7])
    assert delays.shifted(trace, 0) is trace
    assert np.isnan(delays.shifted(trace, 20)).all()
    assert len(delays.shifted(trace, 20)) == 8


@pytest.mark.parametrize("lag", [0, 7, 20])
def test_a_known_delay_is_found(lag: int) -> None:
    generator = np.random.default_rng(lag)
    sides = []
    for count in (6, 3):
        features = [delays.running_mean(generator.normal(size=(300, 2)), 5) for _ in range(count)]
        labels = []
        for x in features:
            followed = np.concatenate([np.zeros((lag, 2)), x])[:300]
            trace = followed @ [[1.0, 0.2], [0.3, -1.0]] + 0.1 * generator.normal(size=(300, 2))
            trace[5:9] = np.nan
            labels.append(trace)
        sides.append((features, labels))
    candidates = list(range(0, 31))
    assert delays.best_delay(delays.delay_scores(*sides, candidates), candidates) == lag


def test_without_anything_to_go_by_there_is_no_delay() -> None:
    flat = ([np.zeros((50, 2))], [np.zeros((50, 1))])
    assert delays.best_delay(delays.delay_scores(flat, flat, [0, 5]), [0, 5]) == 0


def test_loudness_tells_the_person_from_others() -> None:
    data = traced([10], [1.0], turns=turns_table([("d0", "p0", 0.0, 0.4)]))
    level = delays.loudness(frames_of(data), 0)
    signal = data.array(0)[:, 0].reshape(10, 200).astype(np.float64)
    expected = np.log(1e-4 + np.sqrt((signal**2).mean(1)))
    np.testing.assert_allclose(level[:5, 0], expected[:5], rtol=1e-6)
    np.testing.assert_allclose(level[5:, 1], expected[5:], rtol=1e-6)
    np.testing.assert_allclose(level[5:, 0], np.log(1e-4))


# Training and prediction.


def score(gold: Any, predicted: Any) -> float:
    """Mean over the targets of the CCC of all frames that have labels, or the share of right classes."""
    if isinstance(gold, list):
        gold, predicted = np.concatenate(gold), np.concatenate(predicted)
    if gold.ndim == 1:
        return float((predicted.argmax(1) == gold).mean())
    known = np.isfinite(gold).all(1)
    losses = ccc_losses(torch.from_numpy(predicted[known]), torch.from_numpy(gold[known]))
    return float(1 - losses.mean())


def short(**changes: Any) -> Config:
    """TINY for one epoch."""
    training = replace(TINY.train, epochs=changes.pop("epochs", 1))
    return replace(TINY, train=training, **changes)


def labelled(counts: list[int], seconds: list[float], **more: Any) -> Data:
    generator = np.random.default_rng(5)
    labels = [np.tanh(generator.normal(size=(n, 3)).cumsum(0) / 5) for n in counts]
    return traced(counts, seconds, labels=labels, **more)


def spoken(count: int, task: Task = CLASSES, words: Any = None) -> Data:
    """Utterances of 0.3 s and more."""
    generator = np.random.default_rng(8)
    arrays = {f"u{i}": generator.normal(size=(600 + 150 * i, 1)).astype(np.float32) for i in range(count)}
    items = make_table([{"id": i, "path": f"{i}.wav", "speaker": "s", "dialogue": "d"} for i in arrays])
    labels: Any = np.arange(count) % 2
    if task.kind == "regression":
        labels = generator.uniform(1, 5, size=(count, 1))
    return Data(task, items, {"input": FeatureTable.from_arrays(arrays, 1 / RATE, RATE)}, labels, words)


def fitted(config: Config, data: Data, task: Task = TRACE, seed: int = 1) -> tuple[Model, Any]:
    model = Model(config, task, Resources(seed=seed))
    return model, model.fit(data, data, score)


def test_weights_of_the_targets() -> None:
    generator = torch.Generator().manual_seed(1)
    outputs, targets = torch.randn(2, 2, 5, 3, generator=generator)
    found = {name: Model(replace(TINY, target_weights=name), TRACE).losses_of(outputs, targets)
             for name in ("equal", "harmonic")}  # fmt: skip
    each = ccc_losses(outputs.flatten(0, 1), targets.flatten(0, 1))
    assert float(found["equal"]["loss"]) == pytest.approx(float(each.mean()))
    assert float(found["harmonic"]["loss"]) == pytest.approx(float(each[0] + each[1] / 2 + each[2] / 3))


@pytest.mark.parametrize("masked", [True, False])
def test_what_stands_behind_a_recording_counts_only_as_released(masked: bool) -> None:
    data = labelled([30], [3.0])
    model, _ = fitted(short(masked=masked, delay_seconds=0.0), data)
    *_, targets = model._load_blocks(np.array([0, 1]))
    assert targets.shape == (2, 25, 3)
    torch.testing.assert_close(targets[1, :5].double(), torch.from_numpy(data.labels[0][25:]), rtol=0, atol=1e-6)
    assert torch.isnan(targets[1, 5:]).all() if masked else (targets[1, 5:] == 0).all()


def test_frames_without_labels_decide_nothing() -> None:
    data = labelled([60], [6.0])
    data.labels[0][10:20] = np.nan
    other = Data(TRACE, data.items, dict(data.features), [data.labels[0].copy()], None, data.frames)
    one, _ = fitted(short(delay_seconds=0.0, scaled=False), data)
    two, _ = fitted(short(delay_seconds=0.0, scaled=False), other)
    np.testing.assert_array_equal(one.predict(data)[0], two.predict(other)[0])
    batch = one._load_blocks(np.array([0]))
    outputs = torch.randn(1, 25, 3)
    changed = outputs.clone()
    changed[0, 10:20] = 5.0
    losses = [float(one.losses_of(each, batch[-1])["loss"]) for each in (outputs, changed)]
    assert losses[0] == losses[1]


def test_a_recording_without_any_label_is_not_trained_on() -> None:
    data = labelled([30, 30], [3.0, 3.0])
    data.labels[1][:] = np.nan
    model, _ = fitted(short(delay_seconds=0.0), data)
    assert {position for position, _ in model._blocks} == {0}


@pytest.mark.parametrize("delay", [0.0, 0.5])
def test_predictions_have_as_many_frames_as_the_labels(delay: float) -> None:
    counts, seconds = [3, 26, 60, 40], [0.3, 2.0, 9.0, 0.05]
    data = labelled(counts, seconds)
    model, log = fitted(short(delay_seconds=delay), data)
    found = model.predict(Data(TRACE, data.items, dict(data.features), None, None, data.frames))
    assert [p.shape for p in found] == [(n, 3) for n in counts]
    assert all(np.isfinite(p).all() for p in found)
    assert log.facts["delay_seconds"] == pytest.approx(delay)
    shift = round(delay / HOP)
    for trace in found:
        assert (trace[: shift + 1] == trace[0]).all(), "before the delay the first prediction stands"


def test_predictions_stay_on_the_label_scale() -> None:
    data = spoken(6, RATED)
    model, _ = fitted(short(epochs=3), data, RATED)
    assert isinstance(model.network, SemanticNetwork)
    assert float(model.network.label_mean) == 3.0
    assert float(model.network.label_std) == 2.0
    found = np.asarray(model.predict(data))
    assert ((found > 1) & (found < 5)).all()


def test_the_delay_is_chosen_and_recorded() -> None:
    data = labelled([40, 40], [4.0, 4.0])
    _, log = fitted(short(), data)
    assert set(log.facts["delay_scores"]) == {"0.0", "0.2", "0.4", "0.6", "0.8", "1.0"}
    best = max(log.facts["delay_scores"], key=log.facts["delay_scores"].get)
    assert log.facts["delay_seconds"] == pytest.approx(float(best))


def test_sound_is_scaled_by_the_training_data() -> None:
    data = labelled([30], [3.0])
    model, _ = fitted(short(delay_seconds=0.0), data)
    assert isinstance(model.network, SemanticNetwork)
    root = np.sqrt(np.square(data.array(0), dtype=np.float64).mean())
    assert float(model.network.gain) == pytest.approx(1 / root, rel=1e-6)
    plain, _ = fitted(short(delay_seconds=0.0, scaled=False), data)
    assert isinstance(plain.network, SemanticNetwork)
    assert float(plain.network.gain) == 1.0


def test_adams_second_coefficient() -> None:
    network = SemanticNetwork(400, 25, 5, 3, TINY, bounded=True)
    found = Model(PRESETS["released"], TRACE).optimisers(network)["all"]
    assert found.param_groups[0]["betas"] == (0.9, 0.99)
    assert found.param_groups[0]["lr"] == 5e-4


def test_presets_hold_the_published_settings() -> None:
    released, paper, fixed = (PRESETS[name] for name in ("released", "paper", "fixed"))
    assert (released.train.batch_size, released.sequence, released.train.clip_norm) == (5, 100, 0)
    assert (paper.train.batch_size, paper.sequence, paper.train.learning_rate) == (25, 300, 1e-4)
    assert (paper.train.clip_norm, paper.dropout, paper.order) == (5.0, 0.5, "alv")
    assert fixed.masked
    assert fixed.target_weights == "equal"
    assert fixed.delay_seconds == -1
    assert PRESETS["default"] == fixed


# Word vectors.


def vector_file(folder: Path, vectors: Vectors | None = None) -> str:
    path = folder / "some.vec"
    write_vectors(path, vectors or vocabulary())
    return str(path)


def yes_and_no(item: str) -> pd.DataFrame:
    return pd.DataFrame({"word": ["yes", "no"], "start": [0.1, 0.4], "end": [0.2, 0.9]})


def test_words_matter_where_they_are_used(tmp_path: Path) -> None:
    path = vector_file(tmp_path)
    data, wordless = (spoken(6, words=w) for w in (yes_and_no, lambda item: NO_WORDS))
    for streams in ("both", "words", "audio"):
        config = short(vectors=path, streams=streams)
        model, log = fitted(config, data, CLASSES)
        with_words, without = model.predict(data), model.predict(wordless)
        assert np.array_equal(with_words, without) == (streams == "audio")
        assert log.facts["words"]["known_tokens"] == 12
    loud = Data(CLASSES, data.items, {"input": FeatureTable.from_arrays(
        {i: 2 * data.array(k) for k, i in enumerate(data.ids)}, 1 / RATE, RATE)}, None, data.words)  # fmt: skip
    model, _ = fitted(short(vectors=path, streams="words"), data, CLASSES)
    np.testing.assert_array_equal(model.predict(data), model.predict(loud))


def test_a_score_says_which_vectors_it_used(tmp_path: Path) -> None:
    path = vector_file(tmp_path)
    assert Model.labels(short()) == ("words:none",)
    assert Model.labels(short(streams="audio")) == ()
    settings = [short(), short(vectors=path), short(vectors=path, streams="audio")]
    assert [Model.reads_text(config) for config in settings] == [False, True, False]
    (label,) = Model.labels(short(vectors=path))
    digest = Model.resolved(short(vectors=path)).words_digest
    assert len(digest) == 64
    assert label == f"words:some.vec:{digest[:8]}"
    assert to_dict(Model.resolved(short(vectors=path))) != to_dict(short(vectors=path))
    _, log = fitted(short(), spoken(4), CLASSES)
    assert log.facts["words"] == {"vectors": None}


def test_other_contents_under_the_same_name_are_noticed(tmp_path: Path) -> None:
    config = Model.resolved(short(vectors=vector_file(tmp_path)))
    write_vectors(tmp_path / "some.vec", Vectors(["yes", "no"], np.ones((2, 5), np.float32)))
    with pytest.raises(SerbenchError, match=r"some\.vec.*digest.*Expected the same files"):
        fitted(config, spoken(4, words=yes_and_no), CLASSES)


def test_the_length_of_vectors_is_the_files(tmp_path: Path) -> None:
    path = vector_file(tmp_path, Vectors(["yes"], np.ones((1, 7), np.float32)))
    model, _ = fitted(short(vectors=path), spoken(4, words=yes_and_no), CLASSES)
    assert isinstance(model.network, SemanticNetwork)
    assert model.network.fusion.words is not None
    assert model.network.fusion.words.in_features == 7


def test_a_vocabulary_without_overlap_is_refused(tmp_path: Path) -> None:
    path = vector_file(tmp_path, Vectors(["oui"], np.ones((1, 5), np.float32)))
    with pytest.raises(SerbenchError, match="none of the 2 words"):
        fitted(short(vectors=path), spoken(4, words=yes_and_no), CLASSES)


def test_a_missing_file_of_vectors_is_refused() -> None:
    with pytest.raises(SerbenchError, match=r"nowhere\.vec.*serbench words"):
        Model.resolved(short(vectors="nowhere.vec"))


def test_word_times_of_a_file_replace_those_of_the_corpus(tmp_path: Path) -> None:
    path, times = vector_file(tmp_path), tmp_path / "times.csv"
    rows = ["item,word,start,end,source", *(f"u{i},no,0.2,0.3,spread" for i in range(4))]
    times.write_text("\n".join(rows) + "\n", encoding="utf-8")
    config = Model.resolved(short(vectors=path, word_times=str(times)))
    frames = frames_of(spoken(4, words=yes_and_no), semantic_words.source(config))
    yes, no = vocabulary().matrix
    np.testing.assert_array_equal(frames.vectors(0), np.array([0 * yes, 0 * yes, no], dtype=np.float32))
    assert config.words_digest != Model.resolved(short(vectors=path)).words_digest
    times.write_text(rows[0] + "\nu0,yes,0.1,0.2,spread\n", encoding="utf-8")
    with pytest.raises(SerbenchError, match="Expected the same files"):
        semantic_words.source(config)


def test_missing_transcripts_are_counted(tmp_path: Path) -> None:
    def words(item: str) -> pd.DataFrame:
        if item == "u1":
            raise SerbenchError("u1 has no transcript.")
        return NO_WORDS if item == "u2" else yes_and_no(item)

    _, log = fitted(short(vectors=vector_file(tmp_path)), spoken(4, words=words), CLASSES)
    found = log.facts["words"]
    assert found["items"] == 4
    assert found["items_without_words"] == 2
    assert found["without_words"] == {"u1": "u1 has no transcript.", "u2": "no words"}
    assert semantic_words.coverage_facts(short(), Words(None, 5), spoken(4)) == {"vectors": None}


# Bad settings.


def test_blocks_that_are_not_described_in_full_are_refused() -> None:
    with pytest.raises(SerbenchError, match="2 filters, 3 kernels, 3 pools"):
        Model(replace(TINY, filters=(4, 4)), TRACE)


def test_another_feature_is_refused() -> None:
    data = spoken(4)
    table = FeatureTable.from_arrays({i: np.ones((30, 8), np.float32) for i in data.ids}, 0.01, RATE)
    with pytest.raises(SerbenchError, match=r"takes samples.*waveform"):
        fitted(short(), replace(data, features={"input": table}), CLASSES)


def test_bf16_is_close_to_float32() -> None:
    data = labelled([50, 50], [5.0, 5.0])
    exact, log = fitted(short(delay_seconds=0.0), data)
    rough = Model(replace(exact.config, train=replace(exact.config.train, amp="bf16")), TRACE, Resources(seed=1))
    assert rough.fit(data, data, score).epochs[0]["loss"] == pytest.approx(log.epochs[0]["loss"], abs=0.05)


def test_the_plain_writing_of_the_benchmark_computes_the_same() -> None:
    from serbench.benchmarks.bench_semantic import PlainNetwork, generated

    network = SemanticNetwork(4410, 20, 100, 3, NetworkConfig(filters=(8, 8, 10), projection=32, width=16, units=8),
                              bounded=True)  # fmt: skip
    initialise(network, torch.Generator().manual_seed(1))
    audio, words, _ = generated(2, 20)
    plain = PlainNetwork(network.eval()).eval()
    torch.testing.assert_close(network(audio, words), plain(audio, words)[..., :3], rtol=0, atol=1e-6)
