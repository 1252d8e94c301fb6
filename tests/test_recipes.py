"""Published recipes of the probe, each against a second writing in plain PyTorch: same batches, same losses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import recall_score

from serbench.datasets.schema.task import Task
from serbench.features.core.feature_table import FeatureTable
from serbench.sermodels.core.sermodel import Data, Resources
from serbench.sermodels.inputs.batches import even_batches, shuffled
from serbench.sermodels.probe import PRESETS, Config, Model
from serbench.sermodels.training.device import derived_seed
from serbench.sermodels.training.settings import TrainConfig, rate_factor

TASK = Task("emotion", "classification", ("emotion",), labels=("a", "b", "c"))
ENCODER, WIDTH, STATES, SEED = "random:whisper-tiny", 24, 3, 11
SIZES = (75, 30)


def utterances(count: int, layers: int, pooled: bool, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Frames of several lengths, in which a class shifts some dimensions of every layer."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    lengths = np.ones(count, dtype=int) if pooled else generator.integers(2, 40, count)
    shifts = np.random.default_rng(5).standard_normal((3, layers * WIDTH))
    return [
        (generator.standard_normal((n, layers * WIDTH)) + 2.0 * shifts[k]).astype(np.float32)
        for n, k in zip(lengths, labels, strict=True)
    ], labels


def data(frames: list[np.ndarray], labels: np.ndarray, prefix: str, pooled: bool) -> Data:
    arrays = {f"{prefix}{i}": array for i, array in enumerate(frames)}
    items = pd.DataFrame(index=pd.Index(list(arrays), name="id"))
    return Data(TASK, items, {"input": FeatureTable.from_arrays(arrays, None if pooled else 0.02)}, labels)


def uar(labels: Any, scores: Any) -> float:
    return float(recall_score(labels, np.asarray(scores).argmax(1), average="macro"))


def fitted(preset: str, epochs: int) -> tuple[Model, list[dict[str, Any]], dict[str, torch.Tensor], Any, Any]:
    """A preset trained by this suite: model, its epochs, the weights that it began with, and its data."""
    config = replace(PRESETS[preset], encoder=ENCODER, train=replace(PRESETS[preset].train, epochs=epochs))
    pooled, layers = preset == "superb", STATES if config.layers == "all" else 1
    parts = [utterances(n, layers, pooled, seed) for n, seed in zip(SIZES, (1, 2), strict=True)]
    train, dev = (data(*part, prefix, pooled) for part, prefix in zip(parts, "td", strict=True))
    model = Model(config, TASK, Resources(seed=SEED))
    model._sizes = model.sizes(train)
    start = {k: v.clone() for k, v in model._fresh_network().state_dict().items()}
    log = model.fit(train, dev, uar)
    return model, log.epochs, start, parts[0], parts[1]


def orders(epochs: int) -> list[list[np.ndarray]]:
    """The batches of every epoch, by the rule of the suite: what is compared is all that comes behind them."""
    seeds = [derived_seed(SEED, epoch, "order") for epoch in range(1, epochs + 1)]
    return [even_batches(shuffled(SIZES[0], torch.Generator().manual_seed(s)), 32) for s in seeds]


def step_sizes(warm_up: int, epochs: int, rate: float) -> list[float]:
    """SpeechBrain's LinearWarmupScheduler, asked for the next value at the end of each epoch: value of its call k."""
    given = [k / warm_up if k < warm_up else max(0.0, (epochs - k) / max(1, epochs - warm_up)) for k in range(epochs)]
    return [rate] + [rate * share for share in given[: epochs - 1]]


def test_emobox_has_the_losses_of_a_second_writing() -> None:
    """examples/sb of EmoBox: Linear, ReLU, masked mean, Linear; log-softmax, NLL, Adam; the step size once an epoch."""
    epochs = 20
    model, log, start, (frames, labels), (dev_frames, dev_labels) = fitted("emobox", epochs)
    pre, post = torch.nn.Linear(WIDTH, 256), torch.nn.Linear(256, 3)
    pre.load_state_dict({k: start[f"head.project.{k}"] for k in ("weight", "bias")})
    post.load_state_dict({k: start[f"head.out.1.{k}"] for k in ("weight", "bias")})
    both = [*pre.parameters(), *post.parameters()]
    adam, sizes = torch.optim.Adam(both, lr=1e-4), step_sizes(10, epochs, 1e-4)

    def outputs(array: np.ndarray) -> torch.Tensor:
        return torch.log_softmax(post(torch.relu(pre(torch.from_numpy(array))).mean(0)), dim=-1)

    best, chosen = -1.0, torch.empty(0)
    for batches, rate, row in zip(orders(epochs), sizes, log, strict=True):
        adam.param_groups[0]["lr"], losses = rate, []
        for batch in batches:
            loss = -torch.stack([outputs(frames[i])[labels[i]] for i in batch]).mean()
            adam.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(both, 5.0)
            adam.step()
            losses.append(loss.item())
        assert row["loss"] == pytest.approx(np.mean(losses), abs=1e-5)
        with torch.no_grad():
            scores = torch.stack([outputs(array) for array in dev_frames])
        score = uar(dev_labels, scores)
        assert row["dev_score"] == pytest.approx(score, abs=1e-9)
        if score > best:
            best, chosen = score, scores
    assert log[0]["loss"] > 1.05 * log[-1]["loss"]
    assert best > 0.6
    found = model.predict(data(dev_frames, dev_labels, "d", pooled=False))
    np.testing.assert_allclose(found, chosen.exp().numpy(), rtol=0, atol=1e-5)


def test_the_step_sizes_of_emobox() -> None:
    """1, then the scheduler's values from its first one on, which is 0."""
    train = PRESETS["emobox"].train
    within = [[rate_factor(train, epoch + share) for share in (0.01, 0.5, 0.99)] for epoch in range(20)]
    assert all(len(set(epoch)) == 1 for epoch in within)
    factors = [epoch[0] for epoch in within]
    assert factors == pytest.approx([1, *(k / 10 for k in range(10)), *(1 - k / 10 for k in range(9))])
    assert factors == pytest.approx(step_sizes(10, 20, 1.0))


def test_a_late_schedule_without_warm_up_falls_from_the_second_epoch_on() -> None:
    settings = TrainConfig(epochs=4, schedule="late-linear")
    assert [rate_factor(settings, e + 0.5) for e in range(4)] == pytest.approx([1, 1, 0.75, 0.5])


def test_superb_has_the_losses_of_a_second_writing() -> None:
    """s3prl: softmax of scores over the stacked states, projector, mean, linear; 8 losses of 4 utterances a step."""
    epochs = 12
    _, log, start, (frames, labels), _ = fitted("superb", epochs)
    projector, linear = torch.nn.Linear(WIDTH, 256), torch.nn.Linear(256, 3)
    projector.load_state_dict({k: start[f"head.project.{k}"] for k in ("weight", "bias")})
    linear.load_state_dict({k: start[f"head.out.1.{k}"] for k in ("weight", "bias")})
    scores = torch.nn.Parameter(torch.zeros(STATES))
    both = [scores, *projector.parameters(), *linear.parameters()]
    adam, entropy = torch.optim.Adam(both, lr=1e-4), torch.nn.CrossEntropyLoss(reduction="sum")
    for batches, row in zip(orders(epochs), log, strict=True):
        losses = []
        for batch in batches:
            adam.zero_grad()
            total = 0.0
            for part in np.array_split(batch, 8):
                stacked = torch.stack([torch.from_numpy(frames[i]).reshape(STATES, WIDTH) for i in part])
                summed = (torch.softmax(scores, -1)[None, :, None] * stacked).sum(1)
                loss = entropy(linear(projector(summed)), torch.from_numpy(labels[part])) / len(batch)
                loss.backward()  # gradients add up, as over the parts of a step there
                total += loss.item()
            torch.nn.utils.clip_grad_norm_(both, 1.0)
            adam.step()
            losses.append(total)
        assert row["loss"] == pytest.approx(np.mean(losses), abs=1e-5)
    assert log[0]["loss"] > 1.05 * log[-1]["loss"]


def test_the_mean_and_the_sum_of_layers_change_places() -> None:
    """SUPERB sums layers frame by frame and pools then; the feature is pooled first: the same outputs."""
    torch.manual_seed(0)
    config = replace(PRESETS["superb"], encoder=ENCODER)
    table = FeatureTable.from_arrays({"x": np.zeros((1, STATES * WIDTH), np.float32)})
    items = pd.DataFrame(index=pd.Index(["x"], name="id"))
    model = Model(config, TASK, Resources(seed=1))
    network = model.build(model.sizes(Data(TASK, items, {"input": table}, np.array([0]))), torch.Generator())
    with torch.no_grad():
        network.layers.scores.copy_(torch.tensor([0.5, -1.0, 2.0]))
    frames = torch.randn(1, 17, STATES * WIDTH)
    lengths = torch.tensor([17])
    pooled = network(frames.mean(1, keepdim=True), torch.tensor([1]))
    torch.testing.assert_close(network(frames, lengths), pooled, rtol=0, atol=1e-5)


def test_defaults_of_the_probe_are_no_published_recipe() -> None:
    assert PRESETS["default"] == Config()
    assert PRESETS["default"] not in (PRESETS["emobox"], PRESETS["superb"])
