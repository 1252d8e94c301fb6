"""Late fusion and ensembles: weights by brute force, means by hand, records, and tests that count a mean once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score
from typer.testing import CliRunner

from serbench.benchmarks.cli.app import app
from serbench.benchmarks.grid.grid import from_record, run as run_models
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.task import Task
from serbench.results.fusion.ensemble import ensemble
from serbench.results.fusion.late_fusion import fuse, weights_table
from serbench.results.fusion.mixing import best_weight, dev_value, mixed
from serbench.results.record.folder import Run, load_runs
from serbench.results.record.packing import export_run
from serbench.results.record.pairing import align, load_scored, pair
from serbench.results.record.sharing import merge
from serbench.results.tables.compare import compare, render_compare
from serbench.results.tables.leaderboard import leaderboard
from serbench.results.tables.pair_tests import Resampling, further_tests

LABELS = ("anger", "joy", "sadness")
EMOTION = Task("emotion", "classification", ("emotion",), labels=LABELS)
RATED = Task("rated", "regression", ("arousal", "valence"), scales={"arousal": (1, 7), "valence": (1, 7)})


def classes_table(seed: int, skill: float, n: int = 60) -> pd.DataFrame:
    """Predictions of n items whose gold classes are the same for every seed."""
    rng, gold = np.random.default_rng(seed), np.arange(n) * 7 % 3
    logits = rng.normal(size=(n, 3)) + skill * np.eye(3)[gold]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    table = pd.DataFrame({"id": [f"u{k:02}" for k in range(n)], "subset": np.arange(n) % 4})
    table["gold"] = [LABELS[k] for k in gold]
    table["predicted"] = [LABELS[k] for k in scores.argmax(axis=1)]
    return table.assign(**{f"p_{label}": scores[:, k] for k, label in enumerate(LABELS)})


def values_table(seed: int, noise: float, n: int = 60) -> pd.DataFrame:
    gold = np.random.default_rng(0).uniform(1, 7, size=(n, 2))
    told = gold + np.random.default_rng(seed).normal(size=(n, 2)) * noise
    table = pd.DataFrame({"id": [f"u{k:02}" for k in range(n)], "subset": 0})
    for k, target in enumerate(RATED.targets):
        table = table.assign(**{f"gold_{target}": gold[:, k], f"pred_{target}": told[:, k]})
    return table


def lin(a: Any, b: Any) -> float:
    return float(2 * np.cov(a, b, ddof=0)[0, 1] / (np.var(a) + np.var(b) + (np.mean(a) - np.mean(b)) ** 2))


def test_the_weight_is_the_best_of_all_and_of_equal_ones_the_most_even() -> None:
    a, b = classes_table(1, 1.5), classes_table(2, 1.0)
    columns = [f"p_{label}" for label in LABELS]
    gold = [LABELS.index(g) for g in a["gold"]]
    scores = {
        w: balanced_accuracy_score(gold, (w * a[columns].to_numpy() + (1 - w) * b[columns].to_numpy()).argmax(axis=1))
        for w in np.arange(11) / 10
    }
    top = max(scores.values())
    weight, value = best_weight(a, b, EMOTION, 10)
    assert value == pytest.approx(top)
    assert weight == min((w for w in scores if scores[w] > top - 1e-12), key=lambda w: abs(w - 0.5))
    assert top > max(scores[0.0], scores[1.0])  # the two know different things
    assert best_weight(a, a, EMOTION, 10)[0] == 0.5


def test_attributes_are_mixed_on_their_scale_and_judged_by_the_ccc() -> None:
    a, b = values_table(1, 1.0), values_table(2, 2.0)
    made = mixed([a, b], [0.75, 0.25], RATED)
    expected = 0.75 * a["pred_arousal"] + 0.25 * b["pred_arousal"]
    np.testing.assert_allclose(made["pred_arousal"], expected)
    by_hand = np.mean([lin(made[f"gold_{t}"], made[f"pred_{t}"]) for t in RATED.targets])
    assert dev_value(made, RATED) == pytest.approx(by_hand)
    weight, value = best_weight(a, b, RATED, 20)
    assert 0.6 < weight < 1  # noise of variances 1 and 4: the best is near 4 to 1
    assert value > max(dev_value(a, RATED), dev_value(b, RATED))


def test_items_go_by_their_names_and_those_that_one_lacks_are_left_out() -> None:
    a, b = classes_table(1, 1.0), classes_table(2, 1.0)
    shuffled = b.sample(frac=1, random_state=0).iloc[:50]
    made = mixed([a, shuffled], [0.5, 0.5], EMOTION).set_index("id")
    assert set(made.index) == set(shuffled["id"])
    both = a.set_index("id").loc[made.index], b.set_index("id").loc[made.index]
    np.testing.assert_allclose(made["p_joy"], (both[0]["p_joy"] + both[1]["p_joy"]) / 2)
    with pytest.raises(SerbenchError, match="different values of 'gold'"):
        mixed([a, b.assign(gold="joy")], [0.5, 0.5], EMOTION)
    with pytest.raises(SerbenchError, match="lack 'p_anger'"):
        mixed([a, b.drop(columns="p_anger")], [0.5, 0.5], EMOTION)


@pytest.fixture(scope="module")
def results(toy_corpus: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Chance (drawn, so that trials differ) and linear on a toy corpus, three trials each."""
    root = toy_corpus(count=80)
    folder = tmp_path_factory.mktemp("fused")
    run_models(["chance:random", "linear"], "table", root=str(root), task="emotion", trials=3, results=folder)
    return folder


def parents(results: Path) -> tuple[Run, Run]:
    runs = load_runs(results)
    return runs.named("chance:random"), runs.named("linear")


def test_records_hold_what_was_predicted_of_dev(results: Path) -> None:
    for run in parents(results):
        for unit in run.units():
            dev = run.dev_predictions(unit)
            assert dev is not None
            assert len(dev) == unit["counts"]["dev"]
            assert dev_value(dev, run.task) == pytest.approx(unit["dev_score"], abs=1e-12)
            assert not set(dev["id"]) & set(run.unit_predictions(unit)["id"])


def test_a_fusion_is_made_by_dev_alone_and_is_a_run_like_any_other(results: Path) -> None:
    a, b = parents(results)
    run = fuse(a, b, steps=4)
    assert run.complete_trials() == [0, 1, 2]
    for unit in run.units():
        left, right = a.unit(unit["trial"], unit["fold"]), b.unit(unit["trial"], unit["fold"])
        assert left is not None
        assert right is not None
        weights = list(unit["facts"]["weights"].values())
        chosen = best_weight(a.dev_predictions(left), b.dev_predictions(right), run.task, 4)  # type: ignore[arg-type]
        assert weights == [chosen[0], 1 - chosen[0]]
        assert unit["dev_score"] == pytest.approx(chosen[1])
        expected = weights[0] * a.unit_predictions(left)["p_anger"] + weights[1] * b.unit_predictions(right)["p_anger"]
        np.testing.assert_allclose(run.unit_predictions(unit)["p_anger"], expected)
        digests = [one["sha256"] for one in unit["parents"]]
        assert digests == [left["predictions"]["sha256"], right["predictions"]["sha256"]]
    assert list(weights_table(run)["trial"]) == [0, 1, 2]
    assert run.spec["model"]["parents"][0] == {"run": a.run_id, "signature": a.signature}
    assert "labels:" in run.signature
    assert "weights:dev" in run.signature
    frame = leaderboard(load_runs(results))
    assert "late-fusion:chance-random+linear" in set(frame["name"])
    assert len(compare([run, b])) == 1
    assert fuse(a, b, steps=4).run_id == run.run_id
    with pytest.raises(SerbenchError, match=r"made of the predictions of others.*type: serbench fuse"):
        from_record(run.path, results)


def test_a_mean_of_trials_is_the_mean_and_one_trial(results: Path) -> None:
    run, _ = parents(results)
    made = ensemble([run])
    assert made.complete_trials() == [0]
    (unit,) = made.units()
    parts = [run.unit_predictions(u)["p_anger"] for u in run.units()]
    np.testing.assert_allclose(made.unit_predictions(unit)["p_anger"], np.mean(parts, axis=0))
    assert len(unit["parents"]) == 3
    assert "ensemble:mean of 3 trials" in made.signature


def test_no_test_counts_a_mean_of_trials_more_than_once(results: Path) -> None:
    run, linear = parents(results)
    made = ensemble([run])
    for other in (run, linear):
        frame = compare([made, other])
        row = frame.iloc[0]
        own = made.scores().query("metric == 'UAR'").set_index("subset")["value"]
        mean = other.scores().query("metric == 'UAR'").groupby("subset")["value"].mean()
        assert row["n"] == len(own) == 4
        assert row["trials"] == 1
        assert row["one_trial"] == "a"
        assert row["difference"] == pytest.approx(float((own - mean).mean()))
        assert row["p"] == pytest.approx(float(stats.ttest_rel(own, mean).pvalue))
        assert np.isnan(row["p_trials"])
        further = further_tests(frame, [made, other], Resampling(bootstrap=200, swaps=200)).iloc[0]
        assert further["p_crossed"] == pytest.approx(row["p"])  # one trial: the t-test over subsets
        assert further["boot_low"] <= further["difference"] <= further["boot_high"]
    sides = align(load_scored(made), load_scored(run))
    assert sides.a["trial"].nunique() == 3
    assert len(sides.a) == len(sides.b)
    assert list(pair(load_scored(linear), load_scored(made), "UAR").scores["trial"].unique()) == [0]


def test_the_comparison_says_what_a_mean_of_trials_is_and_how_many_scores_each_row_has(results: Path) -> None:
    from rich.console import Console

    run, linear = parents(results)
    console = Console(width=200, record=True)
    console.print(render_compare(compare([ensemble([run]), run, linear])))
    text = console.export_text()
    assert "Such a row is one trial, however many trainings are in it" in " ".join(text.split())
    assert "UAR, n scores" in text
    alone = Console(width=200, record=True)
    alone.print(render_compare(compare([run, linear])))
    assert "UAR, 12 scores of 3 trials" in alone.export_text()
    assert "Such a row is one trial" not in alone.export_text()


def test_a_mean_of_runs_keeps_its_trials(results: Path) -> None:
    a, b = parents(results)
    made = ensemble([a, b])
    assert made.complete_trials() == [0, 1, 2]
    for unit in made.units():
        left, right = a.unit(unit["trial"], unit["fold"]), b.unit(unit["trial"], unit["fold"])
        assert left is not None
        assert right is not None
        expected = (a.unit_predictions(left)["p_anger"] + b.unit_predictions(right)["p_anger"]) / 2
        np.testing.assert_allclose(made.unit_predictions(unit)["p_anger"], expected)
    assert compare([made, b]).iloc[0]["n"] == 12
    assert ensemble([a, b], "trials").complete_trials() == [0]


def test_what_has_nothing_to_average_or_to_choose_by_is_refused(results: Path, tmp_path: Path) -> None:
    a, b = parents(results)
    with pytest.raises(SerbenchError, match=r"trials of .*linear.* are one prediction"):
        ensemble([b])
    with pytest.raises(SerbenchError, match="Name each run once"):
        fuse(a, a)
    with pytest.raises(SerbenchError, match="expected trials or runs"):
        ensemble([a, b], "folds")
    old = tmp_path / "old"
    shutil.copytree(results, old)
    for run in load_runs(old):
        for unit in run.units():  # as records were before
            predictions = run.unit_predictions(unit)
            run.write_unit(unit["trial"], unit["fold"], unit, predictions)
    before = load_runs(old)
    assert before.named("linear").scores().equals(b.scores())
    with pytest.raises(SerbenchError, match=r"no predictions of its dev part.*\n  serbench run --from-record"):
        fuse(before.named("chance:random"), before.named("linear"))
    assert ensemble([before.named("chance:random")]).complete_trials() == [0]


def test_dev_predictions_travel_with_folders_and_not_with_exports(results: Path, tmp_path: Path) -> None:
    run, _ = parents(results)
    merge([results], tmp_path / "joined")
    joined = Run.open(tmp_path / "joined" / "runs" / run.run_id)
    unit = joined.units()[0]
    pd.testing.assert_frame_equal(joined.dev_predictions(unit), run.dev_predictions(run.units()[0]))
    export_run(run, tmp_path / "run.zip", labels=True)
    merge([tmp_path / "run.zip"], tmp_path / "taken")
    taken = Run.open(tmp_path / "taken" / "runs" / run.run_id)
    assert taken.dev_predictions(taken.units()[0]) is None
    joined.unit_files(0, unit["fold"])[0].with_suffix(".dev.parquet").write_bytes(b"spoilt")
    with pytest.raises(SerbenchError, match="is damaged"):
        joined.dev_predictions(unit)


def test_the_commands_make_runs_and_say_what_they_are(results: Path) -> None:
    done = CliRunner().invoke(
        app, ["fuse", "chance:random", "linear", "--results", str(results)], catch_exceptions=False
    )
    assert done.exit_code == 0
    assert "weight linear" in done.output
    assert "written: " in done.output
    done = CliRunner().invoke(app, ["ensemble", "chance:random", "--results", str(results)], catch_exceptions=False)
    assert done.exit_code == 0
    assert "UAR" in done.output
    assert "over 4 scores" in done.output
