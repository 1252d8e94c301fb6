"""Chance against the training labels themselves: counts, means and the distributions of the draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.task import Task
from serbench.sermodels import chance
from serbench.sermodels.core.sermodel import Data, Resources

EMOTION = Task("emotion", "classification", ("emotion",), labels=("anger", "neutral", "sadness", "fear"))
RATINGS = Task("attributes", "regression", ("arousal", "valence"), scales={"arousal": (1, 7), "valence": (1, 7)})
TRACE = Task("trace", "continuous", ("arousal",), scales={"arousal": (-1, 1)}, frame_seconds=0.1)
RANDOM = chance.PRESETS["random"]


def data(task: Task, labels: Any, prefix: str = "u") -> Data:
    table = pd.DataFrame(index=[f"{prefix}{i}" for i in range(len(labels))])
    return Data(task, table, {}, labels)


def unlabelled(task: Task, n: int, prefix: str = "t", frames: int = 0) -> Data:
    table = pd.DataFrame(index=[f"{prefix}{i}" for i in range(n)])
    return Data(task, table, {}, None, None, {str(i): frames for i in table.index})


def fitted(task: Task, labels: Any, config: chance.Config = chance.PRESETS["default"], seed: int = 0) -> chance.Model:
    model = chance.Model(config, task, Resources(seed=seed))
    model.fit(data(task, labels), data(task, labels[:2], "d"), lambda gold, predicted: 0.0)
    return model


def test_it_wants_no_features() -> None:
    assert chance.Model.requests(RANDOM, EMOTION) == {}


def test_majority_is_the_most_frequent_class() -> None:
    model = fitted(EMOTION, np.array([2, 1, 2, 0]))
    np.testing.assert_array_equal(model.predict(unlabelled(EMOTION, 2)), [[0, 0, 1, 0]] * 2)


def test_of_equally_frequent_classes_the_first_in_the_tasks_order_wins() -> None:
    assert np.argmax(fitted(EMOTION, np.array([3, 1, 3, 1])).predict(unlabelled(EMOTION, 1))) == 1


def test_the_mean_of_each_target_and_of_the_rated_frames_alone() -> None:
    ratings = np.array([[1.0, 7.0], [2.0, 4.0], [6.0, 4.0]])
    np.testing.assert_allclose(fitted(RATINGS, ratings).predict(unlabelled(RATINGS, 2)), [[3.0, 5.0]] * 2)
    traces = [np.array([[0.5], [np.nan]]), np.array([[-0.25], [0.5], [0.25]])]
    (predicted,) = fitted(TRACE, traces).predict(unlabelled(TRACE, 1, frames=7))
    np.testing.assert_allclose(predicted, np.full((7, 1), 0.25))


def test_draws_follow_the_class_frequencies() -> None:
    classes = np.repeat([0, 1, 2], [60, 30, 10])
    scores = fitted(EMOTION, classes, RANDOM).predict(unlabelled(EMOTION, 4000))
    np.testing.assert_array_equal(np.sort(scores, axis=1), [[0, 0, 0, 1]] * 4000)
    counts = scores.sum(axis=0)
    assert counts[3] == 0, "a class that training never saw is never drawn"
    assert stats.chisquare(counts[:3], [2400, 1200, 400]).pvalue > 0.01


def test_draws_of_a_regression_follow_the_label_distribution_of_each_target() -> None:
    generator = np.random.default_rng(0)
    labels = np.stack([generator.normal(4, 1, 500), generator.exponential(1.0, 500)], axis=1)
    drawn = fitted(RATINGS, labels, RANDOM).predict(unlabelled(RATINGS, 3000))
    for t in range(2):
        assert set(drawn[:, t]) <= set(labels[:, t])
        assert stats.ks_2samp(drawn[:, t], labels[:, t]).pvalue > 0.01
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.06, "targets are drawn one by one"


def test_random_traces_draw_a_rated_frame_for_each_frame() -> None:
    traces = [np.array([[0.5], [np.nan], [0.5]]), np.array([[-0.25]])]
    (drawn,) = fitted(TRACE, traces, RANDOM).predict(unlabelled(TRACE, 1, frames=3000))
    values, counts = np.unique(drawn, return_counts=True)
    np.testing.assert_array_equal(values, [-0.25, 0.5])
    assert stats.chisquare(counts, [1000, 2000]).pvalue > 0.01


def test_many_labels_are_thinned_without_changing_their_distribution() -> None:
    labels = np.random.default_rng(1).exponential(size=3 * chance.KEPT)
    kept = chance.kept_labels(labels, "arousal")
    assert len(kept) == chance.KEPT
    assert set(kept) <= set(labels)
    assert (kept[0], kept[-1]) == (labels.min(), labels.max())
    shares = np.linspace(0.01, 0.99, 25)
    np.testing.assert_allclose(np.quantile(kept, shares), np.quantile(labels, shares), rtol=1e-3)


def test_a_draw_depends_on_seed_and_id_and_on_no_order() -> None:
    labels = np.arange(100.0).reshape(50, 2)
    test = unlabelled(RATINGS, 40)
    first = fitted(RATINGS, labels, RANDOM, seed=1).predict(test)
    model = fitted(RATINGS, labels[::-1], RANDOM, seed=1)
    np.testing.assert_array_equal(model.predict(test.take(range(39, -1, -1))), first[::-1])
    assert (fitted(RATINGS, labels, RANDOM, seed=2).predict(test) != first).any(axis=1).mean() > 0.9
    assert (model.predict(unlabelled(RATINGS, 40, "other")) != first).any(axis=1).mean() > 0.9


def test_parameters_are_counted() -> None:
    assert fitted(RATINGS, np.arange(10.0).reshape(5, 2)).parameters == 2
    assert fitted(RATINGS, np.arange(10.0).reshape(5, 2), RANDOM).parameters == 10
    assert fitted(EMOTION, np.array([0, 1]), RANDOM).parameters == 4


def test_no_labels_are_an_error_in_words() -> None:
    with pytest.raises(SerbenchError, match="training set is empty"):
        fitted(EMOTION, np.empty(0, dtype=np.int64))
    with pytest.raises(SerbenchError, match="no training item has a label of 'arousal'"):
        fitted(TRACE, [np.full((3, 1), np.nan)])
    with pytest.raises(SerbenchError, match="label frames of 't0' is not known"):
        fitted(TRACE, [np.ones((3, 1))]).predict(Data(TRACE, pd.DataFrame(index=["t0"]), {}))
