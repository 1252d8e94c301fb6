"""Linear against scikit-learn, and its rules: constant and missing columns, absent classes, windows, selection."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
import threadpoolctl
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.task import Task
from serbench.features.core.feature_table import FeatureTable
from serbench.features.core.process import SMALL, threads_for
from serbench.sermodels.core.rows import recording_matrix, utterance_matrix, window_matrix
from serbench.sermodels.core.scaling import Scaler
from serbench.sermodels.core.selection import best, best_per_target
from serbench.sermodels.core.sermodel import Data
from serbench.sermodels.linear import Config, Model, logistic_path, ridge_path, softmax

CLASSES = ("anger", "neutral", "sadness", "fear")
EMOTION = Task("emotion", "classification", ("emotion",), labels=CLASSES)
RATINGS = Task("attributes", "regression", ("arousal", "valence"), scales={"arousal": (1, 7), "valence": (1, 7)})
TRACE = Task("trace", "continuous", ("arousal",), scales={"arousal": (-1, 1)}, frame_seconds=0.1)


def data(task: Task, rows: Any, labels: Any, prefix: str = "u") -> Data:
    """Utterances with one row of functionals each."""
    ids = [f"{prefix}{i}" for i in range(len(rows))]
    arrays = {item: np.asarray(row, dtype=np.float32)[None] for item, row in zip(ids, rows, strict=True)}
    return Data(task, pd.DataFrame(index=ids), {"input": FeatureTable.from_arrays(arrays)}, labels)


def classes_data(n: int = 120, dim: int = 6, k: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    classes = generator.choice(k, size=n, p=np.arange(1, k + 1) / np.arange(1, k + 1).sum())
    centres = np.random.default_rng(99).normal(size=(k, dim))
    return (centres[classes] + generator.normal(size=(n, dim))).astype(np.float32), classes.astype(np.int64)


def right(gold: np.ndarray, predicted: Any) -> float:
    return float((predicted.argmax(axis=1) == gold).mean())


def closeness(gold: np.ndarray, predicted: Any) -> float:
    return -float(np.mean((gold - predicted) ** 2))


@pytest.mark.parametrize(("n", "dim"), [(50, 8), (8, 50), (20, 20)])
def test_ridge_is_scikit_learns_for_every_alpha(n: int, dim: int) -> None:
    generator = np.random.default_rng(n)
    X, Y = generator.normal(size=(n, dim)) + 3, generator.normal(size=(n, 2))
    alphas = (1e3, 1.0, 1e-3)
    w, b = ridge_path(X, Y, alphas)
    for i, alpha in enumerate(alphas):
        reference = Ridge(alpha=alpha, solver="cholesky").fit(X, Y)
        np.testing.assert_allclose(w[i], reference.coef_.T, atol=1e-8)
        np.testing.assert_allclose(b[i], reference.intercept_, atol=1e-8)


def test_ridge_leaves_unrated_rows_out_target_by_target() -> None:
    generator = np.random.default_rng(1)
    X, Y = generator.normal(size=(60, 5)), generator.normal(size=(60, 3))
    Y[:20, 0] = np.nan
    Y[40:, 2] = np.nan
    w, b = ridge_path(X, Y, (2.0,))
    for t in range(3):
        known = np.isfinite(Y[:, t])
        reference = Ridge(alpha=2.0).fit(X[known], Y[known, t])
        np.testing.assert_allclose(w[0, :, t], reference.coef_, atol=1e-8)
        np.testing.assert_allclose(b[0, t], reference.intercept_, atol=1e-8)
    Y[:, 1] = np.nan
    with pytest.raises(SerbenchError, match="no training label at all"):
        ridge_path(X, Y, (2.0,))


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("balanced", [True, False])
def test_logistic_regression_is_scikit_learns_for_every_alpha(k: int, balanced: bool) -> None:
    X, classes = classes_data(k=k)
    alphas = (100.0, 1.0)
    path, unfinished = logistic_path(X.astype(float), classes, k, alphas, balanced, 1000)
    assert unfinished == 0
    for (w, b), alpha in zip(path, alphas, strict=True):
        weight = "balanced" if balanced else None
        exact = LogisticRegression(C=1 / alpha, class_weight=weight, tol=1e-10, max_iter=10000)
        expected = exact.fit(X.astype(float), classes).predict_proba(X.astype(float))
        # the path stops at scikit-learn's default tolerance of the gradient, 1e-4
        np.testing.assert_allclose(softmax(X.astype(float) @ w + b), expected, atol=2e-3)


def test_the_model_is_a_standardised_pipeline_selected_on_dev() -> None:
    generator = np.random.default_rng(3)
    X = (generator.normal(size=(90, 10)) * 5 + 20).astype(np.float32)
    Y = X[:, :2] * 0.1 + generator.normal(size=(90, 2))
    train, dev = data(RATINGS, X[:50], Y[:50]), data(RATINGS, X[50:70], Y[50:70], "d")
    model = Model(Config(), RATINGS)
    facts = model.fit(train, dev, closeness).facts
    X = X.astype(np.float64)
    expected = np.empty((20, 2))
    for t in range(2):  # the metric is a mean over targets, so alpha is chosen per target
        pipelines = [make_pipeline(StandardScaler(), Ridge(alpha=a)).fit(X[:50], Y[:50, t]) for a in Config().alphas]
        errors = [np.mean((p.predict(X[50:70]) - Y[50:70, t]) ** 2) for p in pipelines]
        winner = int(np.argmin(errors))
        assert facts["alpha"][t] == Config().alphas[winner]
        expected[:, t] = pipelines[winner].predict(X[70:])
    np.testing.assert_allclose(model.predict(data(RATINGS, X[70:], None, "t")), expected, atol=1e-6)
    assert [row["alpha"] for row in facts["grid"]] == list(Config().alphas)
    assert model.parameters == 22


def test_dev_decides_alpha_and_nothing_else() -> None:
    X, classes = classes_data()
    train, dev = data(EMOTION, X[:60], classes[:60]), data(EMOTION, X[60:] * 3 + 1, classes[60:], "d")
    one = dataclasses.replace(Config(), alphas=(1.0,))
    with_dev, without = Model(one, EMOTION), Model(one, EMOTION)
    with_dev.fit(train, dev, right)
    without.fit(train, dev.take([]), right)
    np.testing.assert_array_equal(with_dev.predict(dev), without.predict(dev))
    with pytest.raises(SerbenchError, match=r"no dev data to choose among 7 .*--set model\.alphas="):
        Model(Config(), EMOTION).fit(train, dev.take([]), right)


def test_balanced_classes_weigh_the_rare_one_up() -> None:
    X, classes = classes_data(n=200, k=3)
    train, share = data(EMOTION, X, classes), {}
    for balanced in (True, False):
        model = Model(Config(alphas=(10.0,), balanced=balanced), EMOTION)
        model.fit(train, train, right)
        share[balanced] = float(np.asarray(model.predict(train))[:, 0].mean())
    assert share[True] > share[False] + 0.05


def test_a_class_without_training_data_scores_zero_and_one_class_alone_scores_one() -> None:
    X, classes = classes_data(k=3)  # the fourth class, "fear", never occurs; dev lacks "sadness" too
    model = Model(Config(), EMOTION)
    few = classes[:60] < 2
    dev = data(EMOTION, X[:60][few], classes[:60][few], "d")
    facts = model.fit(data(EMOTION, X[60:], classes[60:]), dev, right).facts
    scores = np.asarray(model.predict(data(EMOTION, X, None)))
    assert facts["classes_without_training_data"] == ["fear"]
    assert (scores[:, 3] == 0).all()
    assert (scores[:, :3] > 0).all()
    two = classes < 2
    model.fit(data(EMOTION, X[two], classes[two]), data(EMOTION, X, classes, "d"), right)
    scores = np.asarray(model.predict(data(EMOTION, X, None)))
    assert (scores[:, 2:] == 0).all()
    np.testing.assert_allclose(scores.sum(axis=1), 1.0)
    only = classes == 1
    facts = model.fit(data(EMOTION, X[only], classes[only]), data(EMOTION, X, classes, "d"), right).facts
    assert facts["classes_without_training_data"] == ["anger", "sadness", "fear"]
    np.testing.assert_array_equal(model.predict(data(EMOTION, X, None)), [[0, 1, 0, 0]] * len(X))


def test_constant_columns_say_nothing_and_missing_values_become_the_training_mean() -> None:
    X, classes = classes_data()
    X[:, 1] = 0.1  # constant in training
    X[5, 2], X[6, 2], X[70, 3] = np.nan, np.inf, np.nan
    train, dev = data(EMOTION, X[:60], classes[:60]), data(EMOTION, X[60:90], classes[60:90], "d")
    model = Model(Config(), EMOTION)
    facts = model.fit(train, dev, right).facts
    assert facts["constant_features"] == 1
    assert facts["missing_values"] == {"train": 2, "dev": 1}
    changed = X[90:].copy()
    changed[:, 1] = 1e6
    before = model.predict(data(EMOTION, X[90:], None))
    np.testing.assert_array_equal(model.predict(data(EMOTION, changed, None)), before)
    lost, filled = X[90:].copy(), X[90:].copy()
    lost[:, 2] = np.nan
    filled[:, 2] = np.delete(X[:60, 2].astype(float), [5, 6]).mean()
    np.testing.assert_allclose(
        model.predict(data(EMOTION, lost, None)), model.predict(data(EMOTION, filled, None)), atol=1e-6
    )


def test_the_scaler_is_scikit_learns_where_no_rule_applies() -> None:
    X = np.random.default_rng(0).normal(size=(30, 4)) * [1, 1e3, 1e-6, 1] + [0, 5, 0, -1e4]
    np.testing.assert_allclose(Scaler.fit(X).transform(X), StandardScaler().fit_transform(X), atol=1e-9)
    with pytest.raises(SerbenchError, match=r"3 columns\. Expected 4"):
        Scaler.fit(X).transform(X[:, :3])
    with pytest.raises(SerbenchError, match="training set is empty"):
        Scaler.fit(X[:0])


def test_frames_become_mean_and_standard_deviation() -> None:
    frames = {f"u{i}": np.random.default_rng(i).normal(size=(n, 3)).astype(np.float32) for i, n in enumerate((5, 1, 9))}
    table = FeatureTable.from_arrays(frames, hop_seconds=0.01)
    rows = utterance_matrix(Data(EMOTION, pd.DataFrame(index=list(frames)), {"input": table}))
    for row, block in zip(rows, frames.values(), strict=True):
        np.testing.assert_allclose(row, [*block.mean(axis=0), *block.std(axis=0)], atol=1e-6)


def test_windows_are_centred_cut_at_the_ends_and_skip_what_is_not_finite() -> None:
    frames = np.random.default_rng(0).normal(size=(200, 3)) + 100
    frames[50:60, 1] = np.nan
    frames[:, 2] = 7.1
    found = window_matrix(frames, 0.01, 25, 0.1, 0.5)  # five label frames more than there is signal for
    time = np.arange(200) * 0.01
    for k, row in enumerate(found[:22]):
        inside = frames[np.abs(time - k * 0.1) <= 0.25 + 1e-9]
        np.testing.assert_allclose(row, [*np.nanmean(inside, axis=0), *np.nanstd(inside, axis=0)], atol=1e-9)
    assert (found[:, 5] == 0).all()
    np.testing.assert_allclose(found[23:, :3], [frames[-1]] * 2)
    assert np.isnan(window_matrix(frames[:0], 0.01, 4, 0.1, 0.5)).all()
    assert np.isnan(window_matrix(np.full((20, 1), np.nan), 0.01, 2, 0.1, 0.5)).all()


def test_a_trace_is_read_from_windows_and_unrated_frames_don_t_count() -> None:
    generator = np.random.default_rng(0)
    frames, traces = {}, []
    for i in range(6):
        signal = np.sin(np.arange(600) * 0.01 * (0.5 + 0.1 * i))
        frames[f"r{i}"] = (signal[:, None] * [1, -2] + generator.normal(size=(600, 2)) * 0.3).astype(np.float32)
        traces.append(signal[::10, None].copy())
    table = FeatureTable.from_arrays(frames, hop_seconds=0.01)
    whole = Data(TRACE, pd.DataFrame(index=list(frames)), {"input": table}, traces)
    assert recording_matrix(whole, 1.0).shape == (360, 4)
    gaps = [np.where(np.arange(60)[:, None] % 7 == 3, np.nan, trace) for trace in traces]
    model = Model(Config(window_seconds=1.0, alphas=(1.0,)), TRACE)
    model.fit(dataclasses.replace(whole, labels=gaps), whole, lambda gold, predicted: 0.0)
    predicted = model.predict(dataclasses.replace(whole, labels=None, frames=dict.fromkeys(frames, 60)))
    known = np.isfinite(np.concatenate(gaps)[:, 0])
    Z = StandardScaler().fit_transform(recording_matrix(whole, 1.0))  # over all training frames, rated or not
    expected = Ridge(alpha=1.0).fit(Z[known], np.concatenate(traces)[known]).predict(Z).reshape(-1, 1)
    np.testing.assert_allclose(np.concatenate(predicted), expected, atol=1e-8)
    assert np.corrcoef(np.concatenate(predicted)[:, 0], np.concatenate(traces)[:, 0])[0, 1] > 0.9


def test_continuous_tasks_ask_for_frames() -> None:
    assert Model.requests(Config(), TRACE)["input"].name == "opensmile:eGeMAPSv02:lld"
    assert Model.requests(Config(), EMOTION)["input"].name == "egemaps"
    functionals = FeatureTable.from_arrays({"r0": np.ones((1, 3), dtype=np.float32)})
    one = Data(TRACE, pd.DataFrame(index=["r0"]), {"input": functionals}, [np.ones((4, 1))])
    with pytest.raises(SerbenchError, match=r"--set model\.frame_feature="):
        Model(Config(), TRACE).fit(one, one, lambda gold, predicted: 0.0)


def test_the_best_score_wins_then_the_first_and_never_an_undefined_one() -> None:
    assert best([0.1, 0.3, 0.3]) == 1
    assert best([np.nan, -0.2, np.inf]) == 1
    assert best([np.nan, np.nan]) == 0
    generator = np.random.default_rng(0)
    gold, candidates = generator.normal(size=(9, 3)), list(generator.normal(size=(5, 9, 3)))
    chosen, scores = best_per_target(candidates, lambda values: closeness(gold, values))
    assert chosen == [int(np.argmin([np.mean((c[:, t] - gold[:, t]) ** 2) for c in candidates])) for t in range(3)]
    assert scores == [closeness(gold, c) for c in candidates]


def test_it_is_imported_without_torch_or_any_other_heavy_library() -> None:
    code = (
        "import sys; import serbench.sermodels.linear, serbench.sermodels.core.persist; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'sklearn', 'librosa', 'opensmile')))"
    )
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0


def test_small_matrices_take_one_thread_and_large_ones_what_there_is() -> None:
    def threads() -> list[int]:
        return [lib["num_threads"] for lib in threadpoolctl.threadpool_info() if lib["user_api"] == "blas"]

    with threadpoolctl.threadpool_limits(2, "blas"):
        before = threads()
        with threads_for(1000):
            assert set(threads()) == {1}
        with threads_for(SMALL):
            assert threads() == before
        assert threads() == before
        assert set(before) == {2}


def test_one_wild_value_does_not_decide_the_strength():
    """Standardised features are limited: a value a thousand sd out counts as one at the limit."""
    from serbench.sermodels.core.scaling import Scaler

    rows = np.random.default_rng(0).normal(size=(50, 3))
    scaler = Scaler.fit(rows)
    wild = np.array([[1e6, -1e6, 0.5]])
    expected = (wild - rows.mean(0)) / rows.std(0)
    np.testing.assert_allclose(scaler.transform(wild), expected, rtol=1e-12)
    np.testing.assert_allclose(scaler.transform(wild, 5.0), [[5.0, -5.0, expected[0, 2]]], rtol=1e-12)
