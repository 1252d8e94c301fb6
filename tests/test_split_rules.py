"""Rules of splits: a dev part that is drawn or nested, short names, refit on train + dev, normalisation by speaker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import recall_score
from sklearn.svm import SVC

from serbench.benchmarks.grid import grid
from serbench.benchmarks.grid.training import plan_training
from serbench.benchmarks.protocol.protocol import Protocol, describe, divide, given_split
from serbench.benchmarks.protocol.request import Grid, Request
from serbench.benchmarks.protocol.setting import Corpora
from serbench.datasets import emodb
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.corpus import Corpus, make_table, rotation
from serbench.datasets.schema.task import Task
from serbench.features.core.feature_table import FeatureTable
from serbench.results.record.identity import run_id
from serbench.results.scores.scoring import dev_score
from serbench.sermodels import linear, svm
from serbench.sermodels.core.scaling import TRANSDUCTIVE
from serbench.sermodels.core.selection import INNER, inner_folds
from serbench.sermodels.core.sermodel import Data

EMOTION = Task("emotion", "classification", ("emotion",), labels=("anger", "neutral"))
AROUSAL = Task("arousal", "regression", ("arousal",), scales={"arousal": (1.0, 7.0)})


def corpus(n: int = 120, speakers: int = 6, known: bool = True) -> Corpus:
    rows = [
        {
            "id": f"u{i:03}",
            "path": f"{i}.wav",
            "speaker": f"s{i % speakers}" if known or i else None,
            "emotion": ("anger", "neutral")[i % 4 == 0],
            "fold": f"{i // 6 % 3}",
        }
        for i in range(n)
    ]
    splits = {"leave-one-speaker-out": rotation("speaker", [f"s{k}" for k in range(speakers)])}
    splits["mixed"] = rotation("fold", "012")
    return Corpus("toy", "1", Path("/nowhere"), make_table(rows), (EMOTION,), splits)


def data(n: int = 60, task: Task = EMOTION, seed: int = 0, prefix: str = "u") -> Data:
    """Six speakers with a bias of their own over a weak emotion; 8 columns."""
    generator = np.random.default_rng(seed)
    speaker = np.arange(n) % 6
    classes = generator.integers(0, 2, n)
    bias = np.random.default_rng(99).normal(0, 3, (6, 8))[speaker]
    values = bias + classes[:, None] * np.linspace(0.3, 1.2, 8) + generator.normal(0, 1, (n, 8))
    ids = [f"{prefix}{i}" for i in range(n)]
    items = pd.DataFrame({"speaker": [f"s{k}" for k in speaker]}, index=ids)
    table = FeatureTable.from_arrays({i: v[None].astype(np.float32) for i, v in zip(ids, values, strict=True)})
    labels: Any = classes if task is EMOTION else (classes + generator.normal(0, 0.3, n))[:, None]
    return Data(task, items, {"input": table}, labels)


def matrix(one: Data) -> np.ndarray:
    return np.stack([one.array(i)[0] for i in range(len(one))]).astype(np.float64)


def test_loso_is_a_short_name() -> None:
    assert given_split("loso", "emodb") == ("leave-one-speaker-out", "")
    assert (
        Grid("linear", "emodb", protocol=Protocol(split="loso")).requests()[0].protocol.split == "leave-one-speaker-out"
    )
    assert divide(corpus(), EMOTION, Protocol(split="loso")) == divide(
        corpus(), EMOTION, Protocol(split="leave-one-speaker-out")
    )


def test_loso_of_emodb_tests_each_speaker_once(test_data: Path) -> None:
    real = emodb.load(test_data / "emodb")
    divisions = divide(real, real.task("emotion"), Protocol(split="loso"))
    speakers = [real.utterances.loc[list(d.test), "speaker"].unique().tolist() for d in divisions]
    assert speakers == [[name] for name in emodb.SPEAKERS]


def test_dev_is_drawn_by_speaker_where_that_is_possible() -> None:
    one = corpus()
    drawn = divide(one, EMOTION, Protocol(split="loso", dev="0.2"))
    for division in drawn:
        sides = [set(one.utterances.loc[list(ids), "speaker"]) for ids in (division.train, division.dev, division.test)]
        assert [len(side) for side in sides] == [4, 1, 1]
        assert len(set.union(*sides)) == 6
    assert len({frozenset(one.utterances.loc[list(d.dev), "speaker"]) for d in drawn}) > 1
    assert divide(one, EMOTION, Protocol(split="loso", dev="0.2")) == drawn
    assert divide(one, EMOTION, Protocol(split="loso", dev="0.2", seed=1)) != drawn


@pytest.mark.parametrize("rule", ["0.2:utterance", "0.1"])
def test_else_by_utterance_with_the_shares_of_classes(rule: str) -> None:
    one, share = corpus(), float(rule[:3])
    own = divide(one, EMOTION, Protocol(split="mixed"))
    for division, before in zip(divide(one, EMOTION, Protocol(split="mixed", dev=rule)), own, strict=True):
        both = [*before.train, *before.dev]
        assert division.test == before.test
        assert sorted([*division.train, *division.dev]) == sorted(both)
        for emotion in EMOTION.labels:
            count = one.utterances.loc[both, "emotion"].eq(emotion).sum()
            assert one.utterances.loc[list(division.dev), "emotion"].eq(emotion).sum() == round(share * count)


def test_the_record_names_the_rule() -> None:
    def told(rule: str, **settings: Any) -> dict[str, Any]:
        protocol = Protocol(split="mixed", dev=rule, **settings)
        return describe(corpus(), EMOTION, protocol, divide(corpus(), EMOTION, protocol))

    names = {"0.2": "0.2:speaker", "0.20": "0.2:speaker", "0.1": "0.1:utterance", "nested": "nested"}
    assert {rule: told(rule)["dev"] for rule in names} == names
    assert "dev" not in told("")
    assert "listed" not in told("")
    assert len({told(rule)["items_digest"] for rule in ("", "0.2", "0.3", "0.2:utterance", "nested")}) == 5


def test_rules_that_are_none() -> None:
    for rule in ("1", "0", "-0.1", "a fifth", "0.2:dialogue", "0.2:"):
        with pytest.raises(SerbenchError, match=r"expected a share between 0 and 1, such as 0\.2"):
            divide(corpus(), EMOTION, Protocol(dev=rule))
    with pytest.raises(SerbenchError, match="0 known speakers, too few"):
        divide(corpus(known=False), EMOTION, Protocol(split="mixed", dev="0.2:speaker"))
    assert divide(corpus(known=False), EMOTION, Protocol(split="mixed", dev="0.2"))


def test_refit_is_the_chosen_model_on_train_and_dev() -> None:
    train, dev, both = data(60), data(30, seed=1, prefix="d"), data(90, seed=2)
    model = linear.Model(linear.Config(clip=None, balanced=False, alphas=(10.0, 1.0)), EMOTION)
    alpha = model.fit(train, dev, dev_score(EMOTION)).facts["alpha"]
    before = np.asarray(model.predict(dev))
    assert model.refit(both)["refitted_on"] == 90
    rows = matrix(both)
    scale = lambda x: (x - rows.mean(axis=0)) / rows.std(axis=0)  # noqa: E731
    other = LogisticRegression(C=1 / alpha, max_iter=5000, tol=1e-10).fit(scale(rows), both.labels)
    after = np.asarray(model.predict(dev))
    np.testing.assert_allclose(after, other.predict_proba(scale(matrix(dev))), atol=2e-3)
    assert np.abs(after - before).max() > 0.01


def test_refit_of_values_and_of_machines() -> None:
    train, dev, both = (data(n, AROUSAL, seed) for n, seed in ((60, 0), (30, 1), (90, 2)))
    model = linear.Model(linear.Config(clip=None), AROUSAL)
    (alpha,) = model.fit(train, dev, dev_score(AROUSAL)).facts["alpha"]
    model.refit(both)
    rows = matrix(both)
    scale = lambda x: (x - rows.mean(axis=0)) / rows.std(axis=0)  # noqa: E731
    other = Ridge(alpha).fit(scale(rows), both.labels)
    np.testing.assert_allclose(model.predict(dev), other.predict(scale(matrix(dev))).reshape(-1, 1), rtol=1e-6)
    train, dev, both = data(60), data(30, seed=1), data(90, seed=2)
    machine = svm.Model(svm.Config(clip=None, balanced=False), EMOTION)
    facts = machine.fit(train, dev, dev_score(EMOTION)).facts
    machine.refit(both)
    rows = matrix(both)
    fitted = SVC(C=facts["cost"][0], gamma=facts["gamma"][0] / 8, tol=1e-6).fit(scale(rows), both.labels)
    expected = fitted.predict(scale(matrix(dev)))
    assert (np.asarray(machine.predict(dev)).argmax(axis=1) == expected).all()


@pytest.mark.parametrize("module", [linear, svm])
def test_normalisation_by_speaker_takes_the_speaker_away(module: Any) -> None:
    train, dev, test = data(90), data(60, seed=1), data(60, seed=2)
    scores = {}
    for mode in ("train", "speaker"):
        model = module.Model(module.Config(normalise=mode), EMOTION)
        model.fit(train, dev, dev_score(EMOTION))
        scores[mode] = recall_score(test.labels, np.asarray(model.predict(test)).argmax(axis=1), average="macro")
        assert module.Model.labels(model.config) == ((TRANSDUCTIVE,) if mode == "speaker" else ())
    assert scores["speaker"] > 0.75
    arrays = {item: test.array(i) * (2 + i % 6) + 100 * (i % 6) for i, item in enumerate(test.ids)}
    moved = replace(test, features={"input": FeatureTable.from_arrays(arrays)})
    np.testing.assert_allclose(
        model.predict(moved), model.predict(test), atol=1e-3, err_msg="scale and offset of a speaker"
    )


def test_a_speaker_who_is_unknown_cant_be_normalised() -> None:
    one = data(20)
    one.items.loc["u3", "speaker"] = None
    model = linear.Model(linear.Config(normalise="speaker"), EMOTION)
    with pytest.raises(SerbenchError, match="that of 'u3' is unknown"):
        model.fit(one, data(20, seed=1), dev_score(EMOTION))
    continuous = Task("valence", "continuous", ("valence",), scales={"valence": (-1.0, 1.0)}, frame_seconds=0.1)
    with pytest.raises(SerbenchError, match="for functionals of utterances"):
        linear.Model.requests(linear.Config(normalise="speaker"), continuous)


def test_inner_folds_keep_speakers_whole() -> None:
    one = data(60)
    folds = inner_folds(one)
    assert len(folds) == INNER
    assert (np.sum(folds, axis=0) == 1).all()
    speakers = one.items["speaker"].to_numpy()
    assert all(not set(speakers[held]) & set(speakers[~held]) for held in folds)
    few = data(60).take(np.flatnonzero(np.arange(60) % 6 < 2))
    counts = [np.bincount(few.labels[held], minlength=2) for held in inner_folds(few)]
    assert len(counts) == INNER
    assert np.ptp(counts, axis=0).max() <= 1


@pytest.mark.parametrize("task", [EMOTION, AROUSAL])
def test_a_nested_choice_is_that_of_inner_folds(task: Task) -> None:
    train = data(60, task)
    alphas = (1e4, 10.0, 0.1)
    model = linear.Model(linear.Config(clip=None, balanced=False, alphas=alphas), task)
    facts = model.fit_nested(train, dev_score(task)).facts
    rows, best = matrix(train), []
    for alpha in alphas:
        out = np.zeros(60) if task is AROUSAL else np.zeros(60, dtype=int)
        for held in inner_folds(train):
            mean, deviation = rows[~held].mean(axis=0), rows[~held].std(axis=0)
            fitter: Any = Ridge(alpha) if task is AROUSAL else LogisticRegression(C=1 / alpha, max_iter=5000)
            fitter.fit((rows[~held] - mean) / deviation, np.ravel(train.labels[~held]))
            out[held] = fitter.predict((rows[held] - mean) / deviation)
        predicted = out[:, None] if task is AROUSAL else np.eye(2)[out]
        best.append(dev_score(task)(train.labels, predicted))
    np.testing.assert_allclose([one["dev_score"] for one in facts["grid"]], best, atol=0.02)
    assert np.ravel(facts["alpha"])[0] == alphas[int(np.argmax(best))]
    machine = svm.Model(svm.Config(costs=(0.1, 1.0), gammas=(0.1, 1.0)), task)
    assert machine.fit_nested(train, dev_score(task)).facts["refitted_on"] == 60


def test_runs_say_what_was_done(tmp_path: Path, toys: dict[str, Corpus], silent_corpus: Callable[..., Corpus]) -> None:
    toys["demo"] = silent_corpus("demo", 60)
    settings = {"model.normalise": "speaker", "model.alphas": "100,1"}
    request = Request("linear", "demo", settings=settings, protocol=Protocol(dev="0.3"), refit=True)
    asked, plain = (plan_training([r], Corpora()).parts[0].spec for r in (request, Request("linear", "demo")))
    assert asked["labels"] == [TRANSDUCTIVE, "refit:train+dev"]
    assert "--dev 0.3" in asked["command"]
    assert "--refit" in asked["command"]
    assert run_id(plain) != run_id({**plain, "model": {**plain["model"], "refit": True}})
    assert plain["labels"] == []
    assert not {"normalise", "refit"} & {*plain["model"], *plain["model"]["config"]}
    (run,) = grid.run("chance", "demo", results=tmp_path, trials=1, protocol=Protocol(dev="0.3"), refit=True)
    (unit,) = run.units()
    assert "refit:train+dev" in run.signature
    assert unit["counts"]["dev"] > 0
    (nested,) = grid.run("chance", "demo", results=tmp_path, trials=1, protocol=Protocol(dev="nested"))
    (facts,) = nested.units()
    assert (facts["status"], facts["dev_score"], facts["counts"]["dev"]) == ("done", None, 0)


def test_models_that_cant_say_so(toys: dict[str, Corpus], silent_corpus: Callable[..., Corpus]) -> None:
    toys["demo"] = silent_corpus("demo", 60)
    with pytest.raises(SerbenchError, match=r"'cnn-regressor' can't be fitted again on train \+ dev"):
        plan_training([Request("cnn-regressor", "demo", preset="small", refit=True)], Corpora())
    for request in (
        Request("cnn-regressor", "demo", preset="small", protocol=Protocol(dev="nested")),
        Request(
            "linear", "demo", protocol=Protocol(dev="nested"), search={"space": {}, "budget": 1, "sampler": "grid"}
        ),
    ):
        with pytest.raises(SerbenchError, match=r"chooses on a dev part, and --dev nested has none"):
            plan_training([request], Corpora())
