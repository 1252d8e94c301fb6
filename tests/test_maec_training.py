"""MAEC in training: who moves in which pass, context, normalisation, collapse, salience, and bad input."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.context import add_context
from serbench.datasets.schema.corpus import make_table
from serbench.datasets.schema.task import Task
from serbench.features.core.feature_table import FeatureTable
from serbench.sermodels.core.sermodel import Data, Resources
from serbench.sermodels.inputs.batches import Batches
from serbench.sermodels.inputs.normalisation import TRANSDUCTIVE, FrameNormaliser, scale_of
from serbench.sermodels.maec import model as maec
from serbench.sermodels.maec.facts import collapses
from serbench.sermodels.maec.instances import Bags
from serbench.sermodels.maec.network import MaecNetwork, initialise

LABELS = ("anger", "joy", "neutral")
EMOTION = Task("emotion", "classification", ("emotion",), labels=LABELS)
AROUSAL = Task("arousal", "regression", ("arousal",), scales={"arousal": (1, 7)})


# --- data, fits ------------------------------------------------------------------------------------------------------

SMALLEST = replace(maec.TINY, train=replace(maec.TINY.train, epochs=2, patience=0), widths=(8, 8, 4), width=8)


def corpus(n: int = 16, *, speakers: int = 2, dialogues: bool = True, gender: bool = True) -> pd.DataFrame:
    """Dialogues of eight turns, the speakers in turn."""
    rows = [
        {
            "id": f"u{i:02d}",
            "path": f"{i}.wav",
            "speaker": f"s{i % speakers}",
            "turn": i % 8,
            "dialogue": f"d{i // 8}" if dialogues else None,
            "gender": ("female", "male")[i % 2] if gender else None,
        }
        for i in range(n)
    ]
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
    wanted = {
        "loss",
        "loss_emotion",
        "loss_gender",
        "loss_discriminator",
        "loss_adversarial",
        "discriminator_accuracy",
        "latent_distance",
        "dev_score",
        "epoch",
        "seconds",
    }
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


def test_in_bf16_every_judgement_is_by_the_weights_of_its_moment(monkeypatch: pytest.MonkeyPatch):
    """A region of autocast keeps converted weights; the discriminator steps within one."""
    plain, judged = MaecNetwork.judge, []

    def watched(network: MaecNetwork, latent: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            fresh = plain(network, latent)
        judged.append((plain(network, latent), fresh))
        return judged[-1][0]

    monkeypatch.setattr(MaecNetwork, "judge", watched)
    config = replace(SMALLEST, discriminator_rate=0.1, train=replace(SMALLEST.train, epochs=1, amp="bf16"))
    fitted(data_of(corpus()), config)
    assert len(judged) >= 3
    assert all(torch.equal(logits, fresh) for logits, fresh in judged)


def test_parts_that_two_networks_share_begin_with_the_same_weights():
    def start(context: bool = True, gender: bool = True, discriminator: bool = True) -> dict[str, Tensor]:
        network = MaecNetwork(6, 3, SMALLEST, context=context, gender=gender, discriminator=discriminator)
        initialise(network, torch.Generator().manual_seed(3))
        return snapshot(network)

    whole = start()
    assert not torch.equal(whole["encoder.current.bottleneck.weight"], whole["encoder.previous.bottleneck.weight"])
    for lacking in ("gender", "discriminator", "context"):
        part = start(**{lacking: False})
        shared = [name for name in part if part[name].shape == whole[name].shape]
        assert len(shared) > 10
        assert all(torch.equal(part[name], whole[name]) for name in shared), lacking


# --- normalisation ---------------------------------------------------------------------------------------------------


def test_normalisation_by_fold_by_speaker_and_none():
    table = corpus(8)
    data = data_of(table)
    features = data.features["input"]
    fold = scale_of(features, data.ids[:4])
    rows = np.concatenate([features[i] for i in data.ids[:4]]).astype(np.float64)
    often = [f"u{i:02d}" for i in (0, 1, 3, 4, 7)]
    speakers = {**dict.fromkeys(often, "a"), "u05": "b"}
    by = {mode: FrameNormaliser(mode, features, speakers, fold) for mode in ("train", "speaker", "none")}
    wanted = (features["u06"] - rows.mean(0)) / rows.std(0)
    np.testing.assert_allclose(by["train"]("u06", features["u06"]), wanted, atol=1e-5)
    own = np.concatenate([features[item] for item in often]).astype(np.float64)
    wanted = (features["u03"] - own.mean(0)) / own.std(0)
    np.testing.assert_allclose(by["speaker"]("u03", features["u03"]), wanted, atol=1e-5)
    whole = np.concatenate([features[item] for item in features]).astype(np.float64)
    wanted = (features["u05"] - whole.mean(0)) / whole.std(0)
    np.testing.assert_allclose(by["speaker"]("u05", features["u05"]), wanted, atol=1e-5)  # a single utterance
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
