"""A leaderboard that follows from the stored predictions, what tampering answers, and published results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.task import Task
from serbench.results.record.folder import Run, load_runs
from serbench.results.tables import references as published
from serbench.results.tables.leaderboard import leaderboard, with_intervals, write_leaderboard
from serbench.results.tables.pair_tests import Resampling
from serbench.results.tables.references import COLUMNS, beside, place, references
from serbench.results.tables.verify import verify_leaderboard

pytestmark = pytest.mark.filterwarnings("error")
LABELS = ("anger", "happiness", "neutral", "sadness")
TASK = Task("emotion", "classification", ("emotion",), labels=LABELS)
ITEMS = 80


def table(share: float, trial: int, seed: int) -> pd.DataFrame:
    gold = np.random.default_rng(0).choice(LABELS, ITEMS)
    rng = np.random.default_rng([seed, trial])
    predicted = np.where(rng.random(ITEMS) < share, gold, rng.choice(LABELS, ITEMS))
    return pd.DataFrame(
        {"id": [f"u{i}" for i in range(ITEMS)], "subset": np.arange(ITEMS) % 4, "gold": gold, "predicted": predicted}
    )


def make(results: Path, model: str, share: float, trials: int = 3, **spec: Any) -> Run:
    run = Run.create(
        results,
        {
            "model": {"name": model, "preset": "default", "config": {"share": share}},
            "features": {},
            "dataset": {"name": "iemocap", "release": "", "digest": "d" * 16},
            "task": TASK.to_dict(),
            "protocol": {"name": "4x5", "subsets": 4, "folds": ["official"]},
            "labels": [],
            "command": f"serbench run --model {model} --dataset iemocap",
            "serbench": "0.1.0",
            **spec,
        },
    )
    for trial in range(trials):
        facts = {"status": "done", "seconds": 1.25, "parameters": 7, "versions": {"serbench": "0.1.0"}}
        run.write_unit(trial, "official", facts, table(share, trial, sum(map(ord, model))))
    return run


@pytest.fixture
def board(tmp_path: Path) -> Path:
    for model, share in (("good", 0.7), ("fair", 0.4), ("chance", 0.0)):
        make(tmp_path, model, share)
    write_leaderboard(leaderboard(load_runs(tmp_path)), tmp_path)
    return tmp_path


def change(results: Path, model: str, **cells: Any) -> None:
    file = results / "leaderboard.csv"
    frame = pd.read_csv(file, dtype=str, keep_default_na=False)
    for column, value in cells.items():
        frame.loc[frame["model"].eq(model), column] = str(value)
    frame.to_csv(file, index=False)


def test_a_leaderboard_follows_from_its_predictions(board: Path) -> None:
    found = verify_leaderboard(board)
    assert (found.rows, found.runs, found.problems) == (3, 3, ())


def test_a_leaderboard_with_bootstrap_intervals_follows_too(board: Path) -> None:
    runs = load_runs(board)
    frame = with_intervals(leaderboard(runs), runs, Resampling(bootstrap=150))
    assert (frame["boot_low"] < frame["mean"]).all()
    assert (frame["mean"] < frame["boot_high"]).all()
    write_leaderboard(frame, board)
    assert verify_leaderboard(board).problems == ()
    change(board, "fair", boot_low=0.1)
    (problem,) = verify_leaderboard(board).problems
    assert "boot_low is 0.1, expected" in problem


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("mean", 0.99),
        ("sd", 0.5),
        ("low", 0.2),
        ("n", 20),
        ("rank", 1),
        ("p_chance", 0.5),
        ("p_chance_holm", 1e-9),
        ("p_chance_crossed", 0.04),
        ("beats_chance", "no"),
        ("signature", "model:other"),
        ("trials", 5),
        ("mean", "high"),
        ("mean", ""),
        ("parameters", 8),
        ("serbench", "9.9"),
    ],
)
def test_every_cell_that_was_changed_is_named(board: Path, column: str, value: Any) -> None:
    change(board, "fair", **{column: value})
    (problem,) = verify_leaderboard(board).problems
    assert "iemocap_emotion_fair_" in problem
    assert f"{column} is {value or 'empty'}, expected " in problem


def test_rounding_of_another_machine_is_no_change(board: Path) -> None:
    frame = pd.read_csv(board / "leaderboard.csv")
    change(board, "good", mean=repr(float(frame.loc[frame["model"].eq("good"), "mean"].iloc[0]) * (1 + 1e-12)))
    assert verify_leaderboard(board).problems == ()


def test_rows_that_are_missing_doubled_or_unknown_are_named(board: Path) -> None:
    file = board / "leaderboard.csv"
    frame = pd.read_csv(file, dtype=str, keep_default_na=False)
    frame[frame["model"] != "fair"].to_csv(file, index=False)
    problems = verify_leaderboard(board).problems
    assert any("fair" in p and "the run is not in the file" in p for p in problems)
    pd.concat([frame, frame.iloc[[0]]]).to_csv(file, index=False)
    assert any("occurs more than once" in p for p in verify_leaderboard(board).problems)
    pd.concat([frame, frame.iloc[[0]].assign(run_id="iemocap_emotion_made-up_0")]).to_csv(file, index=False)
    assert any("made-up_0: there is no such run folder" in p for p in verify_leaderboard(board).problems)
    pd.concat([frame, frame.iloc[[0]].assign(target="valence")]).to_csv(file, index=False)
    assert any("the run has no such target" in p for p in verify_leaderboard(board).problems)


def test_changed_predictions_are_found(board: Path) -> None:
    """A unit that is written anew with better predictions is sound in itself, but the file does not follow from it."""
    run = load_runs(board, model="fair")[0]
    better = table(0.4, 1, 1).assign(predicted=lambda t: t["gold"])
    run.write_unit(1, "official", {"status": "done", "seconds": 1.25, "parameters": 7}, better)
    problems = verify_leaderboard(board).problems
    assert any("fair" in p and "mean is" in p for p in problems)


@pytest.mark.parametrize("damage", ["truncated parquet", "edited run.json", "edited unit"])
def test_a_folder_edited_by_hand_is_named(board: Path, damage: str) -> None:
    run = load_runs(board, model="good")[0]
    if damage == "truncated parquet":
        file = run.path / "unit-1-official.parquet"
        file.write_bytes(file.read_bytes()[:-30])
    elif damage == "edited run.json":
        spec = json.loads((run.path / "run.json").read_text())
        spec["model"]["config"]["share"] = 0.9
        (run.path / "run.json").write_text(json.dumps(spec))
    else:
        facts = json.loads((run.path / "unit-1-official.json").read_text())
        (run.path / "unit-1-official.json").write_text(json.dumps({**facts, "trial": 7}))
    problems = verify_leaderboard(board).problems
    assert any("good" in p and ("is damaged" in p or "changed by hand" in p) for p in problems)


def test_what_is_no_leaderboard_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SerbenchError, match="serbench leaderboard"):
        verify_leaderboard(tmp_path)
    (tmp_path / "leaderboard.csv").write_text("model,mean\na,0.5\n")
    with pytest.raises(SerbenchError, match="lacks the column"):
        verify_leaderboard(tmp_path)
    (tmp_path / "leaderboard.csv").write_bytes(b"\xff\xfe\x00bad")
    with pytest.raises(SerbenchError, match="can't be read as CSV"):
        verify_leaderboard(tmp_path)


def test_the_command_ends_with_status_1_and_names_the_row(board: Path) -> None:
    from serbench.benchmarks.cli.app import app

    runner = CliRunner()
    done = runner.invoke(app, ["leaderboard", "--verify", "--results", str(board)])
    assert done.exit_code == 0
    assert "3 rows of 3 runs follow" in done.output
    change(board, "good", mean=0.9)
    done = runner.invoke(app, ["leaderboard", "--verify", "--results", str(board)])
    assert done.exit_code == 1
    assert "mean is 0.9, expected" in done.output


def test_mixed_versions_are_noted(board: Path) -> None:
    from serbench.benchmarks.cli.app import app

    run = load_runs(board, model="good")[0]
    run.write_unit(2, "official", {"status": "done", "versions": {"serbench": "0.2.0"}}, table(0.7, 2, 1))
    done = CliRunner().invoke(app, ["leaderboard", "--results", str(board)])
    assert "made by serbench 0.1.0 and 0.2.0" in " ".join(done.output.split())
    done = CliRunner().invoke(
        app,
        [
            "compare",
            "good",
            "fair",
            "--dataset",
            "iemocap",
            "--results",
            str(board),
            "--bootstrap",
            "50",
            "--swaps",
            "50",
        ],
    )
    assert "made by serbench 0.1.0 and 0.2.0" in " ".join(done.output.split())


# published results


def test_the_published_table_is_whole() -> None:
    rows = references()
    assert tuple(rows.columns) == COLUMNS
    assert len(rows) > 200
    assert set(rows["distance"]) <= {"same", "near", "not comparable"}
    assert rows["value"].between(-0.1, 1).all()
    for column in ("dataset", "task", "target", "split", "metric", "model", "source", "reason"):
        assert rows[column].str.len().gt(0).all(), column
    assert set(rows["metric"]) <= {"UAR", "WA", "macroF1", "CCC"}
    assert not rows.duplicated(["dataset", "release", "task", "target", "split", "metric", "model", "source"]).any()


def test_published_tasks_are_tasks_of_the_registered_corpora() -> None:
    from serbench.datasets import registry

    known = set(registry.names())
    assert set(references()["dataset"]) <= known


def cell(values: pd.Series, *key: str) -> float:
    """The only value of a key."""
    return float(values.loc[[key]].item())


def test_published_numbers_stand_as_in_their_sources() -> None:
    """A few cells read again by hand: EmoBox table 4, ser-tests, the challenge's PDF (arousal, valence, dominance)."""
    rows = references("iemocap", "emotion").set_index(["model", "metric"])["value"]
    assert cell(rows, "WavLM large frozen, small head", "UAR") == pytest.approx(0.6947)
    assert cell(rows, "Whisper large v3 frozen, small head", "macroF1") == pytest.approx(0.7311)
    meld = references("meld", "emotion").set_index(["model", "metric"])["value"]
    assert cell(meld, "HuBERT base frozen, small head", "WA") == pytest.approx(0.4547)
    msp = references("msp-podcast", "attributes")
    robust = msp[msp["model"].eq("wav2vec 2.0 large robust fine-tuned") & msp["source"].str.contains("ser-tests")]
    found = robust.set_index(["target", "split"])["value"]
    assert (cell(found, "arousal", "test1"), cell(found, "dominance", "test1"), cell(found, "valence", "test2")) == (
        0.745,
        0.634,
        0.4,
    )
    multi = msp[msp["model"].str.contains("multi-task") & msp["split"].eq("test3")].set_index("target")["value"]
    assert (multi["arousal"], multi["valence"], multi["dominance"]) == (0.577, 0.577, 0.405)
    sewa = references("sewa", "traces").set_index(["model", "split", "target"])["value"]
    assert cell(sewa, "Chen et al. 2017, winner of AVEC 2017 (audio+video+text)", "test DE", "liking") == 0.509
    assert cell(sewa, "AVEC 2018 baseline (audio+video+text)", "test DE", "valence") == 0.577
    emodb = references("emodb", "emotion").set_index(["model", "metric"])["value"]
    assert cell(emodb, "data2vec large frozen, small head", "WA") == pytest.approx(0.6195)
    urdu = references("urdu").set_index(["model", "metric"])["value"]
    assert cell(urdu, "HuBERT large frozen, small head", "UAR") == 0.8175
    crossed = references(task="emotion-4").set_index(["dataset", "model"])["value"]
    assert cell(crossed, "emodb", "WavLM fine-tuned on MSP-Podcast") == 0.91
    assert cell(crossed, "emovo", "CNN14 fine-tuned on MSP-Podcast") == 0.48
    assert cell(crossed, "ravdess", "HuBERT base fine-tuned on MSP-Podcast") == 0.39
    assert cell(crossed, "crema-d", "wav2vec 2.0 large robust fine-tuned on MSP-Podcast") == 0.58
    assert references("cafe").empty  # no number was found: none is printed


def test_every_cell_of_emobox_is_there_for_our_corpora() -> None:
    """Ten encoders on nine corpora, three metrics each."""
    rows = references()
    rows = rows[rows["source"].str.startswith("EmoBox") & rows["task"].eq("emotion")]
    counts = rows.groupby("dataset").size()
    corpora = ("crema-d", "emodb", "iemocap", "meld", "msp-podcast", "ravdess", "savee", "tess", "urdu")
    assert counts.to_dict() == dict.fromkeys(corpora, 30)
    assert rows.groupby(["dataset", "metric"]).size().eq(10).all()


def test_published_rows_stand_beside_and_never_in_a_ranking(board: Path) -> None:
    frame = leaderboard(load_runs(board))
    rows = beside(frame)
    assert len(rows) == len(references("iemocap", "emotion"))
    assert (rows["place"] == "").all()  # none of them is of the same protocol
    assert rows["metric"].iloc[0] == "UAR"
    assert not set(rows["model"]) & set(frame["name"])


def test_only_a_same_protocol_gets_a_place(board: Path) -> None:
    frame = leaderboard(load_runs(board))
    best = frame["mean"].max()
    row = {"distance": "same", "metric": "UAR", "value": best + 0.01}
    assert place(row, frame) == "before #1"
    assert place({**row, "value": best - 1e-6}, frame) == "before #2"
    assert place({**row, "value": 0.0}, frame) == "last"
    assert place({**row, "distance": "near"}, frame) == ""
    assert place({**row, "metric": "WA"}, frame) == ""


def test_another_release_is_not_comparable(tmp_path: Path) -> None:
    task = Task("arousal", "regression", ("arousal",), scales={"arousal": (1.0, 7.0)})
    for release, near in (("1.6", True), ("1.11", False)):
        results = tmp_path / release
        run = make(
            results,
            "chance",
            0.0,
            trials=0,
            task=task.to_dict(),
            dataset={"name": "msp-podcast", "release": release, "digest": "e" * 16},
        )
        gold = np.random.default_rng(0).uniform(1, 7, ITEMS)
        rows = pd.DataFrame(
            {
                "id": [f"u{i}" for i in range(ITEMS)],
                "subset": np.arange(ITEMS) % 4,
                "gold_arousal": gold,
                "pred_arousal": gold[::-1],
            }
        )
        run.write_unit(0, "official", {"status": "done"}, rows)
        found = beside(leaderboard(load_runs(results)))
        found = found[found["source"].str.contains("DeepEmoCluster")]
        assert len(found) == 1
        assert set(found["distance"]) == {"near" if near else "not comparable"}
        assert found["reason"].str.contains("another release than 1.11").any() != near


def test_references_on_screen_and_in_markdown(board: Path) -> None:
    from serbench.benchmarks.cli.app import app

    done = CliRunner().invoke(app, ["leaderboard", "--references", "--results", str(board)])
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    assert "published results, not ranked with ours" in text
    assert "arXiv 2406.07162" in text
    markdown = (board / "leaderboard.md").read_text()
    assert markdown.count("| WavLM large frozen, small head |") == 3
    assert pd.read_csv(board / "leaderboard.csv")["model"].isin(["good", "fair", "chance"]).all()
    assert verify_leaderboard(board).problems == ()
    assert published.to_markdown(beside(leaderboard(load_runs(board))).iloc[:0]) == ""
