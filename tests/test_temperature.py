"""Temperature scaling: a closed form, scipy's minimum over a grid, a planted temperature, and runs that use it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax, softmax

from serbench.benchmarks.grid.grid import run
from serbench.benchmarks.weights.predict import predict
from serbench.datasets.core.errors import SerbenchError
from serbench.sermodels.core.temperature import BOUNDS, at_temperature, fit_temperature


def test_two_classes_of_one_confidence_have_a_closed_form() -> None:
    """Always .9 sure and right in 7 of 10: the temperature takes the logit of .9 to that of .7."""
    gold = np.repeat([0, 1], [7, 3])
    scores = np.tile([0.9, 0.1], (10, 1))
    found = fit_temperature(scores, gold)
    assert found == pytest.approx(np.log(9) / np.log(7 / 3), rel=1e-6)
    assert at_temperature(scores, found) == pytest.approx(np.tile([0.7, 0.3], (10, 1)), abs=1e-6)


def test_a_planted_temperature_is_found_where_the_likelihood_is_largest() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20000, 4))
    gold = (rng.random((20000, 1)) > softmax(logits, axis=1).cumsum(axis=1)).sum(axis=1)
    found = fit_temperature(softmax(2.5 * logits, axis=1), gold)
    assert found == pytest.approx(2.5, rel=0.03)
    grid = np.geomspace(1.5, 4, 301)
    losses = [-log_softmax(2.5 * logits / t, axis=1)[np.arange(20000), gold].mean() for t in grid]
    assert found == pytest.approx(grid[int(np.argmin(losses))], rel=0.005)
    scaled = at_temperature(softmax(2.5 * logits, axis=1), 2.5)
    assert scaled == pytest.approx(softmax(logits, axis=1))
    assert (scaled.argmax(axis=1) == logits.argmax(axis=1)).all()


def test_scores_of_zero_stay_and_all_right_is_bounded() -> None:
    scores = np.array([[0.6, 0.4, 0.0], [0.0, 1.0, 0.0]])
    assert (at_temperature(scores, 3.0) == 0).tolist() == (scores == 0).tolist()
    assert fit_temperature(scores, np.array([0, 1])) == pytest.approx(BOUNDS[0], rel=1e-3)
    assert fit_temperature(scores, np.array([2, 0])) == pytest.approx(BOUNDS[1], rel=1e-3)


@pytest.fixture(scope="module")
def root(toy_corpus: Callable[..., Path]) -> Path:
    return toy_corpus(count=40, seconds=0.2)


def test_a_calibrated_run_keeps_its_classes_and_says_so(root: Path, tmp_path: Path) -> None:
    how = {"root": root, "results": tmp_path, "trials": 1, "task": "emotion", "settings": {"model.feature": "mel"}}
    (plain,) = run("linear", "table", **how)
    (scaled,) = run("linear", "table", calibrate="temperature", save_models=True, **how)
    assert scaled.run_id != plain.run_id
    assert scaled.name == "linear+temperature"
    assert "calibrated:temperature" in scaled.signature
    assert "--calibrate temperature" in scaled.spec["command"]
    (unit,) = scaled.units()
    before, after = plain.predictions(0), scaled.predictions(0)
    assert before["predicted"].tolist() == after["predicted"].tolist()
    columns = ["p_anger", "p_sadness"]
    expected = at_temperature(before[columns].to_numpy(), unit["facts"]["temperature"])
    assert after[columns].to_numpy() == pytest.approx(expected)
    weights = scaled.unit_files(0, "official")[0].with_suffix(".safetensors")
    made = predict([weights], [root.parent]).table.set_index("file")
    assert made.loc[after["id"], columns].to_numpy() == pytest.approx(after[columns].to_numpy(), abs=1e-6)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"calibrate": "platt", "task": "emotion"}, "platt"),
        ({"calibrate": "temperature", "task": "arousal"}, "--calibrate is of class scores"),
    ],
)
def test_what_can_not_be_calibrated_is_refused(root: Path, tmp_path: Path, more: dict[str, str], message: str) -> None:
    with pytest.raises(SerbenchError, match=message):
        run("linear", "table", root=root, results=tmp_path, trials=1, **more)
    assert not list(tmp_path.glob("runs/*"))


def test_calibration_takes_a_dev_part(root: Path, tmp_path: Path) -> None:
    from serbench.benchmarks.protocol.protocol import Protocol

    nested = {"protocol": Protocol(dev="nested"), "calibrate": "temperature", "task": "emotion"}
    with pytest.raises(SerbenchError, match="--calibrate fits a temperature on the dev part"):
        run("linear", "table", root=root, results=tmp_path, trials=1, **nested)
    assert pd.DataFrame(list(tmp_path.glob("runs/*"))).empty
