"""What the models on waveform and spectrogram share: pieces, label frames, layers, convolutions by spectra."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from serbench.benchmarks.conformance.material import TASKS, trained, whole, withheld
from serbench.datasets.core.errors import SerbenchError
from serbench.sermodels.end_to_end.layers import BiLstm, PlaneConvolutions, around, planes, within
from serbench.sermodels.end_to_end.long_kernels import LONG, by_spectra, convolve
from serbench.sermodels.end_to_end.pieces import Piece, Stretches, cut, on_labels, padded, split, split_traces


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed))


# Pieces


def test_parts_of_an_item_cover_it_once_and_are_about_equal() -> None:
    pieces = split([1, 10, 11, 299], 10)
    for position, count in enumerate([1, 10, 11, 299]):
        own = [p for p in pieces if p.position == position]
        assert [i for p in own for i in range(p.start, p.stop)] == list(range(count))
        sizes = [p.stop - p.start for p in own]
        assert len(own) == -(-count // 10)
        assert max(sizes) <= 10
        assert max(sizes) - min(sizes) <= 1


def test_a_cut_item_is_its_beginning() -> None:
    assert cut([3, 30], 10) == [Piece(0, 0, 3), Piece(1, 0, 10)]


@pytest.mark.parametrize(("step", "hop"), [(0.04, 0.04), (0.1, 0.04), (0.25, 0.04), (0.02, 0.04)])
def test_a_label_frame_takes_the_frame_around_its_middle(step: float, hop: float) -> None:
    data = whole("cnn-blstm", "continuous")
    data = dataclasses.replace(data, task=dataclasses.replace(TASKS["continuous"], frame_seconds=step))
    for piece in split_traces(data, hop, 1.0):
        for label, frame in zip(range(piece.first, piece.last), on_labels(piece, step, hop), strict=True):
            start = (piece.start + frame) * hop
            assert start - 1e-9 <= (label + 0.5) * step <= start + hop + 1e-9
    last = {p.position: p.last for p in split_traces(data, hop, 1.0)}
    assert last == {i: len(trace) for i, trace in enumerate(data.labels)}


def test_stretches_are_the_samples_with_silence_behind() -> None:
    data = withheld(whole("cnn-blstm", "classification"))
    source = Stretches(data, 300, 2**20, normalise=False)
    signal = data.array(2)[:, 0]
    count = source.counts[2]
    assert count == -(-len(signal) // 300)
    flat = source.part(Piece(2, 0, count)).reshape(-1)
    np.testing.assert_array_equal(flat[: len(signal)], signal)
    assert not flat[len(signal) :].any()
    assert not source.part(Piece(2, count + 5, count + 7)).any(), "a trace may outlast its sound"
    unit = Stretches(data, 300, 2**20, normalise=True).part(Piece(2, 0, count)).reshape(-1)[: len(signal)]
    np.testing.assert_allclose([unit.mean(), unit.std()], [0, 1], atol=1e-3)
    frames, lengths = padded(source, [Piece(2, 0, 2), Piece(2, 1, 2)])
    assert frames.shape == (2, 2, 300)
    assert lengths.tolist() == [2, 1]
    assert not frames[1, 1].any()


# Layers


def test_a_piece_among_longer_ones_is_as_alone() -> None:
    """Against the library's LSTM without padding, for both directions."""
    torch.manual_seed(1)
    ours, rows, lengths = BiLstm(5, 3, layers=2), normal(3, 9, 5), torch.tensor([9, 4, 1])
    states = ours(rows, lengths)
    for row, length, made in zip(rows, lengths.tolist(), states, strict=True):
        torch.testing.assert_close(made[:length], ours.lstm(row[:length])[0])
        assert not made[length:].any()


def test_convolutions_over_a_plane_equal_a_plain_writing_of_each_piece_alone() -> None:
    torch.manual_seed(2)
    ours = PlaneConvolutions(9, (3, 4), [(4, 3), (3, 2)], [(2, 1), (2, 4)])
    rows, lengths = within(normal(4, 23, 9), torch.tensor([23, 12, 7, 2])), torch.tensor([23, 12, 7, 2])
    made, counts = ours(rows, lengths)
    assert counts.tolist() == [5, 3, 1, 1]
    assert made.shape == (4, 5, ours.width) == (4, 5, 4 * 2)
    for row, length, values, count in zip(rows, lengths.tolist(), made, counts.tolist(), strict=True):
        maps = row[None, None, : max(length, 4)]
        for conv, (before, after), (left, right), pool in zip(
            ours.convolutions, [(1, 2), (1, 1)], [(1, 1), (0, 1)], [(2, 1), (2, 4)], strict=True
        ):
            maps = nn.ZeroPad2d((left, right, before, after))(maps)
            maps = functional.max_pool2d(functional.conv2d(maps, conv.weight, conv.bias).clamp(min=0), pool)
        assert maps.shape[2] == count
        torch.testing.assert_close(values[:count], maps[0].transpose(0, 1).flatten(1))
        assert not values[count:].any()


def test_settings_of_layers_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(SerbenchError, match=r"3 model.channels, 2 model.time_pools and 3 model.band_pools"):
        planes(26, (3, 4, 5), ((3, 3, 3), (3, 3, 3)), ((2, 2), (2, 2, 2)))
    with pytest.raises(SerbenchError, match=r"model.band_pools=8,8 leave nothing"):
        PlaneConvolutions(26, (3, 4), [(3, 3), (3, 3)], [(2, 8), (2, 8)])


# Convolutions by spectra


@pytest.mark.parametrize("kernel", [1, 2, 37, 64])
def test_by_spectra_it_is_the_convolution_with_its_gradients(kernel: int) -> None:
    maps, weight = normal(2, 3, 101, seed=1).requires_grad_(), normal(4, 3, kernel, seed=2).requires_grad_()
    padded_maps = functional.pad(maps, around(kernel))
    pull = normal(2, 4, 101, seed=3)
    results = [by_spectra(padded_maps, weight), functional.conv1d(padded_maps, weight)]
    slopes = [torch.autograd.grad((r * pull).sum(), [maps, weight], retain_graph=True) for r in results]
    for ours, plain in zip(*([r.detach(), *s] for r, s in zip(results, slopes, strict=True)), strict=True):
        torch.testing.assert_close(ours, plain, rtol=0, atol=2e-5 * float(plain.abs().max()))  # float32 rounding


@pytest.mark.parametrize("kernel", [LONG - 1, LONG])
def test_long_and_short_kernels_are_taken_on_the_same_place(kernel: int) -> None:
    maps = torch.zeros(1, 1, 400)
    maps[0, 0, 200] = 1
    weight = torch.zeros(1, 1, kernel)
    weight[0, 0, (kernel - 1) // 2] = 1  # a kernel that changes nothing
    torch.testing.assert_close(convolve(maps, weight), maps, rtol=0, atol=1e-6)


# Salience


@pytest.mark.parametrize("name", ["acnn", "mtl-attention"])
def test_salience_tells_where_and_how_much(name: str) -> None:
    model, data = trained(name, "classification")[0], withheld(whole(name, "classification"))
    seen = data.take([3, 9])
    for item, found in zip(seen.ids, model.salience(seen), strict=True):
        seconds = seen.features["input"].frames(item) * 0.01
        assert found["weight"].sum() == pytest.approx(1, abs=1e-5)
        assert (found["weight"] > 0).all()
        assert (found["end"] > found["start"]).all()
        assert found["start"].is_monotonic_increasing
        assert seconds - 0.3 < found["end"].max() <= seconds + 1e-9
