"""MAEC's network: sizes, instances, shared windows, GRU, attention and losses, by their equations and by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from serbench.datasets.core.errors import SerbenchError
from serbench.sermodels.inputs.turns import average
from serbench.sermodels.maec import model as maec
from serbench.sermodels.maec.bag_rows import Layout
from serbench.sermodels.maec.instances import BagConfig, stretch
from serbench.sermodels.maec.layers import BiGru, Block, Convolutions, can_share
from serbench.sermodels.maec.losses import LatentMoments, Prior, accuracy, discriminator_loss, encoder_loss
from serbench.sermodels.maec.network import MaecNetwork, attention, fuse, initialise, mean_of_instances
from serbench.sermodels.training.gender import gender_loss

PRESETS = sorted(set(maec.PRESETS) - {"default"})
LN2, LN3 = math.log(2), math.log(3)


def network(config: maec.Config, *, dim: int = 45, outputs: int = 4, context: bool = True) -> MaecNetwork:
    built = MaecNetwork(dim, outputs, config, context=context, gender=True, discriminator=True)
    initialise(built, torch.Generator().manual_seed(0))
    return built


def turn(config: BagConfig, counts: list[int], dim: int, seed: int) -> tuple[Tensor, Tensor]:
    """Random stretches for bags of so many instances."""
    frames = sum((n - 1) * config.hop + config.window for n in counts if n)
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(frames, dim, generator=generator, dtype=torch.float64), torch.tensor(counts)


def size(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# --- sizes -----------------------------------------------------------------------------------------------------------


def test_released_sizes_are_the_published_ones():
    """Counts of the authors' network by hand arithmetic over its layers, 45 features and 4 classes."""
    net = network(maec.PRESETS["released"])
    branch = net.encoder["current"]
    assert size(branch.convolutions.block0) == 880_768 == 45 * 512 + 3 * 512 * 512 + 512 * 128 + 45 * 128
    assert size(branch.convolutions.block1) == 933_888
    assert size(branch.bottleneck) == 1_638_912 == 3200 * 512 + 512
    assert size(branch.gru) == 5_311_488
    assert size(branch) == 8_765_056
    assert size(net.encoder) == 26_295_168
    assert size(net.emotion) + size(net.gender) == 12_294
    assert size(net.discriminator) == 524_801
    assert size(net) == 26_832_263
    assert net.latent == 2048
    assert network(maec.PRESETS["paper"]).latent == 1024


def test_weights_start_as_in_keras():
    net = network(maec.PRESETS["small"])
    gru = net.encoder["current"].gru.forwards
    assert gru.recurrent.shape == (96, 32)
    bound = math.sqrt(6 / sum(gru.kernel.shape))
    assert gru.kernel.abs().max() <= bound
    assert gru.kernel.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    torch.testing.assert_close(gru.recurrent.T @ gru.recurrent, torch.eye(32), atol=1e-5, rtol=0)
    second = net.encoder["current"].convolutions.block0.second
    assert second.abs().max() <= math.sqrt(6 / (3 * 64 + 3 * 64))
    assert not net.emotion.bias.any()
    assert not gru.bias.any()


# --- instances -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [1, 30, 49, 50, 51, 59, 60, 61, 730, 739, 740, 741, 2000])
@pytest.mark.parametrize("keep", ["last", "first"])
def test_bags_are_the_windows_of_the_release(frames: int, keep: str):
    """The release's loop written again: windows every 10 frames, the first short one filled with zeros and the last."""
    rows = np.random.default_rng(frames).normal(size=(frames, 3)).astype(np.float32)
    windows = []
    for start in range(0, 10_000, 10):
        window = rows[start : start + 50]
        windows.append(np.concatenate([window, np.zeros((50 - len(window), 3), np.float32)]))
        if len(window) < 50:
            break
    config = BagConfig(keep=keep)
    assert config.count(frames) == len(windows)
    wanted = windows[-70:] if keep == "last" else windows[:70]
    bag, skipped = config.cut(rows)
    found = [bag[10 * i : 10 * i + 50] for i in range(config.instances_of(frames))]
    assert len(bag) == 10 * (len(found) - 1) + 50
    np.testing.assert_array_equal(found, wanted)
    assert skipped == (len(windows) - len(wanted) if keep == "last" else 0)


def test_seventy_instances_are_seven_and_a_half_seconds():
    assert [BagConfig().count(t) for t in (729, 730, 739, 740)] == [69, 70, 70, 71]


def test_pooled_and_stretched_frames_are_means():
    rows = np.arange(12, dtype=np.float32)[:, None]
    np.testing.assert_allclose(average(rows, 5)[:, 0], [2, 7, 10.5])
    np.testing.assert_allclose(stretch(rows, 4)[:, 0], [1, 4, 7, 10])
    torch_says = torch.nn.functional.adaptive_avg_pool1d(torch.tensor(rows.T[None]), 5)[0, 0]
    np.testing.assert_allclose(stretch(rows, 5)[:, 0], torch_says, rtol=1e-6)
    np.testing.assert_allclose(stretch(rows[:3], 5)[:, 0], [0, 0.5, 1, 1.5, 2])
    assert BagConfig(bag="whole").cut(rows)[0].shape == (50, 1)
    assert BagConfig(pool=5).instances_of(250) == 2


# --- what overlapping windows share ----------------------------------------------------------------------------------


def both_paths(config: maec.Config, counts: list[list[int]], dtype: torch.dtype = torch.float64) -> list:
    """Z, and the gradient of a random function of it, by the shared and by the plain path."""
    found = []
    for sharing in (True, False):
        chosen = replace(config, sharing=sharing)
        net = network(chosen).to(dtype)
        turns = [(f.to(dtype), n) for f, n in (turn(chosen, c, 45, k) for k, c in enumerate(counts))]
        latent, _ = net.encode(turns)
        direction = torch.randn(latent.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
        (latent * direction).sum().backward()
        gradients = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
        found.append((latent.detach(), gradients, can_share(chosen)))
    return found


@pytest.mark.parametrize("preset", PRESETS)
def test_sharing_is_exact(preset: str):
    """Forward and gradients of every preset at its own size, in double precision; bags of all kinds."""
    config = replace(maec.PRESETS[preset], instances=12)
    (a, grads_a, shared), (b, grads_b, not_shared) = both_paths(config, [[12, 1, 5], [3, 0, 12], [0, 7, 2]])
    assert shared
    assert not not_shared
    assert (a - b).abs().max() <= 1e-9 * b.abs().max()
    assert set(grads_a) == set(grads_b)
    assert len(grads_a) == 3 * 18
    for name, gradient in grads_b.items():
        assert (grads_a[name] - gradient).abs().max() <= 1e-9 * max(float(gradient.abs().max()), 1e-12), name


@pytest.mark.parametrize("preset", PRESETS)
def test_sharing_is_exact_to_single_precision(preset: str):
    """In float32, where a unit within rounding of 0 may switch, outputs agree to 1e-5 of the largest."""
    config = replace(maec.PRESETS[preset], instances=8, widths=(64, 64, 32), width=64)
    (a, *_), (b, *_) = both_paths(config, [[8, 3], [2, 8], [8, 0]], torch.float32)
    assert (a - b).abs().max() <= 1e-5 * b.abs().max()


@pytest.mark.parametrize(
    ("changes", "shared"),
    [
        ({"window": 40, "hop": 20}, True),
        ({"window": 48, "hop": 12, "dilated_kernel": 2}, True),
        ({"window": 30, "hop": 30}, True),
        ({"window": 5, "hop": 1}, False),
        ({"window": 50, "hop": 20}, False),
        ({"window": 6, "hop": 2}, False),
        ({"bag": "whole"}, True),
    ],
)
def test_other_windows_are_exact_too(changes: dict, shared: bool):
    config = replace(maec.PRESETS["small"], instances=6, **changes)
    assert can_share(config) == shared
    counts = [[1, 1], [1, 0], [1, 1]] if "bag" in changes else [[6, 2], [0, 3], [4, 6]]
    (a, grads_a, _), (b, grads_b, _) = both_paths(config, counts)
    torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-9)
    for name, gradient in grads_b.items():
        torch.testing.assert_close(grads_a[name], gradient, atol=1e-10, rtol=1e-8)


def test_a_block_is_its_equation():
    """One window, one output channel, written as sums: causal, dilation 2, shortcut, ReLU after the sum."""
    config = replace(maec.PRESETS["fixed"], widths=(1, 1, 1))
    block = Block(1, config)
    for parameter, values in zip(block.parameters(), ([2.0], [1.0, -1, 3], [1.0, 0, 2], [0.5]), strict=True):
        parameter.data = torch.tensor(values).reshape(parameter.shape)
    x = torch.tensor([1.0, -1, 2, 0, 3, 1])
    at = lambda seq, t: seq[t] if t >= 0 else 0.0  # noqa: E731
    a = [max(0.0, 2 * float(v)) for v in x]
    b = [max(0.0, at(a, t - 2) - at(a, t - 1) + 3 * a[t]) for t in range(6)]
    y = [max(0.0, at(b, t - 4) + 2 * b[t] + 0.5 * float(x[t])) for t in range(6)]
    torch.testing.assert_close(block(x[None, None])[0, 0], torch.tensor(y))


def test_dilation_dilates_in_fixed_and_does_nothing_in_released():
    """How far back the last frame of a block looks: 2 frames of the kernel of 3, and 4 of the dilated one."""
    for preset, reach in (("fixed", 6), ("released", 2)):
        config = replace(maec.PRESETS[preset], widths=(8, 8, 4))
        block = Block(3, config)
        for parameter in block.parameters():
            torch.nn.init.uniform_(parameter, 0.1, 1.0, generator=torch.Generator().manual_seed(1))
        x = torch.rand(1, 3, 12, requires_grad=True)
        block(x)[0, :, -1].sum().backward()
        assert x.grad is not None
        touched = x.grad[0].abs().sum(0).nonzero().flatten()
        assert int(touched.min()) == 11 - reach


def test_an_instance_of_zeros_stays_zero():
    layer = Convolutions(5, replace(maec.PRESETS["small"], instances=3))
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    assert not layer(torch.zeros(70, 5), torch.tensor([0, 10, 20])).any()


# --- the GRU ---------------------------------------------------------------------------------------------------------


def direct_gru(direction: torch.nn.Module, rows: Tensor, candidate: str) -> Tensor:
    """The GRU's equations, step by step, from the unfolded parameters."""
    act = torch.sigmoid if candidate == "sigmoid" else torch.tanh
    w_r, w_z, w_c = direction.kernel.chunk(3)
    u_r, u_z, u_c = direction.recurrent.chunk(3)
    b_r, b_z, b_c = direction.bias.chunk(3)
    c_r, c_z, c_c = direction.recurrent_bias.chunk(3)
    h, out = torch.zeros(u_r.shape[1], dtype=rows.dtype), []
    for x in rows:
        r = torch.sigmoid(w_r @ x + b_r + u_r @ h + c_r)
        z = torch.sigmoid(w_z @ x + b_z + u_z @ h + c_z)
        c = act(w_c @ x + b_c + r * (u_c @ h + c_c))
        h = z * h + (1 - z) * c
        out.append(h)
    return torch.stack(out)


@pytest.mark.parametrize("candidate", ["sigmoid", "tanh"])
def test_the_gru_is_its_equations(candidate: str):
    """Ragged bags, both directions, values and gradients."""
    torch.manual_seed(0)
    gru = BiGru(7, 10, candidate).double()
    for parameter in gru.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    counts = torch.tensor([4, 0, 9, 1])
    rows = torch.randn(14, 7, dtype=torch.float64)
    found = gru(rows, Layout.of(counts))
    bags = [bag for bag in rows.split(counts.tolist()) if len(bag)]
    there = torch.cat([direct_gru(gru.forwards, bag, candidate) for bag in bags])
    back = torch.cat([direct_gru(gru.backwards, bag.flip(0), candidate).flip(0) for bag in bags])
    wanted = torch.cat([there, back], 1)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)
    assert (found - wanted).abs().max() < 1e-12
    weight = torch.randn_like(found)
    a = torch.autograd.grad((found * weight).sum(), list(gru.parameters()))
    b = torch.autograd.grad((wanted * weight).sum(), list(gru.parameters()))
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x, y, atol=1e-10, rtol=1e-8)


def test_rows_and_bags_are_told_apart():
    layout = Layout.of(torch.tensor([2, 0, 3]))
    rows = torch.arange(1.0, 6)[:, None]
    assert layout.padded(rows)[:, :, 0].tolist() == [[1, 2, 0], [0, 0, 0], [3, 4, 5]]
    assert rows[layout.packed, 0].tolist() == [3, 1, 4, 2, 5]
    assert layout.batch_sizes.tolist() == [2, 2, 1]
    full, after = layout.filled(rows, 4)
    assert full[:, 0].tolist() == [1, 2, 0, 0, 0, 0, 0, 0, 3, 4, 5, 0]
    assert after.counts.tolist() == [4, 4, 4]
    assert layout.starts(window=50, hop=10).tolist() == [0, 10, 60, 70, 80]


# --- attention, fusion, losses: worked by hand -----------------------------------------------------------------------


def test_attention_by_hand():
    queries = torch.tensor([[[1.0, 0], [0, 1], [9, 9]]])
    keys = torch.tensor([[[LN2, 0], [0, 0], [7, 7]]])
    attended, weights = attention(queries, keys, torch.tensor([[True, True, False]]))
    torch.testing.assert_close(weights[0, :2], torch.tensor([[2 / 3, 1 / 3, 0], [1 / 2, 1 / 2, 0]]))
    torch.testing.assert_close(attended[0, :2], torch.tensor([[2 / 3 * LN2, 0], [LN2 / 2, 0]]))
    mask = torch.tensor([[True, True, False]])
    pooled, value = mean_of_instances(attended, mask), mean_of_instances(keys, mask)
    torch.testing.assert_close(pooled * value, torch.tensor([[7 / 24 * LN2**2, 0]]))


def test_fusion_by_hand():
    current, previous, other = torch.tensor([[2.0, 4]]), torch.tensor([[1.0, 0]]), torch.tensor([[LN3, 0]])
    paper, released = maec.PRESETS["paper"], maec.PRESETS["released"]
    wanted = torch.tensor([[1.5, 1, 2, 4]])
    torch.testing.assert_close(fuse(current, previous, other, paper), wanted)
    wanted = torch.tensor([[2, 4, 1.5, 1, 1, 0, LN3, 0]])
    torch.testing.assert_close(fuse(current, previous, other, released), wanted)
    wanted = torch.tensor([[3.0, 2, 2, 4]])
    torch.testing.assert_close(fuse(current, previous, other, maec.PRESETS["fixed"]), wanted)


def test_losses_by_hand():
    """Probabilities 1/2 and 3/4 for drawn, 1/2 and 1/4 for encoded vectors."""
    real, fake = torch.tensor([0.0, LN3]), torch.tensor([0.0, -LN3])
    wanted = -(math.log(1 / 2) + math.log(3 / 4)) / 2 - (math.log(1 / 2) + math.log(3 / 4)) / 2
    assert float(discriminator_loss(real, fake)) == pytest.approx(wanted)
    assert float(encoder_loss(fake, saturating=True)) == pytest.approx((math.log(1 / 2) + math.log(3 / 4)) / 2)
    assert float(encoder_loss(fake, saturating=False)) == pytest.approx(-(math.log(1 / 2) + math.log(1 / 4)) / 2)
    assert float(accuracy(real, fake)) == pytest.approx(0.5)
    assert float(accuracy(torch.tensor([1.0]), torch.tensor([-1.0, 1.0]))) == pytest.approx(0.75)
    assert float(discriminator_loss(torch.zeros(4), torch.zeros(4))) == pytest.approx(2 * LN2)


def test_unknown_gender_does_not_count():
    logits = torch.tensor([[LN3, 0], [0, 0], [5, -5]], requires_grad=True)
    loss = gender_loss(logits, torch.tensor([0, 1, -1]))
    assert loss.item() == pytest.approx((-math.log(3 / 4) + LN2) / 2)
    loss.backward()
    assert logits.grad is not None
    assert not logits.grad[2].any()
    assert gender_loss(logits, torch.tensor([-1, -1, -1])).item() == 0


def test_both_encoder_losses_pull_the_same_way():
    """Minimising either raises the discriminator's belief; the saturating one is flat where that is sure."""
    for logit, ratio in ((0.0, 1.0), (-8.0, math.exp(-8))):
        gradients = []
        for saturating in (True, False):
            fake = torch.tensor([logit], requires_grad=True)
            encoder_loss(fake, saturating).backward()
            assert fake.grad is not None
            gradients.append(float(fake.grad))
        assert gradients[0] < 0
        assert gradients[1] < 0
        assert gradients[0] / gradients[1] == pytest.approx(ratio, rel=1e-3)


def test_the_prior_is_a_mixture_in_equal_parts():
    prior = Prior((0.0, 1.0, 2.0, 3.0), 0.01)
    drawn = prior.draw(42, 50, torch.Generator().manual_seed(0))
    component = drawn.mean(1).round().int()
    assert sorted(np.bincount(component)) == [10, 10, 11, 11]
    assert (drawn - component[:, None]).std() == pytest.approx(0.01, rel=0.1)
    assert component.tolist() != [i % 4 for i in range(42)]
    again = prior.draw(42, 50, torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn, again, rtol=0, atol=0)
    plain = Prior((1.0,), 0.3).draw(4000, 4, torch.Generator().manual_seed(0))
    assert float(plain.mean()) == pytest.approx(1, abs=0.01)
    assert float(plain.std()) == pytest.approx(0.3, abs=0.01)


def test_the_distance_is_that_of_two_normal_distributions():
    """Per dimension W2^2 = (m - m')^2 + (s - s')^2; the mixture's moments against drawn vectors."""
    rows = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2, 0.5]) + 4
    moments = LatentMoments()
    for part in rows.split(64):
        moments.add(part)
    array = rows.double().numpy()
    wanted = np.sqrt(((array.mean(0) - 1) ** 2 + (array.std(0) - 0.3) ** 2).mean())
    assert moments.distance(Prior((1.0,), 0.3)) == pytest.approx(wanted, rel=1e-6)
    mixture = Prior((0.0, 1.0, 2.0, 3.0), 0.3)
    drawn = mixture.draw(40_000, 1, torch.Generator().manual_seed(1))
    assert mixture.moments == pytest.approx((float(drawn.mean()), float(drawn.std())), abs=0.01)
    near = LatentMoments()
    near.add(drawn)
    assert near.distance(mixture) < 0.02


# --- context ---------------------------------------------------------------------------------------------------------


def test_a_missing_turn_is_left_out_when_masked_and_a_bag_of_zeros_otherwise():
    config = replace(maec.PRESETS["fixed"], widths=(8, 8, 4), width=8, instances=4)
    net = network(config).double()
    current = turn(config, [3, 4], 45, 0)
    nothing = turn(config, [0, 0], 45, 1)
    latent, _ = net.encode([current, nothing, nothing])
    torch.testing.assert_close(latent[:, :8], latent[:, 8:])  # a flat PI, scaled, is 1
    some = turn(config, [0, 2], 45, 2)
    again, _ = net.encode([current, some, some])
    torch.testing.assert_close(again[0], latent[0])
    assert not torch.allclose(again[1], latent[1])

    unmasked = replace(config, masked=False)
    net = network(unmasked).double()
    zeros = torch.zeros(2 * 80, 45, dtype=torch.float64), torch.tensor([4, 4])
    a, _ = net.encode([current, nothing, nothing])
    b, _ = net.encode([current, zeros, zeros])
    torch.testing.assert_close(a, b)


def test_masked_bags_do_not_see_their_company():
    config = replace(maec.PRESETS["fixed"], widths=(8, 8, 4), width=8, instances=9)
    branch = network(config).double().encoder["current"]
    frames, counts = turn(config, [2, 9, 1], 45, 0)
    together, weights = branch(frames, counts)
    alone, alone_weights = branch(frames[:60], counts[:1])
    torch.testing.assert_close(together[:1], alone)
    torch.testing.assert_close(weights[0, :2], alone_weights[0])
    torch.testing.assert_close(weights.sum(1), torch.ones(3, dtype=torch.float64))
    assert not weights[0, 2:].any()


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"width": 7}, {"widths": (8, 8)}])
def test_what_can_not_be_built_is_refused_in_words(changes: dict):
    with pytest.raises(SerbenchError, match="even width"):
        replace(maec.Config(), **changes)
