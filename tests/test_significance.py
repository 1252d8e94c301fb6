"""Paired tests, intervals and corrections against scipy, textbook values and the definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from serbench.datasets.core.errors import SerbenchError
from serbench.results.statistics.significance import (
    cohen_dz,
    holm,
    mean_interval,
    paired_over_trials,
    paired_t,
    wilcoxon,
)

pytestmark = pytest.mark.filterwarnings("error")


def scores(seed: int, shift: float = 0.01, n: int = 20) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    base = rng.uniform(0.4, 0.6, n)
    return base + rng.normal(shift, 0.02, n), base


@pytest.mark.parametrize(("seed", "shift"), [(0, 0.0), (1, 0.01), (2, -0.05), (3, 0.5)])
def test_paired_t_is_scipys(seed: int, shift: float) -> None:
    a, b = scores(seed, shift)
    ours, theirs = paired_t(a, b), stats.ttest_rel(a, b)
    interval = theirs.confidence_interval(0.95)
    assert ours.t == pytest.approx(theirs.statistic, rel=1e-10)
    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-9)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert ours.difference == pytest.approx(float(np.mean(a - b)), rel=1e-12)
    assert ours.n == 20


def test_paired_t_of_students_sleep_data() -> None:
    """Student (1908), Biometrika 6:1, hours of sleep gained under two drugs: t = 4.0621, p = 0.0028."""
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    test = paired_t(second, first)
    assert test.difference == pytest.approx(1.58)
    assert test.t == pytest.approx(4.0621, abs=5e-5)
    assert test.p == pytest.approx(0.002833, abs=5e-7)
    assert (test.low, test.high) == pytest.approx((0.7001142, 2.4598858), abs=5e-7)
    assert test.dz == pytest.approx(test.t / math.sqrt(10), rel=1e-12)


def test_identical_samples_have_p_one() -> None:
    a, _ = scores(0)
    test = paired_t(a, a)
    assert (test.p, test.t, test.dz, test.difference, test.low, test.high) == (1, 0, 0, 0, 0, 0)
    assert wilcoxon(a, a) == 1
    assert paired_over_trials(a, a, np.repeat(range(5), 4)).p == 1
    assert cohen_dz(a, a) == 0


def test_a_constant_difference_has_p_zero() -> None:
    a = np.arange(8.0)
    test = paired_t(a, a - 0.5)
    assert (test.p, test.t, test.dz) == (0, math.inf, math.inf)
    assert paired_t(a - 0.5, a).dz == -math.inf


@pytest.mark.parametrize("values", [[], [0.5], [0.5, math.nan], [0.5, math.inf]])
def test_too_little_or_undefined_data_leaves_p_undefined(values: list[float]) -> None:
    zeros = [0.0] * len(values)
    assert math.isnan(paired_t(values, zeros).p)
    assert all(map(math.isnan, mean_interval(values)))
    assert math.isnan(cohen_dz(values, zeros))
    if len(values) != 1:  # one pair has a signed-rank test: p = 1
        assert math.isnan(wilcoxon(values, zeros))


def test_cohen_dz_by_its_definition() -> None:
    a, b = scores(5)
    differences = [x - y for x, y in zip(a, b, strict=True)]
    mean = math.fsum(differences) / 20
    deviation = math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / 19)
    assert cohen_dz(a, b) == pytest.approx(mean / deviation, rel=1e-12)


def test_trial_means_are_tested() -> None:
    a, b = scores(6)
    trials = np.tile(range(5), 4)
    means = [[x[trials == t].mean() for t in range(5)] for x in (a, b)]
    test = paired_over_trials(a, b, trials)
    assert test.p == pytest.approx(stats.ttest_rel(*means).pvalue, rel=1e-9)
    assert test.n == 5
    with pytest.raises(SerbenchError, match="one label per pair"):
        paired_over_trials(a, b, trials[:4])


def test_trial_labels_not_their_order_decide() -> None:
    a, b = scores(7)
    trials, order = np.repeat(range(5), 4), np.random.default_rng(0).permutation(20)
    assert paired_over_trials(a[order], b[order], trials[order]).p == pytest.approx(
        paired_over_trials(a, b, trials).p, rel=1e-9
    )


@pytest.mark.parametrize("seed", range(3))
def test_wilcoxon_by_enumeration(seed: int) -> None:
    """All 2^9 assignments of signs to the ranks of |a - b|, without ties."""
    a, b = scores(seed, n=9)
    ranks = stats.rankdata(np.abs(a - b))
    observed = abs(ranks[a > b].sum() - ranks.sum() / 2)
    sums = [abs(sum(r for i, r in enumerate(ranks) if pattern >> i & 1) - ranks.sum() / 2) for pattern in range(512)]
    assert wilcoxon(a, b) == pytest.approx(np.mean([s >= observed - 1e-12 for s in sums]), abs=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_wilcoxon_with_ties_and_zeros_is_scipys(seed: int) -> None:
    """Differences in eighths repeat one another, and some are zero; up to 13 of them scipy too tries all signs."""
    generator = np.random.default_rng(seed)
    d = generator.integers(-3, 4, int(generator.integers(3, 14))) / 8
    assert wilcoxon(d, np.zeros_like(d)) == pytest.approx(stats.wilcoxon(d).pvalue, abs=1e-12)


def test_wilcoxon_with_ties_and_zeros_is_quiet() -> None:
    p = wilcoxon([0.5, 0.5, 0.6, 0.7, 0.5], [0.5, 0.4, 0.5, 0.6, 0.5])
    assert 0 < p <= 1


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_mean_interval_is_students(level: float) -> None:
    x, _ = scores(8)
    expected = stats.t.interval(level, 19, loc=x.mean(), scale=stats.sem(x))
    assert mean_interval(x, level) == pytest.approx(expected, rel=1e-10)
    assert mean_interval([2.0, 2.0, 2.0]) == (2.0, 2.0)
    with pytest.raises(SerbenchError, match="share"):
        mean_interval(x, 95)


def test_holm_by_hand() -> None:
    """p sorted .005, .01, .03, .04 times 4, 3, 2, 1 = .02, .03, .06, .04, made monotone."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.4, 0.6]).tolist() == [0.8, 0.8]
    assert holm([]).tolist() == []


@pytest.mark.parametrize("seed", range(5))
def test_holm_adjusted_values_reject_what_the_step_down_procedure_rejects(seed: int) -> None:
    p = np.random.default_rng(seed).beta(0.4, 3, 12)
    adjusted = holm(p)
    for alpha in np.linspace(0.001, 0.999, 101):
        rejected = np.zeros(12, dtype=bool)
        for step, index in enumerate(np.argsort(p)):
            if p[index] > alpha / (12 - step):
                break
            rejected[index] = True
        assert np.array_equal(adjusted <= alpha, rejected)


def test_holm_leaves_undefined_values_out_of_the_count() -> None:
    adjusted = holm([0.01, math.nan, 0.02])
    assert adjusted[[0, 2]] == pytest.approx([0.02, 0.02])
    assert math.isnan(adjusted[1])


def test_unaligned_samples_are_refused() -> None:
    for test in (paired_t, wilcoxon, cohen_dz):
        with pytest.raises(SerbenchError, match="aligned"):
            test([1, 2, 3], [1, 2])


def test_trials_that_repeat_one_another_say_nothing_about_training():
    """Two deterministic models: the means of the trials don't vary, so p is undefined, not 0."""
    a, b = np.tile([0.6, 0.7, 0.5, 0.8], 5), np.tile([0.5, 0.65, 0.52, 0.7], 5)
    test = paired_over_trials(a, b, np.repeat(range(5), 4))
    assert test.difference == pytest.approx(0.0575)
    assert np.isnan([test.p, test.t, test.dz]).all()
    varied = b + np.repeat([0.0, 0.01, -0.01, 0.02, 0.0], 4)
    assert 0 < paired_over_trials(a, varied, np.repeat(range(5), 4)).p < 0.05
