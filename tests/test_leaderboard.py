"""The leaderboard of runs with known scores: spread, rank, test against chance, refusals, files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy import stats
from sklearn.metrics import balanced_accuracy_score

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.task import Task
from serbench.results.display.numbers import count, duration, p_value
from serbench.results.record.folder import Run, load_runs
from serbench.results.statistics.significance import holm
from serbench.results.tables.leaderboard import COLUMNS, leaderboard, to_markdown, to_rich, write_leaderboard

pytestmark = pytest.mark.filterwarnings("error")
LABELS = ("anger", "joy", "neutral")
TASK = Task("emotion", "classification", ("emotion",), labels=LABELS)
VALUES = Task("attributes", "regression", ("arousal", "valence"), scales={"arousal": (1, 7), "valence": (1, 7)})
ITEMS = 120


def table(share: float, trial: int, seed: int) -> pd.DataFrame:
    """Predictions that are right with a probability of `share`, else drawn from all classes."""
    gold = np.random.default_rng(0).choice(LABELS, ITEMS)
    rng = np.random.default_rng([seed, trial])
    predicted = np.where(rng.random(ITEMS) < share, gold, rng.choice(LABELS, ITEMS))
    return pd.DataFrame(
        {"id": [f"u{i}" for i in range(ITEMS)], "subset": np.arange(ITEMS) % 4, "gold": gold, "predicted": predicted}
    )


def make(results: Path, model: str, share: float, trials: int = 5, preset: str = "default", **spec: Any) -> Run:
    run = Run.create(
        results,
        {
            "model": {"name": model, "preset": preset, "config": {"preset": preset}},
            "features": {},
            "dataset": {"name": "demo", "release": "1", "digest": "d" * 16},
            "task": TASK.to_dict(),
            "protocol": {"name": "4x5", "subsets": 4, "folds": ["official"]},
            "labels": [],
            "command": f"serbench run --model {model} --dataset demo",
            "serbench": "0.1.0",
            **spec,
        },
    )
    for trial in range(trials):
        facts = {"status": "done", "seconds": 2.0, "cpu_seconds": 3.0, "parameters": 1234, "excluded": {"x": "short"}}
        run.write_unit(trial, "official", facts, table(share, trial, sum(map(ord, model + preset))))
    return run


def constant(results: Path, preset: str = "majority-or-mean", **spec: Any) -> Run:
    """A chance run that always predicts the first class: UAR 1/3 in every subset."""
    run = make(results, "chance", 0.0, trials=0, preset=preset, **spec)
    for trial in range(5):
        run.write_unit(trial, "official", {"status": "done"}, table(0.0, trial, 1).assign(predicted=LABELS[0]))
    return run


def uars(run: Run) -> np.ndarray:
    """The 20 scores, with scikit-learn, from the stored predictions."""
    groups = run.predictions().groupby(["trial", "subset"])
    return np.array([balanced_accuracy_score(g["gold"], g["predicted"]) for _, g in groups])


def test_rows_hold_spread_rank_cost_and_recipe(tmp_path: Path) -> None:
    runs = {"good": make(tmp_path, "good", 0.8), "fair": make(tmp_path, "fair", 0.3), "chance": constant(tmp_path)}
    frame = leaderboard(load_runs(tmp_path))
    assert tuple(frame.columns) == COLUMNS
    assert frame["name"].tolist() == ["good", "fair", "chance:majority-or-mean"]
    assert frame["rank"].tolist() == [1, 2, 3]
    for row in frame.to_dict("records"):
        run = runs[row["model"]]
        values = uars(run)
        low, high = 1 / 3, 1 / 3
        if row["model"] != "chance":
            low, high = stats.t.interval(0.95, 19, loc=values.mean(), scale=stats.sem(values))
        assert row["mean"] == pytest.approx(values.mean(), abs=1e-12)
        assert row["sd"] == pytest.approx(values.std(ddof=1), abs=1e-12)
        assert (row["low"], row["high"]) == pytest.approx((low, high), abs=1e-12)
        assert (row["n"], row["trials"], row["undefined"], row["failed_trials"]) == (20, 5, 0, 0)
        assert (row["run_id"], row["signature"]) == (run.run_id, run.signature)
        assert row["protocol_digest"] == run.protocol_digest
        assert row["command"] == run.spec["command"]
        assert (row["dataset"], row["task"], row["target"], row["metric"]) == ("demo", "emotion", "emotion", "UAR")
    good = frame.iloc[0]
    assert (good["seconds"], good["cpu_seconds"], good["parameters"], good["left_out"]) == (10.0, 15.0, 1234, 1)


def test_models_are_tested_against_the_best_chance_row(tmp_path: Path) -> None:
    good, weak = make(tmp_path, "good", 0.8), make(tmp_path, "weak", 0.02)
    make(tmp_path, "worse", 0.0, trials=0)
    worse = load_runs(tmp_path, model="worse")[0]
    confused = dict(zip(LABELS, LABELS[1:] + LABELS[:1], strict=True))
    for trial in range(5):
        wrong = table(0.0, trial, 2)
        wrong.loc[10:, "predicted"] = wrong["gold"].map(confused)
        worse.write_unit(trial, "official", {"status": "done"}, wrong)
    chances = [constant(tmp_path), make(tmp_path, "chance", 0.0, preset="random")]
    frame = leaderboard(load_runs(tmp_path)).set_index("model")
    best = max(chances, key=lambda run: uars(run).mean())
    p = {run.spec["model"]["name"]: stats.ttest_rel(uars(run), uars(best)).pvalue for run in (good, weak, worse)}
    adjusted = dict(zip(p, holm(list(p.values())), strict=True))
    for model, beats in (("good", "yes"), ("weak", "no"), ("worse", "no")):
        row = frame.loc[model]
        assert row["p_chance"] == pytest.approx(p[model], rel=1e-6, abs=0)
        assert row["p_chance_holm"] == pytest.approx(adjusted[model], rel=1e-6, abs=0)
        assert row["beats_chance"] == beats
        assert row["chance_row"] == best.name
    assert adjusted["worse"] < 0.05  # significantly worse is not better
    chance = frame.loc["chance"]
    assert len(chance) == 2
    assert chance["chance"].all()
    assert chance["p_chance"].isna().all()
    assert (chance["beats_chance"] == "").all()
    text = to_markdown(frame.reset_index()[list(COLUMNS)])
    assert "weak †" in text
    assert "good †" not in text
    assert "† not significantly better" in text


def test_trials_that_repeat_one_another_are_no_evidence_against_chance(tmp_path: Path) -> None:
    """Five equal trials: twenty scores, but four values. The crossed test is the t-test over the four subsets."""
    chance, run = constant(tmp_path), make(tmp_path, "fixed", 0.0, trials=0)
    for trial in range(5):
        run.write_unit(trial, "official", {"status": "done"}, table(0.2, 0, 3))
    row = leaderboard(load_runs(tmp_path)).set_index("model").loc["fixed"]
    gains = uars(run)[:4] - uars(chance)[:4]
    assert row["p_chance"] == pytest.approx(stats.ttest_rel(uars(run), uars(chance)).pvalue, rel=1e-6)
    assert row["p_chance_crossed"] == pytest.approx(stats.ttest_1samp(gains, 0.0).pvalue, rel=1e-6)
    assert row["p_chance"] < 0.01 < 0.05 < row["p_chance_crossed"]
    assert row["beats_chance"] == "no"


def test_without_a_chance_run_models_are_untested(tmp_path: Path) -> None:
    make(tmp_path, "good", 0.8)
    frame = leaderboard(load_runs(tmp_path))
    assert frame["beats_chance"].tolist() == ["untested"]
    assert frame["p_chance"].isna().all()
    assert "good ?" in to_markdown(frame)


def test_different_protocols_never_share_a_ranking(tmp_path: Path) -> None:
    four = make(tmp_path, "four", 0.8)
    five = make(tmp_path, "five", 0.8, protocol={"name": "4x5", "subsets": 5, "folds": ["official"]})
    other = make(tmp_path, "other", 0.5, dataset={"name": "emodb", "release": "", "digest": "e" * 16})
    runs = load_runs(tmp_path)
    with pytest.raises(SerbenchError, match=r"protocol.subsets: (4 and 5|5 and 4)") as caught:
        leaderboard(runs)
    for text in (four.protocol_digest, five.protocol_digest, four.run_id, five.run_id, "--digest"):
        assert text in str(caught.value)
    assert other.run_id not in str(caught.value)
    chosen = leaderboard(runs, protocol_digest=four.protocol_digest[:8])
    assert chosen["run_id"].tolist() == [four.run_id, other.run_id]
    assert leaderboard(runs, protocol_digest=[five.protocol_digest])["run_id"].tolist() == [five.run_id, other.run_id]
    with pytest.raises(SerbenchError, match="no run has the protocol digest 'ffff'") as caught:
        leaderboard(runs, protocol_digest="ffff")
    assert four.protocol_digest in str(caught.value)


def test_several_targets_and_tasks_are_ranked_apart_the_mean_first(tmp_path: Path) -> None:
    gold = np.random.default_rng(0).uniform(1, 7, (ITEMS, 2))
    for model, noise in (("a", (0.5, 3.0)), ("b", (1.0, 0.5))):
        run = make(tmp_path, model, 0.0, trials=0, task=VALUES.to_dict())
        for trial in range(5):
            predicted = gold + np.random.default_rng([ord(model), trial]).normal(0, noise, gold.shape)
            columns: dict[str, Any] = {"id": [f"u{i}" for i in range(ITEMS)], "subset": np.arange(ITEMS) % 4}
            for k, target in enumerate(VALUES.targets):
                columns |= {f"gold_{target}": gold[:, k], f"pred_{target}": predicted[:, k]}
            run.write_unit(trial, "official", {"status": "done"}, pd.DataFrame(columns))
    make(tmp_path, "c", 0.5)
    frame = leaderboard(load_runs(tmp_path))
    assert list(zip(frame["task"], frame["target"], frame["rank"], frame["model"], strict=True)) == [
        ("attributes", "mean", 1, "b"),
        ("attributes", "mean", 2, "a"),
        ("attributes", "arousal", 1, "a"),
        ("attributes", "arousal", 2, "b"),
        ("attributes", "valence", 1, "b"),
        ("attributes", "valence", 2, "a"),
        ("emotion", "emotion", 1, "c"),
    ]
    assert set(frame["metric"]) == {"CCC", "UAR"}
    mean = frame[frame["target"].eq("mean") & frame["model"].eq("a")]["mean"].iloc[0]
    assert mean == pytest.approx(frame[frame["model"].eq("a") & frame["target"].ne("mean")]["mean"].mean(), abs=1e-12)


def test_what_can_not_be_ranked_is_named_and_the_rest_is_ranked(tmp_path: Path) -> None:
    good, broken = make(tmp_path, "good", 0.8), make(tmp_path, "broken", 0.8)
    empty = make(tmp_path, "empty", 0.8, trials=0)
    partly = make(tmp_path, "partly", 0.8, trials=3)
    partly.write_unit(3, "official", {"status": "failed", "error": "nan"}, None)
    loaded = load_runs(tmp_path)
    file = broken.path / "unit-1-official.parquet"
    file.write_bytes(file.read_bytes()[:50])
    for runs in (loaded, load_runs(tmp_path)):  # damaged after and before loading
        frame = leaderboard(runs)
        assert set(frame["run_id"]) == {good.run_id, partly.run_id}
        problems = frame.attrs["problems"]
        assert set(problems) == {broken.run_id, empty.run_id}
        assert "unit-1-official.parquet is damaged" in problems[broken.run_id]
        assert "serbench run --model empty" in problems[empty.run_id]
        assert f"Not ranked: {broken.run_id}" in to_markdown(frame)
        assert "partly ? (1 failed)" in to_markdown(frame)
    row = frame[frame["run_id"] == partly.run_id].iloc[0]
    assert (row["n"], row["trials"], row["failed_trials"]) == (12, 3, 1)


def test_nothing_to_rank_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(SerbenchError, match="serbench run --dataset demo"):
        leaderboard(load_runs(tmp_path))
    run = make(tmp_path, "good", 0.8)
    (run.path / "run.json").write_text("{")
    with pytest.raises(SerbenchError, match=f"{run.run_id}: .*is damaged"):
        leaderboard(load_runs(tmp_path))


def test_an_undefined_mean_stands_last(tmp_path: Path) -> None:
    """Constant in gold and predictions of one subset: no CCC there. Even a model worse than 0 stands before it."""
    task = Task("valence", "regression", ("valence",), scales={"valence": (1, 7)})
    gold = np.random.default_rng(0).uniform(1, 7, ITEMS)
    gold[::4] = 2.0
    for model, predicted in (("a", gold), ("b", 8 - gold + np.random.default_rng(1).normal(0, 1, ITEMS))):
        run = make(tmp_path, model, 0.0, trials=0, task=task.to_dict())
        rows = pd.DataFrame(
            {
                "id": [f"u{i}" for i in range(ITEMS)],
                "subset": np.arange(ITEMS) % 4,
                "gold_valence": gold,
                "pred_valence": predicted,
            }
        )
        for trial in range(2):
            run.write_unit(trial, "official", {"status": "done"}, rows)
    frame = leaderboard(load_runs(tmp_path))
    assert frame["model"].tolist() == ["b", "a"]
    assert frame["undefined"].tolist() == [0, 2]
    assert frame["mean"].iloc[0] < -0.1
    assert np.isnan(frame["mean"].iloc[1])
    assert "| 2 | a ? | - | - | - | 8 | - |" in to_markdown(frame)


def test_files_and_screen(tmp_path: Path) -> None:
    make(tmp_path, "go|od", 0.8, labels=["leak:speaker"])
    constant(tmp_path)
    frame = leaderboard(load_runs(tmp_path))
    path = write_leaderboard(frame, tmp_path)
    assert path == tmp_path / "leaderboard.csv"
    back = pd.read_csv(path)
    assert back["mean"].to_numpy() == pytest.approx(frame["mean"].to_numpy(), rel=1e-14)
    assert back["signature"].tolist() == frame["signature"].tolist()
    assert back["labels"].iloc[0] == "leak:speaker"
    written = path.read_bytes()
    write_leaderboard(leaderboard(load_runs(tmp_path)), tmp_path)
    assert path.read_bytes() == written
    lines = to_markdown(frame).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 4
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1
    assert any(frame["signature"].iloc[0] in line for line in lines)
    stream = io.StringIO()
    Console(file=stream, width=80).print(to_rich(frame))
    text = stream.getvalue()
    for expected in ("go|od", "demo, emotion: UAR", "10.0 s", "1.2k", "<.0001", "out: files left out"):
        assert expected in " ".join(text.split())
    for row in frame.to_dict("records"):  # numbers are whole on a narrow screen
        assert f"{row['mean']:.3f}  {row['sd']:.3f}" in text
        assert f"{row['low']:.3f}..{row['high']:.3f}" in text
        assert row["signature"] in text.replace("\n", "")


def test_numbers_read_well() -> None:
    assert [duration(s) for s in (0, 99.94, 100, 5999, 6000, 86400)] == [
        "0.0 s",
        "99.9 s",
        "1.7 min",
        "100.0 min",
        "1.7 h",
        "24.0 h",
    ]
    assert [count(n) for n in (0, 999, 1234, 94_400_000, 2.1e9, float("nan"))] == [
        "0",
        "999",
        "1.2k",
        "94.4M",
        "2.1G",
        "-",
    ]
    assert [p_value(p) for p in (1, 0.0499, 0.00004, float("nan"))] == ["1.0000", "0.0499", "<.0001", "-"]
