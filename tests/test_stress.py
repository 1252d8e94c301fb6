"""Stored runs on perturbed audio: no change is the clean score exactly, and two planted models whose drops are known.

Both are linear on the logarithms of mel bands. A gain adds a constant to every band: the one model's predictions move
by a number that follows from its weights; the other divides each file by its peak first and hears no gain at all.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from serbench.benchmarks.cli.app import app
from serbench.benchmarks.grid.grid import run
from serbench.benchmarks.protocol.protocol import Protocol
from serbench.benchmarks.protocol.request import Grid, Request
from serbench.benchmarks.stress import perturbed_run
from serbench.benchmarks.stress.perturbed_run import stress
from serbench.datasets.core.errors import SerbenchError
from serbench.features.perturbations.perturbation import parsed
from serbench.results.groups.gaps import Resamples
from serbench.results.record.folder import Run, load_runs
from serbench.results.report.writing import write_report
from serbench.results.statistics.dependence import crossed_t
from serbench.results.stress.curves import relative_area
from serbench.results.stress.records import CLEAN, series_of
from serbench.results.stress.robustness import between
from serbench.results.stress.table import robustness, with_stress
from serbench.results.tables.leaderboard import leaderboard, to_markdown
from serbench.results.tables.verify import verify_leaderboard

FEATURE = {
    "model.feature": "mel",
    "model.clip": "none",
    "feature.bands": "12",
    "feature.log": "true",
    "feature.log_floor": "1e-30",
}
TWO = Protocol(subsets=2)
HOW = Resamples(200)
RUNNER = CliRunner()


def train(corpus: Path, results: Path, deaf: bool, **more: Any) -> Run:
    settings = {**FEATURE, "feature.peak_normalise": str(deaf).lower()}
    asked = {"root": corpus, "task": "arousal", "settings": settings, "trials": 2, "protocol": TWO}
    return run("linear", "table", **{**asked, "results": results, "threads": 1, "save_models": True, **more})[0]


@pytest.fixture(scope="module")
def corpus(toy_corpus: Callable[..., Path]) -> Path:
    return toy_corpus(count=60, columns=("arousal",), scale="1..7")


@pytest.fixture(scope="module")
def hearing(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A model that hears gain, stressed."""
    made = train(corpus, tmp_path_factory.mktemp("results"), deaf=False)
    stress([made], parsed(["gain:0", "gain:-20", "white:inf", "white:0"]))
    return made


@pytest.fixture(scope="module")
def deaf(corpus: Path, hearing: Run) -> Run:
    """A model that does not hear gain, stressed, beside the other one."""
    made = train(corpus, hearing.results, deaf=True)
    stress([made], parsed(["gain:-20", "white:0"]))
    return made


def at(clean: Run, kind: str, level: str) -> pd.DataFrame:
    (series,) = (one for one in series_of(clean) if one.kind == kind)
    return series.runs[level].scored_predictions().sort_values(["trial", "id"], ignore_index=True)


def ccc(gold: np.ndarray, guess: np.ndarray) -> float:
    return float(2 * np.cov(gold, guess, ddof=0)[0, 1] / (gold.var() + guess.var() + (gold.mean() - guess.mean()) ** 2))


@pytest.mark.parametrize("name", ["gain:0", "white:inf"])
def test_no_change_is_the_clean_score_exactly(hearing: Run, name: str) -> None:
    same = at(hearing, *name.split(":"))
    pd.testing.assert_frame_equal(same, at(hearing, "gain", CLEAN), check_exact=True)
    assert len(same) == 2 * 24


def test_the_drop_of_a_planted_model_is_known(hearing: Run) -> None:
    weights = load_file(hearing.path / "unit-0-official.safetensors")
    slope = (weights["coefficients"][:, 0] * weights["inverse"])[:12].sum()
    shift = slope * -20 * np.log(10) / 10
    clean, soft = at(hearing, "gain", CLEAN), at(hearing, "gain", "-20")
    assert abs(shift) > 0.5
    moved = soft["pred_arousal"] - clean["pred_arousal"]
    assert moved.to_numpy() == pytest.approx(np.full(len(moved), shift), abs=2e-3)
    expected = []
    for _, cell in clean.groupby(["trial", "subset"]):
        gold, guess = (cell[c].to_numpy(np.float64) for c in ("gold_arousal", "pred_arousal"))
        expected.append((ccc(gold, guess), ccc(gold, guess + shift)))
    before, after = np.mean(expected, axis=0)
    found = robustness(hearing, HOW, ["gain"])
    assert found is not None
    row = found.levels[found.levels["level"].eq("-20")].iloc[0]
    assert row["score"] == pytest.approx(after, abs=2e-3)
    assert row["drop"] == pytest.approx(before - after, abs=2e-3)
    assert row["drop_low"] <= row["drop"] <= row["drop_high"]
    area = found.areas.iloc[0]
    assert area["area"] == pytest.approx(((before + before) / 2 + (before + after) / 2) / 2 / before, abs=2e-3)
    assert area["low"] <= area["area"] <= area["high"]


def test_who_is_more_robust(hearing: Run, deaf: Run) -> None:
    found = between([hearing, deaf], HOW, ["gain"]).iloc[0]
    assert found["levels"] == "-20"
    assert found["drop_b"] == pytest.approx(0, abs=1e-3)
    assert found["difference"] == pytest.approx(found["drop_a"] - found["drop_b"])
    assert found["drop_a"] > 0.1
    assert found["low"] > 0
    drops = []
    for one in (hearing, deaf):
        scores = {
            level: {
                key: ccc(cell["gold_arousal"].to_numpy(np.float64), cell["pred_arousal"].to_numpy(np.float64))
                for key, cell in at(one, "gain", level).groupby(["trial", "subset"])
            }
            for level in (CLEAN, "-20")
        }
        drops.append({key: scores[CLEAN][key] - scores["-20"][key] for key in scores[CLEAN]})
    trials, subsets = zip(*drops[0], strict=True)
    test = crossed_t([*drops[0].values()], [drops[1][key] for key in drops[0]], trials, subsets)
    assert found["p_crossed"] == pytest.approx(test.p, rel=1e-6)
    assert between([hearing], HOW).empty


def test_what_has_a_record_is_not_worked_on_again(hearing: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perturbed_run, "extract_from", lambda *_, **__: pytest.fail("it has a record"))
    ((record,),) = stress([hearing], parsed(["gain:-20"]))
    assert record.spec["stress"]["of"] == hearing.run_id
    assert record.protocol_digest == hearing.protocol_digest
    assert "stress:gain:-20" in record.signature
    assert record.fill_line(5) == (
        f"serbench stress {hearing.run_id} --with gain --levels=-20 --results {hearing.results}"
    )
    assert [one.run_id for one in load_runs(hearing.results, model="linear")].count(record.run_id) == 0
    assert len({one.run_id for series in series_of(hearing) for one in series.runs.values()}) == 5


def test_models_that_take_one_feature_share_it(corpus: Path, hearing: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from serbench.features.extraction import file_tasks

    monkeypatch.setenv("PYTHON_CPU_COUNT", "1")  # in this process, where what is made would be seen
    other = train(corpus, hearing.results, deaf=False, settings={**FEATURE, "model.alphas": "10", **SAME})
    monkeypatch.setattr(file_tasks, "compute", lambda *_: pytest.fail("it is in the cache"))
    ((record,),) = stress([other], parsed(["gain:-20"]))
    assert record.complete_trials() == [0, 1]
    with pytest.raises(pytest.fail.Exception, match="it is in the cache"):
        stress([other], parsed(["gain:-7"]))  # which is not


SAME = {"feature.peak_normalise": "false"}


def test_levels_stand_in_order_with_the_clean_one_at_its_place(hearing: Run) -> None:
    stress([hearing], parsed(["speed:1.2", "speed:0.8"]))
    levels = {one.kind: one.levels for one in series_of(hearing)}
    assert levels["speed"] == ("0.8", CLEAN, "1.2")
    assert levels["white"] == (CLEAN, "inf", "0")
    assert levels["gain"] == (CLEAN, "0", "-20")


def test_area_in_closed_form() -> None:
    assert relative_area(np.array([0.8, 0.4, 0.0]), 0) == pytest.approx((0.6 + 0.2) / 2 / 0.8)
    assert relative_area(np.array([0.4, 0.8, 0.4]), 1) == pytest.approx(0.75)
    assert np.isnan(relative_area(np.array([-0.1, 0.0]), 0))


def test_weights_that_were_given_can_be_stressed(corpus: Path, hearing: Run, tmp_path: Path) -> None:
    file = hearing.path / "unit-0-official.safetensors"
    asked = {"root": corpus, "trials": 2, "protocol": TWO, "results": tmp_path, "allow_leak": True}
    given = run((), "table", weights=[file], **asked)[0]
    ((record,),) = stress([given], parsed(["gain:-20"]))
    mine, theirs = (
        x.scored_predictions().sort_values(["trial", "id"]) for x in (record, series_of(hearing)[0].runs["-20"])
    )
    assert mine["pred_arousal"].to_numpy() == pytest.approx(theirs["pred_arousal"].to_numpy(), abs=1e-9)


def test_a_run_without_weights_says_how_to_keep_them(corpus: Path, tmp_path: Path) -> None:
    bare = train(corpus, tmp_path, deaf=False, save_models=False, trials=1)
    with pytest.raises(SerbenchError, match=r"has no saved weights: 1 of 1 files lack.*") as told:
        stress([bare], parsed(["gain:-20"]))
    assert f"serbench run --from-record {bare.path} --save-models" in str(told.value)
    assert not (tmp_path / "stress").exists()


def test_what_can_not_be_stressed_is_refused(hearing: Run, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(SerbenchError, match=r"silence:0\.3 of .* could not be scored: no usable test item is left"):
        stress([hearing], parsed(["silence:0.3"]))
    record = series_of(hearing)[0].runs["-20"]
    with pytest.raises(SerbenchError, match="of perturbed audio already"):
        stress([record], parsed(["gain:-20"]))
    result = RUNNER.invoke(app, ["stress", str(hearing.path), "--with", "nois"])
    assert isinstance(result.exception, SerbenchError)
    assert "unknown perturbation 'nois'" in str(result.exception)


def test_the_command_the_leaderboard_and_the_report(hearing: Run, deaf: Run, tmp_path: Path) -> None:
    named = [str(hearing.path), str(deaf.path), "--with", "gain", "--levels=-20", "--resamples", "50"]
    result = RUNNER.invoke(app, ["stress", *named, "--results", str(hearing.results), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    files = {path.name for path in (tmp_path / "out").iterdir()}
    stem = f"stress_{hearing.run_id}"
    assert {f"{stem}.csv", f"{stem}.tex", f"{stem}_levels.md", "stress_table_arousal.svg"} <= files
    assert "stress_table_arousal_between.csv" in files
    written = pd.read_csv(tmp_path / "out" / f"{stem}_levels.csv")
    assert set(written["level"]) == {CLEAN, "0", "-20"}
    runs = load_runs(hearing.results)
    frame = with_stress(leaderboard(runs), runs)
    area = frame.set_index("run_id").loc[[hearing.run_id, deaf.run_id], "stress_gain"]
    assert area.iloc[0] < area.iloc[1] == pytest.approx(1, abs=1e-3)
    assert "robustness" in to_markdown(frame)
    done = RUNNER.invoke(app, ["leaderboard", "--results", str(hearing.results)])
    assert done.exit_code == 0, done.output
    assert "stress_gain" in pd.read_csv(hearing.results / "leaderboard.csv")
    assert not verify_leaderboard(hearing.results).problems
    page = write_report(runs, tmp_path / "report.html", bootstrap=0).path.read_text()
    assert "Perturbed test audio" in page
    assert "who is more robust" in page


def test_training_on_perturbed_audio(hearing: Run, corpus: Path) -> None:
    asked = ("gain:-20,gain:-10",)
    taught = train(corpus, hearing.results, deaf=False, train_with=asked)
    (unit,) = {json.dumps(u["counts"]) for u in taught.units()}
    (plain,) = {json.dumps(u["counts"]) for u in hearing.units()}
    assert json.loads(unit)["train"] == 3 * json.loads(plain)["train"]
    assert json.loads(unit)["dev"] == json.loads(plain)["dev"]
    assert taught.run_id != hearing.run_id
    assert taught.name == "linear+gain:-20+gain:-10"
    assert "train-with:gain:-20,train-with:gain:-10" in taught.signature
    stress([taught], parsed(["gain:-20"]))
    drop = {one.run_id: between_drop(one) for one in (hearing, taught)}
    assert drop[taught.run_id] < 0.5 * drop[hearing.run_id]
    assert Request.from_dict(json.loads(json.dumps(taught.spec["arguments"]))).train_with == ("gain:-20", "gain:-10")
    assert "--train-with gain:-20,gain:-10" in taught.spec["command"]


def between_drop(one: Run) -> float:
    found = robustness(one, Resamples(0), ["gain"])
    assert found is not None
    return float(found.levels.set_index("level").loc["-20", "drop"])


def test_copies_are_their_utterances_under_the_perturbation(corpus: Path) -> None:
    from serbench.benchmarks.core.progress import Silent
    from serbench.benchmarks.grid.augmentation import augmented
    from serbench.benchmarks.grid.source import build_data
    from serbench.benchmarks.grid.training import plan_training
    from serbench.benchmarks.protocol.setting import Corpora

    settings = {**FEATURE, **SAME}
    grid = Grid("linear", "table", str(corpus), task="arousal", settings=settings, train_with=("gain:-20",))
    request = grid.requests()[0]
    assert [one.train_with for one in grid.requests()] == [("gain:-20",), (), ()]
    plan = plan_training([request], Corpora())
    (source,) = plan.sources(1, Silent())
    ids = plan.setting.divisions[0].train
    data, _ = build_data(source.corpus, source.task, ids, source.tables, labelled=True)
    both, failed = augmented(data, source.perturbed)
    assert not failed
    assert len(both) == 2 * len(data)
    copies = both.take(range(len(data), len(both)))
    assert copies.ids == [f"{item} under gain:-20" for item in data.ids]
    assert np.array_equal(copies.labels, data.labels)
    assert list(copies.items["speaker"]) == list(data.items["speaker"])
    for k in range(3):
        assert copies.array(k) == pytest.approx(data.array(k) - 2 * np.log(10), abs=2e-3)
        assert np.array_equal(both.array(k), data.array(k))
        part = copies.features["input"].part(copies.ids[k], 2, 5)
        assert np.array_equal(part, copies.array(k)[2:5])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"train_with": ("gain",)}, "names no level"),
        ({"train_with": ("loud:3",)}, "unknown perturbation 'loud'"),
        ({"train_with": ("gain:-20",), "protocol": Protocol(subsets=2, dev="nested")}, "--dev nested would divide"),
        ({"train_with": ("gain:-20",), "weights": ["x.safetensors"]}, "leave --train-with out"),
    ],
)
def test_training_that_can_not_be_perturbed_is_refused(
    asked: dict[str, Any], said: str, corpus: Path, tmp_path: Path
) -> None:
    with pytest.raises(SerbenchError, match=said):
        run("linear", "table", root=corpus, task="arousal", results=tmp_path, **asked)
