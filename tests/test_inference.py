"""Further tests of stored runs: what stands beside the paired t-test, items and clusters, planning, commands."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy import stats
from typer.testing import CliRunner

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.task import Task
from serbench.results.record.folder import Run
from serbench.results.record.test_items import choose_clusters
from serbench.results.statistics.bootstrap import bootstrap_difference, bootstrap_scores
from serbench.results.statistics.dependence import benjamini_hochberg, crossed_t
from serbench.results.statistics.randomisation import approximate_randomisation
from serbench.results.statistics.significance import holm
from serbench.results.tables.compare import compare
from serbench.results.tables.needed_trials import power_table, render_power
from serbench.results.tables.pair_tests import Resampling, further_tests, render_further, score_intervals, train_ratio

pytestmark = pytest.mark.filterwarnings("error")
TASK = Task("attributes", "regression", ("arousal", "valence"), scales={"arousal": (1.0, 7.0), "valence": (1.0, 7.0)})
ITEMS, SPEAKERS = 80, 8
FAST = Resampling(bootstrap=200, swaps=100)


def table(noise: float, trial: int, seed: int) -> pd.DataFrame:
    gold = np.random.default_rng(0).uniform(1, 7, (ITEMS, 2))
    predicted = gold + np.random.default_rng([seed, trial]).normal(0, noise, gold.shape)
    columns: dict[str, Any] = {"id": [f"u{i}" for i in range(ITEMS)], "subset": np.arange(ITEMS) // SPEAKERS % 4}
    for k, target in enumerate(TASK.targets):
        columns |= {f"gold_{target}": gold[:, k], f"pred_{target}": predicted[:, k]}
    return pd.DataFrame(columns)


def items() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": [f"u{i}" for i in range(ITEMS)],
            "speaker": [f"s{i % SPEAKERS}" for i in range(ITEMS)],
            "gender": ["female", "male"] * 40,
            "dialogue": None,
            "duration_seconds": 2.5,
        }
    )


def make(results: Path, model: str, noise: float, trials: int = 5, known: bool = True, **spec: Any) -> Run:
    run = Run.create(
        results,
        {
            "model": {"name": model, "preset": "default", "config": {"noise": noise}},
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
        facts = {"status": "done", "counts": {"train": 200, "dev": 40, "test": ITEMS}}
        run.write_unit(trial, "official", facts, table(noise, trial, sum(map(ord, model))))
    if known:
        run.write_items(items())
    return run


def test_items_come_back_as_they_were_written(tmp_path: Path) -> None:
    run = make(tmp_path, "one", 1.0, trials=0, known=False)
    assert run.items() is None
    run.write_items(items())
    back = run.items()
    assert back is not None
    pd.testing.assert_frame_equal(back.reset_index(), items(), check_dtype=False)
    with pytest.raises(SerbenchError, match="unique"):
        run.write_items(pd.concat([items(), items()]))


@pytest.mark.parametrize("damage", ["truncated", "missing", "no digest"])
def test_damaged_items_are_named_with_their_remedy(tmp_path: Path, damage: str) -> None:
    run = make(tmp_path, "one", 1.0, trials=1)
    file = run.path / "items.parquet"
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-10])
    elif damage == "missing":
        file.unlink()
    else:
        (run.path / "items.json").write_text("{}")
    with pytest.raises(SerbenchError, match=r"items.parquet is damaged: .*Delete items.json and items.parquet"):
        run.items()
    assert len(run.scores()) > 0  # scores do not need them


def test_clusters_are_speakers_where_they_are_known() -> None:
    ids = [f"u{i}" for i in range(ITEMS)]
    known = items().set_index("id")
    chosen = choose_clusters(known, ids)
    assert (chosen.name, chosen.of.nunique(), chosen.note) == ("speaker", SPEAKERS, "")
    assert choose_clusters(known, ids, "gender").of.nunique() == 2
    assert choose_clusters(known, ids, "utterance").of is None
    some = known.assign(speaker=known["speaker"].where(known.index != "u3"))
    alone = choose_clusters(some, ids)
    assert (alone.name, alone.of) == ("utterance", None)
    assert "the speaker of 1 is unknown, no dialogue is known" in alone.note
    few = known.assign(speaker=["a", "b"] * 40, dialogue=[f"d{i // 8}" for i in range(ITEMS)])
    assert choose_clusters(few, ids).name == "dialogue"
    assert "there are only 2 speakers" in choose_clusters(few.drop(columns="dialogue"), ids).note
    assert "the record holds no items (repeating a 'serbench run' line" in choose_clusters(None, ids).note
    with pytest.raises(SerbenchError, match=r"auto, utterance or one of: speaker, gender"):
        choose_clusters(known, ids, "dialogue")
    with pytest.raises(SerbenchError, match="unknown for 1 of 80 items"):
        choose_clusters(some, ids, "speaker")
    with pytest.raises(SerbenchError, match="To add them, type: serbench run x"):
        choose_clusters(None, ids, "speaker", "serbench run x")


def test_every_further_test_is_the_function_on_the_paired_predictions(tmp_path: Path) -> None:
    runs = [make(tmp_path, name, noise) for name, noise in (("one", 1.0), ("two", 1.15), ("three", 2.0))]
    frame = compare(runs)
    found = further_tests(frame, runs, FAST)
    assert list(found["target"]) == list(frame["target"])
    who = items().set_index("id")["speaker"]
    for row in found.to_dict("records"):
        a, b = (next(r for r in runs if r.run_id == row[f"run_{side}"]) for side in "ab")
        left, right = a.scored_predictions(), b.scored_predictions()
        boot = bootstrap_difference(left, right, TASK, clusters=who, resamples=200)[row["target"]]
        assert row["p_bootstrap"] == boot.p
        assert (row["boot_low"], row["boot_high"]) == pytest.approx((boot.low, boot.high), abs=1e-12)
        assert boot.estimate == pytest.approx(row["difference"], abs=1e-12)
        p = approximate_randomisation(left, right, TASK, clusters=who, swaps=100)[row["target"]]
        assert row["p_random"] == p
        scores = [r.scores() for r in (a, b)]
        scores = [s[s["metric"].eq("CCC") & s["target"].eq(row["target"])] for s in scores]
        crossed = crossed_t(scores[0]["value"], scores[1]["value"], scores[0]["trial"], scores[0]["subset"])
        assert row["p_crossed"] == pytest.approx(crossed.p, rel=1e-9)
        d = scores[0]["value"].to_numpy() - scores[1]["value"].to_numpy()
        t = d.mean() / math.sqrt((1 / 20 + (80 / 4) / 200) * d.var(ddof=1))
        assert row["p_corrected"] == pytest.approx(2 * stats.t.sf(abs(t), 19), rel=1e-6)
        assert (row["cluster"], row["clusters"], row["cluster_note"]) == ("speaker", SPEAKERS, "")
    for column in ("p", "p_bootstrap", "p_random", "p_crossed", "p_corrected"):
        assert found[f"{column}_holm"].to_numpy() == pytest.approx(holm(found[column]), nan_ok=True)
        assert found[f"{column}_bh"].to_numpy() == pytest.approx(benjamini_hochberg(found[column]), nan_ok=True)
    assert not found.columns.duplicated().any()
    pd.testing.assert_frame_equal(found[frame.columns], frame)


def test_the_same_records_give_the_same_numbers(tmp_path: Path) -> None:
    runs = [make(tmp_path, "one", 1.0), make(tmp_path, "two", 1.1)]
    first, again = (further_tests(compare(runs), runs, FAST) for _ in range(2))
    pd.testing.assert_frame_equal(first, again, check_exact=True)
    other = further_tests(compare(runs), runs, Resampling(200, 100, seed=1))
    assert not other["boot_low"].equals(first["boot_low"])


def test_without_resampling_its_columns_are_absent(tmp_path: Path) -> None:
    runs = [make(tmp_path, "one", 1.0), make(tmp_path, "two", 1.1)]
    found = further_tests(compare(runs), runs)
    assert {"p_crossed", "p_corrected", "gz", "dav", "superiority", "mdd"} <= set(found)
    assert not {"p_bootstrap", "p_random", "boot_low"} & set(found)
    assert render_further(found) is not None


def test_identical_predictions_have_p_one_in_every_test(tmp_path: Path) -> None:
    one, two = make(tmp_path, "one", 1.0), make(tmp_path, "two", 1.0, trials=0)
    for trial in range(5):
        two.write_unit(trial, "official", {"status": "done"}, one.predictions(trial).drop(columns=["trial", "fold"]))
    found = further_tests(compare([one, two]), [one, two], FAST)
    tests = [c for c in found if c.startswith("p") and "corrected" not in c]
    assert len(tests) >= 15
    assert (found[tests] == 1).all(axis=None)
    assert (found[["boot_low", "boot_high", "gz", "dav"]] == 0).all(axis=None)
    assert (found["p_corrected"] == 1).all()


def test_models_that_repeat_their_trials_are_not_overrated(tmp_path: Path) -> None:
    """Deterministic models: 20 scores that are 4. The plain test is sure of a difference that the others doubt."""
    runs = []
    for name, seed in (("one", 5), ("two", 9)):
        run = make(tmp_path, name, 1.0, trials=0)
        for trial in range(5):
            run.write_unit(trial, "official", {"status": "done"}, table(1.0, 0, seed))
        runs.append(run)
    found = further_tests(compare(runs), runs, Resampling(2000, 500)).set_index("target")
    row = found.loc[found["p"].idxmin()]
    assert row["p"] < 0.005
    assert min(row["p_crossed"], row["p_bootstrap"], row["p_random"]) > 0.01
    assert found["mdd"].isna().all()  # trials that never vary say nothing of what other trials would find


def test_a_hole_in_the_table_leaves_the_two_way_test_undefined(tmp_path: Path) -> None:
    runs = [make(tmp_path, "one", 1.0), make(tmp_path, "two", 1.1, trials=4)]
    part = table(1.1, 4, 3)
    runs[1].write_unit(4, "official", {"status": "done"}, part[part["subset"] != 2])
    found = further_tests(compare(runs), runs, FAST)
    assert found["p_crossed"].isna().all()
    assert found["p_bootstrap"].notna().all()


def test_train_ratio_comes_from_the_counts(tmp_path: Path) -> None:
    run = make(tmp_path, "one", 1.0, trials=2)
    assert train_ratio(run) == pytest.approx(20 / 200)
    without = make(tmp_path, "two", 1.0, trials=0)
    without.write_unit(0, "official", {"status": "done"}, table(1.0, 0, 1))
    assert math.isnan(train_ratio(without))


def test_intervals_of_scores(tmp_path: Path) -> None:
    run = make(tmp_path, "one", 1.0)
    found, clusters = score_intervals(run, options=Resampling(bootstrap=300))
    who = items().set_index("id")["speaker"]
    assert found == bootstrap_scores(run.scored_predictions(), TASK, clusters=who, resamples=300)
    assert clusters.name == "speaker"
    with pytest.raises(SerbenchError, match=r"no trial of .* is complete. Type: serbench run --model none"):
        score_intervals(make(tmp_path, "none", 1.0, trials=0))


def test_planning_from_stored_runs(tmp_path: Path) -> None:
    runs = [make(tmp_path, "one", 1.0), make(tmp_path, "two", 1.1)]
    found = power_table(runs, 0.02)
    assert list(found["target"]) == ["mean", "arousal", "valence"]
    for row in found.to_dict("records"):
        scores = [r.scores() for r in runs]
        values = [s[s["metric"].eq("CCC") & s["target"].eq(row["target"])]["value"].to_numpy() for s in scores]
        means = (values[0] - values[1]).reshape(5, 4).mean(axis=1)
        error = means.std(ddof=1) / math.sqrt(5)
        nct, critical = stats.nct(4, 0.02 / error), stats.t.ppf(0.975, 4)
        if row["sd_trial"] > 0:  # else its estimate is cut off at 0, and the two ways differ
            assert row["power"] == pytest.approx(nct.sf(critical) + nct.cdf(-critical), rel=1e-6)
        assert row["difference"] == pytest.approx(means.mean())
        assert (row["trials"], row["subsets"], row["planned"]) == (5, 4, 0.02)
    assert (found["sd_trial"] > 0).any()
    stream = io.StringIO()
    Console(file=stream, width=80).print(render_power(found))
    assert "to find a CCC difference of 0.02" in stream.getvalue()
    with pytest.raises(SerbenchError, match=r"share 1 complete trials[\s\S]*serbench run --model short"):
        power_table([runs[0], make(tmp_path, "short", 1.0, trials=1)], 0.02)


def test_the_screen_fits_80_columns(tmp_path: Path) -> None:
    runs = [make(tmp_path, "cnn-regressor", 1.0), make(tmp_path, "deepemocluster", 1.1)]
    found = further_tests(compare(runs), runs, FAST)
    for adjust in ("holm", "bh"):
        stream = io.StringIO()
        Console(file=stream, width=80).print(render_further(found, adjust))
        text = stream.getvalue()
        for row in found.to_dict("records"):
            assert f"{row['boot_low']:+.3f}..{row['boot_high']:+.3f}" in text
        assert "deepemocluster" in text
        assert "over speakers (8) and trials" in " ".join(text.split())


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    for name, noise in (("one", 1.0), ("two", 1.2), ("chance", 5.0)):
        make(tmp_path, name, noise)
    return tmp_path


def serbench(*words: object) -> Any:
    from serbench.benchmarks.cli.app import app

    return CliRunner().invoke(app, list(map(str, words)))


def test_compare_and_power_commands(stored: Path) -> None:
    common = "--dataset", "demo", "--results", stored
    done = serbench("compare", "one", "two", *common, "--bootstrap", 200, "--swaps", 100)
    assert done.exit_code == 0, done.output
    assert "tests that know of the dependence" in done.output
    written = pd.read_csv(stored / "compare_demo.csv")
    assert {"p", "p_bootstrap_holm", "p_random_bh", "boot_low"} <= set(written)
    quick = serbench("compare", "one", "two", *common, "--bootstrap", 0, "--swaps", 0, "--adjust", "bh")
    assert "Benjamini and Hochberg" in " ".join(quick.output.split())
    planned = serbench("power", "one", "two", *common, "--difference", 0.05)
    assert planned.exit_code == 0
    assert "CCC difference of 0.05" in planned.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("compare", "one", "two", "--adjust", "bonferroni"), "expected holm or bh"),
        (("compare", "one", "two", "--cluster", "session"), "auto, utterance or one of: speaker, gender"),
        (("power", "one"), "two or more models"),
        (("power", "one", "two", "--difference", "0"), "difference=0"),
        (("power", "one", "two", "--power", "80"), "power=80"),
    ],
)
def test_bad_input_says_what_is_expected(stored: Path, words: tuple[str, ...], said: str) -> None:
    done = serbench(*words, "--dataset", "demo", "--results", stored)
    assert isinstance(done.exception, SerbenchError)
    assert said in str(done.exception)


def test_lacking_trials_print_the_commands(stored: Path) -> None:
    make(stored, "short", 1.0, trials=2)
    done = serbench("compare", "one", "short", "--dataset", "demo", "--results", stored)
    assert isinstance(done.exception, SerbenchError)
    assert f"serbench run --model short --dataset demo --trials 5 --results {stored}" in str(done.exception)
