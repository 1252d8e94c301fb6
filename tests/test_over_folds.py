"""Scores averaged over folds, folds known by their items, and published rows of the same folds with ours among them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, recall_score

from serbench.datasets.schema.task import Task
from serbench.results.record.folder import Run, load_runs
from serbench.results.tables import references as published
from serbench.results.tables.leaderboard import leaderboard
from serbench.results.tables.over_folds import folds_digest, folds_of, over_folds

LABELS = ("anger", "neutral", "sadness")
TASK = Task("emotion", "classification", ("emotion",), labels=LABELS)
FOLDS = ("one", "two")


def predicted(fold: str, trial: int, share: float) -> pd.DataFrame:
    """Of 30 utterances of a fold: fold "two" has few of sadness, so that the mean of folds is not the pooled score."""
    rng = np.random.default_rng([FOLDS.index(fold), trial, int(share * 100)])
    gold = rng.choice(LABELS, 30, p=(0.4, 0.3, 0.3) if fold == "one" else (0.6, 0.3, 0.1))
    guess = np.where(rng.random(30) < share, gold, rng.choice(LABELS, 30))
    ids = [f"{fold}-{i}" for i in range(30)]
    return pd.DataFrame({"id": ids, "subset": np.arange(30) % 4, "gold": gold, "predicted": guess})


def made(results: Path, model: str, share: float) -> Run:
    spec = {
        "model": {"name": model, "preset": "default", "config": {"share": share}},
        "features": {},
        "dataset": {"name": "emodb", "release": "", "digest": "d" * 16},
        "task": TASK.to_dict(),
        "protocol": {"name": "4x5", "subsets": 4, "folds": list(FOLDS)},
        "labels": [],
        "serbench": "0.1.0",
    }
    run = Run.create(results, spec)
    for trial in range(2):
        for fold in FOLDS:
            run.write_unit(trial, fold, {"status": "done"}, predicted(fold, trial, share))
    return run


def test_each_fold_is_scored_by_itself(tmp_path: Path) -> None:
    """The three metrics against scikit-learn's, fold by fold, with NumPy's mean."""
    found = over_folds(made(tmp_path, "svm", 0.6)).set_index(["trial", "metric"])["value"]
    theirs = {
        "UAR": lambda g, p: recall_score(g, p, average="macro"),
        "WA": accuracy_score,
        "macroF1": lambda g, p: f1_score(g, p, average="macro"),
    }
    for trial in range(2):
        parts = [predicted(fold, trial, 0.6) for fold in FOLDS]
        for metric, score in theirs.items():
            expected = np.mean([score(part["gold"], part["predicted"]) for part in parts])
            assert found[trial, metric] == pytest.approx(expected, abs=1e-12)
        together = pd.concat(parts)
        assert found[trial, "UAR"] != pytest.approx(theirs["UAR"](together["gold"], together["predicted"]), abs=1e-4)


def test_a_run_without_a_whole_trial_has_none(tmp_path: Path) -> None:
    run = made(tmp_path, "svm", 0.6)
    for file in [*run.unit_files(0, "one"), *run.unit_files(1, "two")]:
        file.unlink()
    assert over_folds(run).empty
    assert folds_of(run) == ""


def test_folds_are_known_by_their_items_alone(tmp_path: Path) -> None:
    run = made(tmp_path, "svm", 0.6)
    tested = [[f"{fold}-{i}" for i in range(30)] for fold in FOLDS]
    assert folds_of(run) == folds_digest(tested) == folds_digest(reversed([ids[::-1] for ids in tested]))
    moved = [tested[0][1:], [*tested[1], tested[0][0]]]
    assert folds_digest(moved) != folds_digest(tested)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Two published rows of the folds above (UAR .99 and .50), and one of other folds."""
    mine = folds_digest([f"{fold}-{i}" for i in range(30)] for fold in FOLDS)
    like = {**dict.fromkeys(published.COLUMNS, ""), "dataset": "emodb", "task": "emotion", "target": "emotion"}
    like |= {"metric": "UAR", "distance": "not comparable", "reason": "other folds", "source": "a paper"}
    like |= {"average": "over folds"}
    rows = [("high", 0.99, mine), ("low", 0.5, mine), ("elsewhere", 0.9, "f" * 16)]
    table = pd.DataFrame([{**like, "model": m, "value": v, "folds": f, "split": m} for m, v, f in rows])
    monkeypatch.setattr(published, "_table", lambda: table)
    return table


def test_rows_of_the_same_folds_stand_among_ours(known: pd.DataFrame, tmp_path: Path) -> None:
    run = made(tmp_path, "svm", 0.7)
    made(tmp_path, "linear", 0.4)
    runs = load_runs(tmp_path)
    rows = published.beside(leaderboard(runs), runs)
    mean = over_folds(run).query("metric == 'UAR'")["value"].mean()
    assert 0.5 < mean < 0.99
    assert list(rows["model"])[:2] == ["high", "svm (ours)"]
    assert rows.set_index("model")["distance"].to_dict() == {
        "high": "same",
        "svm (ours)": "ours",
        "low": "same",
        "linear (ours)": "ours",
        "elsewhere": "not comparable",
    }
    own = rows[rows["model"].eq("svm (ours)")].iloc[0]
    assert own["value"] == pytest.approx(mean)
    assert (own["place"], own["source"]) == ("#2", run.signature)
    assert rows.set_index("model")["place"]["elsewhere"] == ""
    text = published.to_markdown(rows)
    assert "with ours among those of the same folds" in text
    assert text.index("| high |") < text.index("| svm (ours) |") < text.index("| low |") < text.index("| elsewhere |")


def test_without_runs_nothing_is_the_same(known: pd.DataFrame, tmp_path: Path) -> None:
    made(tmp_path, "svm", 0.7)
    rows = published.beside(leaderboard(load_runs(tmp_path)))
    assert set(rows["distance"]) == {"not comparable"}
    assert not rows["model"].str.contains("ours").any()


def test_the_table_knows_the_folds_that_emobox_publishes() -> None:
    """Digests and numbers of the file against the benchmark's own fold files and a few cells of its table."""
    if not (data := os.environ.get("SERBENCH_TEST_DATA")):
        pytest.skip("SERBENCH_TEST_DATA names no folder with emobox_folds")
    for corpus, share in (("emodb", ("WavLM large", 0.9258)), ("ravdess", ("Whisper large v3", 0.7532))):
        files = sorted((Path(data) / "emobox_folds" / corpus).glob("*_test_*.jsonl"))
        lines = [[json.loads(line)["key"] for line in file.read_text().splitlines()] for file in files]
        rows = published.references(corpus, "emotion")
        rows = rows[rows["folds"].ne("")]
        assert set(rows["folds"]) == {folds_digest([key.partition("-")[2] for key in keys] for keys in lines)}
        name, value = share
        cell = rows[rows["model"].str.startswith(name) & rows["metric"].eq("UAR")]
        assert cell["value"].tolist() == [value]
        assert len(rows) == 30
