"""Metrics against scikit-learn, audmetric, scipy, closed forms and the equations written a second time."""

from __future__ import annotations

import math
from fractions import Fraction

import audmetric
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn import metrics as sk

from serbench.datasets.core.errors import SerbenchError
from serbench.results.scores import metrics

pytestmark = pytest.mark.filterwarnings("error")
NAN = float("nan")
CONTINUOUS = [metrics.ccc, metrics.pcc, metrics.rmse]


def pairs(seed: int, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    gold = rng.uniform(1, 7, n)
    return gold, 0.6 * gold + rng.normal(0.3, 0.8, n)


def classes(seed: int, n: int = 300, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    gold = rng.choice(k, n, p=np.array([8, 4, 2, 1, 1])[:k] / 16)
    return gold, np.where(rng.random(n) < 0.5, gold, rng.integers(0, k, n))


def ccc_in_fractions(gold: np.ndarray, predicted: np.ndarray) -> float:
    """Lin (1989): 1 - E[(x-y)^2] / E[(x-y)^2 under independence], in exact arithmetic."""
    x, y = [Fraction(float(v)) for v in gold], [Fraction(float(v)) for v in predicted]
    n = len(x)
    mx, my = sum(x) / n, sum(y) / n
    vx, vy = sum((v - mx) ** 2 for v in x) / n, sum((v - my) ** 2 for v in y) / n
    squared = sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) / n
    return float(1 - squared / (vx + vy + (mx - my) ** 2))


@pytest.mark.parametrize("seed", range(4))
def test_continuous_metrics_agree_with_other_implementations(seed: int) -> None:
    gold, predicted = pairs(seed)
    assert metrics.ccc(gold, predicted) == pytest.approx(ccc_in_fractions(gold, predicted), abs=1e-12)
    assert metrics.ccc(gold, predicted) == pytest.approx(audmetric.concordance_cc(gold, predicted), abs=1e-9)
    assert metrics.pcc(gold, predicted) == pytest.approx(audmetric.pearson_cc(gold, predicted), abs=1e-9)
    assert metrics.pcc(gold, predicted) == pytest.approx(float(np.corrcoef(gold, predicted)[0, 1]), abs=1e-9)
    assert metrics.rmse(gold, predicted) == pytest.approx(sk.root_mean_squared_error(gold, predicted), abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_class_metrics_agree_with_other_implementations(seed: int) -> None:
    gold, predicted = classes(seed)
    everything = list(range(5))
    assert metrics.uar(gold, predicted, 5) == pytest.approx(sk.balanced_accuracy_score(gold, predicted), abs=1e-9)
    assert metrics.uar(gold, predicted, 5) == pytest.approx(
        audmetric.unweighted_average_recall(gold, predicted, labels=everything), abs=1e-9
    )
    assert metrics.accuracy(gold, predicted) == pytest.approx(sk.accuracy_score(gold, predicted), abs=1e-9)
    assert metrics.macro_f1(gold, predicted, 5) == pytest.approx(
        sk.f1_score(gold, predicted, average="macro"), abs=1e-9
    )
    assert metrics.macro_f1(gold, predicted, 5) == pytest.approx(
        audmetric.unweighted_average_fscore(gold, predicted, labels=everything), abs=1e-9
    )
    assert metrics.weighted_f1(gold, predicted, 5) == pytest.approx(
        sk.f1_score(gold, predicted, average="weighted"), abs=1e-9
    )
    theirs = sk.confusion_matrix(gold, predicted, labels=everything)
    assert np.array_equal(metrics.confusion(gold, predicted, 5), theirs)
    np.testing.assert_allclose(
        metrics.recall_per_class(gold, predicted, 5), sk.recall_score(gold, predicted, average=None), atol=1e-12
    )


def test_ccc_has_its_closed_forms() -> None:
    gold, _ = pairs(0)
    variance = float(np.var(gold))
    assert metrics.ccc(gold, gold) == pytest.approx(1, abs=1e-12)
    assert metrics.ccc(gold, gold + 0.7) == pytest.approx(2 * variance / (2 * variance + 0.49), abs=1e-12)
    centred = gold - gold.mean()
    assert metrics.ccc(centred, 3 * centred) == pytest.approx(2 * 3 / (1 + 9), abs=1e-12)
    assert metrics.ccc(centred, -centred) == pytest.approx(-1, abs=1e-12)


def test_ccc_uses_population_moments() -> None:
    """Two points: var = 1/4, cov = 1/4, shift 1; sample moments would give 2/3, not 1/3."""
    assert metrics.ccc([0, 1], [1, 2]) == pytest.approx(1 / 3, abs=1e-15)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(*[st.floats(-100, 100, width=32)] * 2), min_size=2, max_size=30))
def test_ccc_is_symmetric_bounded_and_below_pcc(points: list[tuple[float, float]]) -> None:
    gold, predicted = np.array(points).T
    ccc, pcc = metrics.ccc(gold, predicted), metrics.pcc(gold, predicted)
    reverse = metrics.ccc(predicted, gold)
    assert (math.isnan(ccc) and math.isnan(reverse)) or ccc == pytest.approx(reverse, abs=1e-12)
    if not math.isnan(pcc):
        assert -1 <= ccc <= 1
        assert abs(ccc) <= abs(pcc) + 1e-9


@pytest.mark.parametrize("constant", [0.0, 0.1, 4.3])
def test_constant_sides_are_answered_by_rule(constant: float) -> None:
    gold, _ = pairs(1)
    flat = np.full_like(gold, constant)
    assert metrics.ccc(gold, flat) == 0
    assert metrics.ccc(flat, gold) == 0
    assert metrics.ccc(flat, flat + 1) == 0
    assert math.isnan(metrics.ccc(flat, flat))
    assert math.isnan(metrics.pcc(gold, flat))
    assert metrics.rmse(flat, flat + 2) == pytest.approx(2, abs=1e-12)


def test_unlabelled_frames_are_left_out_of_gold() -> None:
    gold, predicted = pairs(2)
    masked = gold.copy()
    masked[::3] = NAN
    kept = ~np.isnan(masked)
    for metric in CONTINUOUS:
        assert metric(masked, predicted) == metric(gold[kept], predicted[kept])
        assert math.isnan(metric(np.full(4, NAN), np.ones(4)))


@pytest.mark.parametrize("bad", [NAN, math.inf, -math.inf])
@pytest.mark.parametrize("metric", CONTINUOUS)
def test_a_prediction_that_is_not_finite_makes_the_score_undefined(metric: object, bad: float) -> None:
    gold, predicted = pairs(3)
    predicted[7] = bad
    assert callable(metric)
    assert math.isnan(metric(gold, predicted))
    gold[7] = NAN  # where there is no label, the prediction does not count
    assert not math.isnan(metric(gold, predicted))


def test_huge_values_give_an_undefined_score_and_no_warning() -> None:
    for metric in (metrics.ccc, metrics.pcc, metrics.rmse):
        assert math.isnan(metric([1e300, -1e300, 0], [1e300, 1e300, 1]))


def test_nothing_to_score_is_undefined() -> None:
    assert all(math.isnan(metric([], [])) for metric in CONTINUOUS)
    assert math.isnan(metrics.accuracy([], []))
    assert all(math.isnan(f([], [], 3)) for f in (metrics.uar, metrics.macro_f1, metrics.weighted_f1))
    assert metrics.confusion([], [], 3).tolist() == [[0] * 3] * 3


def test_classes_absent_from_gold_or_from_everything() -> None:
    gold, predicted = [0, 0, 1, 1], [0, 2, 1, 1]
    assert metrics.uar(gold, predicted, 4) == pytest.approx((1 / 2 + 1) / 2)
    # class 2 is predicted but never gold: F1 0 counts; class 3 occurs nowhere: left out, as scikit-learn does
    assert metrics.macro_f1(gold, predicted, 4) == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert metrics.macro_f1(gold, predicted, 4) == pytest.approx(sk.f1_score(gold, predicted, average="macro"))
    assert np.isnan(metrics.recall_per_class(gold, predicted, 4)).tolist() == [False, False, True, True]
    assert np.isnan(metrics.f1_per_class(gold, predicted, 4)).tolist() == [False, False, False, True]


def test_one_class_only() -> None:
    assert metrics.uar([1, 1, 1], [1, 0, 1], 2) == pytest.approx(2 / 3)
    assert metrics.uar([1, 1], [1, 1], 2) == metrics.macro_f1([1, 1], [1, 1], 2) == 1


def test_weighted_f1_hides_a_class_that_is_never_predicted_and_macro_f1_does_not() -> None:
    gold, predicted = [0] * 95 + [1] * 5, [0] * 100
    assert metrics.weighted_f1(gold, predicted, 2) > 0.92
    assert metrics.macro_f1(gold, predicted, 2) < 0.49


def test_float32_is_scored_in_float64() -> None:
    rng = np.random.default_rng(6)
    gold, predicted = (1000 + rng.normal(size=(2, 5000))).astype(np.float32)
    assert metrics.ccc(gold, predicted) == metrics.ccc(gold.astype(np.float64), predicted.astype(np.float64))


@pytest.mark.parametrize(
    ("gold", "predicted", "message"),
    [
        ([0, 1], [0], "one length"),
        ([0, 3], [0, 1], "0 .. 2"),
        ([0, 1], [-1, 1], "0 .. 2"),
        ([0.0, 1.0], [0, 1], "class index"),
        ([[0], [1]], [[0], [1]], "class index"),
    ],
)
def test_wrong_class_input_is_refused(gold: list[int], predicted: list[int], message: str) -> None:
    with pytest.raises(SerbenchError, match=message):
        metrics.uar(gold, predicted, 3)


@pytest.mark.parametrize("metric", CONTINUOUS)
def test_wrong_lengths_are_refused(metric: object) -> None:
    assert callable(metric)
    with pytest.raises(SerbenchError, match="one length"):
        metric([1.0, 2.0], [1.0])
    with pytest.raises(SerbenchError, match="one length"):
        metric([[1.0]], [[1.0]])
