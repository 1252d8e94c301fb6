"""MAEC against its equations written a second time, its authors' published sizes, and tiny examples worked by hand."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from serbench.datasets._corpus import add_context, make_table
from serbench.datasets._errors import SerbenchError
from serbench.datasets._task import Task
from serbench.features._store import FeatureTable
from serbench.sermodels import maec
from serbench.sermodels._batches import Batches
from serbench.sermodels._frame_norm import TRANSDUCTIVE, FrameNormaliser, scale_of
from serbench.sermodels._maec_convolutions import Block, Convolutions, can_share
from serbench.sermodels._maec_facts import collapses
from serbench.sermodels._maec_gru import BiGru
from serbench.sermodels._maec_instances import BagConfig, Bags, average, stretch
from serbench.sermodels._maec_losses import (
    LatentMoments,
    Prior,
    accuracy,
    discriminator_loss,
    encoder_loss,
    gender_loss,
)
from serbench.sermodels._maec_network import MaecNetwork, attention, fuse, initialise, mean_of_instances
from serbench.sermodels._maec_rows import Layout
from serbench.sermodels._model import Data, Resources

PRESETS = sorted(set(maec.PRESETS) - {"default"})
LABELS = ("anger", "joy", "neutral")
EMOTION = Task("emotion", "classification", ("emotion",), labels=LABELS)
AROUSAL = Task("arousal", "regression", ("arousal",), scales={"arousal": (1, 7)})
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


# --- data, fits ------------------------------------------------------------------------------------------------------

SMALLEST = replace(maec.TINY, train=replace(maec.TINY.train, epochs=2, patience=0), widths=(8, 8, 4), width=8)


def corpus(n: int = 16, *, speakers: int = 2, dialogues: bool = True, gender: bool = True) -> pd.DataFrame:
    """Dialogues of eight turns, the speakers in turn."""
    rows = [
        {
            "id": f"u{i:02d}", "path": f"{i}.wav", "speaker": f"s{i % speakers}", "turn": i % 8,
            "dialogue": f"d{i // 8}" if dialogues else None,
            "gender": ("female", "male")[i % 2] if gender else None,
        }
        for i in range(n)
    ]  # fmt: skip
    return add_context(make_table(rows), order=("turn",)) if dialogues else make_table(rows)


def data_of(table: pd.DataFrame, task: Task = EMOTION, *, dim: int = 6, lengths: list[int] | None = None) -> Data:
    """Random features whose mean tells the label."""
    rng = np.random.default_rng(0)
    frames = lengths or [40 + 13 * i for i in range(len(table))]
    classes = np.arange(len(table)) % len(LABELS)
    arrays = {
        str(item): (rng.normal(size=(t, dim)) + 2 * np.eye(3, dim)[k]).astype(np.float32)
        for item, t, k in zip(table.index, frames, classes, strict=True)
    }
    labels = classes if task.kind == "classification" else (classes + 2.0)[:, None]
    return Data(task, table, {"input": FeatureTable.from_arrays(arrays, 0.01)}, labels, turns=table)


def dev_score(gold, predicted) -> float:
    return float((predicted.argmax(1) == gold).mean()) if gold.ndim == 1 else -float(((gold - predicted) ** 2).mean())


def fitted(data: Data, config: maec.Config = SMALLEST, task: Task = EMOTION, **resources):
    model = maec.Model(config, task, Resources(seed=1, **resources))
    return model, model.fit(data, data, dev_score)


def snapshot(net: MaecNetwork) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in net.named_parameters()}


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """Parts of the network in which some parameter changed."""
    return {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({}, {"discriminator", "encoder"}),
        ({"saturating": True, "adversarial_weight": 1.0}, {"discriminator", "encoder"}),
        ({"first_pass": "discriminator", "split_steps": True}, {"discriminator"}),
        ({"first_pass": "none"}, None),
        ({"adversarial_weight": 0.0}, {"discriminator"}),
    ],
)
def test_who_moves_in_which_pass(changes: dict, first: set[str] | None, monkeypatch):
    seen: dict[str, set[str]] = {}
    sweep = maec.Training.sweep

    def watched(self, name, *arguments, **named):
        before = snapshot(self.network)
        numbers = sweep(self, name, *arguments, **named)
        seen.setdefault(name, moved(before, snapshot(self.network)))
        return numbers

    monkeypatch.setattr(maec.Training, "sweep", watched)
    fitted(data_of(corpus()), replace(SMALLEST, train=replace(SMALLEST.train, epochs=1), **changes))
    assert seen.get("regularisation") == first
    assert seen["classification"] == {"encoder", "emotion", "gender"}


def test_the_first_pass_steps_by_the_stated_losses(monkeypatch):
    """One batch of the adversarial pass, written again with plain SGD."""
    data = data_of(corpus(8))
    train = replace(SMALLEST.train, optimiser="sgd", learning_rate=0.5, epochs=1)
    config = replace(SMALLEST, train=train, discriminator_rate=0.25, adversarial_weight=0.3)
    states: list[dict[str, Tensor]] = []
    sweep = maec.Training.sweep
    turns: list = []

    def watched(self, name, batches: Batches, *arguments, **named):
        if name == "regularisation":
            states.append(snapshot(self.network))
            batches = list(batches)
            turns.append([t.clone() for t in batches[0][:-2]])
        numbers = sweep(self, name, batches, *arguments, **named)
        if name == "regularisation":
            states.append(snapshot(self.network))
            turns.append(self.generator("prior"))
        return numbers

    monkeypatch.setattr(maec.Training, "sweep", watched)
    model, _ = fitted(data, config)
    net = MaecNetwork(6, 3, config, context=True, gender=True, discriminator=True)
    net.load_state_dict(states[0], strict=False)
    latent, _ = net.encode(maec.turns_of(turns[0]))
    drawn = torch.randn(8, latent.shape[1], generator=_after_permutation(turns[1], 8))
    p_real, p_fake = torch.sigmoid(net.judge(drawn)), torch.sigmoid(net.judge(latent.detach()))
    loss = -(p_real.log().mean() + (1 - p_fake).log().mean())
    gradients = torch.autograd.grad(loss, list(net.discriminator.parameters()))
    with torch.no_grad():
        for parameter, gradient in zip(net.discriminator.parameters(), gradients, strict=True):
            parameter -= 0.25 * gradient
    adversarial = -torch.sigmoid(net.judge(latent)).log().mean()
    gradients = torch.autograd.grad(adversarial, list(net.encoder.parameters()))
    with torch.no_grad():
        for parameter, gradient in zip(net.encoder.parameters(), gradients, strict=True):
            parameter -= 0.3 * 0.5 * gradient
    for name, value in snapshot(net).items():
        torch.testing.assert_close(value, states[1][name], atol=1e-6, rtol=1e-5)
    assert model.network is not None


def _after_permutation(generator: torch.Generator, count: int) -> torch.Generator:
    torch.randperm(count, generator=generator)
    return generator


def test_the_log_holds_what_the_discriminator_does():
    _, log = fitted(data_of(corpus()))
    assert len(log.epochs) == 2
    wanted = {"loss", "loss_emotion", "loss_gender", "loss_discriminator", "loss_adversarial", "discriminator_accuracy",
              "latent_distance", "dev_score", "epoch", "seconds"}  # fmt: skip
    assert all(set(row) == wanted for row in log.epochs)
    assert all(0 <= row["discriminator_accuracy"] <= 1 for row in log.epochs)
    assert all(math.isfinite(v) for row in log.epochs for v in row.values())
    for row in log.epochs:
        assert row["loss"] == pytest.approx(row["loss_emotion"] + row["loss_gender"], rel=1e-5)


def test_released_draws_with_replacement(monkeypatch):
    drawn: list[np.ndarray] = []
    load = maec.Model._load

    def watched(self, items):
        drawn.append(np.asarray(items))
        return load(self, items)

    monkeypatch.setattr(maec.Model, "_load", watched)
    config = replace(SMALLEST, draw="replacement", train=replace(SMALLEST.train, batch_size=5, epochs=1))
    fitted(data_of(corpus(16)), config)
    assert [len(items) for items in drawn] == [5] * 6, "floor(16 / 5) steps in each of the two passes"
    assert any(len(set(items.tolist())) < 5 for items in drawn)


def test_an_interrupted_training_ends_in_the_same_weights(tmp_path):
    data = data_of(corpus())
    config = replace(SMALLEST, train=replace(SMALLEST.train, epochs=4))
    whole, _ = fitted(data, config)

    class StopError(Exception):
        pass

    def stop(text: str, share: float) -> None:
        if text.startswith("epoch 3/4 classification"):
            raise StopError

    with pytest.raises(StopError):
        fitted(data, config, checkpoint=tmp_path, progress=stop)
    resumed, log = fitted(data, config, checkpoint=tmp_path)
    assert log.facts["resumed_after_epoch"] == 2
    np.testing.assert_array_equal(resumed.predict(data), whole.predict(data))


def test_attributes_are_learnt_by_ccc():
    data = data_of(corpus(), AROUSAL)
    train = replace(SMALLEST.train, epochs=15, learning_rate=2e-2)
    model, log = fitted(data, replace(SMALLEST, train=train, first_pass="none", context=False), AROUSAL)
    predicted = np.asarray(model.predict(data))[:, 0]
    assert np.corrcoef(predicted, data.labels[:, 0])[0, 1] > 0.8
    assert abs(predicted.mean() - data.labels.mean()) < 0.5, "on the label's own scale"
    first = log.epochs[0]["loss_emotion"]
    assert 0 <= first <= 2


# --- context ---------------------------------------------------------------------------------------------------------


def test_a_missing_turn_is_left_out_when_masked_and_a_bag_of_zeros_otherwise():
    config = replace(maec.PRESETS["fixed"], widths=(8, 8, 4), width=8, instances=4)
    net = network(config).double()
    current = turn(config, [3, 4], 45, 0)
    nothing = turn(config, [0, 0], 45, 1)
    latent, _ = net.encode([current, nothing, nothing])
    torch.testing.assert_close(latent[:, :8], latent[:, 8:]), "a flat PI, scaled, is 1"
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


def test_context_turns_are_the_named_ones():
    table = corpus(8)
    data = data_of(table)
    bags = Bags(data, SMALLEST, FrameNormaliser("none", data.features["input"], {}, (0.0, 1.0)), context=True)
    (_, now), (previous, n_previous), (_, n_other) = bags.gather([3, 0])
    assert table.loc["u03", "previous"] == "u01"
    assert n_previous.tolist() == [SMALLEST.instances_of(53), 0]
    assert n_other.tolist()[1] == 0
    np.testing.assert_array_equal(previous[:53], data.features["input"]["u01"])
    assert now.tolist() == [SMALLEST.instances_of(79), SMALLEST.instances_of(40)]


def test_a_context_turn_without_features_is_missing():
    table = corpus(8)
    data = data_of(table)
    full = data.features["input"]
    without = {k: v for k, v in full.loaders.items() if k != "u01"}
    partial = dataclasses.replace(full, loaders=without, failed={"u01": "unreadable"})
    kept = dataclasses.replace(data.take([3, 5]), features={"input": partial})
    bags = Bags(kept, SMALLEST, FrameNormaliser("none", partial, {}, (0.0, 1.0)), context=True)
    assert bags.turns == [["u03", "u05"], [None, "u03"], ["u02", "u04"]]


def test_without_dialogues_the_current_turn_is_all_and_the_record_says_so():
    model, log = fitted(data_of(corpus(dialogues=False)))
    assert isinstance(model.network, MaecNetwork)
    assert list(model.network.encoder) == ["current"]
    assert model.network.latent == SMALLEST.width
    assert log.facts["context"].startswith("none, the current turn alone")
    assert "no context turns" in log.facts["context"]
    _, off = fitted(data_of(corpus()), replace(SMALLEST, context=False))
    assert "model.context is off" in off.facts["context"]
    _, on = fitted(data_of(corpus()))
    assert on.facts["context"].startswith("previous turn of 12 of 16, interlocutor turn of 14 of 16")


def test_a_dialogue_with_one_speaker_has_no_interlocutor():
    data = data_of(corpus(speakers=1))
    assert data.items["interlocutor"].isna().all()
    model, log = fitted(data)
    assert "interlocutor turn of 0 of 16" in log.facts["context"]
    assert np.isfinite(model.predict(data)).all()


# --- normalisation ---------------------------------------------------------------------------------------------------


def test_normalisation_by_fold_by_speaker_and_none():
    table = corpus(8)
    data = data_of(table)
    features = data.features["input"]
    fold = scale_of(features, data.ids[:4])
    rows = np.concatenate([features[i] for i in data.ids[:4]]).astype(np.float64)
    speakers = {"u00": "a", "u03": "a", "u05": "b"}
    by = {mode: FrameNormaliser(mode, features, speakers, fold) for mode in ("train", "speaker", "none")}
    wanted = (features["u06"] - rows.mean(0)) / rows.std(0)
    np.testing.assert_allclose(by["train"]("u06", features["u06"]), wanted, atol=1e-5)
    own = np.concatenate([features["u00"], features["u03"]]).astype(np.float64)
    wanted = (features["u03"] - own.mean(0)) / own.std(0)
    np.testing.assert_allclose(by["speaker"]("u03", features["u03"]), wanted, atol=1e-5)
    unknown = by["speaker"]("u06", features["u06"])
    np.testing.assert_array_equal(unknown, by["train"]("u06", features["u06"]))
    np.testing.assert_array_equal(by["none"]("u05", features["u05"]), features["u05"])


def test_by_speaker_neither_order_nor_company_decides():
    data = data_of(corpus(16, speakers=4))
    config = replace(SMALLEST, normalise="speaker")
    model, _ = fitted(data, config)
    together = np.asarray(model.predict(data))
    np.testing.assert_allclose(model.predict(data.take([5])), together[[5]], atol=1e-5)


def test_transductive_use_is_labelled():
    assert maec.Model.labels(maec.PRESETS["paper"]) == (TRANSDUCTIVE,)
    assert maec.Model.labels(maec.PRESETS["released"]) == (TRANSDUCTIVE,)
    assert maec.Model.labels(maec.PRESETS["default"]) == ()


# --- bad input -------------------------------------------------------------------------------------------------------


def test_short_and_silent_utterances_are_one_instance_and_finite():
    table = corpus(8)
    data = data_of(table, lengths=[1, 2, 3, 49, 50, 5, 7, 9])
    arrays = {i: np.zeros_like(data.features["input"][i]) for i in data.ids[:2]}
    arrays |= {i: data.features["input"][i] for i in data.ids[2:]}
    data = dataclasses.replace(data, features={"input": FeatureTable.from_arrays(arrays, 0.01)})
    model, log = fitted(data)
    assert np.isfinite(model.predict(data)).all()
    assert log.facts["instances"]["single"] == 7


def test_a_corpus_of_silence_is_predicted_without_nan():
    data = data_of(corpus(8))
    silent = {i: np.zeros_like(data.features["input"][i]) for i in data.ids}
    for mode in ("train", "speaker", "none"):
        quiet = dataclasses.replace(data, features={"input": FeatureTable.from_arrays(silent, 0.01)})
        model, log = fitted(quiet, replace(SMALLEST, normalise=mode))
        assert np.isfinite(model.predict(quiet)).all()
        assert any("every dev item is predicted as" in text for text in log.facts["collapse"])


def test_a_class_absent_from_the_fold_gets_a_score_all_the_same():
    data = data_of(corpus(12))
    two = data.take(np.flatnonzero(data.labels != 1))
    for weights in ("none", "balanced"):
        model, _ = fitted(two, replace(SMALLEST, class_weights=weights))
        scores = np.asarray(model.predict(data))
        assert scores.shape == (12, 3)
        np.testing.assert_allclose(scores.sum(1), 1, atol=1e-6)


def test_unknown_gender_takes_the_second_task_away():
    model, log = fitted(data_of(corpus(gender=False)))
    assert model.network is not None
    assert model.network.gender is None
    assert "loss_gender" not in log.epochs[0]
    assert "known for 0 of 16" in log.facts["gender"]
    table = corpus()
    table.loc[table.index[:4], "gender"] = pd.NA
    _, some = fitted(data_of(table))
    assert "known for 12 of 16" in some.facts["gender"]
    assert "loss_gender" in some.epochs[0]
    table["gender"] = "female"
    _, one = fitted(data_of(table))
    assert "not both genders are known" in one.facts["gender"]


def test_functionals_are_refused_in_words():
    data = data_of(corpus(8))
    rows = {i: data.features["input"][i][:1] for i in data.ids}
    flat = dataclasses.replace(data, features={"input": FeatureTable.from_arrays(rows, None)})
    with pytest.raises(SerbenchError, match="emobase45"):
        fitted(flat)


def test_other_features_than_in_training_are_refused_in_words():
    model, _ = fitted(data_of(corpus(8)))
    with pytest.raises(SerbenchError, match="Expected 6"):
        model.predict(data_of(corpus(8), dim=7))


@pytest.mark.parametrize("changes", [{"width": 7}, {"widths": (8, 8)}])
def test_what_can_not_be_built_is_refused_in_words(changes: dict):
    with pytest.raises(SerbenchError, match="even width"):
        replace(maec.Config(), **changes)


# --- collapse --------------------------------------------------------------------------------------------------------


def test_a_collapse_is_said():
    sure = [{"discriminator_accuracy": a} for a in (0.3, 0.9, 1.0, 0.9995)]
    unsure = [{"discriminator_accuracy": a} for a in (1.0, 1.0, 0.7)]
    one = np.tile([0.1, 0.7, 0.2], (5, 1))
    mixed = np.eye(3)[[0, 1, 2, 1, 0]]
    labels = np.array([0, 1, 2])
    assert collapses(EMOTION, unsure, mixed, labels) == []
    assert collapses(EMOTION, [{"loss": 1.0}], mixed, labels) == []
    (said,) = collapses(EMOTION, unsure, one, labels)
    assert "'joy'" in said
    (said,) = collapses(EMOTION, sure, mixed, labels)
    assert "discriminator" in said
    assert len(collapses(EMOTION, sure, one, labels)) == 2
    (said,) = collapses(AROUSAL, unsure, np.full((5, 1), 3.0), np.array([[1.0], [5.0]]))
    assert "arousal" in said


def test_a_collapsed_training_says_so_in_its_record():
    config = replace(SMALLEST, prior_means=(50.0,), prior_std=0.1, discriminator_rate=0.05, adversarial_weight=0.0)
    config = replace(config, train=replace(config.train, epochs=12, batch_size=4, learning_rate=0.0))
    _, log = fitted(data_of(corpus()), config)
    assert any("discriminator" in text for text in log.facts["collapse"])


# --- salience --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"keep": "first"}, {"masked": False}, {"pool": 5}, {"bag": "whole"}])
def test_salience_tells_where_and_how_much(changes: dict):
    data = data_of(corpus(8), lengths=[30, 60, 200, 300, 51, 49, 170, 171])
    config = replace(SMALLEST, **changes)
    model, _ = fitted(data, config)
    for item, found in zip(data.ids, model.salience(data), strict=True):
        frames = data.features["input"].frames(item)
        assert len(found) == (1 if "bag" in changes else config.instances_of(frames))
        assert (found["end"] <= frames * 0.01 + 1e-9).all()
        assert (found["end"] > found["start"]).all()
        if "masked" not in changes:
            assert found["weight"].sum() == pytest.approx(1, abs=1e-5)
        if not changes:
            assert found["end"].iloc[-1] == pytest.approx(frames * 0.01), "the last instances are kept"
