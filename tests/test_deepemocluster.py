"""DeepEmoCluster in training: what each stage moves, and each step of an epoch written a second time."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.task import Task
from serbench.features.core.feature_table import FeatureTable
from serbench.sermodels import cnn_regressor
from serbench.sermodels.clustering.pseudo_labels import share_of_draws
from serbench.sermodels.core.persist import load_model, save_model
from serbench.sermodels.core.sermodel import Data, FitLog, Resources
from serbench.sermodels.deepemocluster.model import PRESETS, TINY, Config, Model
from serbench.sermodels.training.training import Training

SCALES = {"arousal": (1.0, 7.0), "valence": (1.0, 7.0)}
JOINT = Task("attributes", "regression", ("arousal", "valence"), scales=SCALES)
SINGLE = Task("arousal", "regression", ("arousal",), scales={"arousal": (1.0, 7.0)})
CLASSES = Task("emotion", "classification", ("emotion",), labels=("low", "middle", "high"))
HOP = 256 / 16000
QUICK = replace(TINY, train=replace(TINY.train, epochs=3, batch_size=8))
SUPERVISED = replace(QUICK, unlabelled=0)


def corpus(task: Task, n: int, seed: int, bands: int = 16) -> Data:
    """Utterances whose energy tells the label: arousal raises the even bands, valence the odd ones."""
    numbers = np.random.default_rng(seed)
    values = numbers.uniform(1, 7, size=(n, 2))
    gain = np.stack([values[:, k % 2] for k in range(bands)], axis=1)
    arrays = {}
    for i in range(n):
        noise = numbers.normal(size=(int(numbers.integers(40, 90)), bands))
        arrays[f"c{seed}u{i:03d}"] = np.exp(0.2 * gain[i] + 0.3 * noise).astype(np.float32)
    labels: Any = values[:, : len(task.targets)]
    if task.kind == "classification":
        labels = np.digitize(values[:, 0], [3, 5]).astype(np.int64)
    return over(arrays, task, labels)


def over(arrays: dict[str, np.ndarray], task: Task = JOINT, labels: Any = None) -> Data:
    items = pd.DataFrame({"path": [f"{i}.wav" for i in arrays]}, index=pd.Index(list(arrays), name="id"))
    return Data(task, items, {"input": FeatureTable.from_arrays(arrays, HOP)}, labels)


def pool(n: int = 30, seed: int = 9) -> Data:
    return replace(corpus(JOINT, n, seed), labels=None)


def ccc(gold: Any, predicted: Any) -> float:
    covariance = ((gold - gold.mean(0)) * (predicted - predicted.mean(0))).mean(0)
    return float((2 * covariance / (gold.var(0) + predicted.var(0) + (gold.mean(0) - predicted.mean(0)) ** 2)).mean())


def uar(gold: Any, scores: Any) -> float:
    return float(np.mean([(scores.argmax(1)[gold == k] == k).mean() for k in np.unique(gold)]))


def fit(
    config: Config,
    task: Task = JOINT,
    unlabelled: Data | None = None,
    cls: type[Model] = Model,
    n: int = 40,
    **more: Any,
) -> tuple[Any, FitLog]:
    model = cls(config, task, Resources(seed=2, **more))
    score = uar if task.kind == "classification" else ccc
    log = model.fit(corpus(task, n, 1), corpus(task, 16, 2), score, unlabelled)
    return model, log


class Watched(Model):
    """Keeps the weights before and after each stage, and the batches of chunk numbers and their labels."""

    def begin(self, training: Training) -> None:
        super().begin(training)
        self.seen: list[tuple[str, dict[str, Tensor], dict[str, Tensor]]] = []
        self.batches_drawn: list[tuple[str, np.ndarray, np.ndarray]] = []
        self.tops: list[Tensor] = []

    def stage_one(self, training: Training, *arguments: Any) -> Any:
        return self._watch("one", training, lambda: super(Watched, self).stage_one(training, *arguments))

    def stage_two(self, training: Training, *arguments: Any) -> Any:
        return self._watch("two", training, lambda: super(Watched, self).stage_two(training, *arguments))

    def _watch(self, name: str, training: Training, run: Callable[[], Any]) -> Any:
        before = copy.deepcopy(training.network.state_dict())
        row = run()
        self.seen.append((name, before, copy.deepcopy(training.network.state_dict())))
        return row

    def _drawn(self, training: Training, name: str, chunks: Any, labels: Any) -> Any:
        drawn = super()._drawn(training, name, chunks, labels)
        self.batches_drawn.append((name, np.concatenate(drawn), labels))
        return drawn

    def _top(self, training: Training) -> Any:
        self.tops.append(training.network.top.weight.detach().clone())
        assert not training.network.top.bias.any()
        return super()._top(training)


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """Parts of the network of which a parameter changed."""
    names = {k for k in before if "running" not in k and "batches" not in k}
    return {
        k.rsplit(".", 1)[0] if k.startswith("cluster") else k.split(".")[0]
        for k in names
        if not torch.equal(before[k], after[k])
    }


ALL_PARTS = {"encoder", "cluster.0", "cluster.2", "emotion"}


@pytest.mark.parametrize("preset", ["fixed", "paper"])
def test_stage_two_moves_the_regressor_and_stage_one_does_not(preset: str) -> None:
    like = PRESETS[preset]
    config = replace(
        QUICK,
        **{
            k: getattr(like, k)
            for k in (
                "optimisers",
                "regressor",
                "sampler",
                "encoder_optimiser",
                "encoder_rate",
                "cluster_rate",
                "top_rate",
            )
        },
    )
    model, log = fit(config, unlabelled=pool(), cls=Watched)
    assert [name for name, *_ in model.seen] == ["one", "two"] * 3
    for name, before, after in model.seen:
        assert moved(before, after) == (ALL_PARTS - {"emotion"} if name == "one" else ALL_PARTS)
        assert all(not torch.equal(before[k], after[k]) for k in before if name == "two" and k.startswith("emotion"))
    assert log.facts["regressor_trained"] is True
    assert log.facts["unlabelled_sentences"] == 30


def test_the_release_never_trains_its_regressor_once_there_is_a_pool() -> None:
    keys = ("optimisers", "regressor", "sampler", "selection", "ccc_correction", "ccc_epsilon", "kmeans_start")
    config = replace(QUICK, **{k: getattr(PRESETS["released"], k) for k in keys})
    model, log = fit(config, unlabelled=pool(), cls=Watched)
    first = model.seen[0][1]
    for name, before, after in model.seen:
        assert moved(before, after) == (ALL_PARTS - {"emotion"}), name
        assert all(torch.equal(after[k], first[k]) for k in after if k.startswith("emotion"))
    assert log.facts["regressor_trained"] is False
    without, log = fit(config, cls=Watched)
    assert all(moved(before, after) == ALL_PARTS for _, before, after in without.seen)
    assert log.facts["regressor_trained"] is True
    assert log.facts["unlabelled_sentences"] == 0


def test_every_stage_begins_with_a_new_top_layer() -> None:
    model, _ = fit(replace(QUICK, width=64, clusters=20), unlabelled=pool(), cls=Watched)
    assert len(model.tops) == 6
    for a, b in itertools.combinations(model.tops, 2):
        assert not torch.equal(a, b)
    for weight in model.tops:
        assert weight.std().item() == pytest.approx(0.01, rel=4 / math.sqrt(2 * weight.numel()))
    kept, _ = fit(replace(QUICK, warm_start=True), unlabelled=pool(), cls=WarmWatched)
    ends = {name: [after["cluster.2.weight"] for n, _, after in kept.seen if n == name] for name in ("one", "two")}
    for epoch in (1, 2):  # with a warm start, each set of chunks goes on with the top layer that it ended with
        assert torch.equal(kept.tops[2 * epoch], ends["one"][epoch - 1])
        assert torch.equal(kept.tops[2 * epoch + 1], ends["two"][epoch - 1])


class WarmWatched(Watched):
    def _top(self, training: Training) -> Any:
        self.tops.append(training.network.top.weight.detach().clone())
        return Model._top(self, training)


# What is drawn


@pytest.mark.parametrize("sampler", ["balanced", "stored-order", "all"])
def test_no_cluster_is_drawn_more_than_its_share_in_training(sampler: str) -> None:
    config = replace(QUICK, sampler=sampler, kmeans_iterations=1, kmeans_start="random", clusters=6)
    model, _ = fit(config, unlabelled=pool(), cls=Watched, n=80)
    excess = []
    for _, drawn, labels in model.batches_drawn:
        counts = np.bincount(labels[drawn])
        assert len(drawn) == len(labels)
        excess.append(counts.max() - share_of_draws(len(labels), len(np.unique(labels))))
    assert max(excess) <= 0 if sampler == "balanced" else max(excess) > 5
    if sampler == "all":
        assert all(len(np.unique(drawn)) == len(drawn) for _, drawn, _ in model.batches_drawn)


# What is minimised


def test_the_loss_is_equation_3() -> None:
    _, log = fit(replace(SUPERVISED, cluster_weight=0.3, clusters=10), JOINT)
    for row in log.epochs:
        assert row["loss"] == pytest.approx(row["emotion_loss"] + 0.3 * row["cluster_loss"], rel=1e-5)
        assert row["emotion_loss"] == pytest.approx((row["loss_arousal"] + row["loss_valence"]) / 2, rel=1e-5)
    still = replace(
        SUPERVISED,
        clusters=10,
        cluster_weight=1.0,
        top_rate=0.0,
        encoder_rate=0.0,
        cluster_rate=0.0,
        train=replace(SUPERVISED.train, learning_rate=0.0),
    )
    start = fit(still)[1].epochs[0]
    assert start["loss"] == pytest.approx(math.log(10) + 1, abs=0.01), "ten equal classes and no concordance"


def test_without_cluster_loss_and_draws_it_is_the_cnn_regressor() -> None:
    config = replace(SUPERVISED, cluster_weight=0.0, sampler="all")
    ours, log = fit(config)
    fields = set(cnn_regressor.Config.__dataclass_fields__)
    plain = cnn_regressor.Config(**{k: v for k, v in vars(config).items() if k in fields})
    theirs = cnn_regressor.Model(plain, JOINT, Resources(seed=2))
    reference = theirs.fit(corpus(JOINT, 40, 1), corpus(JOINT, 16, 2), ccc)
    assert [r["emotion_loss"] for r in log.epochs] == [r["loss"] for r in reference.epochs]
    test = replace(corpus(JOINT, 9, 3), labels=None)
    np.testing.assert_array_equal(ours.predict(test), theirs.predict(test))


# Clustering


def test_the_epoch_logs_sizes_entropy_and_agreement() -> None:
    model, log = fit(QUICK, unlabelled=pool(), cls=Watched)
    sizes = log.facts["cluster_sizes"]
    assert np.array(sizes["labelled"]).shape == np.array(sizes["unlabelled"]).shape == (3, 3)
    assert np.array(sizes["labelled"]).sum(1).tolist() == [80] * 3, "two chunks of each of 40 sentences"
    assert np.array(sizes["unlabelled"]).sum(1).tolist() == [60] * 3
    for epoch, row in enumerate(log.epochs):
        for k, name in enumerate(("unlabelled", "labelled")):
            drawn = [labels for n, _, labels in model.batches_drawn if n == name]
            counts = np.bincount(drawn[epoch], minlength=3)
            assert sizes[name][epoch] == counts.tolist(), k
            shares = counts[counts > 0] / counts.sum()
            assert row[f"{name}_entropy"] == pytest.approx(-(shares * np.log(shares)).sum() / math.log(3))
            assert row[f"{name}_largest"] == pytest.approx(counts.max() / counts.sum())
            assert (f"{name}_nmi" in row) == (epoch > 0)
    assert all(0 <= row["labelled_nmi"] <= 1 for row in log.epochs[1:])


@pytest.mark.parametrize(
    "changes",
    [
        {"whiten": 5},
        {"cluster_input": "h"},
        {"kmeans_start": "random"},
        {"empty_clusters": "split"},
        {"clusters": 30},
        {"warm_start": True},
        {"cluster_mb": 0},
        {"draw": "sentences", "sampler": "all"},
        {"chunk_seconds": 0.3, "max_seconds": 1.0},
    ],
)
def test_options_train_and_are_the_same_twice(changes: dict[str, Any]) -> None:
    test = replace(corpus(JOINT, 5, 3), labels=None)
    first, log = fit(replace(QUICK, **changes), unlabelled=pool())
    again, _ = fit(replace(QUICK, **changes), unlabelled=pool())
    np.testing.assert_array_equal(first.predict(test), again.predict(test))
    assert all(np.isfinite(v) for row in log.epochs for v in row.values())


def test_points_in_a_file_give_the_same_training() -> None:
    held, filed = (fit(replace(QUICK, cluster_mb=mb), unlabelled=pool())[1].epochs for mb in (1024, 0))
    assert [{k: v for k, v in r.items() if k != "seconds"} for r in held] == [
        {k: v for k, v in r.items() if k != "seconds"} for r in filed
    ]


# Training as a whole


@pytest.mark.parametrize("task", [JOINT, SINGLE, CLASSES])
@pytest.mark.parametrize("unlabelled", [0, None])
def test_all_tasks_are_learnt(task: Task, unlabelled: int | None) -> None:
    config = replace(TINY, unlabelled=unlabelled, train=replace(TINY.train, epochs=30, batch_size=8))
    model, _ = fit(config, task, unlabelled=pool(), n=96)  # with 48, rounding decides
    test = corpus(task, 40, 3)
    predicted = model.predict(replace(test, labels=None))
    assert (uar if task.kind == "classification" else ccc)(test.labels, predicted) > 0.6, "chance is 1/3 or 0"


class StoppedError(Exception):
    """The process is gone."""


@pytest.mark.parametrize("warm", [False, True])
def test_an_interrupted_training_ends_as_an_unbroken_one(tmp_path: Path, warm: bool) -> None:
    config = replace(QUICK, warm_start=warm)
    whole, log = fit(config, unlabelled=pool())

    class Breaks(Model):
        def stage_two(self, training: Training, start: float) -> dict[str, float]:
            if training.epoch == 3:
                raise StoppedError
            return super().stage_two(training, start)

    with pytest.raises(StoppedError):
        fit(config, unlabelled=pool(), cls=Breaks, checkpoint=tmp_path)
    resumed, second = fit(config, unlabelled=pool(), checkpoint=tmp_path)
    assert second.facts["resumed_after_epoch"] == 2
    assert second.facts["cluster_sizes"] == log.facts["cluster_sizes"]
    assert [{**r, "seconds": 0} for r in second.epochs] == [{**r, "seconds": 0} for r in log.epochs]
    for key, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[key]), key


def test_the_release_selects_by_the_chunks_of_dev_batches() -> None:
    class Recorded(Model):
        def rank(self, training: Training, score: float) -> float:
            value = super().rank(training, score)
            chunks = self.chunk_set(training.dev)
            with torch.no_grad():
                outputs = training.network(torch.from_numpy(chunks.gather(np.arange(len(chunks))))).numpy()[:, 0]
            gold = np.repeat(training.dev.labels[:, 0], 2)
            gold = (gold - float(training.network.label_mean)) / float(training.network.label_std)
            losses = []
            for at in range(0, len(gold), 16):  # 8 sentences of 2 chunks
                p, t = outputs[at : at + 16], gold[at : at + 16]
                spread = p.var(ddof=1) + t.var(ddof=1) + (p.mean() - t.mean()) ** 2
                losses.append(1 - 2 * ((p - p.mean()) * (t - t.mean())).mean() / spread)
            self.values = [*getattr(self, "values", []), (value, -float(np.mean(losses)))]
            return value

    model, log = fit(replace(SUPERVISED, selection="chunks", ccc_correction=1, ccc_epsilon=0.0), SINGLE, cls=Recorded)
    found, expected = np.array(model.values).T
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert log.best_epoch == 1 + int(np.argmax(expected))


@pytest.mark.parametrize("task", [JOINT, CLASSES])
def test_company_and_micro_batches_change_no_score(task: Task, tmp_path: Path) -> None:
    model, _ = fit(replace(QUICK, max_seconds=0.75), task, unlabelled=pool())
    data = replace(corpus(task, 12, 3), labels=None)
    together = model.predict(data)
    path = save_model(model, tmp_path)
    for size in (1, 5, 100):
        other = load_model(path)
        other.config = replace(model.config, train=replace(model.config.train, micro_batch=size))
        np.testing.assert_allclose(other.predict(data), together, atol=1e-5)
    for position in (0, 7):
        np.testing.assert_allclose(model.predict(data.take([position]))[0], together[position], atol=1e-5)


# The unlabelled pool


def test_only_the_chosen_part_of_the_pool_is_used() -> None:
    config = replace(QUICK, unlabelled=11)
    _, log = fit(config, unlabelled=pool())
    assert log.facts["unlabelled_sentences"] == 11
    assert sum(log.facts["cluster_sizes"]["unlabelled"][0]) == 22


@pytest.mark.parametrize("given", [None, "empty"])
def test_an_empty_pool_is_supervised_training_unless_a_number_was_asked_for(given: str | None) -> None:
    nothing = None if given is None else pool().take([])
    _, log = fit(QUICK, unlabelled=nothing)
    _, reference = fit(SUPERVISED, unlabelled=pool())
    assert log.facts["unlabelled_sentences"] == 0
    assert [r["loss"] for r in log.epochs] == [r["loss"] for r in reference.epochs]
    with pytest.raises(SerbenchError, match=r"pool has 0 sentences.*--set model.unlabelled=0"):
        fit(replace(QUICK, unlabelled=5), unlabelled=nothing)


def test_a_pool_that_overlaps_the_labelled_data_is_refused() -> None:
    train = corpus(JOINT, 40, 1)
    with pytest.raises(SerbenchError, match=r"shares 2 sentences.*c1u003"):
        fit(QUICK, unlabelled=replace(train.take([3, 4]), labels=None))
    other = pool(4)
    other = replace(other, items=other.items.assign(path=["c2u001.wav", "x.wav", "y.wav", "z.wav"]))
    with pytest.raises(SerbenchError, match=r"shares 1 sentences.*c9u000"):
        fit(QUICK, unlabelled=other)  # another id, the audio of a dev sentence
    assert fit(replace(QUICK, unlabelled=0), unlabelled=other)[1].facts["unlabelled_sentences"] == 0


def test_labels_of_the_pool_are_not_seen() -> None:
    labelled = corpus(JOINT, 30, 9)
    _, log = fit(QUICK, unlabelled=labelled)
    _, reference = fit(QUICK, unlabelled=replace(labelled, labels=None))
    assert [r["loss"] for r in log.epochs] == [r["loss"] for r in reference.epochs]


# Bad input


def test_fewer_chunks_than_clusters() -> None:
    with pytest.raises(SerbenchError, match=r"training data have 80 chunks, fewer than model.clusters=81"):
        fit(replace(QUICK, clusters=81))
    with pytest.raises(SerbenchError, match=r"unlabelled data have 8 chunks, fewer than model.clusters=9"):
        fit(replace(QUICK, clusters=9), unlabelled=pool(4))


def test_silent_and_very_short_files_are_trained_on_and_scored() -> None:
    train, odd = corpus(JOINT, 40, 1), {"silent": np.zeros((50, 16), "f4"), "one": np.ones((1, 16), "f4")}
    arrays = {i: train.features["input"][i] for i in train.ids} | odd
    labels = np.concatenate([train.labels, [[2.0, 3.0], [6.0, 5.0]]])
    model = Model(QUICK, JOINT, Resources(seed=2))
    log = model.fit(over(arrays, JOINT, labels), corpus(JOINT, 16, 2), ccc, over({f"p{k}": v for k, v in odd.items()}))
    assert log.facts["extended_sentences"] == 1
    predicted = model.predict(over(odd))
    assert predicted.shape == (2, 2)
    assert np.isfinite(predicted).all()


def test_a_pool_of_silence_gives_one_cluster_and_a_finite_loss() -> None:
    silent = over({f"p{i}": np.zeros((60, 16), "f4") for i in range(5)})
    _, log = fit(QUICK, unlabelled=silent)
    assert log.facts["cluster_sizes"]["unlabelled"][0] in ([10, 0, 0], [0, 10, 0], [0, 0, 10])
    assert log.epochs[0]["unlabelled_empty"] == 2
    assert log.epochs[0]["unlabelled_entropy"] == 0


@pytest.mark.parametrize("preset", ["fixed", "released"])
def test_constant_labels_are_predicted_as_such(preset: str) -> None:
    """The loss 1 - CCC is 1 throughout: nothing is concordant with a constant."""
    keys = ("ccc_epsilon", "ccc_correction", "optimisers", "selection")
    config = replace(QUICK, **{k: getattr(PRESETS[preset], k) for k in keys})
    model = Model(config, SINGLE, Resources(seed=2))
    train = corpus(SINGLE, 40, 1)
    log = model.fit(replace(train, labels=np.full((40, 1), 3.5)), corpus(SINGLE, 16, 2), ccc)
    assert log.epochs[0]["emotion_loss"] == pytest.approx(1.0, abs=1e-4)
    np.testing.assert_allclose(model.predict(replace(train, labels=None)), 3.5, atol=0.2)


def test_weights_of_another_shape_are_refused_in_words(tmp_path: Path) -> None:
    model, _ = fit(QUICK)
    path = save_model(model, tmp_path)
    model.config = replace(QUICK, width=24)
    broken = save_model(model, tmp_path / "broken")
    with pytest.raises(SerbenchError, match=r"(?s)does not fit the model 'deepemocluster'.*size mismatch"):
        load_model(broken)
    assert load_model(path).parameters == sum(p.numel() for p in model.network.parameters())
