"""Calibration and abstention against scikit-learn, scipy and closed forms; the command on both kinds of task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss
from typer.testing import CliRunner

from serbench.benchmarks.cli.app import app
from serbench.benchmarks.grid.grid import run
from serbench.datasets.core.errors import SerbenchError
from serbench.results.calibration import classes, values
from serbench.results.calibration.abstention import least_area, risk_coverage
from serbench.results.calibration.table import calibration
from serbench.results.record.folder import load_runs
from serbench.results.report.calibration_figure import figure
from serbench.results.report.figures import png


def drawn(count: int, sharpness: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of three classes, and labels drawn by them; those shown are sharpened."""
    rng = np.random.default_rng(seed)
    true = rng.dirichlet(np.ones(3), count)
    gold = (rng.random(count)[:, None] > true.cumsum(axis=1)).sum(axis=1)
    shown = true**sharpness
    return shown / shown.sum(axis=1, keepdims=True), gold


def test_bins_of_equal_size_are_scikit_learns() -> None:
    scores, gold = drawn(600, 2.0)
    ours = classes.reliability(scores, gold)
    right = scores.argmax(axis=1) == gold
    share, sure = calibration_curve(right, scores.max(axis=1), n_bins=15, strategy="quantile")
    np.testing.assert_allclose(ours.right, share, atol=0.03)  # a prediction on an edge may fall on either side
    np.testing.assert_allclose(ours.confidence, sure, atol=0.01)
    assert ours.count.tolist() == [40] * 15
    assert ours.error == pytest.approx(np.mean(np.abs(share - sure)), abs=0.005)


def test_drawn_by_the_probabilities_is_calibrated_and_sharpened_is_too_sure() -> None:
    honest, sharp, flat = (classes.reliability(*drawn(20_000, power)) for power in (1.0, 3.0, 0.4))
    assert honest.error < 0.02
    assert abs(honest.over) < 0.01
    assert sharp.error == pytest.approx(sharp.over, abs=0.01)
    assert sharp.over > 0.1
    assert flat.over < -0.1


def test_proper_scores_are_those_of_others() -> None:
    scores, gold = drawn(300, 1.5)
    assert classes.log_loss(scores, gold) == pytest.approx(log_loss(gold, scores))
    by_hand = np.mean(
        [sum((p - (k == g)) ** 2 for k, p in enumerate(row)) for row, g in zip(scores, gold, strict=True)]
    )
    assert classes.brier(scores, gold) == pytest.approx(by_hand)
    one_hot = np.eye(3)[gold]
    assert (classes.brier(one_hot, gold), classes.log_loss(one_hot, gold)) == (0, 0)
    assert classes.brier(one_hot[:, [1, 2, 0]], gold) == 2
    assert classes.log_loss(one_hot[:, [1, 2, 0]], gold) == pytest.approx(-np.log(1e-15))
    few = classes.reliability(scores[:7], gold[:7])
    assert few.count.tolist() == [7]
    sure = classes.reliability(np.tile([1.0, 0.0, 0.0], (50, 1)), np.zeros(50, dtype=np.int64))
    assert (sure.error, sure.count.tolist()) == (0, [50])


def test_the_line_is_scipys_and_intervals_cover() -> None:
    rng = np.random.default_rng(0)
    gold = rng.normal(4, 1, 4000)
    predicted = 4 + 0.5 * (gold - 4) + rng.normal(0, 0.3, 4000)
    truth = stats.linregress(predicted, gold)
    ours = values.line(gold, predicted)
    assert (ours.slope, ours.intercept) == (pytest.approx(truth.slope), pytest.approx(truth.intercept))
    assert np.isnan(values.line(gold, np.ones(4000)).slope)
    trials = rng.normal(0, 0.5, (5, 4000))  # gold is one more draw of what the trials draw from
    assert values.coverage(rng.normal(0, 0.5, 4000), trials) == pytest.approx(0.9, abs=0.02)
    assert np.isnan(values.coverage(gold, trials[:1]))


def test_risk_over_coverage_in_closed_form() -> None:
    wrong = np.array([0.0, 0.0, 1.0, 1.0])
    curve = risk_coverage(np.array([0.9, 0.8, 0.7, 0.6]), wrong)
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.risk.tolist() == pytest.approx([0, 0, 1 / 3, 1 / 2])
    assert curve.area == pytest.approx((1 / 3 + 1 / 2) / 4) == least_area(wrong)
    assert (curve.at(0.5), curve.at(0.51), curve.loss) == (0, pytest.approx(1 / 3), 0.5)
    unsure = risk_coverage(np.full(4, 0.5), wrong)
    assert unsure.area == unsure.loss == 0.5, "a confidence that knows nothing is worth nothing"
    # of many, the best order leaves e + (1 - e) ln(1 - e) (Geifman, Uziel and El-Yaniv 2019)
    many = np.repeat([0.0, 1.0], [7000, 3000])
    assert least_area(many) == pytest.approx(0.3 + 0.7 * np.log(0.7), abs=1e-4)
    shuffled = np.random.default_rng(1).permutation(4)
    again = risk_coverage(np.array([0.9, 0.9, 0.7, 0.7])[shuffled], wrong[shuffled])
    assert again.risk.tolist() == risk_coverage(np.array([0.9, 0.9, 0.7, 0.7]), wrong).risk.tolist()


@pytest.fixture(scope="module")
def results(toy_corpus: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = toy_corpus(count=40, columns=("arousal", "emotion"), seconds=0.3)
    folder = tmp_path_factory.mktemp("results")
    small = {"model.feature": "mel"}
    run("linear", "table", root=root, results=folder, trials=1, task="emotion", settings=small)
    epochs = {"train.epochs": "1"}
    run("cnn-regressor", "table", root=root, results=folder, trials=2, task="arousal", preset="small", settings=epochs)
    return folder


def test_the_command_on_classes_and_on_values(results: Path) -> None:
    columns = {
        "emotion": ["target", "ECE", "too sure", "Brier", "NLL", "error", "at half", "AURC", "least"],
        "arousal": ["target", "slope", "intercept", "covered", "error", "at half", "AURC", "least"],
    }
    for name, task in (("linear", "emotion"), ("cnn-regressor", "arousal")):
        done = CliRunner().invoke(app, ["calibration", name, "--task", task, "--results", str(results)])
        assert done.exit_code == 0, done.output
        (csv,) = (results / "studies").glob(f"calibration_table_{task}_{name}*.csv")
        table = pd.read_csv(csv)
        assert list(table) == columns[task]
        assert np.isfinite(table.drop(columns="target").to_numpy()).all()
        assert {p.suffix for p in csv.parent.glob(f"{csv.stem}.*")} == {".csv", ".md", ".tex", ".svg", ".png"}


def test_the_rows_are_those_of_the_predictions(results: Path) -> None:
    one = next(r for r in load_runs(results) if r.spec["model"]["name"] == "linear")
    table = one.predictions(0)
    scores = table[[f"p_{label}" for label in one.task.labels]].to_numpy()
    row = calibration(one).frame.iloc[0]
    assert row["NLL"] == pytest.approx(log_loss(table["gold"].astype(str), scores, labels=list(one.task.labels)))
    assert row["error"] == pytest.approx((table["gold"].astype(str) != table["predicted"].astype(str)).mean())
    assert png(figure(calibration(one))) == png(figure(calibration(one)))


def test_a_run_without_a_complete_trial_says_how_to_go_on(results: Path, tmp_path: Path) -> None:
    import shutil

    one = next(r for r in load_runs(results) if r.spec["model"]["name"] == "linear")
    copy = tmp_path / "runs" / one.run_id
    copy.mkdir(parents=True)
    for file in one.path.iterdir():
        if not file.name.startswith("unit-"):
            shutil.copy(file, copy)
    done = CliRunner().invoke(app, ["calibration", str(copy)])
    assert isinstance(done.exception, SerbenchError)
    assert "no trial is complete. To go on, type: serbench run" in str(done.exception)


def test_the_report_has_what_was_run(results: Path, tmp_path: Path) -> None:
    """No command, no section; where the table of a run is there, its figures stand in the report."""
    import shutil

    shutil.copytree(results / "runs", tmp_path / "runs")
    page = tmp_path / "report.html"

    def shown() -> str:
        done = CliRunner().invoke(app, ["report", "--results", str(tmp_path), "--bootstrap", "0"])
        assert done.exit_code == 0, done.output
        return page.read_text(encoding="utf-8")

    assert "Calibration and abstention" not in shown()
    for command in ("calibration", "fairness"):
        line = [command, "linear", "--task", "emotion", "--results", str(tmp_path)]
        assert CliRunner().invoke(app, line).exit_code == 0
    after = shown()
    assert "Calibration: linear" in after
    assert "share answered (coverage)" in after
    assert "Gaps between groups" not in after, "four speakers make no group that is tested"
    assert len(list((tmp_path / "report_files").glob("*calibration*"))) == 5
