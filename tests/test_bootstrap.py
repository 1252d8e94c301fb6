"""The bootstrap and approximate randomisation against plain loops with the same draws, scipy and closed forms."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.task import Task
from serbench.results.scores import metrics, scoring
from serbench.results.scores.scoring import score_predictions
from serbench.results.scores.sums import CLASSES, VALUES, cell_sums
from serbench.results.statistics import bootstrap
from serbench.results.statistics.bootstrap import (
    bootstrap_difference,
    bootstrap_scores,
    draw_counts,
    replicates,
    summarise,
)
from serbench.results.statistics.randomisation import approximate_randomisation

pytestmark = pytest.mark.filterwarnings("error")
ONE = Task("arousal", "regression", ("arousal",), scales={"arousal": (1.0, 7.0)})
TWO = Task("attributes", "regression", ("arousal", "valence"), scales={"arousal": (1.0, 7.0), "valence": (1.0, 7.0)})
LABELS = ("anger", "joy", "neutral")
CLASSIFY = Task("emotion", "classification", ("emotion",), labels=LABELS)
TRACE = Task("trace", "continuous", ("arousal",), scales={"arousal": (-1.0, 1.0)}, frame_seconds=0.1)


def values(seed: int, task: Task = ONE, items: int = 60, trials: int = 3, noise: float = 1.0) -> pd.DataFrame:
    gold = np.random.default_rng(99).uniform(1, 7, (items, len(task.targets)))
    parts = []
    for trial in range(trials):
        predicted = gold + np.random.default_rng([seed, trial]).normal(0, noise, gold.shape)
        table = pd.DataFrame({"trial": trial, "id": [f"u{i:03}" for i in range(items)], "subset": np.arange(items) % 4})
        for k, target in enumerate(task.targets):
            table = table.assign(**{f"gold_{target}": gold[:, k], f"pred_{target}": predicted[:, k]})
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def classes(seed: int, items: int = 60, trials: int = 3) -> pd.DataFrame:
    gold = np.random.default_rng(98).choice(LABELS, items)
    parts = []
    for trial in range(trials):
        rng = np.random.default_rng([seed, trial])
        predicted = np.where(rng.random(items) < 0.5, gold, rng.choice(LABELS, items))
        ids = [f"u{i:03}" for i in range(items)]
        parts.append(
            pd.DataFrame(
                {"trial": trial, "id": ids, "subset": np.arange(items) % 4, "gold": gold, "predicted": predicted}
            )
        )
    return pd.concat(parts, ignore_index=True)


def speakers(table: pd.DataFrame, n: int) -> pd.Series:
    ids = table["id"].unique()
    return pd.Series([f"s{i % n}" for i in range(len(ids))], index=ids)


def repeated(table: pd.DataFrame, clusters: pd.Series, counts: dict[str, int], trials: dict[int, int]) -> pd.DataFrame:
    """The resampled table itself: every row as often as its cluster and its trial were drawn."""
    times = table["id"].map(clusters).map(counts) * table["trial"].map(trials)
    picked = table.loc[table.index.repeat(times)]
    copy = picked.groupby(["trial", "id"]).cumcount().astype(str)
    again = picked.groupby(["trial", "id"]).cumcount() // picked["id"].map(clusters).map(counts)
    return picked.assign(id=picked["id"] + "-" + copy, trial=picked["trial"] * 100 + again)


def plain_score(table: pd.DataFrame, task: Task, metric: str, target: str) -> float:
    scores = score_predictions(table, task)
    chosen = scores[scores["metric"].eq(metric) & scores["target"].eq(target)]
    return float(chosen.groupby("trial")["value"].mean().mean())


def test_every_metric_has_its_sums() -> None:
    assert CLASSES.keys() == scoring.CLASSIFICATION.keys()
    assert VALUES.keys() == scoring.REGRESSION.keys()


@pytest.mark.parametrize("metric", sorted({**VALUES, **CLASSES}))
def test_scores_from_sums_are_the_scores(metric: str) -> None:
    task, table = (ONE, values(1)) if metric in VALUES else (CLASSIFY, classes(1))
    target = task.targets[0]
    scores = score_predictions(table, task)
    expected = scores[scores["metric"].eq(metric)]["value"].mean()
    for n in (None, 7, 60):
        clusters = None if n is None else speakers(table, n)
        assert cell_sums(table, task, metric, target, clusters).score() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", sorted({**VALUES, **CLASSES}))
def test_a_resample_is_the_score_of_the_resampled_table(metric: str) -> None:
    """A plain loop that builds each resampled table, with the counts that the bootstrap draws."""
    task, table = (ONE, values(2)) if metric in VALUES else (CLASSIFY, classes(2))
    clusters = speakers(table, 7)
    sums = cell_sums(table, task, metric, task.targets[0], clusters)
    ours = replicates([sums], 25, seed=3)[0]
    generator = np.random.Generator(np.random.SFC64(3))
    counts = draw_counts(7, 25, generator)
    trials = generator.multinomial(2, np.full(3, 1 / 3), size=25)
    order = sorted(clusters.unique(), key=lambda s: (table.loc[table["id"].map(clusters).eq(s), "subset"].min(), s))
    for k in range(25):
        times = dict(zip(order, counts[k].astype(int), strict=True))
        drawn = repeated(table, clusters, times, dict(enumerate(trials[k])))
        assert ours[k] == pytest.approx(plain_score(drawn, task, metric, task.targets[0]), abs=1e-10)


def test_rotated_counts_are_the_counts_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit the same vector of counts is used in all rotations: again the loop's scores, draw by draw."""
    monkeypatch.setattr(bootstrap, "ROTATE_FROM", 10)
    table = values(4, items=30, trials=1)
    sums = cell_sums(table, ONE, "CCC", "arousal")
    ours = replicates([sums], 30 * 8, seed=5)[0]
    generator = np.random.Generator(np.random.SFC64(5))
    order = generator.permutation(30)
    ids = sorted(table["id"], key=lambda i: (int(i[1:]) % 4, i))
    rows = table.set_index("id").loc[ids]
    done = 0
    for _ in range(8):
        counts = draw_counts(30, 1, generator)[0].astype(int)
        generator.multinomial(1, [1.0], size=30)
        for shift in range(30):
            weights = np.zeros(30, dtype=int)
            weights[order] = np.roll(counts, shift)
            expected = np.mean(
                [
                    metrics.ccc(
                        *(np.repeat(part[c].to_numpy(), weights[rows["subset"].eq(s)]) for c in part.columns[-2:])
                    )
                    for s, part in rows.groupby("subset")
                ]
            )
            assert ours[done] == pytest.approx(expected, abs=1e-9)
            done += 1


def delta_method_error(gold: np.ndarray, predicted: np.ndarray) -> float:
    """Standard error of CCC by linearisation, an independent large-sample truth."""
    moments = np.stack([gold, predicted, gold * predicted, gold**2 + predicted**2], axis=1)
    mean = moments.mean(axis=0)

    def score(m: np.ndarray) -> float:
        return 2 * (m[2] - m[0] * m[1]) / (m[3] - 2 * m[0] * m[1])

    steps = np.eye(4) * 1e-6
    gradient = np.array([(score(mean + h) - score(mean - h)) / 2e-6 for h in steps])
    return float(np.sqrt(gradient @ np.cov(moments.T, ddof=0) @ gradient / len(gold)))


@pytest.mark.parametrize("items", [900, 3000])
def test_both_ways_of_drawing_agree_with_scipy_and_the_delta_method(items: int) -> None:
    """900 clusters are drawn directly, 3000 by rotation."""
    table = values(6, items=items, trials=1).assign(subset=0)
    gold, predicted = table["gold_arousal"].to_numpy(), table["pred_arousal"].to_numpy()
    ours = bootstrap_scores(table, ONE, resamples=20_000, seed=1)["arousal"]
    theirs = stats.bootstrap(
        (gold, predicted),
        metrics.ccc,
        paired=True,
        vectorized=False,
        n_resamples=1000,
        method="percentile",
        rng=np.random.default_rng(2),
    )
    assert ours.estimate == pytest.approx(metrics.ccc(gold, predicted), abs=1e-12)
    assert ours.se == pytest.approx(delta_method_error(gold, predicted), rel=0.03)  # 20,000 resamples: 0.5 % of noise
    assert ours.se == pytest.approx(theirs.standard_error, rel=0.1)  # 1000 resamples: 2.2 % of noise
    for mine, other in zip((ours.low, ours.high), theirs.confidence_interval, strict=True):
        assert mine == pytest.approx(other, abs=0.35 * theirs.standard_error)
    assert (ours.clusters, ours.trials, ours.resamples, ours.undefined) == (items, 1, 20_000, 0)


def test_clusters_widen_the_interval_as_they_should() -> None:
    """Speakers that say one thing 20 times hold as much information as one utterance each."""
    few = values(7, items=80, trials=1).assign(subset=0)
    many = pd.concat([few.assign(id=few["id"] + f"-{k}") for k in range(20)], ignore_index=True)
    who = pd.Series(many["id"].str.split("-").str[0].to_numpy(), index=many["id"])
    alone = bootstrap_scores(few, ONE, resamples=4000, seed=0)["arousal"]
    by_speaker = bootstrap_scores(many, ONE, clusters=who, resamples=4000, seed=0)["arousal"]
    by_utterance = bootstrap_scores(many, ONE, resamples=4000, seed=0)["arousal"]
    assert by_speaker.se == pytest.approx(alone.se, rel=1e-9)
    assert by_utterance.se == pytest.approx(alone.se / math.sqrt(20), rel=0.05)


def test_the_variance_over_trials_is_unbiased() -> None:
    """Trials that differ by a constant shift of a perfect prediction: the variance of their mean is s^2 / T."""
    base = values(8, items=40, trials=4, noise=0.0)
    shifts = pd.Series([0.0, 0.3, 0.9, 1.4])
    table = base.assign(subset=0, pred_arousal=base["gold_arousal"] + base["trial"].map(shifts))
    one = pd.Series("all", index=table["id"].unique())  # a single cluster: only trials vary
    found = bootstrap_scores(table, ONE, metric="RMSE", clusters=one, resamples=40_000, seed=2)["arousal"]
    assert found.estimate == pytest.approx(shifts.mean(), abs=1e-12)
    assert found.se == pytest.approx(shifts.std(ddof=1) / 2, rel=0.02)


def test_counts_have_the_moments_of_a_multinomial() -> None:
    counts = draw_counts(5, 40_000, np.random.default_rng(0))
    assert (counts.sum(axis=1) == 4).all()
    assert counts.mean(axis=0) == pytest.approx(np.full(5, 0.8), abs=0.02)
    expected = 4 * (np.eye(5) / 5 - 1 / 25)
    assert np.cov(counts.T) == pytest.approx(expected, abs=0.02)


def test_the_mean_of_several_targets_is_drawn_jointly() -> None:
    table = values(9, TWO)
    found = bootstrap_scores(table, TWO, clusters=speakers(table, 6), resamples=300, seed=4)
    parts = [replicates([cell_sums(table, TWO, "CCC", t, speakers(table, 6))], 300, 4)[0] for t in TWO.targets]
    assert list(found) == ["mean", "arousal", "valence"]
    assert found["mean"].se == pytest.approx(np.std(np.mean(parts, axis=0), ddof=1), rel=1e-12)
    assert found["mean"].estimate == pytest.approx(np.mean([found[t].estimate for t in TWO.targets]), abs=1e-12)


def test_a_resample_without_a_subset_counts_the_others() -> None:
    """Recordings that lie in one subset each, as continuous tasks deal them out: a subset may be drawn nowhere."""
    table = values(3, items=48, trials=1)
    clusters = pd.Series((np.arange(48) % 8).astype(str), index=table["id"])  # clusters k and k + 4 are subset k % 4
    found = bootstrap_scores(table, ONE, clusters=clusters, resamples=400, seed=1)["arousal"]
    assert found.undefined == 0
    generator = np.random.Generator(np.random.SFC64(1))
    counts = draw_counts(8, 400, generator)
    empty = (counts.reshape(400, 4, 2).sum(axis=2) == 0).any(axis=1)
    assert empty.mean() > 0.2
    ours = replicates([cell_sums(table, ONE, "CCC", "arousal", clusters)], 400, 1)[0]
    order = sorted(clusters.unique(), key=lambda c: (int(c) % 4, c))
    k = int(np.flatnonzero(empty)[0])
    drawn = repeated(table, clusters, dict(zip(order, counts[k].astype(int), strict=True)), {0: 1})
    assert ours[k] == pytest.approx(plain_score(drawn, ONE, "CCC", "arousal"), abs=1e-10)


def test_a_difference_uses_the_same_draws_for_both() -> None:
    a, b = values(1), values(2)
    clusters = speakers(a, 9)
    found = bootstrap_difference(a, b, ONE, clusters=clusters, resamples=500, seed=7)["arousal"]
    parts = [replicates([cell_sums(t, ONE, "CCC", "arousal", clusters)], 500, 7)[0] for t in (a, b)]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(parts[0] - parts[1], [0.025, 0.975])), abs=1e-12)
    swapped = bootstrap_difference(b, a, ONE, clusters=clusters, resamples=500, seed=7)["arousal"]
    mirrored = -found.estimate, -found.high, found.p
    assert (swapped.estimate, swapped.low, swapped.p) == pytest.approx(mirrored, abs=1e-12)


def test_the_order_of_rows_changes_nothing() -> None:
    a, b = values(1), values(2)
    order = np.random.default_rng(1).permutation(len(a))
    shuffled = bootstrap_difference(a.iloc[order], b.iloc[order[::-1]], ONE, resamples=200)["arousal"]
    sorted_ = bootstrap_difference(a, b, ONE, resamples=200)["arousal"]
    assert shuffled.p == sorted_.p
    assert shuffled.se == pytest.approx(sorted_.se, rel=1e-9)


def test_seeds_decide_and_repeat() -> None:
    a, b = values(1), values(2)
    runs = [bootstrap_difference(a, b, ONE, resamples=200, seed=s)["arousal"] for s in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]
    p = [approximate_randomisation(a, b, ONE, swaps=200, seed=s)["arousal"] for s in (1, 1)]
    assert p[0] == p[1]


@pytest.mark.parametrize("n", [None, 7])
def test_identical_predictions_have_p_one(n: int | None) -> None:
    for task, table in ((ONE, values(1)), (CLASSIFY, classes(1)), (TWO, values(1, TWO))):
        clusters = None if n is None else speakers(table, n)
        found = bootstrap_difference(table, table, task, clusters=clusters, resamples=200)
        p = approximate_randomisation(table, table, task, clusters=clusters, swaps=200)
        for target in found:
            assert (found[target].p, found[target].low, found[target].high, p[target]) == (1, 0, 0, 1)


def test_p_counts_the_resamples_beyond_zero() -> None:
    draws = np.array([-1.0, 2.0, 3.0, 4.0, np.nan])
    found = summarise(draws, 2.0, 10, 5)
    assert found.p == pytest.approx(2 * (1 + 1) / (4 + 1))
    assert (found.undefined, found.resamples) == (1, 5)
    assert math.isnan(summarise(np.array([np.nan]), 1.0, 1, 1).p)


def test_one_class_in_a_subset_is_no_obstacle() -> None:
    a, b = classes(1), classes(2)
    for table in (a, b):
        table.loc[table["subset"].eq(2), "gold"] = "joy"
    found = bootstrap_difference(a, b, CLASSIFY, resamples=300)["emotion"]
    assert found.undefined == 0
    assert np.isfinite([found.low, found.high, found.p]).all()
    assert 0 < approximate_randomisation(a, b, CLASSIFY, swaps=300)["emotion"] <= 1


def test_an_undefined_score_stays_undefined_without_warnings() -> None:
    """A constant prediction of a constant label has no CCC."""
    table = values(1).assign(gold_arousal=2.0, pred_arousal=2.0)
    found = bootstrap_scores(table, ONE, resamples=50)["arousal"]
    assert math.isnan(found.estimate)
    assert math.isnan(found.p)
    assert math.isnan(approximate_randomisation(table, values(1).assign(gold_arousal=2.0), ONE, swaps=50)["arousal"])


def test_frames_without_gold_do_not_count() -> None:
    rng = np.random.default_rng(0)
    names = np.repeat([f"r{i}" for i in range(8)], 50)
    table = pd.DataFrame(
        {"trial": 0, "id": names, "frame": np.tile(range(50), 8), "subset": np.repeat(np.arange(8) % 4, 50)}
    )
    table = table.assign(gold_arousal=rng.normal(0, 1, 400))
    table = table.assign(pred_arousal=table["gold_arousal"] + rng.normal(0, 0.2, 400))
    table.loc[table["frame"] < 5, ["gold_arousal", "pred_arousal"]] = [np.nan, 77.0]
    without = table[table["frame"] >= 5]
    ours = bootstrap_scores(table, TRACE, resamples=40, seed=1)["arousal"]
    assert ours == bootstrap_scores(without, TRACE, resamples=40, seed=1)["arousal"]
    assert ours.clusters == 8  # recordings, not frames, are drawn


def test_randomisation_by_enumeration() -> None:
    """All 2^6 assignments of the six speakers' predictions to the two models, in a plain loop."""
    a, b = values(1, items=24, noise=1.0), values(2, items=24, noise=1.3)
    clusters = speakers(a, 6)
    observed = plain_score(a, ONE, "CCC", "arousal") - plain_score(b, ONE, "CCC", "arousal")
    found = []
    for pattern in product((False, True), repeat=6):
        swapped = dict(zip(sorted(clusters.unique()), pattern, strict=True))
        swap = a["id"].map(clusters).map(swapped).to_numpy(dtype=bool)
        left, right = a.copy(), b.copy()
        left.loc[swap, "pred_arousal"] = b["pred_arousal"][swap]
        right.loc[swap, "pred_arousal"] = a["pred_arousal"][swap]
        found.append(plain_score(left, ONE, "CCC", "arousal") - plain_score(right, ONE, "CCC", "arousal"))
    expected = np.mean([abs(d) >= abs(observed) - 1e-12 for d in found])
    assert approximate_randomisation(a, b, ONE, clusters=clusters, swaps=64)["arousal"] == pytest.approx(expected)
    drawn = approximate_randomisation(a, b, ONE, clusters=clusters, swaps=20)["arousal"]  # too few to count them all
    assert abs(drawn - expected) < 0.35


def test_randomisation_of_means_is_scipys_permutation_test() -> None:
    """The accuracy over one subset is a mean, of which scipy has the paired permutation test."""
    a, b = (classes(s, items=200, trials=1).assign(subset=0) for s in (1, 2))
    b.loc[:60, "predicted"] = b.loc[:60, "gold"]
    right = [(t["gold"] == t["predicted"]).to_numpy(dtype=float) for t in (a, b)]
    theirs = stats.permutation_test(
        right,
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        n_resamples=20_000,
        rng=np.random.default_rng(0),
    )
    ours = approximate_randomisation(a, b, CLASSIFY, metric="WA", swaps=20_000)["emotion"]
    assert ours == pytest.approx(theirs.pvalue, abs=0.015)
    assert 0.0005 < ours < 0.5  # a difference that can be told from both ends


def test_bad_arguments_say_what_is_expected() -> None:
    a = values(1)
    with pytest.raises(SerbenchError, match="resamples=0"):
        bootstrap_scores(a, ONE, resamples=0)
    with pytest.raises(SerbenchError, match="swaps=0"):
        approximate_randomisation(a, a, ONE, swaps=0)
    with pytest.raises(SerbenchError, match=r"level=95"):
        bootstrap_scores(a, ONE, resamples=10, level=95)
    with pytest.raises(SerbenchError, match="Did you mean 'RMSE'"):
        bootstrap_scores(a, ONE, metric="RMS")
    with pytest.raises(SerbenchError, match="other items"):
        bootstrap_difference(a, values(2, items=59), ONE, resamples=10)
    with pytest.raises(SerbenchError, match="60 items have no cluster"):
        bootstrap_scores(a, ONE, clusters=pd.Series({"x": "y"}), resamples=10)
    with pytest.raises(SerbenchError, match="lack the column"):
        bootstrap_scores(a.drop(columns="pred_arousal"), ONE, resamples=10)


def test_memory_stays_bounded() -> None:
    import tracemalloc

    table = values(1, items=300, trials=2)
    sums = [cell_sums(table, ONE, "CCC", "arousal")]
    tracemalloc.start()
    replicates(sums, 50_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000 * 8 + 16 * 2**20  # the answer itself and a few blocks; all counts at once would be 120 MB
