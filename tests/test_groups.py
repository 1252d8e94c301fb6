"""Values by group, gaps and their tests, against scikit-learn, scipy's permutation tests and planted gaps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import recall_score
from typer.testing import CliRunner

from serbench.benchmarks.cli.app import app
from serbench.benchmarks.grid.grid import run
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.task import Task
from serbench.results.groups.gaps import Resamples, gap_of, group_values, sums_of
from serbench.results.groups.grouping import groupings
from serbench.results.groups.measures import Measure, measures
from serbench.results.groups.table import fairness

LABELS = ("anger", "neutral", "sadness")
EMOTION = Task("emotion", "classification", ("emotion",), labels=LABELS)
AROUSAL = Task("arousal", "regression", ("arousal",), scales={"arousal": (1.0, 7.0)})
QUICK = Resamples(2000)


def people(speakers: int, each: int) -> tuple[pd.Series, pd.Series]:
    """Speaker of each id, and a gender that belongs to the speaker."""
    ids = [f"u{i}" for i in range(speakers * each)]
    who = pd.Series([f"s{i // each:02d}" for i in range(len(ids))], ids)
    return who, who.map(lambda name: ("female", "male")[int(name[1:]) % 2])


def guesses(right: np.ndarray, seed: int, trials: int = 2) -> pd.DataFrame:
    """Predictions that are right with these chances, with class probabilities."""
    rng = np.random.default_rng(seed)
    parts = []
    for trial in range(trials):
        gold = rng.integers(0, 3, len(right))
        guess = np.where(rng.random(len(right)) < right, gold, (gold + 1) % 3)
        scores = rng.dirichlet(np.ones(3), len(right)) + 2 * np.eye(3)[guess]
        table = pd.DataFrame(scores / scores.sum(axis=1, keepdims=True), columns=[f"p_{name}" for name in LABELS])
        ids = [f"u{i}" for i in range(len(right))]
        parts.append(table.assign(id=ids, subset=0, trial=trial, gold=gold, predicted=guess))
    return pd.concat(parts, ignore_index=True)


def named(listed: list[Measure], name: str) -> Measure:
    return next(one for one in listed if one.name == name)


def test_values_of_classes_are_those_of_each_group_alone() -> None:
    who, gender = people(12, 20)
    table = guesses(np.full(240, 0.6), 0)
    listed = measures(table, EMOTION)
    assert [one.name for one in listed] == ["UAR", "error", "ECE"]
    for measure in listed:
        for value in group_values(sums_of(measure, table, who, gender), measure):
            assert (value.items, value.speakers, value.tested) == (120, 6, True)
            truth = []
            for _, trial in table[table["id"].map(gender).eq(value.group)].groupby("trial"):
                gold, guess = trial["gold"].to_numpy(), trial["predicted"].to_numpy()
                if measure.name == "UAR":
                    truth.append(recall_score(gold, guess, average="macro"))
                elif measure.name == "error":
                    truth.append((gold != guess).mean())
                else:
                    scores = trial[[f"p_{name}" for name in LABELS]].to_numpy()
                    sure, hit = scores.max(axis=1), scores.argmax(axis=1) == gold
                    place = np.digitize(sure, np.linspace(0, 1, 11)[1:-1])
                    bins = [
                        abs(sure[place == b].mean() - hit[place == b].mean()) * (place == b).sum() for b in set(place)
                    ]
                    truth.append(sum(bins) / len(trial))
            assert value.value == pytest.approx(np.mean(truth), abs=1e-12)


def test_scores_that_are_no_probabilities_have_no_calibration() -> None:
    table = guesses(np.full(30, 0.6), 0)
    table["p_anger"] -= 2
    assert [one.name for one in measures(table, EMOTION)] == ["UAR", "error"]


def test_bias_is_taken_at_equal_gold() -> None:
    """Groups with other labels, of which all are overrated by as much at the same label, do not differ in bias."""
    who, gender = people(12, 100)
    rng = np.random.default_rng(0)
    gold = np.where(gender.eq("male"), rng.uniform(1, 5, 1200), rng.uniform(3, 7, 1200))
    pulled = 4 + 0.5 * (gold - 4)  # towards the middle: the high are underrated
    table = pd.DataFrame({"id": who.index, "subset": 0, "trial": 0, "gold_arousal": gold, "pred_arousal": pulled})
    measure = named(measures(table, AROUSAL), "bias")
    female, male = (v.value for v in group_values(sums_of(measure, table, who, gender), measure))
    plain = (pulled - gold)[gender.eq("male")].mean() - (pulled - gold)[gender.eq("female")].mean()
    assert plain == pytest.approx(1.0, abs=0.1)
    assert abs(male - female) < 0.4 * plain  # what is left is the width of a fifth
    table["pred_arousal"] = gold + np.where(gender.eq("male"), 0.3, -0.1)
    measure = named(measures(table, AROUSAL), "bias")
    female, male = (v.value for v in group_values(sums_of(measure, table, who, gender), measure))
    assert (female, male) == (pytest.approx(-0.1), pytest.approx(0.3))
    gap = gap_of(sums_of(measure, table, who, gender), measure, QUICK)
    assert (gap.best, gap.worst, gap.gap) == ("female", "male", pytest.approx(0.4))
    table.loc[:50, "gold_arousal"] = np.nan  # nobody rated them
    assert np.isfinite([v.value for v in group_values(sums_of(measure, table, who, gender), measure)]).all()


def shares(table: pd.DataFrame, group: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Right answers and answers, (speaker,)."""
    right = (table["gold"] == table["predicted"]).groupby(table["id"].map(group)).agg(["sum", "count"])
    return right["sum"].to_numpy(dtype=float), right["count"].to_numpy(dtype=float)


def test_the_test_among_speakers_is_scipys() -> None:
    who, gender = people(10, 12)
    table = guesses(np.where(gender.eq("male"), 0.75, 0.5), 3, trials=1)
    measure = named(measures(table, EMOTION), "error")
    right, count = shares(table, who)
    male = np.arange(10) % 2 == 1

    def distance(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        x, y = x.astype(int), y.astype(int)
        return np.abs(right[x].sum(axis) / count[x].sum(axis) - right[y].sum(axis) / count[y].sum(axis))

    data = np.flatnonzero(male), np.flatnonzero(~male)
    exact = stats.permutation_test(data, distance, vectorized=True, n_resamples=np.inf, alternative="greater")
    gap = gap_of(sums_of(measure, table, who, gender), measure, Resamples(20_000))
    assert gap.gap == pytest.approx(exact.statistic)
    assert gap.p == pytest.approx(exact.pvalue, abs=0.015)
    assert 0.01 < exact.pvalue < 0.6


def test_the_test_within_speakers_is_scipys() -> None:
    """Two halves of each speaker's utterances: swapped within each, all 2^8 ways."""
    who, _ = people(8, 20)
    half = pd.Series(np.where(np.arange(160) % 20 < 10, "first", "second"), who.index)
    table = guesses(np.where(half.eq("first"), 0.7, 0.55), 4, trials=1)
    measure = named(measures(table, EMOTION), "error")
    sides = [shares(table[table["id"].map(half).eq(name)], who)[0] for name in ("first", "second")]

    def distance(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return np.abs(x.sum(axis) - y.sum(axis)) / 80

    exact = stats.permutation_test(
        sides, distance, permutation_type="samples", vectorized=True, n_resamples=np.inf, alternative="greater"
    )
    gap = gap_of(sums_of(measure, table, who, half), measure, Resamples(20_000))
    assert gap.gap == pytest.approx(exact.statistic)
    assert gap.p == pytest.approx(exact.pvalue, abs=0.015)
    assert exact.pvalue > 0.005


def test_a_planted_gap_is_seen_and_chance_is_not() -> None:
    who, gender = people(20, 20)
    found = []
    for seed in range(60):
        table = guesses(np.full(400, 0.6), seed, trials=1)
        measure = measures(table, EMOTION)[0]
        found.append(gap_of(sums_of(measure, table, who, gender), measure, Resamples(200)).p)
    assert np.mean(np.array(found) < 0.05) < 0.15
    assert stats.kstest(found, "uniform").pvalue > 0.001
    table = guesses(np.where(gender.eq("male"), 0.85, 0.5), 0)
    measure = measures(table, EMOTION)[0]
    gap = gap_of(sums_of(measure, table, who, gender), measure, QUICK)
    assert (gap.best, gap.worst) == ("male", "female")
    assert gap.p < 0.005
    assert 0 < gap.low < gap.gap < gap.high
    worse = named(measures(table, EMOTION), "error")
    gap = gap_of(sums_of(worse, table, who, gender), worse, QUICK)
    assert (gap.best, gap.worst) == ("male", "female")
    assert 0 < gap.low < gap.gap < gap.high


def test_an_interval_is_as_wide_as_means_of_speakers_vary() -> None:
    """Speakers of other quality in two groups: the interval covers the true gap about as often as it says."""
    who, gender = people(30, 40)
    covered = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        quality = rng.normal(0.55, 0.1, 30) + 0.15 * (np.arange(30) % 2)
        table = guesses(np.repeat(quality, 40), seed, trials=1)
        measure = named(measures(table, EMOTION), "error")
        gap = gap_of(sums_of(measure, table, who, gender), measure, Resamples(400))
        covered.append(gap.low < 0.15 < gap.high)
    assert 0.85 < np.mean(covered) <= 1


def test_small_groups_are_shown_and_not_tested() -> None:
    who, _ = people(12, 10)
    group = who.map(
        lambda name: "few" if int(name[1:]) < 3 else ("one", "two")[int(name[1:]) % 2] if name < "s11" else None
    )
    table = guesses(np.full(120, 0.6), 0)
    measure = measures(table, EMOTION)[0]
    sums = sums_of(measure, table, who, group)
    assert {v.group: (v.speakers, v.tested) for v in group_values(sums, measure)} == {
        "few": (3, False),
        "one": (4, False),
        "two": (4, False),
    }
    assert gap_of(sums, measure, QUICK) is None


def test_groups_are_made_of_what_is_stated() -> None:
    items = pd.DataFrame(
        {
            "speaker": [f"s{i}" for i in range(9)],
            "gender": ["female", "male", None] * 3,
            "language": "de",
            "age": [24, 25, 39, 40, 59, 60, 70, np.nan, 18],
            "duration_seconds": np.arange(9.0),
        },
        index=[f"u{i}" for i in range(9)],
    )
    made = groupings(items)
    assert list(made) == ["gender", "speaker", "age", "duration"]
    assert len(made["gender"]) == 6
    assert made["age"].tolist() == ["below 25", *["25 to 39"] * 2, *["40 to 59"] * 2, *["60 on"] * 2, "below 25"]
    assert made["duration"].value_counts().to_dict() == {"short": 3, "middle": 3, "long": 3}
    assert list(groupings(items, ["age"])) == ["age"]
    with pytest.raises(SerbenchError, match="Did you mean 'gender'"):
        groupings(items, ["gendr"])
    with pytest.raises(SerbenchError, match="states nothing of its test items that makes two groups"):
        groupings(items[["language"]])
    same = items.assign(duration_seconds=2.0)
    assert "duration" not in groupings(same)


@pytest.fixture(scope="module")
def results(toy_corpus: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = toy_corpus(count=60, columns=("gender", "arousal", "emotion"), age=30, seconds=0.3)
    folder = tmp_path_factory.mktemp("results")
    for task in ("arousal", "emotion"):
        run("linear", "table", root=root, results=folder, trials=1, task=task, settings={"model.feature": "mel"})
    return folder


def test_the_command_writes_both_tables(results: Path) -> None:
    line = ["fairness", "linear", "--results", str(results), "--resamples", "100"]
    for task, listed in (("emotion", {"UAR", "error", "ECE"}), ("arousal", {"CCC", "RMSE", "bias"})):
        done = CliRunner().invoke(app, [*line, "--task", task], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        (csv,) = (results / "studies").glob(f"fairness_table_{task}_*_groups.csv")
        groups = pd.read_csv(csv)
        assert set(groups["measure"]) == listed
        assert {"gender", "speaker"} <= set(groups["grouping"])
        assert "not tested" in done.output  # four speakers are tested on
        assert csv.with_suffix(".tex").exists()
    done = CliRunner().invoke(app, [*line, "--task", "emotion", "--by", "hair"])
    assert isinstance(done.exception, SerbenchError)
    assert "unknown grouping of these test items 'hair'" in str(done.exception)


def test_a_record_without_items_says_how_they_come(results: Path) -> None:
    from serbench.results.record.folder import load_runs

    one = next(r for r in load_runs(results) if r.spec["model"]["name"] == "linear")
    (one.path / "items.json").rename(one.path / "kept.json")
    try:
        with pytest.raises(SerbenchError, match=r"the record holds no items\. To add them, type: serbench run"):
            fairness(one)
    finally:
        (one.path / "kept.json").rename(one.path / "items.json")
