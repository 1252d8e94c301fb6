"""Comparison of runs with known predictions, against scipy over scores computed apart."""

from __future__ import annotations

import io
import math
from itertools import combinations
from pathlib import Path
from typing import Any

import audmetric
import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy import stats

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.task import Task
from serbench.results.record.folder import Run
from serbench.results.statistics.significance import holm
from serbench.results.tables.compare import compare, render_compare, write_compare

pytestmark = pytest.mark.filterwarnings("error")
SCALES = {"arousal": (1.0, 7.0), "valence": (1.0, 7.0)}
TASK = Task("attributes", "regression", ("arousal", "valence"), scales=SCALES)
TARGETS = ("mean", "arousal", "valence")
ITEMS = 80
EXACT: dict[str, Any] = {} if int(pd.__version__.split(".")[0]) >= 3 else {"float_precision": "round_trip"}
"""How numbers are read as they are written: pandas before 3 reads the last digits otherwise by default."""


def truth() -> np.ndarray:
    return np.random.default_rng(0).uniform(1, 7, (ITEMS, 2))


def table(noise: float, trial: int, seed: int, drop: tuple[int, ...] = ()) -> pd.DataFrame:
    """Predictions of gold plus noise, item i in subset i % 4, in an order of their own, without the dropped items."""
    rng = np.random.default_rng([seed, trial])
    gold = truth()
    predicted = gold + rng.normal(0, noise, gold.shape)
    columns: dict[str, Any] = {"id": [f"u{i}" for i in range(ITEMS)], "subset": np.arange(ITEMS) % 4}
    for k, target in enumerate(TASK.targets):
        columns |= {f"gold_{target}": gold[:, k], f"pred_{target}": predicted[:, k]}
    return pd.DataFrame(columns).drop(index=list(drop)).sample(frac=1, random_state=seed)


def make(
    results: Path,
    model: str,
    noise: float,
    trials: int = 5,
    drop: tuple[int, ...] = (),
    seed: int | None = None,
    **spec: Any,
) -> Run:
    run = Run.create(
        results,
        {
            "model": {"name": model, "preset": "default", "config": {"noise": noise}},
            "features": {},
            "dataset": {"name": "demo", "release": "", "digest": "d" * 16},
            "task": TASK.to_dict(),
            "protocol": {"name": "4x5", "subsets": 4, "folds": ["official"]},
            "labels": [],
            "command": f"serbench run --model {model} --dataset demo",
            "serbench": "0.1.0",
            **spec,
        },
    )
    seed = sum(map(ord, model)) if seed is None else seed
    for trial in range(trials):
        run.write_unit(trial, "official", {"status": "done"}, table(noise, trial, seed, drop))
    return run


def ccc_scores(run: Run, target: str, keep: set[str] | None = None) -> dict[tuple[int, int], float]:
    """CCC per (trial, subset), taken from the stored predictions with audmetric."""
    found: dict[tuple[int, int], float] = {}
    for trial in range(5):
        rows = run.predictions(trial)
        rows = rows if keep is None else rows[rows["id"].isin(keep)]
        for subset in range(4):
            part = rows[rows["subset"] == subset]
            targets = TASK.targets if target == "mean" else (target,)
            found[trial, subset] = float(
                np.mean([audmetric.concordance_cc(part[f"gold_{t}"], part[f"pred_{t}"]) for t in targets])
            )
    return found


def test_every_pair_and_target_is_tested_as_scipy_does(tmp_path: Path) -> None:
    runs = [make(tmp_path, name, noise) for name, noise in (("one", 1.0), ("two", 1.1), ("three", 2.0))]
    frame = compare(runs)
    assert list(zip(frame["a"], frame["b"], frame["target"], strict=True)) == [
        (a, b, t) for a, b in (("one", "two"), ("one", "three"), ("two", "three")) for t in TARGETS
    ]
    for row, (pair, target) in zip(
        frame.to_dict("records"), [(p, t) for p in combinations(runs, 2) for t in TARGETS], strict=True
    ):
        scores = [ccc_scores(run, target) for run in pair]
        a, b = ([s[key] for key in sorted(scores[0])] for s in scores)
        test = stats.ttest_rel(a, b)
        interval = test.confidence_interval(0.95)
        means = [[np.mean([s[t, k] for k in range(4)]) for t in range(5)] for s in scores]
        assert row["p"] == pytest.approx(test.pvalue, rel=1e-6)
        assert row["t"] == pytest.approx(test.statistic, rel=1e-6)
        assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high), rel=1e-6)
        assert row["p_trials"] == pytest.approx(stats.ttest_rel(*means).pvalue, rel=1e-6)
        assert row["p_wilcoxon"] == pytest.approx(stats.wilcoxon(a, b).pvalue, rel=1e-9)
        assert row["dz"] == pytest.approx(test.statistic / math.sqrt(20), rel=1e-6)
        assert (row["mean_a"], row["mean_b"]) == pytest.approx((np.mean(a), np.mean(b)), abs=1e-9)
        assert row["difference"] == pytest.approx(np.mean(a) - np.mean(b), abs=1e-9)
        assert (row["n"], row["trials"], row["left_out"]) == (20, 5, 0)
        assert row["signature_a"].startswith(f"model:{row['a']}+")
        assert row["signature_b"].startswith(f"model:{row['b']}+")
    for test in ("p", "p_trials", "p_wilcoxon"):
        assert frame[f"{test}_holm"].to_numpy() == pytest.approx(holm(frame[test]))


def test_another_metric_can_be_compared(tmp_path: Path) -> None:
    runs = [make(tmp_path, "one", 1.0), make(tmp_path, "two", 2.0)]
    frame = compare(runs, metric="RMSE")
    assert set(frame["metric"]) == {"RMSE"}
    assert "|metric:RMSE|" in frame["signature_a"].iloc[0]
    assert (frame["difference"] < 0).all()
    with pytest.raises(SerbenchError, match=r"Did you mean 'PCC'.*CCC, PCC, RMSE"):
        compare(runs, metric="PC")


def test_identical_predictions_have_p_one(tmp_path: Path) -> None:
    frame = compare([make(tmp_path, "one", 1.0, seed=1), make(tmp_path, "two", 1.0, seed=1)])
    tests = ["p", "p_holm", "p_trials", "p_trials_holm", "p_wilcoxon", "p_wilcoxon_holm"]
    assert (frame[tests] == 1).all(axis=None)
    assert (frame[["difference", "dz", "t", "low", "high"]] == 0).all(axis=None)


def test_different_utterances_are_compared_on_the_common_ones(tmp_path: Path) -> None:
    runs = [make(tmp_path, "one", 1.0, drop=(0, 1)), make(tmp_path, "two", 1.1, drop=(1, 2, 7))]
    frame = compare(runs)
    assert set(frame["left_out"]) == {3}  # 0, 2 and 7; number 1 is in neither
    keep = {f"u{i}" for i in range(ITEMS)} - {"u0", "u1", "u2", "u7"}
    for row in frame.to_dict("records"):
        a, b = (list(ccc_scores(run, row["target"], keep).values()) for run in runs)
        assert row["p"] == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-6)
        assert (row["mean_a"], row["mean_b"]) == pytest.approx((np.mean(a), np.mean(b)), abs=1e-9)


def test_lacking_trials_say_what_to_type(tmp_path: Path) -> None:
    full, short = make(tmp_path, "full", 1.0), make(tmp_path, "short", 1.1, trials=3)
    short.write_unit(3, "official", {"status": "failed", "error": "the loss is nan"}, None)
    with pytest.raises(SerbenchError) as caught:
        compare([full, short])
    message = str(caught.value)
    assert "short lacks trial(s) 3, 4 (failed: the loss is nan):" in message
    assert f"serbench run --model short --dataset demo --trials 5 --results {tmp_path}" in message
    assert "--model full" not in message
    with pytest.raises(SerbenchError, match=r"one lacks trial.*\n.*--model one.*\ntwo lacks trial.*\n.*--model two"):
        compare([make(tmp_path, "one", 1.0, trials=0), make(tmp_path, "two", 1.0, trials=0)])


def test_a_trial_with_a_missing_fold_is_lacking(tmp_path: Path) -> None:
    protocol = {"name": "4x5", "subsets": 4, "folds": ["official", "second"]}
    runs = [make(tmp_path, name, 1.0, drop=tuple(range(40, 80)), protocol=protocol) for name in ("one", "two")]
    for run in runs:
        for trial in range(5):
            if run is runs[0] or trial != 2:
                run.write_unit(trial, "second", {"status": "done"}, table(1.0, trial, 3, tuple(range(40))))
    with pytest.raises(SerbenchError, match=r"two lacks trial\(s\) 2:"):
        compare(runs)


def test_different_protocols_are_refused_with_the_fields(tmp_path: Path) -> None:
    one = make(tmp_path, "one", 1.0)
    two = make(tmp_path, "two", 1.0, protocol={"name": "4x5", "subsets": 5, "folds": ["official"]})
    with pytest.raises(SerbenchError, match=r"protocol\.subsets: 4 and 5") as caught:
        compare([one, two])
    assert one.protocol_digest in str(caught.value)
    assert two.protocol_digest in str(caught.value)
    other = make(tmp_path, "two", 1.0, dataset={"name": "demo", "release": "2", "digest": "e" * 16})
    with pytest.raises(SerbenchError, match=r"dataset.digest: 'dddd.*dataset.release: '' and '2'"):
        compare([one, other])


def test_one_run_or_a_run_twice_is_refused(tmp_path: Path) -> None:
    one = make(tmp_path, "one", 1.0)
    for runs in ([], [one], [one, one]):
        with pytest.raises(SerbenchError, match="two or more different runs"):
            compare(runs)


@pytest.mark.parametrize("column", ["gold_valence", "subset"])
def test_records_that_contradict_each_other_are_refused(tmp_path: Path, column: str) -> None:
    one, two = make(tmp_path, "one", 1.0), make(tmp_path, "two", 1.1)
    changed = table(1.1, 2, 5)
    changed.loc[changed["id"] == "u9", column] = 3
    two.write_unit(2, "official", {"status": "done"}, changed)
    with pytest.raises(SerbenchError, match=f"different values of '{column}' for 'u9'"):
        compare([one, two])


def test_continuous_runs_are_paired_by_frame(tmp_path: Path) -> None:
    task = Task("trace", "continuous", ("arousal",), scales={"arousal": (-1.0, 1.0)}, frame_seconds=0.1)
    runs = []
    for model, drop in (("one", None), ("two", "r1")):
        run = make(tmp_path, model, 1.0, trials=0, task=task.to_dict())
        for trial in range(5):
            rng = np.random.default_rng([trial, len(drop or "")])
            gold = np.sin(np.arange(800) / 9)
            frames = pd.DataFrame(
                {
                    "id": np.repeat([f"r{i}" for i in range(8)], 100),
                    "frame": np.tile(range(100), 8),
                    "subset": np.repeat(np.arange(8) % 4, 100),
                    "gold_arousal": gold,
                    "pred_arousal": gold + rng.normal(0, 1, 800),
                }
            )
            frames.loc[frames["frame"] < 3, "gold_arousal"] = np.nan
            run.write_unit(trial, "official", {"status": "done"}, frames[frames["id"] != drop])
        runs.append(run)
    frame = compare(runs)
    assert (len(frame), frame["left_out"].iloc[0], frame["n"].iloc[0]) == (1, 1, 20)
    scores = []
    for run in runs:
        rows = run.predictions()
        rows = rows[(rows["id"] != "r1") & rows["gold_arousal"].notna()]
        groups = rows.groupby(["trial", "subset"])
        scores.append([audmetric.concordance_cc(g["gold_arousal"], g["pred_arousal"]) for _, g in groups])
    assert frame["p"].iloc[0] == pytest.approx(stats.ttest_rel(*scores).pvalue, rel=1e-6)


def test_csv_and_screen(tmp_path: Path) -> None:
    frame = compare([make(tmp_path, "one[b]", 1.0), make(tmp_path, "two|x", 1.1)])
    path = write_compare(frame, tmp_path / "out" / "compare.csv")
    written = pd.read_csv(path, **EXACT)
    pd.testing.assert_frame_equal(written, frame, check_dtype=False, check_exact=True)
    stream = io.StringIO()
    Console(file=stream, width=80).print(render_compare(frame, tmp_path / "again.csv"))
    text = stream.getvalue()
    assert (tmp_path / "again.csv").read_bytes() == path.read_bytes()
    for expected in ("one[b]", "two|x", "demo, attributes, valence: CCC, 20 scores of 5 trials", "95 % interval"):
        assert expected in text
    assert "not independent" in " ".join(text.split())
    for row in frame.to_dict("records"):
        for shown in (f"{row['mean_a']:.3f}", f"{row['difference']:+.3f}", f"{row['low']:+.3f}..{row['high']:+.3f}"):
            assert shown in text
    assert frame["signature_b"].iloc[0] in text.replace("\n", "")
