"""The semi-supervised baselines: their equations written a second time, and that they learn, from a pool too."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from serbench.benchmarks.planted.trainings import Variant, configured, score, train
from serbench.benchmarks.planted.world import CLASSES, VALUE, World, planted
from serbench.sermodels import ladder, mean_teacher, pseudo_label, registry, ssae  # noqa: F401
from serbench.sermodels.core.sermodel import Resources
from serbench.sermodels.ladder.network import Combinator, errors, standardised
from serbench.sermodels.mean_teacher import ramp
from serbench.sermodels.pseudo_label import rise

MODELS = ("ladder", "mean-teacher", "pseudo-label", "ssae")
FAST = {"train.learning_rate": "3e-3", "train.batch_size": "8"}
SMALL = World(labelled=48, labelled_speakers=8, pool=48, dev=24, test=48, held_out_speakers=8)


@pytest.fixture(scope="module")
def world() -> Any:
    return planted(SMALL, 0)


def begun(name: str, task: Any = VALUE, settings: dict[str, str] | None = None, epochs: int = 1) -> Any:
    """A model that was trained for an epoch, with the state of that training."""
    held: dict[str, Any] = {}
    base = registry.load(name).Model

    class Kept(base):  # type: ignore[misc, valid-type]
        def begin(self, training: Any) -> None:
            super().begin(training)
            held["training"] = training

    model = Kept(configured(Variant(name, name, settings=settings or {}), epochs), task, Resources(seed=1))
    data = planted(SMALL, 0, task)
    measure = score if task is VALUE else (lambda gold, p: float((p.argmax(1) == gold).mean()))
    log = model.fit(data.train, data.dev, measure, data.pool)
    return model, held["training"], data, log


# Learning


@pytest.mark.parametrize("name", MODELS)
def test_a_value_is_learnt_and_an_untrained_model_does_not_have_it(name: str, world: Any) -> None:
    settings = FAST | ({"model.decay": "0.9"} if name == "mean-teacher" else {})  # 84 steps are few for the paper's
    found = train(Variant(name, name, settings=settings), world, 0, epochs=14)
    assert found.test > 0.6
    still = train(Variant(name, name, settings={"train.learning_rate": "0"}), world, 0, epochs=1)
    assert still.test < 0.2
    assert found.facts["unlabelled_sentences"] == 48


@pytest.mark.parametrize("name", MODELS)
def test_classes_are_learnt(name: str) -> None:
    model, _, data, _ = begun(name, CLASSES, FAST, epochs=10)
    predicted = model.predict(replace(data.test, labels=None)).argmax(1)
    recalls = [(predicted[data.test.labels == k] == k).mean() for k in range(3)]
    assert np.mean(recalls) > 0.55, "chance is 1/3"


@pytest.mark.parametrize("name", MODELS)
def test_the_pool_moves_the_weights_and_its_absence_is_a_supervised_training(name: str, world: Any) -> None:
    settings = {"model.ramp_epochs": "0"} if name == "mean-teacher" else {}
    settings |= (
        {"model.start_epochs": "0", "model.rise_epochs": "0", "model.spread": "9"} if name == "pseudo-label" else {}
    )
    one = Variant(name, name, settings=settings)
    with_pool, without = (train(one, world, 0, epochs=1, pool=pool) for pool in (True, False))
    asked = train(replace(one, settings={**settings, "model.unlabelled": "0"}), world, 0, epochs=1)
    assert without.last == {**asked.last, "seconds": without.last["seconds"]}
    assert with_pool.last["loss"] != without.last["loss"]
    assert without.facts["unlabelled_sentences"] == 0


# Mean teacher


def test_the_teacher_is_the_running_mean_of_the_student() -> None:
    model, training, _, _ = begun("mean-teacher")
    network = training.network
    before = [p.clone() for p in network.encoder.parameters()]
    with torch.no_grad():
        for p in network.student.parameters():
            p.add_(1.0)
    model.after_step(training, 4)  # 1 - 1 / 5 is below the decay
    for old, new, student in zip(
        before, network.encoder.parameters(), network.student.encoder.parameters(), strict=True
    ):
        torch.testing.assert_close(new, 0.8 * old + 0.2 * student)
    assert all(not p.requires_grad for p in network.emotion.parameters())
    assert model.parameters == sum(p.numel() for p in network.student.parameters())


def test_the_ramps_are_those_of_the_papers() -> None:
    assert [ramp(e, 4) for e in (0, 2, 4, 9)] == pytest.approx([math.exp(-5), math.exp(-5 / 4), 1, 1])
    assert ramp(0, 0) == 1
    assert [rise(e, 2, 4) for e in (0, 1.9, 2, 4, 6, 9)] == [0, 0, 0, 0.5, 1, 1]
    assert rise(2, 2, 0) == 1


def test_consistency_is_of_probabilities_for_classes() -> None:
    model, *_ = begun("mean-teacher", CLASSES)
    a, b = torch.randn(7, 3), torch.randn(7, 3)
    expected = ((a.softmax(1) - b.softmax(1)) ** 2).mean()
    assert float(model.distance(a, b)) == pytest.approx(float(expected), rel=1e-6)


# Pseudo-label


def test_only_confident_predictions_count() -> None:
    model, training, data, log = begun("pseudo-label", CLASSES)
    chunks = torch.from_numpy(np.stack([data.pool.array(i) for i in range(20)]))
    labels, counts = model.pseudo_labels(training.network, chunks)
    with torch.no_grad():
        probabilities = training.network.eval()(chunks).softmax(1)
    assert labels.tolist() == probabilities.argmax(1).tolist()
    assert counts.tolist() == (probabilities.max(1).values >= 0.8).tolist()
    outputs, which = torch.randn(4, 3), torch.tensor([True, False, False, True])
    truth = torch.tensor([0, 1, 2, 1])
    each = -outputs.log_softmax(1)[torch.arange(4), truth]
    assert float(model.pseudo_loss(outputs, truth, which)) == pytest.approx(float((each[0] + each[3]) / 4), rel=1e-6)
    assert log.epochs[0]["pseudo_loss"] == 0, "in the first epochs the labelled sentences stand alone"


def test_values_count_where_passes_with_dropout_agree() -> None:
    model, training, data, _ = begun("pseudo-label")
    chunks = torch.from_numpy(np.stack([data.pool.array(i) for i in range(20)]))
    before = {k: v.clone() for k, v in training.network.state_dict().items()}
    means, counts = model.pseudo_labels(training.network, chunks)
    assert means.shape == counts.shape == (20, 1)
    assert all(torch.equal(v, before[k]) for k, v in training.network.state_dict().items())
    model.config = replace(model.config, spread=0.0)
    assert not model.pseudo_labels(training.network, chunks)[1].any()
    few = torch.zeros(20, 1, dtype=torch.bool)
    few[:2] = True
    assert float(model.pseudo_loss(torch.randn(20, 1), means, few)) == 0


# SS-AE


def test_unlabelled_chunks_are_a_class_of_their_own() -> None:
    model, _, data, _ = begun("ssae", CLASSES)
    logits, unknown = torch.randn(6, 4), torch.randn(6, 1)
    expected = -logits[4:].log_softmax(1)[:, 3].mean()
    assert float(model.unknown_loss(logits, unknown, 4)) == pytest.approx(float(expected), rel=1e-6)
    assert float(model.unknown_loss(logits, unknown, 6)) == 0
    predicted = model.predict(replace(data.test, labels=None))
    chunks = torch.from_numpy(np.stack([data.test.array(i) for i in range(len(data.test))]))
    with torch.no_grad():
        network = model.network.eval()
        outputs, extra = network.outputs(network.latent(chunks))
        whole = torch.cat([outputs, extra], 1).softmax(1)
    given = whole[:, :3] / whole[:, :3].sum(1, keepdim=True)  # that it is one of the emotions
    np.testing.assert_allclose(predicted, given.numpy(), atol=1e-5)


def test_for_values_a_unit_tells_unlabelled_from_labelled() -> None:
    model, *_ = begun("ssae")
    unknown = torch.randn(5, 1)
    p = torch.sigmoid(unknown[:, 0])
    expected = (-(1 - p[:3]).log().mean() - p[3:].log().mean()) / 2
    assert float(model.unknown_loss(unknown, unknown, 3)) == pytest.approx(float(expected), rel=1e-5)


# Ladder


def test_the_combinator_is_that_of_the_paper() -> None:
    g = Combinator(2)
    z, u = torch.randn(5, 2), torch.randn(5, 2)
    assert not g(z, u).any()
    with torch.no_grad():
        g.weights.copy_(torch.randn(10, 2))
    a = g.weights.detach().numpy()
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    un, zn = u.numpy(), z.numpy()
    mu = a[0] * sigmoid(a[1] * un + a[2]) + a[3] * un + a[4]
    v = a[5] * sigmoid(a[6] * un + a[7]) + a[8] * un + a[9]
    np.testing.assert_allclose(g(z, u).detach().numpy(), (zn - mu) * v + mu, rtol=1e-5)
    maps = g(z.reshape(5, 2, 1, 1).expand(5, 2, 3, 4), u.reshape(5, 2, 1, 1).expand(5, 2, 3, 4))
    torch.testing.assert_close(maps[:, :, 1, 2], g(z, u))


@pytest.mark.parametrize(("settings", "rebuilt"), [({}, 7), ({"model.variant": "gamma"}, 1)])
def test_layers_are_rebuilt_from_the_top(settings: dict[str, str], rebuilt: int) -> None:
    _, training, data, log = begun("ladder", VALUE, settings)
    network = training.network.train()
    chunks = torch.from_numpy(np.stack([data.train.array(i) for i in range(24)]))
    maps = network.normaliser(chunks)
    clean, noisy = network.passed(maps, 0.0), network.passed(maps, 0.3)
    assert len(clean) == len(noisy) == 7, "spectrum, three convolutions, h, hidden layer, outputs"
    again = network.rebuilt(noisy, noisy[-1])
    assert [z.shape for z in again] == [z.shape for z in clean[::-1]][:rebuilt]
    assert len(errors(clean, again)) == rebuilt
    perfect = errors(clean, clean[::-1][:rebuilt])
    assert [float(e.detach()) for e in perfect] == [0.0] * rebuilt
    assert "top_error" in log.epochs[0]
    values = standardised(clean[1])
    assert float(values.mean().detach()) == pytest.approx(0, abs=1e-5)
    assert float(values.std().detach()) == pytest.approx(1, abs=1e-3)


def test_the_clean_pass_is_what_predicts() -> None:
    """With the running statistics of one batch, evaluation gives what the clean pass gives of it."""
    _, training, data, _ = begun("ladder")
    network = training.network.train()
    chunks = torch.from_numpy(np.stack([data.train.array(i) for i in range(24)]))
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        outputs = network.passed(network.normaliser(chunks), 0.0)[-1]
        torch.testing.assert_close(network.eval()(chunks), outputs, atol=0.05, rtol=0.05)  # n or n - 1
