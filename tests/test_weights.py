"""Trained weights as rows of a leaderboard, without training: `serbench run --weights`, and what saved weights hold."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from typer.testing import CliRunner

from serbench.benchmarks.analyses.clusters import Choices, find_weights
from serbench.benchmarks.cli.app import app
from serbench.benchmarks.grid import untrained
from serbench.benchmarks.grid.grid import from_record, run
from serbench.benchmarks.protocol.protocol import Protocol
from serbench.benchmarks.protocol.request import Request
from serbench.benchmarks.weights.predict import predict
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.reading.load import load_corpus
from serbench.datasets.schema.task import Task
from serbench.features.core.feature_extractor import FeatureRequest
from serbench.results.record.folder import Run, load_runs
from serbench.results.record.sharing import export_run
from serbench.results.tables.compare import compare, render_compare
from serbench.results.tables.leaderboard import leaderboard, to_markdown
from serbench.sermodels import chance
from serbench.sermodels.core.persist import describe, save_model, trained_on
from serbench.sermodels.core.sermodel import Data, Resources

FEATURE = {"feature.bands": "40", "feature.fmax": "4000"}
TWO = Protocol(subsets=2)


@pytest.fixture(scope="session")
def toy(toy_corpus: Callable[..., Path]) -> Callable[..., Path]:
    """Make a `table` corpus of 40 babbles with four classes and two attributes on 1..7; arguments replace columns."""
    return partial(toy_corpus, seconds=0.6, classes=4, columns=("emotion", "arousal", "valence"), scale="1..7")


@pytest.fixture(scope="session")
def corpus_file(toy: Callable[..., Path]) -> Path:
    return toy()


@pytest.fixture(scope="session")
def trained(
    corpus_file: Path, tmp_path_factory: pytest.TempPathFactory, tiny_chunked: dict[str, str]
) -> dict[str, Run]:
    """Tiny runs by task, on features that are not the model's default ones, with their weights kept."""
    results = tmp_path_factory.mktemp("trained")
    return {
        task: run(
            "cnn-regressor",
            "table",
            root=corpus_file,
            task=task,
            settings={**tiny_chunked, **FEATURE},
            trials=1,
            protocol=TWO,
            results=results,
            threads=1,
            save_models=True,
        )[0]
        for task in ("arousal", "valence", "emotion")
    }


def weights_of(one: Run) -> Path:
    (file,) = one.path.glob("unit-0-*.safetensors")
    return file


def score(files: list[Path], corpus_file: Path, results: Path, **more: Any) -> list[Run]:
    given: dict[str, Any] = {"protocol": TWO, "trials": 2, "threads": 1, **more}
    return run(dataset="table", weights=files, root=corpus_file, results=results, **given)


def of_trial(one: Run, trial: int = 0) -> pd.DataFrame:
    return one.predictions(trial).sort_values("id", ignore_index=True).drop(columns="trial")


def ccc(gold: Any, predicted: Any) -> float:
    x, y = np.asarray(gold, dtype=float), np.asarray(predicted, dtype=float)
    return float(2 * np.mean((x - x.mean()) * (y - y.mean())) / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))


# What saved weights hold


def test_saved_weights_know_the_features_and_the_fold_that_they_were_trained_on(trained: dict[str, Run]) -> None:
    head = describe(weights_of(trained["arousal"]))
    assert trained_on(head) == {"input": FeatureRequest("mel", (("bands", "40"), ("fmax", "4000")))}
    assert head["notes"]["run"] == trained["arousal"].run_id
    facts = trained["arousal"].spec["dataset"]
    known = {key: facts[key] for key in ("name", "release", "digest")}
    assert head["notes"]["trained_on"] == {**known, "split": "official", "fold": "official"}


def test_predict_makes_the_features_that_the_weights_were_trained_on(
    trained: dict[str, Run], corpus_file: Path
) -> None:
    """Else it could not come to the record's own test predictions, which the training process made."""
    corpus = load_corpus("table", corpus_file)
    found = predict([weights_of(trained["arousal"])], corpus, partition="test", device="cpu").table.set_index("file")
    recorded = of_trial(trained["arousal"])
    paths = corpus.utterances.loc[recorded["id"], "path"]
    np.testing.assert_allclose(found.loc[paths, "arousal"], recorded["pred_arousal"], atol=1e-5)


# Rows of the leaderboard


@pytest.mark.parametrize("task", ["arousal", "emotion"])
def test_a_row_holds_what_predict_predicts(
    task: str, trained: dict[str, Run], corpus_file: Path, tmp_path: Path
) -> None:
    file, corpus = weights_of(trained[task]), load_corpus("table", corpus_file)
    (one,) = score([file], corpus_file, tmp_path)
    assert one.task.name == task
    table = of_trial(one)
    found = predict([file], corpus, partition="test", device="cpu").table.set_index("file")
    found = found.loc[corpus.utterances.loc[table["id"], "path"]]
    if task == "arousal":
        np.testing.assert_allclose(table["pred_arousal"], found["arousal"], atol=1e-5)
        np.testing.assert_array_equal(table["gold_arousal"], corpus.utterances.loc[table["id"], "arousal"])
        scores = one.scores().query("metric == 'CCC' and trial == 0").set_index("subset")["value"]
        for subset, part in table.groupby("subset"):
            assert scores[subset] == pytest.approx(ccc(part["gold_arousal"], part["pred_arousal"]), abs=1e-9)
    else:
        assert table["predicted"].tolist() == found["emotion"].tolist()
        for label in corpus.task("emotion").labels:
            np.testing.assert_allclose(table[f"p_{label}"], found[f"p_{label}"], atol=1e-5)
    pd.testing.assert_frame_equal(table[["id", "subset"]], of_trial(trained[task])[["id", "subset"]])


def test_all_trials_are_one_prediction_and_the_signature_says_that_nothing_was_trained(
    trained: dict[str, Run], corpus_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    outcome = untrained._outcome
    monkeypatch.setattr(untrained, "_outcome", lambda *a: made.append(1) or outcome(*a))
    (one,) = score([weights_of(trained["arousal"])], corpus_file, tmp_path, trials=5)
    assert len(made) == 1
    assert one.complete_trials() == [0, 1, 2, 3, 4]
    for trial in range(1, 5):
        pd.testing.assert_frame_equal(of_trial(one, trial), of_trial(one))
    assert "|labels:no-training,saved-weights|" in one.signature
    units = one.units()
    assert {u["counts"]["train"] for u in units} == {0}
    assert {u["status"] for u in units} == {"done"}
    assert units[0]["cost"]["macs_per_second"] > 0
    assert one.protocol_digest == trained["arousal"].protocol_digest
    score([weights_of(trained["arousal"])], corpus_file, tmp_path, trials=5)
    assert len(made) == 1, "a finished row is not predicted again"
    score([weights_of(trained["arousal"])], corpus_file, tmp_path, trials=6)
    assert len(made) == 2
    assert one.complete_trials() == [0, 1, 2, 3, 4, 5]


def test_it_stands_in_the_leaderboard_beside_chance_and_paired_tests_are_told(
    trained: dict[str, Run], corpus_file: Path, tmp_path: Path, tiny_chunked: dict[str, str]
) -> None:
    (one,) = score([weights_of(trained["arousal"])], corpus_file, tmp_path)
    settings = {**tiny_chunked, **FEATURE}
    (other,) = run(
        "cnn-regressor",
        "table",
        root=corpus_file,
        task="arousal",
        settings=settings,
        trials=2,
        protocol=TWO,
        results=tmp_path,
        threads=1,
    )
    board = leaderboard(load_runs(tmp_path))
    assert set(board["name"]) == {"cnn-regressor:weights", "cnn-regressor", "chance", "chance:random"}
    assert board.set_index("name").loc["cnn-regressor:weights", "beats_chance"] in ("yes", "no")
    assert "cnn-regressor:weights" in to_markdown(board)
    frame = compare([one, other])
    assert frame["untrained"].tolist() == ["a"]
    assert not frame["repeated_trials"].any()
    shown = " ".join(str(line) for line in render_compare(frame).renderables)
    assert "Without training: cnn-regressor:weights." in shown
    plain = render_compare(compare([other, next(r for r in load_runs(tmp_path, model="chance"))]))
    assert "Without training" not in " ".join(str(line) for line in plain.renderables)


def test_other_weights_are_another_run(
    trained: dict[str, Run], corpus_file: Path, tmp_path: Path, tiny_chunked: dict[str, str]
) -> None:
    """Though model, settings, features, task and protocol are the same, and under the same file name."""
    (first,) = score([weights_of(trained["arousal"])], corpus_file, tmp_path)
    (again,) = run(
        "cnn-regressor",
        "table",
        root=corpus_file,
        task="arousal",
        settings={**tiny_chunked, **FEATURE},
        trials=1,
        protocol=replace(TWO, seed=7),
        results=tmp_path / "b",
        threads=1,
        save_models=True,
    )
    (second,) = score([weights_of(again)], corpus_file, tmp_path)
    assert first.run_id != second.run_id
    for one, made in ((first, trained["arousal"]), (second, again)):
        assert f"|weights:{hashlib.sha256(weights_of(made).read_bytes()).hexdigest()[:8]}|" in one.signature
    assert first.spec["model"]["config"] == second.spec["model"]["config"]
    assert not np.allclose(of_trial(first)["pred_arousal"], of_trial(second)["pred_arousal"])


def test_files_for_the_targets_of_a_joint_task_make_one_row(
    trained: dict[str, Run], corpus_file: Path, tmp_path: Path
) -> None:
    files = [weights_of(trained["valence"]), weights_of(trained["arousal"])]
    (joint,) = score(files, corpus_file, tmp_path, task="attributes")
    (same,) = score(files[::-1], corpus_file, tmp_path, task="attributes")
    assert joint.run_id == same.run_id
    with pytest.raises(SerbenchError, match="scores given weights"):
        find_weights(joint, Choices())
    alone = score(files, corpus_file, tmp_path)
    assert [one.task.name for one in alone] == ["valence", "arousal"]
    for one in alone:
        column = f"pred_{one.task.name}"
        np.testing.assert_allclose(of_trial(joint)[column], of_trial(one)[column], atol=1e-6)
    assert {"arousal", "valence", "mean"} <= set(joint.scores()["target"])
    assert len(joint.spec["model"]["weights"]) == 2


def test_predictions_are_carried_to_the_corpus_s_scale(
    trained: dict[str, Run], corpus_file: Path, toy: Callable[..., Path], tmp_path: Path
) -> None:
    values = pd.read_csv(corpus_file)
    other = toy(
        tmp_path / "small", scale="0..1", arousal=(values["arousal"] - 1) / 6, valence=(values["valence"] - 1) / 6
    )
    (one,) = score([weights_of(trained["arousal"])], corpus_file, tmp_path)
    (small,) = score([weights_of(trained["arousal"])], other, tmp_path / "results")
    joined = of_trial(one).merge(of_trial(small), on="id", suffixes=("", "_small"))
    assert len(joined) == len(of_trial(one))
    np.testing.assert_allclose(joined["pred_arousal_small"], (joined["pred_arousal"] - 1) / 6, atol=1e-6)
    assert "training-data-unknown" in small.signature, "a table of another digest may or may not hold the same speech"


def test_classes_are_put_by_name() -> None:
    ours = Task("emotion", "classification", ("emotion",), labels=("anger", "neutral", "sadness"))
    theirs = replace(ours, labels=("sadness", "anger", "neutral"))
    found = untrained.together([(theirs, np.array([[0.1, 0.2, 0.7]]))], ours)
    np.testing.assert_array_equal(found, [[0.2, 0.7, 0.1]])
    scales = {"arousal": (-1.0, 1.0), "liking": (0.0, 1.0)}
    joint = Task("traces", "continuous", ("arousal", "liking"), scales=scales, frame_seconds=0.1)
    halves = [replace(joint, targets=(t,), scales={t: (0.0, 1.0)}) for t in ("liking", "arousal")]
    frames = [np.array([[0.25], [0.5]]), np.array([[1.0]])]
    one, two = untrained.together([(half, frames) for half in halves], joint)
    np.testing.assert_array_equal(one, [[-0.5, 0.25], [0.0, 0.5]])
    np.testing.assert_array_equal(two, [[1.0, 1.0]])


def test_some_of_a_corpus_s_classes(corpus_file: Path, tmp_path: Path) -> None:
    """Weights for two of the four classes are scored on the task of these two, as `--classes` makes it."""
    (two,) = run(
        "chance",
        "table",
        root=corpus_file,
        task="emotion",
        classes=("anger", "sadness"),
        trials=1,
        protocol=TWO,
        results=tmp_path,
        threads=1,
        save_models=True,
    )
    (one,) = score([weights_of(two)], corpus_file, tmp_path)
    assert one.task.name == two.task.name == "emotion:anger+sadness"
    assert one.protocol_digest == two.protocol_digest


@pytest.mark.slow
def test_weights_of_a_time_continuous_task(tmp_path: Path) -> None:
    (first,) = run("chance", "demo", task="traces", trials=1, results=tmp_path / "a", threads=1, save_models=True)
    (one,) = run(dataset="demo", weights=[weights_of(first)], results=tmp_path / "b", trials=1, threads=1)
    order = ["id", "frame"]
    found, expected = (r.predictions(0).sort_values(order, ignore_index=True) for r in (one, first))
    pd.testing.assert_frame_equal(found, expected)
    assert "no-training,saved-weights" in one.signature


# Records


def test_a_record_is_repeated_and_a_changed_file_is_refused(
    trained: dict[str, Run], corpus_file: Path, tmp_path: Path
) -> None:
    file = tmp_path / "w.safetensors"
    file.write_bytes(weights_of(trained["arousal"]).read_bytes())
    (one,) = score([file], corpus_file, tmp_path / "a")
    (again,) = from_record(one.path / "run.json", tmp_path / "b", threads=1)
    assert again.run_id == one.run_id
    assert again.path != one.path
    pd.testing.assert_frame_equal(of_trial(again, 1), of_trial(one, 1))
    assert Request.from_dict(one.spec["arguments"]).weights[0].path == str(file)
    file.write_bytes(weights_of(trained["valence"]).read_bytes())
    with pytest.raises(SerbenchError, match="has changed: expected SHA-256"):
        from_record(one.path, tmp_path / "c")
    file.unlink()
    with pytest.raises(SerbenchError, match="there is no file"):
        from_record(one.path, tmp_path / "c")


def test_the_command(trained: dict[str, Run], corpus_file: Path, tmp_path: Path) -> None:
    files = [str(weights_of(trained[task])) for task in ("arousal", "emotion")]
    given = [text for file in files for text in ("--weights", file)]
    command = [
        "run",
        *given,
        "--dataset",
        "table",
        "--root",
        str(corpus_file),
        "--trials",
        "1",
        "--subsets",
        "2",
        "--threads",
        "1",
        "--results",
        str(tmp_path),
    ]
    done = CliRunner().invoke(app, [*command, "--model", "cnn-regressor"])
    assert done.exit_code == 0, done.output
    found = {run.task.name: run for run in load_runs(tmp_path, model="cnn-regressor")}
    assert sorted(found) == ["arousal", "emotion"]
    assert f"--weights {files[0]}" in found["arousal"].spec["command"]
    again = CliRunner().invoke(app, found["arousal"].fill_line(2).split()[1:])
    assert again.exit_code == 0, again.output
    assert found["arousal"].complete_trials() == [0, 1]
    refused = {
        "--set": ["--set", "model.width=4"],
        "--preset": ["--preset", "paper"],
        "--save-models": ["--save-models"],
        "--test-dataset": ["--test-dataset", "demo"],
        "two --model": ["--model", "svm", "--model", "linear"],
    }
    for flag, more in refused.items():
        answer = CliRunner().invoke(app, [*command, *more])
        assert isinstance(answer.exception, SerbenchError)
        assert f"leave {flag} out" in str(answer.exception)
    answer = CliRunner().invoke(app, ["run", *given])
    assert "expected --dataset" in str(answer.exception)


def test_an_export_names_no_folder_of_this_machine(trained: dict[str, Run], corpus_file: Path, tmp_path: Path) -> None:
    (one,) = score([weights_of(trained["arousal"])], corpus_file, tmp_path)
    with zipfile.ZipFile(export_run(one, tmp_path / "out.zip")) as packed:
        spec = json.loads(packed.read(f"runs/{one.run_id}/run.json"))
    assert str(corpus_file.parent) not in json.dumps(spec)
    assert str(trained["arousal"].path) not in json.dumps(spec)
    assert spec["model"]["weights"] == one.spec["model"]["weights"]


# Leaks


def test_weights_of_a_fold_are_not_scored_on_what_they_were_trained_on(corpus_file: Path, tmp_path: Path) -> None:
    table = pd.read_csv(corpus_file).drop(columns="partition")
    table.to_csv(corpus_file.parent / "folds.csv", index=False)
    file = corpus_file.parent / "folds.csv"
    (chance_run,) = run(
        "chance",
        "table",
        root=file,
        task="emotion",
        trials=1,
        protocol=TWO,
        results=tmp_path,
        threads=1,
        save_models=True,
    )
    weights = sorted(chance_run.path.glob("unit-0-*.safetensors"))[0]
    assert describe(weights)["notes"]["trained_on"]["fold"] in chance_run.folds
    with pytest.raises(SerbenchError, match=r"stand both in training and in test.*--allow-leak"):
        score([weights], file, tmp_path)
    (one,) = score([weights], file, tmp_path, allow_leak=True)
    assert "leak:speaker" in one.signature
    assert "leak:audio" in one.signature


def test_imported_weights_say_so(trained: dict[str, Run], corpus_file: Path, tmp_path: Path) -> None:
    task = Task("emotion", "classification", ("emotion",), labels=("anger", "happiness", "neutral", "sadness"))
    model = chance.Model(chance.PRESETS["default"], task, Resources())
    items = pd.DataFrame(index=pd.Index(["a", "b", "c"], name="id"))
    data = Data(task, items, {}, np.array([0, 0, 1]))
    model.fit(data, data, lambda gold, predicted: 0.0)
    for seen, label in (("table", "training-data-unknown"), ("msp-podcast", ""), ("", "training-data-unknown")):
        notes = {"imported_from": "x.pth", **({"trained_on": {"name": seen, "release": "1"}} if seen else {})}
        file = save_model(model, tmp_path / f"{seen}.safetensors", None, notes)
        (one,) = score([file], corpus_file, tmp_path / "results")
        assert one.spec["labels"][:2] == ["no-training", "imported-weights"]
        assert one.spec["labels"][2:] == ([label] if label else [])


# Bad input


def test_what_can_t_be_scored_is_said_in_words(trained: dict[str, Run], corpus_file: Path, tmp_path: Path) -> None:
    arousal, valence, emotion = (weights_of(trained[t]) for t in ("arousal", "valence", "emotion"))
    with pytest.raises(SerbenchError, match=r"there is no file .*gone\.safetensors"):
        score([tmp_path / "gone.safetensors"], corpus_file, tmp_path)
    with pytest.raises(SerbenchError, match=r"holds weights of 'cnn-regressor', but --model svm was given"):
        score([arousal], corpus_file, tmp_path, model="svm")
    with pytest.raises(SerbenchError, match="are the same weights"):
        score([arousal, arousal], corpus_file, tmp_path)
    with pytest.raises(SerbenchError, match=r"predicts arousal \(regression\)\. Expected weights for 'emotion'"):
        score([arousal], corpus_file, tmp_path, task="emotion")
    with pytest.raises(SerbenchError, match=r"Expected weights for 'attributes': arousal, valence \(regression\), "):
        score([arousal], corpus_file, tmp_path, task="attributes")
    with pytest.raises(SerbenchError, match="Expected weights for 'attributes'"):
        score([arousal, valence, emotion], corpus_file, tmp_path, task="attributes")
    with pytest.raises(SerbenchError, match="one corpus at a time"):
        run(dataset="table+demo", weights=[arousal], results=tmp_path)
    with pytest.raises(SerbenchError, match="name that too"):
        score([emotion], corpus_file, tmp_path, classes=("anger", "neutral"))
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(SerbenchError, match="not a readable safetensors file"):
        score([tmp_path / "text.safetensors"], corpus_file, tmp_path)
    assert not (tmp_path / "runs").exists()


def test_a_corpus_without_the_labels_says_what_was_expected(
    trained: dict[str, Run], corpus_file: Path, tmp_path: Path
) -> None:
    labelled = pd.read_csv(corpus_file)[["path", "speaker", "partition", "emotion"]]
    labelled.to_csv(corpus_file.parent / "classes.csv", index=False)
    with pytest.raises(
        SerbenchError,
        match=r"predicts arousal \(regression\), and table has no such task. It has: "
        r"emotion \(classes anger, .*Expected a corpus with labels of arousal",
    ):
        score([weights_of(trained["arousal"])], corpus_file.parent / "classes.csv", tmp_path)


def test_a_bad_file_is_left_out_and_counted(trained: dict[str, Run], toy: Callable[..., Path], tmp_path: Path) -> None:
    file = toy(tmp_path / "toy")
    tested = pd.read_csv(file).query("partition == 'test'")["path"].tolist()
    (file.parent / tested[0]).write_bytes(b"no audio")
    (one,) = score([weights_of(trained["arousal"])], file, tmp_path)
    (unit, _) = one.units()
    assert unit["status"] == "done"
    assert list(unit["excluded"]) == [tested[0]]
    assert unit["counts"]["test"] == len(tested) - 1 == len(of_trial(one))


def test_a_failure_is_recorded_with_its_reason(
    trained: dict[str, Run], corpus_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("out of luck")

    with monkeypatch.context() as patch:
        patch.setattr(untrained, "together", broken)
        (one,) = score([weights_of(trained["arousal"])], corpus_file, tmp_path)
    assert {u["error"] for u in one.units()} == {"RuntimeError: out of luck"}
    assert one.complete_trials() == []
    score([weights_of(trained["arousal"])], corpus_file, tmp_path)
    assert one.complete_trials() == [0, 1]


def test_a_corpus_that_has_labels_of_test_items_alone(
    trained: dict[str, Run], toy: Callable[..., Path], tmp_path: Path
) -> None:
    file = toy(tmp_path / "toy")
    table = pd.read_csv(file)
    tested = table["partition"].eq("test")
    table.assign(arousal=table["arousal"].where(tested)).to_csv(file, index=False)
    (one,) = score([weights_of(trained["arousal"])], file, tmp_path)
    assert len(of_trial(one)) == tested.sum()
    assert {r.spec["model"]["name"] for r in load_runs(tmp_path)} == {"cnn-regressor"}


def test_silent_and_very_short_files_have_a_score_and_empty_ones_a_reason(
    trained: dict[str, Run], tmp_path: Path
) -> None:
    for name, samples in (("silent", 16000), ("short", 10), ("one", 1), ("empty", 0)):
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(samples, dtype="f4"), 16000)
    found = predict([weights_of(trained["arousal"])], [tmp_path], device="cpu")
    assert found.table["file"].tolist() == ["one.wav", "short.wav", "silent.wav"]
    assert np.isfinite(found.table["arousal"]).all()
    assert list(found.failed) == ["empty.wav"]
