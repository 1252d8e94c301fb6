"""Joining results folders and packing runs: duplicates, conflicts, labels and paths that stay at home."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.task import Task
from serbench.results.record.folder import Run, load_runs
from serbench.results.record.sharing import export_run, merge
from serbench.results.record.stressed import folder as stress_folder, stressed
from serbench.results.tables.leaderboard import leaderboard

pytestmark = pytest.mark.filterwarnings("error")
LABELS = ("anger", "neutral")
TASK = Task("emotion", "classification", ("emotion",), labels=LABELS)
ROOT = "/private/corpora/iemocap"


def table(trial: int, seed: int = 1, items: int = 24) -> pd.DataFrame:
    gold = np.random.default_rng(0).choice(LABELS, items)
    rng = np.random.default_rng([seed, trial])
    p = rng.dirichlet([1, 1], items)
    return pd.DataFrame(
        {
            "id": [f"u{i}" for i in range(items)],
            "subset": np.arange(items) % 4,
            "gold": gold,
            "predicted": np.array(LABELS)[p.argmax(axis=1)],
            "p_anger": p[:, 0],
            "p_neutral": p[:, 1],
        }
    )


def make(results: Path, model: str = "svm", trials: tuple[int, ...] = (0, 1), seed: int = 1, **spec: Any) -> Run:
    run = Run.create(
        results,
        {
            "model": {"name": model, "preset": "default", "config": {"c": 1.0}},
            "features": {},
            "dataset": {"name": "iemocap", "release": "", "digest": "d" * 16},
            "task": TASK.to_dict(),
            "protocol": {"name": "4x5", "subsets": 4, "folds": ["official"]},
            "labels": [],
            "arguments": {"root": ROOT, "trials": 2},
            "command": f"serbench run --model {model} --dataset iemocap --root {ROOT}",
            "serbench": "0.1.0",
            **spec,
        },
    )
    for trial in trials:
        facts = {"status": "done", "excluded": {"x": f"{ROOT}/x.wav is empty"}, "versions": {"serbench": "0.1.0"}}
        run.write_unit(trial, "official", facts, table(trial, seed))
    run.write_items(pd.DataFrame({"id": [f"u{i}" for i in range(24)], "speaker": [f"s{i % 6}" for i in range(24)]}))
    return run


def state(results: Path) -> dict[str, bytes]:
    return {str(p.relative_to(results)): p.read_bytes() for p in sorted(results.rglob("*")) if p.is_file()}


def test_folders_are_joined_unit_by_unit(tmp_path: Path) -> None:
    make(tmp_path / "a", trials=(0, 1))
    make(tmp_path / "b", trials=(1, 2))
    make(tmp_path / "b", "linear", trials=(0,), seed=5)
    done = merge([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert (done.units, done.duplicates, done.runs, done.notes) == (4, 1, 2, ())
    runs = load_runs(tmp_path / "out")
    assert not runs.problems
    by_model = {r.spec["model"]["name"]: r for r in runs}
    assert by_model["svm"].complete_trials() == [0, 1, 2]
    assert by_model["linear"].complete_trials() == [0]
    pd.testing.assert_frame_equal(
        by_model["svm"].predictions(2).drop(columns=["trial", "fold"]), table(2), check_dtype=False
    )
    assert by_model["svm"].items() is not None


def test_merging_again_changes_nothing(tmp_path: Path) -> None:
    make(tmp_path / "a")
    merge([tmp_path / "a"], tmp_path / "out")
    before = state(tmp_path / "out")
    done = merge([tmp_path / "a", tmp_path / "out"], tmp_path / "out")
    assert (done.units, done.duplicates) == (0, 2)
    assert state(tmp_path / "out") == before


def test_conflicting_records_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    make(tmp_path / "a", seed=1)
    make(tmp_path / "b", seed=2)
    make(tmp_path / "b", "linear", seed=3)
    with pytest.raises(SerbenchError, match="2 records conflict, so nothing was merged") as caught:
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    for said in (str(tmp_path / "a"), str(tmp_path / "b"), "trial 0, fold official", "trial 1", "values of predicted"):
        assert said in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_the_same_predictions_in_another_file_are_a_duplicate(tmp_path: Path) -> None:
    """Another order of rows gives another file, not other predictions."""
    make(tmp_path / "a", trials=(0,))
    other = make(tmp_path / "b", trials=())
    other.write_unit(0, "official", {"status": "done"}, table(0).sample(frac=1, random_state=3))
    done = merge([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert (done.units, done.duplicates) == (1, 1)


def test_a_finished_unit_replaces_a_failed_one(tmp_path: Path) -> None:
    failed = make(tmp_path / "out", trials=())
    failed.write_unit(0, "official", {"status": "failed", "error": "out of memory"}, None)
    make(tmp_path / "a", trials=(0,))
    assert merge([tmp_path / "a"], tmp_path / "out").units == 1
    assert load_runs(tmp_path / "out")[0].complete_trials() == [0]
    (tmp_path / "later").mkdir()
    again = make(tmp_path / "later", trials=())
    again.write_unit(0, "official", {"status": "failed", "error": "x"}, None)
    merge([tmp_path / "later"], tmp_path / "out")
    assert load_runs(tmp_path / "out")[0].complete_trials() == [0]


def test_damaged_runs_are_left_out_with_a_note(tmp_path: Path) -> None:
    make(tmp_path / "a")
    broken = make(tmp_path / "a", "linear")
    file = broken.path / "unit-0-official.parquet"
    file.write_bytes(file.read_bytes()[:-9])
    done = merge([tmp_path / "a"], tmp_path / "out")
    assert len(load_runs(tmp_path / "out")) == 1
    assert any(note.startswith("left out:") and broken.run_id in note for note in done.notes)


def test_mixed_versions_are_noted(tmp_path: Path) -> None:
    make(tmp_path / "a", trials=(0,))
    other = make(tmp_path / "b", trials=())
    other.write_unit(1, "official", {"status": "done", "versions": {"serbench": "0.2.0"}}, table(1))
    (note,) = merge([tmp_path / "a", tmp_path / "b"], tmp_path / "out").notes
    assert "mixes units of serbench 0.1.0, 0.2.0" in note


def test_nothing_to_merge_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SerbenchError, match="there are no runs in"):
        merge([tmp_path / "empty"], tmp_path / "out")
    with pytest.raises(SerbenchError, match="neither a results folder nor an exported zip"):
        merge([tmp_path / "nowhere"], tmp_path / "out")


def test_an_export_holds_no_labels_and_no_paths(tmp_path: Path) -> None:
    run = make(tmp_path / "a")
    path = export_run(run, tmp_path / "svm.zip")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        for name in names:
            data = archive.read(name)
            assert ROOT.encode() not in data, name
            assert str(tmp_path).encode() not in data, name
            if name.endswith("unit-0-official.parquet"):
                (tmp_path / "one.parquet").write_bytes(data)
        spec = json.loads(archive.read(f"runs/{run.run_id}/run.json"))
        archive.extract(f"runs/{run.run_id}/scores.csv", tmp_path / "x")
    held = pd.read_parquet(tmp_path / "one.parquet")
    assert list(held.columns) == ["id", "subset", "predicted", "p_anger", "p_neutral"]
    assert spec["command"] == "serbench run --model svm --dataset iemocap --root PATH"
    assert spec["exported"] == {"labels": False}
    assert not any(name.endswith((".wav", ".txt")) and "README" not in name for name in names)
    scores = pd.read_csv(tmp_path / "x" / "runs" / run.run_id / "scores.csv")
    pd.testing.assert_frame_equal(scores, run.scores(), check_dtype=False, rtol=1e-14)
    assert export_run(run, tmp_path / "again.zip").read_bytes() == path.read_bytes()


def test_an_export_with_labels_is_a_whole_record(tmp_path: Path) -> None:
    run = make(tmp_path / "a")
    merge([export_run(run, tmp_path / "svm.zip", labels=True)], tmp_path / "out")
    (back,) = load_runs(tmp_path / "out")
    pd.testing.assert_frame_equal(back.scores(), run.scores())
    assert back.run_id == run.run_id


@pytest.mark.parametrize("root", ["iemocap", "..", "corpora/iemocap", "~/iemocap"])
def test_a_root_that_is_a_mere_name_is_no_path_to_hide_elsewhere(tmp_path: Path, root: str) -> None:
    """`--root iemocap` typed beside the corpus: the dataset's name, the run's id and its command stay what they are."""
    run = make(
        tmp_path / "a", arguments={"root": root}, command=f"serbench run --model svm --dataset iemocap --root {root}"
    )
    path = export_run(run, tmp_path / "svm.zip", labels=True)
    assert merge([path], tmp_path / "out").runs == 1
    (back,) = load_runs(tmp_path / "out")
    assert back.run_id == run.run_id
    assert back.spec["dataset"]["name"] == "iemocap"
    assert back.spec["command"] == "serbench run --model svm --dataset iemocap --root PATH"


def test_labels_come_back_from_a_run_on_the_readers_own_corpus(tmp_path: Path) -> None:
    run = make(tmp_path / "a")
    path = export_run(run, tmp_path / "svm.zip")
    alone = merge([path], tmp_path / "out")
    assert any("came without gold labels" in note for note in alone.notes)
    make(tmp_path / "out", "linear", trials=(0,), seed=9)
    done = merge([path], tmp_path / "out")
    assert not done.notes
    back = load_runs(tmp_path / "out", model="svm")[0]
    pd.testing.assert_frame_equal(back.scores(), run.scores())


def perturbed(clean: Run, seed: int = 3) -> Run:
    """A record of perturbed audio beside a clean run, as `serbench stress` writes it."""
    about = {"of": clean.run_id, "name": "white:10", "kind": "white", "level": "10", "unit": "dB", "says": "noise"}
    return make(
        stress_folder(clean.results), seed=seed, stress={**about, "falling": True, "clean": None, "digest": "e"}
    )


@pytest.mark.parametrize("packed", [False, True], ids=["folders", "exports"])
def test_records_of_perturbed_audio_travel_with_their_run(tmp_path: Path, packed: bool) -> None:
    clean = make(tmp_path / "here")
    record = perturbed(clean)
    source = export_run(clean, tmp_path / "run.zip", labels=True) if packed else tmp_path / "here"
    merged = merge([source], tmp_path / "out")
    assert (merged.runs, merged.units) == (2, 4)
    (there,) = load_runs(tmp_path / "out")  # the folder of runs holds the clean one alone
    (moved,) = stressed(there)
    pd.testing.assert_frame_equal(moved.predictions(), record.predictions())
    pd.testing.assert_frame_equal(moved.scores(), record.scores())
    assert merge([source], tmp_path / "out").units == 0
    other = perturbed(make(tmp_path / "there"), seed=4)
    with pytest.raises(SerbenchError, match="2 records conflict"):
        merge([other.results.parent], tmp_path / "out")


def test_an_unlabelled_run_is_named_and_does_not_stop_the_ranking(tmp_path: Path) -> None:
    merge([export_run(make(tmp_path / "a"), tmp_path / "svm.zip")], tmp_path / "out")
    make(tmp_path / "out", "linear", protocol={"name": "4x5", "subsets": 4, "folds": ["official"], "seed": 1})
    runs = load_runs(tmp_path / "out")
    assert not runs.problems
    frame = leaderboard([r for r in runs if r.spec["model"]["name"] == "svm"])
    assert frame.empty
    assert "gold" in next(iter(frame.attrs["problems"].values()))


def test_archives_can_not_write_elsewhere(tmp_path: Path) -> None:
    run = make(tmp_path / "a")
    path = export_run(run, tmp_path / "svm.zip", labels=True)
    with zipfile.ZipFile(path, "a") as archive:
        for name in ("runs/../../evil.txt", "/tmp/evil.txt", "runs/x/../../evil.txt", "evil.txt"):
            archive.writestr(name, "no")
    merge([path], tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("evil.txt"))


def test_the_commands(tmp_path: Path) -> None:
    from serbench.benchmarks.cli.app import app

    run = make(tmp_path / "a")
    runner = CliRunner()
    packed = runner.invoke(app, ["export", "svm", "--results", str(tmp_path / "a"), "--out", str(tmp_path / "s.zip")])
    assert packed.exit_code == 0, packed.output
    by_folder = runner.invoke(app, ["export", str(run.path), "--labels", "--out", str(tmp_path / "t.zip")])
    assert by_folder.exit_code == 0, by_folder.output
    joined = runner.invoke(app, ["merge", str(tmp_path / "t.zip"), "--out", str(tmp_path / "out")])
    assert "2 units of 1 runs" in joined.output
    wrong = runner.invoke(app, ["export", "svm", "--results", str(tmp_path / "a"), "--out", str(tmp_path / "s.tar")])
    assert "no name of a zip file" in str(wrong.exception)
