"""svm against scikit-learn: our prediction from the kept arrays, selection, and the rules for labels and columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.task import Task
from serbench.features.core.feature_table import FeatureTable
from serbench.sermodels.core import machine as kept
from serbench.sermodels.core.machine import Machine, one_vs_rest
from serbench.sermodels.core.persist import load_model, save_model
from serbench.sermodels.core.sermodel import Data
from serbench.sermodels.svm import Config, Model

CLASSES = ("anger", "neutral", "sadness", "fear", "calm")
EMOTION = Task("emotion", "classification", ("emotion",), labels=CLASSES)
RATINGS = Task("attributes", "regression", ("arousal", "valence"), scales={"arousal": (1, 7), "valence": (1, 7)})
ONE_POINT = {"costs": (3.0,), "gammas": (0.5,), "tolerance": 1e-9}


def data(task: Task, rows: Any, labels: Any, prefix: str = "u") -> Data:
    ids = [f"{prefix}{i}" for i in range(len(rows))]
    arrays = {item: np.asarray(row, dtype=np.float32)[None] for item, row in zip(ids, rows, strict=True)}
    return Data(task, pd.DataFrame(index=ids), {"input": FeatureTable.from_arrays(arrays)}, labels)


def classes_data(k: int, n: int = 150, dim: int = 7, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    classes = generator.integers(k, size=n)
    rows = np.random.default_rng(9).normal(size=(k, dim))[classes] + generator.normal(size=(n, dim))
    return rows.astype(np.float32), classes.astype(np.int64)


def right(gold: np.ndarray, predicted: Any) -> float:
    return float((predicted.argmax(axis=1) == gold).mean())


def closeness(gold: np.ndarray, predicted: Any) -> float:
    return -float(np.mean((gold - predicted) ** 2))


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
@pytest.mark.parametrize("k", [2, 3, 5])
def test_decisions_are_scikit_learns(kernel: str, k: int) -> None:
    X, classes = classes_data(k)
    fitted = SVC(C=2.0, gamma=0.2, kernel=kernel, break_ties=k > 2).fit(X[:100].astype(float), classes[:100])
    decisions = Machine.of(fitted, 0.2 if kernel == "rbf" else None).decisions(X.astype(float))
    expected = fitted.decision_function(X.astype(float))
    if k == 2:
        assert (decisions[:, 0] == 0).all()
        decisions = decisions[:, 1]
        np.testing.assert_array_equal(decisions > 0, fitted.predict(X.astype(float)) == 1)
    else:
        np.testing.assert_array_equal(decisions.argmax(axis=1), fitted.predict(X.astype(float)))
    np.testing.assert_allclose(decisions, expected, atol=1e-6)


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_values_are_scikit_learns_in_blocks_of_any_size(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    X, _ = classes_data(3)
    fitted = SVR(C=2.0, gamma=0.2, kernel=kernel).fit(X[:100].astype(float), X[:100, 0] ** 2)
    machine = Machine.of(fitted, 0.2 if kernel == "rbf" else None)
    np.testing.assert_allclose(machine.values(X.astype(float)), fitted.predict(X.astype(float)), atol=1e-6)
    monkeypatch.setattr(kept, "ROWS_AT_ONCE", 7)
    np.testing.assert_allclose(machine.values(X.astype(float)), fitted.predict(X.astype(float)), atol=1e-6)
    assert machine.values(X[:0].astype(float)).shape == (0,)


def test_votes_decide_and_margins_break_their_ties() -> None:
    circle = np.array([[1.0, -0.5, 2.0]])  # 0 beats 1, 2 beats 0, 1 beats 2: one vote each
    values = one_vs_rest(circle, 3)
    sums = np.array([0.5, 1.0, -1.5])
    np.testing.assert_allclose(values, [1 + sums / (3 * (abs(sums) + 1))])


@pytest.mark.parametrize("k", [2, 5])
@pytest.mark.parametrize("balanced", [True, False])
def test_the_model_predicts_scikit_learns_class(k: int, balanced: bool) -> None:
    X, classes = classes_data(k)
    task = Task("emotion", "classification", ("emotion",), labels=CLASSES[:k])
    model = Model(Config(**ONE_POINT, balanced=balanced), task)
    model.fit(data(task, X[:80], classes[:80]), data(task, X[80:90], classes[80:90], "d"), right)
    scores = np.asarray(model.predict(data(task, X[90:], None)))
    scaler = StandardScaler().fit(X[:80].astype(float))
    fitted = SVC(C=3.0, gamma=0.5 / 7, break_ties=k > 2, class_weight="balanced" if balanced else None, tol=1e-9)
    fitted.fit(scaler.transform(X[:80].astype(float)), classes[:80])
    np.testing.assert_array_equal(scores.argmax(axis=1), fitted.predict(scaler.transform(X[90:].astype(float))))
    if k > 2:
        decisions = np.exp(fitted.decision_function(scaler.transform(X[90:].astype(float))))
        np.testing.assert_allclose(scores, decisions / decisions.sum(axis=1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_regression_is_one_machine_per_target_chosen_on_dev(kernel: str) -> None:
    generator = np.random.default_rng(1)
    X = generator.normal(size=(120, 5)).astype(np.float32)
    Y = np.stack([X[:, 0] ** 2 + X[:, 1], 10 * X[:, 2]], axis=1) + generator.normal(size=(120, 2)) * [0.3, 3]
    config = Config(kernel=kernel, costs=(0.1, 1.0, 10.0), gammas=(0.3, 1.0), tolerance=1e-9)
    model = Model(config, RATINGS)
    dev = data(RATINGS, X[60:90], Y[60:90], "d")
    facts = model.fit(data(RATINGS, X[:60], Y[:60]), dev, closeness).facts
    predicted = model.predict(data(RATINGS, X[90:], None))
    Z = StandardScaler().fit(X[:60].astype(float)).transform(X.astype(float))
    points = [(c, g) for c in config.costs for g in (config.gammas if kernel == "rbf" else (None,))]
    assert [(row["cost"], row["gamma"]) for row in facts["grid"]] == points
    for t in range(2):
        mean, sd = Y[:60, t].mean(), Y[:60, t].std()
        machines = [SVR(kernel=kernel, C=c, gamma=(g or 1) / 5, tol=1e-9) for c, g in points]
        machines = [m.fit(Z[:60], (Y[:60, t] - mean) / sd) for m in machines]
        errors = [np.mean((m.predict(Z[60:90]) * sd + mean - Y[60:90, t]) ** 2) for m in machines]
        winner = int(np.argmin(errors))
        assert (facts["cost"][t], facts["gamma"][t]) == points[winner]
        np.testing.assert_allclose(np.asarray(predicted)[:, t], machines[winner].predict(Z[90:]) * sd + mean, atol=1e-6)
    assert model.parameters == sum(m.dual.size + 1 for m in model._machines)


def test_absent_classes_score_zero_and_one_class_alone_scores_one(tmp_path: Path) -> None:
    X, classes = classes_data(4)  # "calm" never occurs
    model = Model(Config(), EMOTION)
    some = classes[:40] != 1
    dev = data(EMOTION, X[:40][some], classes[:40][some], "d")
    facts = model.fit(data(EMOTION, X[40:], classes[40:]), dev, right).facts
    scores = np.asarray(model.predict(data(EMOTION, X, None)))
    assert facts["classes_without_training_data"] == ["calm"]
    assert (scores[:, 4] == 0).all()
    assert right(classes[40:], scores[40:]) > 0.8
    only = classes == 2
    model.fit(data(EMOTION, X[only], classes[only]), dev, right)
    for one in (model, load_model(save_model(model, tmp_path))):
        np.testing.assert_array_equal(one.predict(data(EMOTION, X[:3], None)), [[0, 0, 1, 0, 0]] * 3)


def test_a_constant_label_is_predicted_as_it_is() -> None:
    X, _ = classes_data(3)
    Y = np.stack([np.full(150, 4.0), X[:, 0]], axis=1)
    model = Model(Config(**ONE_POINT), RATINGS)
    train = data(RATINGS, X, Y)
    model.fit(train, train, closeness)
    np.testing.assert_allclose(np.asarray(model.predict(train))[:, 0], 4.0)


def test_constant_and_missing_columns_follow_the_rules() -> None:
    X, classes = classes_data(3)
    X[:, 1] = 0.1
    X[5, 2], X[70, 3] = np.nan, np.inf
    model = Model(Config(), EMOTION)
    facts = model.fit(data(EMOTION, X[:60], classes[:60]), data(EMOTION, X[60:90], classes[60:90], "d"), right).facts
    assert facts["constant_features"] == 1
    assert facts["missing_values"] == {"train": 1, "dev": 1}
    changed = X[90:].copy()
    changed[:, 1] = -1e6
    before = model.predict(data(EMOTION, X[90:], None))
    np.testing.assert_array_equal(model.predict(data(EMOTION, changed, None)), before)
    assert np.isfinite(np.asarray(before)).all()


def test_no_dev_data_and_arrays_that_contradict_each_other_are_said_in_words(tmp_path: Path) -> None:
    X, classes = classes_data(3)
    train = data(EMOTION, X, classes)
    with pytest.raises(SerbenchError, match=r"no dev data to choose among 16 .*--set model\.costs="):
        Model(Config(), EMOTION).fit(train, train.take([]), right)
    model = Model(Config(**ONE_POINT), EMOTION)
    model.fit(train, train.take([]), right)
    arrays, facts = model.state()
    with pytest.raises(ValueError, match=r"0\.dual.* expected \(2, "):
        Model(Config(), EMOTION).restore({**arrays, "0.dual": arrays["0.dual"][:1]}, facts)
    with pytest.raises(ValueError, match=r"no array '0\.vectors'"):
        Model(Config(), EMOTION).restore({k: v for k, v in arrays.items() if k != "0.vectors"}, facts)
