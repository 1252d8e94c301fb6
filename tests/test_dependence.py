"""Tests for dependent scores, correction for many tests, effect sizes and power: against scipy and the definitions."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from serbench.datasets.core.errors import SerbenchError
from serbench.results.statistics import power
from serbench.results.statistics.dependence import (
    Components,
    benjamini_hochberg,
    components,
    corrected_t,
    crossed_t,
    effect_sizes,
    hedges_factor,
    two_way,
)
from serbench.results.statistics.significance import paired_over_trials, paired_t

pytestmark = pytest.mark.filterwarnings("error")
TRIALS, SUBSETS = np.repeat(np.arange(5), 4), np.tile(np.arange(4), 5)


def table(seed: int, trial: float = 0.02, subset: float = 0.02, rest: float = 0.01, mean: float = 0.01) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return mean + rng.normal(0, trial, (5, 1)) + rng.normal(0, subset, (1, 4)) + rng.normal(0, rest, (5, 4))


def crossed(d: np.ndarray):
    return crossed_t(d.ravel(), np.zeros(d.size), TRIALS, SUBSETS)


def mean_squares(d: np.ndarray) -> tuple[float, float, float]:
    """The two-way analysis of variance without replication, written as sums of squares by subtraction."""
    t, s = d.shape
    correction = d.sum() ** 2 / d.size
    trial = (d.sum(axis=1) ** 2).sum() / s - correction
    subset = (d.sum(axis=0) ** 2).sum() / t - correction
    rest = (d**2).sum() - correction - trial - subset
    return trial / (t - 1), subset / (s - 1), rest / ((t - 1) * (s - 1))


@pytest.mark.parametrize("seed", range(4))
def test_crossed_t_by_its_formula(seed: int) -> None:
    d = table(seed)
    trial, subset, rest = mean_squares(d)
    assert trial > rest < subset  # both factors matter in these draws, so the whole formula is used
    variance = (trial + subset - rest) / 20
    degrees = (trial + subset - rest) ** 2 / (trial**2 / 4 + subset**2 / 3 + rest**2 / 12)
    test = crossed(d)
    assert test.t == pytest.approx(d.mean() / math.sqrt(variance), rel=1e-9)
    assert test.p == pytest.approx(2 * stats.t.sf(abs(test.t), degrees), rel=1e-9)
    interval = stats.t.interval(0.95, degrees, loc=d.mean(), scale=math.sqrt(variance))
    assert (test.low, test.high) == pytest.approx(interval, rel=1e-9)


def test_crossed_t_is_the_one_way_test_where_one_factor_is_alone() -> None:
    subsets_only = np.tile(np.random.default_rng(0).normal(0.02, 0.01, 4), (5, 1))
    assert crossed(subsets_only).p == pytest.approx(stats.ttest_1samp(subsets_only[0], 0).pvalue, rel=1e-9)
    trials_only = np.tile(np.random.default_rng(1).normal(0.02, 0.01, (5, 1)), (1, 4))
    assert crossed(trials_only).p == pytest.approx(stats.ttest_1samp(trials_only[:, 0], 0).pvalue, rel=1e-9)
    one_trial = table(2)[0]
    alone = crossed_t(one_trial, np.zeros(4), np.zeros(4), np.arange(4))
    assert alone.p == pytest.approx(stats.ttest_1samp(one_trial, 0).pvalue, rel=1e-9)


def test_crossed_t_pools_what_is_only_noise() -> None:
    """Neither factor above the rest: the mean square of the rest, with its own degrees of freedom."""
    tables = (table(seed, 0.0, 0.0) for seed in range(200))
    d = next(d for d in tables if mean_squares(d)[2] > max(mean_squares(d)[:2]))
    rest = mean_squares(d)[2]
    assert crossed(d).p == pytest.approx(2 * stats.t.sf(abs(d.mean()) / math.sqrt(rest / 20), 12), rel=1e-9)


def test_keys_not_positions_decide() -> None:
    d, order = table(3), np.random.default_rng(0).permutation(20)
    shuffled = crossed_t(d.ravel()[order], np.zeros(20), TRIALS[order], SUBSETS[order])
    assert shuffled.p == pytest.approx(crossed(d).p, rel=1e-12)
    assert two_way(d.ravel()[order], np.zeros(20), TRIALS[order], SUBSETS[order]) == pytest.approx(d)


def test_identical_constant_and_undefined_tables() -> None:
    zeros = np.zeros((5, 4))
    assert (crossed(zeros).p, crossed(zeros).t, crossed(zeros).low) == (1, 0, 0)
    assert crossed(zeros + 0.1).p == 0
    holed = table(0)
    holed[0, 0] = np.nan
    assert math.isnan(crossed(holed).p)
    assert all(math.isnan(v) for v in (components(holed.ravel(), np.zeros(20), TRIALS, SUBSETS).trial,))
    assert corrected_t(np.ones(20), np.ones(20), 0.1).p == 1
    assert math.isnan(corrected_t(table(0).ravel(), np.zeros(20), math.nan).p)


def test_incomplete_tables_are_refused() -> None:
    with pytest.raises(SerbenchError, match="19 scores don't fill 5 trials x 4 subsets"):
        two_way(np.ones(19), np.zeros(19), TRIALS[:-1], SUBSETS[:-1])
    with pytest.raises(SerbenchError, match="one length"):
        two_way(np.ones(20), np.zeros(20), TRIALS, SUBSETS[:-1])


@pytest.mark.parametrize("ratio", [0.0, 0.1, 1.0])
def test_corrected_t_by_its_formula(ratio: float) -> None:
    d = table(5).ravel()
    t = d.mean() / math.sqrt((1 / 20 + ratio) * d.var(ddof=1))
    test = corrected_t(d, np.zeros(20), ratio)
    assert test.t == pytest.approx(t, rel=1e-9)
    assert test.p == pytest.approx(2 * stats.t.sf(abs(t), 19), rel=1e-9)
    if ratio == 0:
        assert test.p == pytest.approx(stats.ttest_1samp(d, 0).pvalue, rel=1e-9)


def test_components_are_unbiased() -> None:
    """Means over many simulated tables of known components."""
    true = np.array([0.03, 0.02, 0.01]) ** 2
    found = []
    for seed in range(1500):
        d = table(seed, *np.sqrt(true))
        trial, subset, rest = mean_squares(d)
        ours = components(d.ravel(), np.zeros(20), TRIALS, SUBSETS)
        assert (ours.trial, ours.subset) == pytest.approx((max(0, (trial - rest) / 4), max(0, (subset - rest) / 5)))
        found.append((ours.trial, ours.subset, ours.rest))
    assert np.mean(found, axis=0) == pytest.approx(true, rel=0.08)


def test_the_variance_of_a_mean_follows_from_its_components() -> None:
    parts = Components(0.0, 4.0, 9.0, 16.0, 5, 4)
    assert parts.variance_of_mean() == pytest.approx(4 / 5 + 9 / 4 + 16 / 20)
    assert parts.variance_of_mean(trials=10**9) == pytest.approx(9 / 4)


@pytest.mark.parametrize("seed", range(5))
def test_benjamini_hochberg_rejects_what_the_step_up_procedure_rejects(seed: int) -> None:
    p = np.random.default_rng(seed).beta(0.3, 2, 15)
    adjusted = benjamini_hochberg(p)
    for rate in np.linspace(0.005, 0.5, 60):
        order = np.argsort(p)
        passed = [k for k in range(15) if p[order[k]] <= rate * (k + 1) / 15]
        rejected = np.zeros(15, dtype=bool)
        rejected[order[: max(passed) + 1 if passed else 0]] = True
        assert np.array_equal(adjusted <= rate + 1e-15, rejected)
    assert adjusted == pytest.approx(stats.false_discovery_control(p))


def test_benjamini_hochberg_leaves_undefined_values_out() -> None:
    adjusted = benjamini_hochberg([0.01, math.nan, 0.04])
    assert adjusted[[0, 2]] == pytest.approx([0.02, 0.04])
    assert math.isnan(adjusted[1])
    assert benjamini_hochberg([]).tolist() == []


def test_effect_sizes_by_their_definitions() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.6, 0.05, 20), rng.normal(0.55, 0.03, 20)
    found, d = effect_sizes(a, b), a - b
    assert found.dz == pytest.approx(d.mean() / d.std(ddof=1))
    assert found.dav == pytest.approx(d.mean() / math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2))
    assert found.superiority == np.mean([1 if x > 0 else 0.5 if x == 0 else 0 for x in d])
    assert found.gz == pytest.approx(found.dz * (1 - 3 / (4 * 19 - 1)), rel=1e-3)  # Hedges' usual approximation
    same = effect_sizes(a, a)
    assert (same.dz, same.gz, same.dav, same.superiority) == (0, 0, 0, 0.5)
    assert math.isnan(effect_sizes([1.0], [1.0]).dz)


def test_hedges_factor_removes_the_bias() -> None:
    """The mean of d over many samples of 8 exceeds the true one by the factor's inverse."""
    rng = np.random.default_rng(0)
    samples = rng.normal(0.8, 1, (60_000, 8))
    d = samples.mean(axis=1) / samples.std(axis=1, ddof=1)
    assert d.mean() * hedges_factor(7) == pytest.approx(0.8, abs=0.01)


CASES = [(0.02, 0.01, 4), (0.5, 0.3, 19), (0.0, 1.0, 7), (4, 1, 30)]


@pytest.mark.parametrize(("difference", "error", "degrees"), CASES)
def test_t_power_is_the_noncentral_t(difference: float, error: float, degrees: int) -> None:
    critical = stats.t.ppf(0.975, degrees)
    nct = stats.nct(degrees, difference / error)
    assert power.t_power(difference, error, degrees) == pytest.approx(nct.sf(critical) + nct.cdf(-critical), abs=1e-9)


def test_power_grows_with_the_difference_and_ends_at_one() -> None:
    """Where the library's noncentral t is undefined too."""
    for degrees, alpha in ((1, 0.05), (4, 0.01), (30, 0.05), (1e6, 0.01)):
        values = [power.t_power(d, 1.0, degrees, alpha) for d in np.arange(0, 60, 0.25)]
        assert values[0] == pytest.approx(alpha)
        assert all(later >= earlier - 1e-9 for earlier, later in pairwise(values))
        assert values[-1] > 0.9 if degrees == 1 else values[-1] == pytest.approx(1, abs=1e-6)


def test_normal_power_is_its_limit_and_a_simulation_agrees() -> None:
    for shift in (0.5, 1.5, 2.8):
        assert power.normal_power(shift, 1) == pytest.approx(power.t_power(shift, 1, 1e5), abs=1e-3)
        assert power.t_power(shift, 1, 4) < power.normal_power(shift, 1)
    rng = np.random.default_rng(0)
    draws = rng.normal(0.03, 0.03, (20_000, 6))
    p = stats.ttest_1samp(draws, 0, axis=1).pvalue
    assert power.t_power(0.03, 0.03 / math.sqrt(6), 5) == pytest.approx((p < 0.05).mean(), abs=0.012)


@pytest.mark.parametrize(("wanted", "alpha"), [(0.8, 0.05), (0.95, 0.01), (0.5, 0.1)])
def test_the_detectable_difference_is_detected_with_the_wanted_power(wanted: float, alpha: float) -> None:
    found = power.detectable_difference(0.013, 4, wanted, alpha)
    assert power.t_power(found, 0.013, 4, alpha) == pytest.approx(wanted, abs=1e-7)
    many = power.detectable_difference(0.013, 1e6, wanted, alpha)
    assert many == pytest.approx(0.013 * (stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(wanted)), rel=2e-3)
    assert power.detectable_normal(0.013, wanted, alpha) == pytest.approx(many, rel=2e-3)


def test_trials_needed_are_the_fewest_that_reach_the_power() -> None:
    parts = Components(0.0, 0.02**2, 0.015**2, 0.02**2, 5, 4)
    needed = power.trials_needed(parts, 0.02)
    assert needed is not None

    def reached(trials: int) -> float:
        error = math.sqrt((0.02**2 + 0.02**2 / 4) / trials)
        nct = stats.nct(trials - 1, 0.02 / error)
        critical = stats.t.ppf(0.975, trials - 1)
        return nct.sf(critical) + nct.cdf(-critical)

    assert reached(needed) >= 0.8 > reached(needed - 1)
    # elsewhere the test set sets a floor: (z + z) * 0.015 / 2 = 0.0210 is above 0.02 whatever the number of trials
    assert power.trials_needed(parts, 0.02, elsewhere=True) is None
    more = power.trials_needed(parts, 0.03, elsewhere=True)
    assert more is not None
    error = math.sqrt(parts.variance_of_mean(more))
    assert 0.03 / error >= stats.norm.ppf(0.975) + stats.norm.ppf(0.8) - 0.01
    with pytest.raises(SerbenchError, match="difference=0"):
        power.trials_needed(parts, 0)


def test_a_plan_says_all_of_it() -> None:
    parts = Components(0.01, 0.02**2, 0.015**2, 0.02**2, 5, 4)
    found = power.plan(parts, 0.03)
    assert found.detectable == pytest.approx(power.detectable_difference(math.sqrt((0.02**2 + 0.02**2 / 4) / 5), 4))
    assert found.floor == pytest.approx((stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * 0.015 / 2)
    assert found.detectable_elsewhere > found.floor
    assert found.needed == power.trials_needed(parts, 0.03)


def test_shares_out_of_range_are_refused() -> None:
    for call in (lambda: power.t_power(1, 1, 4, alpha=5), lambda: power.detectable_difference(1, 4, power=80)):
        with pytest.raises(SerbenchError, match="share"):
            call()


def test_the_plain_test_overstates_what_the_crossed_one_does_not() -> None:
    """False positives over 1500 null tables with both effects, for other seeds and other utterances."""
    rejected = np.zeros(3)
    for seed in range(1500):
        d = table(seed, 0.015, 0.015, 0.013, mean=0.0).ravel()
        zeros = np.zeros(20)
        tests = paired_t(d, zeros).p, paired_over_trials(d, zeros, TRIALS).p, crossed_t(d, zeros, TRIALS, SUBSETS).p
        rejected += np.array(tests) < 0.05
    plain, trials, both = rejected / 1500
    assert plain > 0.25
    assert trials > 0.1  # right for these utterances, not for others
    assert both < 0.07
