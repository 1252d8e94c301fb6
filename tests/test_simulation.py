"""Simulated experiments: known truth, repeatable draws, and a reduced form of the study in docs/statistics.md."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from serbench.benchmarks.studies import significance as study
from serbench.results.statistics.simulation import (
    ALIKE,
    TASK,
    TESTS,
    TYPICAL,
    WORLDS,
    Draws,
    World,
    draw,
    rejections,
    scores,
    wilson,
)

pytestmark = pytest.mark.filterwarnings("error")
SMALL = {"utterances": 240, "speakers": 12}
QUICK = ("paired t-test, 20 scores", "t-test over trial means", "crossed t-test")


def test_an_experiment_is_what_its_world_says() -> None:
    """Variances of the parts of a prediction, recovered from many utterances."""
    world = World(trial=0.0, common=0.3, speaker=0.2, utterance=0.4, fresh=0.5, speakers=200, utterances=20_000)
    made = draw(world, 3)
    gold = made.a["gold_value"].to_numpy()[:20_000]
    errors = [side["pred_value"].to_numpy().reshape(5, -1) - gold for side in (made.a, made.b)]
    assert np.var(errors[0]) == pytest.approx(0.3**2 + 0.2**2 + 0.4**2 + 0.5**2, rel=0.03)
    between_trials = np.mean(errors[0][0] * errors[0][1]) - errors[0][0].mean() * errors[0][1].mean()
    assert between_trials == pytest.approx(0.3**2 + 0.2**2 + 0.4**2, rel=0.05)
    between_models = np.mean(errors[0][0] * errors[1][0]) - errors[0][0].mean() * errors[1][0].mean()
    assert between_models == pytest.approx(0.3**2, rel=0.15)
    assert made.a["subset"].value_counts().nunique() == 1
    assert made.speakers.nunique() == 200


def test_draws_repeat_and_differ_by_seed() -> None:
    world = replace(TYPICAL, **SMALL)
    assert draw(world, [1, 2]).a.equals(draw(world, [1, 2]).a)
    assert not draw(world, [1, 2]).a.equals(draw(world, [1, 3]).a)
    first, again = (rejections(world, 3, tests={k: TESTS[k] for k in QUICK}) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)


def test_deterministic_models_repeat_their_trials() -> None:
    paired = scores(draw(replace(TYPICAL, deterministic=True, **SMALL), 0))
    assert paired.groupby("subset")[["a", "b"]].nunique().eq(1).all(axis=None)
    found = rejections(replace(TYPICAL, deterministic=True, **SMALL), 4, tests={k: TESTS[k] for k in QUICK})
    assert math.isnan(found.loc["t-test over trial means", "rate"])  # undefined, so neither right nor wrong


@pytest.mark.parametrize(("count", "n"), [(0, 50), (7, 120), (50, 50)])
def test_wilsons_interval_is_scipys(count: int, n: int) -> None:
    theirs = stats.binomtest(count, n).proportion_ci(method="wilson")
    assert wilson(count, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_the_plain_test_is_right_when_scores_are_independent_and_wrong_when_not() -> None:
    tests = {k: TESTS[k] for k in QUICK}
    independent = rejections(replace(ALIKE, common=0.0, **SMALL), 100, tests=tests)["rate"]
    typical = rejections(replace(TYPICAL, **SMALL), 100, tests=tests)["rate"]
    assert independent.max() < 0.15
    assert typical["paired t-test, 20 scores"] > 0.2
    assert typical["crossed t-test"] < 0.12
    assert typical["crossed t-test"] < typical["t-test over trial means"]


@pytest.mark.slow
def test_the_bootstrap_over_speakers_and_trials_holds_its_level_and_has_power() -> None:
    tests = {k: TESTS[k] for k in ("paired t-test, 20 scores", "randomisation, speakers", "bootstrap, speakers")}
    null = rejections(replace(TYPICAL, **SMALL), 120, tests=tests, draws=Draws(200, 200))["rate"]
    assert null["bootstrap, speakers"] < 0.12
    assert null["paired t-test, 20 scores"] > 2 * null["bootstrap, speakers"]
    better = rejections(replace(TYPICAL, worse=0.4, **SMALL), 30, tests=tests, draws=Draws(200, 200))
    assert better.attrs["difference"] > 0.05
    assert better["rate"]["bootstrap, speakers"] > 0.8


def test_the_study_writes_tables_and_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "WORLDS", {name: replace(w, **SMALL) for name, w in list(WORLDS.items())[:2]})
    monkeypatch.setattr(study, "TYPICAL", replace(ALIKE, **SMALL))
    frame = study.study(3, 2, draws=Draws(20, 20))
    assert set(frame["kind"]) == {"level", "power"}
    assert len(frame) == len(TESTS) * (2 + len(study.WORSE))
    (tmp_path / "statistics.md").write_text(f"before\n{study.BEGIN}\nstale-text\n{study.END}\nafter\n")
    study.write(frame, tmp_path)
    text = (tmp_path / "statistics.md").read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "stale-text" not in text
    assert all(f"| {test} |" in text for test in TESTS)
    first = (tmp_path / "significance.svg").read_bytes()
    study.write(frame, tmp_path)
    assert (tmp_path / "significance.svg").read_bytes() == first
    assert b"true difference (CCC)" in first


def test_the_documents_tables_are_those_of_its_numbers(checkout: Path) -> None:
    """docs/statistics.md holds what `--redraw` makes of docs/significance.csv, and what its prose relies on."""
    docs = checkout / "docs"
    frame = pd.read_csv(docs / "significance.csv")
    text = (docs / "statistics.md").read_text(encoding="utf-8")
    assert re.search(re.escape(study.tables(frame)), text)
    rate = frame[frame["kind"].eq("level")].set_index(["world", "test"])["rate"]
    assert rate["all of them (typical)", "paired t-test, 20 scores"] > 0.25
    assert rate["all of them (typical)", "bootstrap, speakers"] < 0.08
    assert rate["shared utterances", "t-test over trial means"] > 0.2
    assert set(frame["world"]) >= set(WORLDS)
    assert TASK.metric == "CCC"
