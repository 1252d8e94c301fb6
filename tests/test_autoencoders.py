"""CNN-AE and CNN-VAE: the decoder's geometry, the losses written a second time, and what each stage moves."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.task import Task
from serbench.features.core.feature_table import FeatureTable
from serbench.sermodels import cnn_ae, cnn_regressor, cnn_vae
from serbench.sermodels.chunked.autoencoder import AutoencoderModel, AutoencoderNetwork
from serbench.sermodels.chunked.decoder import Decoder, output_paddings
from serbench.sermodels.chunked.network import CHANNELS, STRIDES, map_sizes
from serbench.sermodels.cnn_vae import VariationalNetwork, divergence
from serbench.sermodels.core.sermodel import Data, FitLog, Resources
from serbench.sermodels.training.training import Training

SCALES = {"arousal": (1.0, 7.0), "valence": (1.0, 7.0)}
JOINT = Task("attributes", "regression", ("arousal", "valence"), scales=SCALES)
CLASSES = Task("emotion", "classification", ("emotion",), labels=("low", "middle", "high"))
HOP = 256 / 16000
BOTH = [pytest.param(cnn_ae, id="ae"), pytest.param(cnn_vae, id="vae")]


def quick(module: Any, **changes: Any) -> Any:
    train = replace(module.TINY.train, epochs=3, batch_size=8)
    return replace(module.TINY, **{"train": train, **changes})


def corpus(task: Task, n: int, seed: int, bands: int = 16) -> Data:
    """Utterances whose energy tells the label."""
    numbers = np.random.default_rng(seed)
    values = numbers.uniform(1, 7, size=(n, 2))
    gain = np.stack([values[:, k % 2] for k in range(bands)], axis=1)
    arrays = {}
    for i in range(n):
        noise = numbers.normal(size=(int(numbers.integers(40, 90)), bands))
        arrays[f"c{seed}u{i:03d}"] = np.exp(0.2 * gain[i] + 0.3 * noise).astype(np.float32)
    labels: Any = np.digitize(values[:, 0], [3, 5]).astype(np.int64) if task.kind == "classification" else values
    items = pd.DataFrame({"path": [f"{i}.wav" for i in arrays]}, index=pd.Index(list(arrays), name="id"))
    return Data(task, items, {"input": FeatureTable.from_arrays(arrays, HOP)}, labels)


def pool(n: int = 30, seed: int = 9) -> Data:
    return replace(corpus(JOINT, n, seed), labels=None)


def ccc(gold: Any, predicted: Any) -> float:
    covariance = ((gold - gold.mean(0)) * (predicted - predicted.mean(0))).mean(0)
    return float((2 * covariance / (gold.var(0) + predicted.var(0) + (gold.mean(0) - predicted.mean(0)) ** 2)).mean())


def fit(cls: type[AutoencoderModel], config: Any, unlabelled: Data | None = None) -> tuple[Any, FitLog]:
    model = cls(config, JOINT, Resources(seed=2))
    return model, model.fit(corpus(JOINT, 40, 1), corpus(JOINT, 16, 2), ccc, unlabelled)


def watched(base: type[AutoencoderModel]) -> type[Any]:
    """The model, keeping its weights before and after each stage."""

    class Watched(base):  # type: ignore[misc, valid-type]
        def begin(self, training: Training) -> None:
            super().begin(training)
            self.seen: list[tuple[str, dict[str, Tensor], dict[str, Tensor]]] = []

        def stage_one(self, training: Training, *arguments: Any) -> Any:
            return self._watch("one", training, lambda: super(Watched, self).stage_one(training, *arguments))

        def stage_two(self, training: Training, *arguments: Any) -> Any:
            return self._watch("two", training, lambda: super(Watched, self).stage_two(training, *arguments))

        def _watch(self, name: str, training: Training, run: Callable[[], Any]) -> Any:
            before = copy.deepcopy(training.network.state_dict())
            row = run()
            self.seen.append((name, before, copy.deepcopy(training.network.state_dict())))
            return row

    return Watched


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    names = {k for k in before if "running" not in k and "batches" not in k}
    return {k.split(".")[0] for k in names if not torch.equal(before[k], after[k])}


def network(module: Any, frames: int = 15, bands: int = 16, **changes: Any) -> AutoencoderNetwork:
    config = quick(module, **changes)
    built = module.Model(config, JOINT).build({"frames": frames, "bands": bands}, torch.Generator().manual_seed(0))
    assert isinstance(built, AutoencoderNetwork)
    return built


# Geometry


def test_the_paper_s_maps_come_back_exactly() -> None:
    decoder = Decoder(256, 62, 128, CHANNELS, STRIDES)
    maps = torch.zeros(1, *decoder.shape)
    seen = []
    for convolution in decoder.convolutions:
        maps = convolution(maps)
        seen.append(tuple(maps.shape[2:]))
    assert decoder.shape == (128, 2, 4)
    assert seen == [(4, 8), (8, 16), (16, 32), (31, 64), (62, 128), (62, 128), (62, 128)]
    assert maps.shape[1] == 1
    assert output_paddings(62, 128, STRIDES) == [(0, 0), (0, 0), (1, 1), (0, 1), (1, 1), (1, 1), (1, 1)]
    assert decoder(torch.zeros(3, 256)).shape == (3, 62, 128)


def test_the_decoder_has_the_mirrored_numbers_of_weights() -> None:
    """Each transposed convolution has its partner's weights; only the biases and norms shift by one layer."""
    decoder, pairs = Decoder(256, 62, 128, CHANNELS, STRIDES), list(zip((1, *CHANNELS), CHANNELS, strict=False))
    shapes = [tuple(c.weight.shape) for c in decoder.convolutions]
    assert shapes == [(o, i, 3, 3) for i, o in reversed(pairs)]
    assert [c.stride for c in decoder.convolutions] == [(s, s) for s in reversed(STRIDES)]
    weights = sum(i * o * 9 + i for i, o in pairs)
    norms = sum(2 * i for i, _ in pairs[1:])
    assert sum(p.numel() for p in decoder.parameters()) == weights + norms + 257 * 1024


@pytest.mark.parametrize("frames", [1, 2, 5, 15, 31, 62, 63])
@pytest.mark.parametrize("strides", [(1, 2, 2), (4, 3), (2,), (3, 1, 4)])
def test_any_geometry_comes_back_exactly(frames: int, strides: tuple[int, ...]) -> None:
    bands, channels = 2 * frames + 3, tuple(range(2, 2 + len(strides)))
    maps, sizes = torch.zeros(1, 1, frames, bands), []
    for i, (out, stride) in enumerate(zip(channels, strides, strict=True)):
        maps = nn.Conv2d(maps.shape[1], out, 3, stride, 1)(maps)
        sizes.append(tuple(maps.shape[2:]))
        assert sizes[i] == map_sizes(frames, bands, strides)[i]
    assert Decoder(4, frames, bands, channels, strides)(torch.zeros(2, 4)).shape == (2, frames, bands)


@pytest.mark.parametrize("training", [True, False])
def test_the_decoder_computes_its_layers_one_by_one(training: bool) -> None:
    ours = network(cnn_ae).decoder.train(training)
    for norm in ours.norms:
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
    plain = copy.deepcopy(ours)
    code = torch.randn(6, 16, generator=torch.Generator().manual_seed(1))
    maps = functional.relu(plain.expand(code)).reshape(6, *plain.shape)
    maps = functional.relu(plain.norms[0](plain.convolutions[0](maps)))
    torch.testing.assert_close(ours(code), plain.convolutions[1](maps)[:, 0], rtol=1e-4, atol=1e-5)
    ours(code).square().sum().backward()
    plain.convolutions[1](maps).square().sum().backward()
    for (name, p), q in zip(ours.named_parameters(), plain.parameters(), strict=True):
        if name == "convolutions.0.bias" and training:
            continue  # batch normalisation takes it away: rounding, or exactly 0
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-3 * float(q.grad.abs().max()), msg=name)


def test_the_decoder_s_options_do_what_they_say() -> None:
    code = torch.randn(6, 16, generator=torch.Generator().manual_seed(1))
    plain = network(cnn_ae, decoder_norm=False, decoder_activation="leaky-relu").decoder
    assert not any(isinstance(m, nn.BatchNorm2d) for m in plain.modules())
    maps = functional.leaky_relu(plain.expand(code), 0.01).reshape(6, *plain.shape)
    maps = functional.leaky_relu(plain.convolutions[0](maps), 0.01)
    torch.testing.assert_close(plain(code), plain.convolutions[1](maps)[:, 0])
    bounded = network(cnn_ae, decoder_output="tanh", clip=2.0).decoder
    linear = network(cnn_ae, clip=2.0).decoder  # the same weights
    torch.testing.assert_close(bounded(code), 2 * torch.tanh(linear(code)))
    assert linear(code).abs().max() > 1, "where tanh is not near the identity"
    stds = [float(c.weight.detach().std()) for c in network(cnn_ae, channels=(16, 32), width=8).decoder.convolutions]
    assert stds == pytest.approx([math.sqrt(2 / (9 * 32)), math.sqrt(2 / (9 * 16))], rel=0.2)


# Losses


@pytest.mark.parametrize("kind", ["mse", "l1", "smooth-l1"])
@pytest.mark.parametrize("target", ["clipped", "unclipped"])
def test_the_reconstruction_error_written_a_second_time(kind: str, target: str) -> None:
    net = network(cnn_ae, reconstruction=kind, target=target, clip=1.0)
    net.normaliser.set(np.full(16, 2.0), np.full(16, 1.5))
    model = cnn_ae.Model(quick(cnn_ae, reconstruction=kind, target=target, clip=1.0), JOINT)
    chunks = 4 * torch.rand(5, 15, 16, generator=torch.Generator().manual_seed(3))
    training = training_of(model, net)
    code = net.code(net.encoder(net.normaliser(chunks)))
    found = model.unsupervised(training, chunks, code)["loss"].item()
    z = ((chunks - 2) * 1.5).double().numpy()
    wanted = np.clip(z, -1, 1) if target == "clipped" else z
    d = np.abs(net.decoder(code.decoded).detach().double().numpy() - wanted)
    errors = {"mse": d**2, "l1": d, "smooth-l1": np.where(d < 1, d**2 / 2, d - 0.5)}
    assert found == pytest.approx(errors[kind].mean(), rel=1e-4)


def training_of(model: AutoencoderModel, net: AutoencoderNetwork, epoch: int = 1) -> Training:
    data = corpus(JOINT, 8, 1)
    training = Training("m", net, model.train_config, torch.device("cpu"), 0, data, data, None, model.optimisers(net))
    training.epoch = epoch
    return training


def test_the_divergence_is_that_of_two_normal_distributions() -> None:
    mean = torch.tensor([[0.3, -1.2], [0.0, 0.0]], dtype=torch.float64)
    log_variance = torch.tensor([[-1.0, 0.7], [0.0, 0.0]], dtype=torch.float64)
    normal = torch.distributions.Normal(mean, (log_variance / 2).exp())
    expected = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(divergence(mean, log_variance), expected)
    assert divergence(mean, log_variance)[1] == 0


@pytest.mark.parametrize(("reconstruction", "scale"), [("mse", 2.0), ("l1", 1.0)])
def test_weight_one_is_the_evidence_lower_bound(reconstruction: str, scale: float) -> None:
    """-ELBO = -log p(x|z) + KL with a decoder of unit scale; the loss is scale / D of it, up to a constant."""
    config = quick(cnn_vae, reconstruction=reconstruction, kl_weight=1.0, kl_epochs=0)
    model, net = cnn_vae.Model(config, JOINT), network(cnn_vae, reconstruction=reconstruction)
    chunks = torch.rand(5, 15, 16, generator=torch.Generator().manual_seed(3))
    code = net.code(net.encoder(net.normaliser(chunks)))
    found = model.unsupervised(training_of(model, net), chunks, code)["loss"]
    assert code.divergence is not None
    rebuilt, target = net.decoder(code.decoded), net.normaliser(chunks)
    law = torch.distributions.Normal if reconstruction == "mse" else torch.distributions.Laplace
    zero = law(torch.zeros(1), torch.ones(1)).log_prob(torch.zeros(1))
    likelihood = (law(rebuilt, torch.ones(1)).log_prob(target) - zero).sum((1, 2))
    bound = (-likelihood + code.divergence).mean()
    torch.testing.assert_close(found, scale * bound / (15 * 16), rtol=1e-4, atol=1e-6)


def test_the_divergence_s_weight_rises() -> None:
    config = quick(cnn_vae, kl_weight=3.0, kl_epochs=4)
    model, net = cnn_vae.Model(config, JOINT), network(cnn_vae).eval().requires_grad_(False)
    assert isinstance(net, VariationalNetwork)
    nn.init.constant_(net.mean.bias, 3.0)  # a divergence that the sum's rounding does not hide
    chunks = torch.rand(5, 15, 16, generator=torch.Generator().manual_seed(3))
    code = net.code(net.encoder(net.normaliser(chunks)))
    assert code.divergence is not None
    for epoch, share in ((1, 0.25), (2, 0.5), (4, 1.0), (9, 1.0)):
        found = model.unsupervised(training_of(model, net, epoch), chunks, code)
        extra = float(found["loss"] - found["reconstruction_loss"])
        assert extra == pytest.approx(3 * share * 2 / 240 * float(code.divergence.mean()), rel=1e-3)


def test_codes_are_drawn_in_training_and_their_means_used_otherwise() -> None:
    net = network(cnn_vae)
    assert isinstance(net, VariationalNetwork)
    nn.init.constant_(net.mean.bias, 0.5)
    nn.init.constant_(net.log_variance.bias, 2 * math.log(0.3))
    hidden = torch.zeros(4000, 16)
    torch.manual_seed(0)
    drawn = net.train().code(hidden).decoded
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.01)
    assert drawn.std().item() == pytest.approx(0.3, rel=0.02)
    assert torch.equal(net.eval().code(hidden).decoded, torch.full_like(drawn, 0.5))


@pytest.mark.parametrize("source", ["h", "mean", "sample"])
def test_the_head_reads_what_was_chosen(source: str) -> None:
    net = network(cnn_vae, regress_from=source).train()
    hidden = torch.rand(7, 16, generator=torch.Generator().manual_seed(3))
    torch.manual_seed(1)
    code = net.code(hidden)
    assert isinstance(net, VariationalNetwork)
    expected = {"h": hidden, "mean": net.mean(hidden), "sample": code.decoded}[source]
    torch.testing.assert_close(code.regressed, expected)
    assert net.emotion(code.regressed).shape == (7, 2)


@pytest.mark.parametrize("source", ["h", "mean", "sample"])
def test_a_sentence_is_scored_through_the_code(source: str) -> None:
    model, _ = fit(cnn_vae.Model, quick(cnn_vae, regress_from=source, train=replace(cnn_vae.TINY.train, epochs=1)))
    test = corpus(JOINT, 5, 3)
    net = model.network.eval()
    chunks = torch.from_numpy(model.chunk_set(test).gather(np.arange(10)))
    with torch.inference_mode():
        means = net(chunks).reshape(5, 2, 2).mean(1).double() * net.label_std + net.label_mean
    np.testing.assert_allclose(model.predict(replace(test, labels=None)), means, atol=1e-4)


def test_each_branch_has_its_own_dropout() -> None:
    hidden = torch.ones(200, 16)
    for decodes, share in ((False, 0.0), (True, 0.5)):
        code = network(cnn_ae, dropout=0.5, decode_dropout=decodes).train().code(hidden)
        assert (code.decoded == 0).float().mean().item() == pytest.approx(share, abs=0.05)
        assert (code.regressed == 0).float().mean().item() == pytest.approx(0.5, abs=0.05)


# Training


@pytest.mark.parametrize("module", BOTH)
def test_stage_one_leaves_the_emotion_head_and_stage_two_moves_everything(module: Any) -> None:
    model, log = fit(watched(module.Model), quick(module), pool())
    assert [name for name, *_ in model.seen] == ["one", "two"] * 3
    unsupervised = {"encoder", "decoder"} | ({"mean", "log_variance"} if module is cnn_vae else set())
    for name, before, after in model.seen:
        assert moved(before, after) == (unsupervised if name == "one" else unsupervised | {"emotion"})
    assert log.facts["unlabelled_sentences"] == 30
    assert log.epochs[-1]["unlabelled_loss"] < log.epochs[0]["unlabelled_loss"]


@pytest.mark.parametrize("module", BOTH)
def test_the_loss_is_equation_3_with_the_unsupervised_loss(module: Any) -> None:
    _, log = fit(module.Model, quick(module, reconstruction_weight=0.3))
    for row in log.epochs:
        assert not any(key.startswith("unlabelled") for key in row)
        unsupervised = row["reconstruction_loss"]
        if module is cnn_vae:
            unsupervised += min(1, row["epoch"] / 2) * 2 / 240 * row["divergence"]
        assert row["loss"] == pytest.approx(row["emotion_loss"] + 0.3 * unsupervised, rel=1e-4)
        assert row["emotion_loss"] == pytest.approx((row["loss_arousal"] + row["loss_valence"]) / 2, rel=1e-4)


def test_without_reconstruction_it_is_the_cnn_regressor() -> None:
    """The decoder's weights are drawn after the others, so encoder, head and order of chunks are the same."""
    config = quick(cnn_ae, reconstruction_weight=0.0)
    model, log = fit(cnn_ae.Model, config)
    fields = set(cnn_regressor.Config.__dataclass_fields__)
    plain = cnn_regressor.Config(**{k: v for k, v in vars(config).items() if k in fields})
    theirs = cnn_regressor.Model(plain, JOINT, Resources(seed=2))

    def build(sizes: Any, generator: torch.Generator) -> nn.Module:
        ours, network = model.build(sizes, generator), cnn_regressor.Model.build(theirs, sizes, generator)
        network.load_state_dict({k: v for k, v in ours.state_dict().items() if not k.startswith("decoder")})
        return network

    theirs.build = build  # type: ignore[method-assign]
    reference = theirs.fit(corpus(JOINT, 40, 1), corpus(JOINT, 16, 2), ccc)
    assert [r["emotion_loss"] for r in log.epochs] == [r["loss"] for r in reference.epochs]
    test = replace(corpus(JOINT, 9, 3), labels=None)
    np.testing.assert_array_equal(model.predict(test), theirs.predict(test))


def test_an_autoencoder_learns_what_its_input_looks_like() -> None:
    """Better than the best constant map, whose squared error is the variance around each place's mean."""
    train = replace(cnn_ae.TINY.train, epochs=40, batch_size=8, learning_rate=1e-2)
    model, _ = fit(cnn_ae.Model, quick(cnn_ae, train=train, reconstruction_weight=5.0))
    net = model.network
    chunks = torch.from_numpy(model.chunk_set(corpus(JOINT, 16, 7)).gather(np.arange(32)))
    with torch.inference_mode():
        target, rebuilt = net.target(chunks, True), net.decoder(net.code(net.latent(chunks)).decoded)
    error, constant = (float((target - guess).square().mean()) for guess in (rebuilt, target.mean(0)))
    assert error < 0.9 * constant


@pytest.mark.parametrize("module", BOTH)
def test_parts_have_one_optimiser_each(module: Any) -> None:
    for preset, rule in (("paper", "SGD"), ("default", "Adam")):
        config = module.PRESETS[preset]
        model = module.Model(config, JOINT)
        net = model.build({"frames": 62, "bands": 128}, torch.Generator())
        groups = {k: (type(o).__name__, o.param_groups[0]["lr"]) for k, o in model.optimisers(net).items()}
        rate = 1e-3 if preset == "paper" else 5e-4
        assert groups == {"encoder": (rule, rate), "decoder": (rule, rate), "emotion": ("Adam", 5e-4)}
        held = [id(p) for o in model.optimisers(net).values() for g in o.param_groups for p in g["params"]]
        assert sorted(held) == sorted(id(p) for p in net.parameters())
        assert config.train.batch_size == (64 if preset == "paper" else 16)


@pytest.mark.parametrize("module", BOTH)
def test_it_classifies_too(module: Any) -> None:
    config = quick(module, train=replace(module.TINY.train, epochs=30, batch_size=8))
    model = module.Model(config, CLASSES, Resources(seed=2))
    right = lambda gold, scores: float((scores.argmax(1) == gold).mean())  # noqa: E731
    model.fit(corpus(CLASSES, 40, 1), corpus(CLASSES, 16, 2), right, pool())
    test = corpus(CLASSES, 30, 3)
    assert right(test.labels, model.predict(replace(test, labels=None))) > 0.6


# Bad input


@pytest.mark.parametrize("module", BOTH)
def test_the_pool_is_checked(module: Any) -> None:
    assert module.Model.pool(module.Config(unlabelled=0), ["a", "b"]) == []
    with pytest.raises(SerbenchError, match=r"model\.unlabelled=99, but the unlabelled pool has 30"):
        fit(module.Model, quick(module, unlabelled=99), pool())
    with pytest.raises(SerbenchError, match="shares 30 sentences with the labelled data"):
        fit(module.Model, quick(module), pool(30, 1))
    _, log = fit(module.Model, quick(module, unlabelled=0), pool())
    assert log.facts["unlabelled_sentences"] == 0
