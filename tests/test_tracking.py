"""Trackers: TensorBoard and MLflow read back what a training said, W&B is called as it wants, and no record changes."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import types
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from serbench.benchmarks import run
from serbench.benchmarks.cli.app import app
from serbench.benchmarks.grid.trial import TrainingJob
from serbench.benchmarks.protocol.protocol import Division, Protocol
from serbench.benchmarks.tracking import tracked
from serbench.benchmarks.tracking.tracker import TRACKERS, Careful, Place, flat, module_of
from serbench.datasets.core.errors import SerbenchError, SerbenchWarning, StorageError
from serbench.datasets.core.libraries import LibraryError
from serbench.results.record.folder import Run

EPOCHS = 3


def loaded(name: str) -> types.ModuleType:
    """A tracker's own library; where a release of it can't be loaded, what needs it is skipped."""
    return pytest.importorskip(name, exc_type=Exception, reason=f"{name} can't be loaded")


@pytest.fixture(scope="module")
def train(
    toy_corpus: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory, tiny_chunked: dict[str, str]
) -> Callable[..., Run]:
    """Train a small network in two trials, with a tracker, into a folder of its own."""
    file = toy_corpus(seconds=0.6, classes=4, columns=("emotion", "arousal"), scale="1..7")
    settings = {**tiny_chunked, "feature.bands": "40", "feature.fmax": "4000", "train.epochs": str(EPOCHS)}

    def work(track: str = "", **more: Any) -> Run:
        folder = tmp_path_factory.mktemp(track or "untracked")
        given: dict[str, Any] = {"protocol": Protocol(subsets=2), "trials": 2, "threads": 1, "results": folder, **more}
        return run("cnn-regressor", "table", root=file, task="arousal", settings=settings, track=track, **given)[0]

    return work


@pytest.fixture(scope="module")
def untracked(train: Callable[..., Run]) -> Run:
    return train()


def expect_same_record(one: Run, other: Run) -> None:
    """The specification, every prediction and every logged number but seconds are the same."""
    assert one.spec == other.spec
    assert one.run_id == other.run_id
    for a, b in zip(one.units(), other.units(), strict=True):
        assert a["predictions"] == b["predictions"]
        assert a.keys() == b.keys()
        strip = [[{k: v for k, v in row.items() if k != "seconds"} for row in unit["epochs"]] for unit in (a, b)]
        assert strip[0] == strip[1]
        assert len(strip[0]) == EPOCHS


def means(one: Run) -> dict[str, float]:
    scores = one.scores().groupby(["target", "metric"])["value"].mean()
    return {f"test/{target}/{metric}": value for (target, metric), value in scores.items()}


def test_tensorboard_has_curves_settings_and_scores(train: Callable[..., Run], untracked: Run) -> None:
    EventAccumulator = loaded("tensorboard.backend.event_processing.event_accumulator").EventAccumulator
    one = train("tensorboard")
    expect_same_record(one, untracked)
    folder = one.results / "tensorboard" / one.run_id
    assert len(list(folder.iterdir())) == 3
    for unit in one.units():
        events = EventAccumulator(str(folder / f"cnn-regressor-trial-{unit['trial'] + 1}-official"))
        events.Reload()
        for key in ("loss", "dev_score"):
            said = [(e.step, e.value) for e in events.Scalars(key)]
            assert said == [(row["epoch"], pytest.approx(row[key], abs=1e-6)) for row in unit["epochs"]]
        assert events.Scalars("final/dev_score")[0].value == pytest.approx(unit["dev_score"], abs=1e-6)
        (text,) = events.Tensors("configuration/text_summary")
        said = json.loads(text.tensor_proto.string_val[0].decode().removeprefix("```json").removesuffix("```"))
        assert (said["trial"], said["config.train.epochs"]) == (unit["trial"] + 1, EPOCHS)
    events = EventAccumulator(str(folder / "cnn-regressor"))
    events.Reload()
    for key, value in means(one).items():
        assert events.Scalars(f"final/{key}")[0].value == pytest.approx(value, abs=1e-6)
    assert f"runs/{one.run_id}/run.json" in zipfile.ZipFile(folder / "cnn-regressor" / f"{one.run_id}.zip").namelist()


def test_mlflow_has_curves_settings_scores_and_the_record(
    train: Callable[..., Run], untracked: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking = loaded("mlflow.tracking")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    one = train("mlflow")
    expect_same_record(one, untracked)
    client = tracking.MlflowClient(f"sqlite:///{one.results / 'mlflow' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("serbench")
    found = {r.data.tags["mlflow.runName"]: r for r in client.search_runs([experiment.experiment_id])}
    own = {name: r for name, r in found.items() if name.startswith("cnn-regressor")}
    assert len(own) == 3
    for unit in one.units():
        logged = own[f"cnn-regressor trial {unit['trial'] + 1} official"]
        curve = client.get_metric_history(logged.info.run_id, "loss")
        assert sorted((m.step, m.value) for m in curve) == [(row["epoch"], row["loss"]) for row in unit["epochs"]]
        assert logged.data.params["seed"] == str(unit["seed"])
        assert logged.data.params["signature"] == one.signature[:500]
        assert logged.info.status == "FINISHED"
    record = own["cnn-regressor"]
    assert {k: record.data.metrics[f"final/{k}"] for k in means(one)} == pytest.approx(means(one))
    (kept,) = client.list_artifacts(record.info.run_id)
    assert kept.path == f"{one.run_id}.zip"


class Wandb(types.ModuleType):
    """What serbench calls of W&B, written down."""

    def __init__(self, fails_at: str = "") -> None:
        super().__init__("wandb")
        self.said: list[tuple[Any, ...]] = []
        self.fails_at = fails_at

    def say(self, *what: Any) -> None:
        if what[0] == self.fails_at:
            raise ConnectionError("the server is gone")
        self.said.append(what)

    def init(self, *, project: str, name: str, group: str, config: Any, dir: str, reinit: str) -> Any:
        self.say("init", project, name, group, config, reinit)
        return types.SimpleNamespace(
            log=lambda values, step: self.say("log", values, step),
            summary=types.SimpleNamespace(update=lambda values: self.say("summary", values)),
            log_artifact=lambda artefact: self.say("artefact", artefact),
            finish=lambda exit_code: self.say("finish", exit_code),
        )

    def Artifact(self, name: str, type: str) -> Any:  # noqa: N802 - the library's name
        made = types.SimpleNamespace(name=name, type=type, files=[])
        made.add_file = lambda path: made.files.append((path, zipfile.is_zipfile(path)))
        return made


def test_wandb_is_told_of_curves_settings_scores_and_the_record(
    train: Callable[..., Run], untracked: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    one = train("wandb")
    expect_same_record(one, untracked)
    begun = [said for said in wandb.said if said[0] == "init" and said[3] == one.run_id]
    assert [said[2] for said in begun] == [
        "cnn-regressor trial 1 official",
        "cnn-regressor trial 2 official",
        "cnn-regressor",
    ]
    assert begun[0][4]["config.train.epochs"] == EPOCHS
    steps = [said[2] for said in wandb.said if said[0] == "log"]
    assert steps == [1, 2, 3, 1, 2, 3]
    assert means(one) in [said[1] for said in wandb.said if said[0] == "summary"]
    (kept,) = [said[1] for said in wandb.said if said[0] == "artefact" and said[1].name == one.run_id]
    assert kept.files[0][1]
    assert all(said[1] == 0 for said in wandb.said if said[0] == "finish")


WITH_WANDB = """
import warnings
from pathlib import Path
from serbench.benchmarks.tracking import tracked
from serbench.benchmarks.tracking.tracker import About, Place, open_tracker, prepare
warnings.simplefilter("error")
warnings.simplefilter("ignore", DeprecationWarning)
place = Place("wandb", Path("results"))
prepare(place)
tracker = open_tracker(place, About("a trial", "the-run", {"config.width": 8}))
tracker.values({"loss": 0.5}, 1)
tracker.values({"final_score": 0.25})
tracker.file(Path("record.zip"))
tracker.end()
"""


def test_wandb_itself_takes_these_calls(tmp_path: Path) -> None:
    """Offline it leaves a file, whole when the process has ended; what was said stands in it."""
    loaded("wandb")
    (tmp_path / "record.zip").write_bytes(b"a record")
    given = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    done = subprocess.run(
        [sys.executable, "-c", WITH_WANDB], env=given, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    (file,) = tmp_path.rglob("*.wandb")
    said = file.read_bytes()
    expected = {b"a trial", b"the-run", b"config.width", b"loss", b"final_score", b"record.zip"}
    assert {text for text in expected if text in said} == expected


@pytest.mark.parametrize("at", ["init", "log", "finish"])
def test_a_tracker_that_fails_later_is_given_up_and_the_run_goes_on(
    at: str, train: Callable[..., Run], untracked: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", Wandb(at))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        expect_same_record(train("wandb"), untracked)
    said = [
        str(w.message) for w in caught if w.category is SerbenchWarning and "--track wandb failed" in str(w.message)
    ]
    assert len(said) == 1
    assert said[0].startswith("--track wandb failed and is given up here (ConnectionError: the server is gone);")


def test_a_record_that_can_not_be_packed_does_not_end_the_run(
    train: Callable[..., Run], untracked: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any, **more: Any) -> Path:
        raise StorageError("no space left")

    monkeypatch.setitem(sys.modules, "wandb", Wandb())
    monkeypatch.setattr(tracked, "export_run", full)
    with pytest.warns(SerbenchWarning, match="no space left"):
        expect_same_record(train("wandb"), untracked)


def test_only_finite_numbers_are_passed_on_and_nothing_after_a_failure() -> None:
    seen: list[Any] = []

    class Tracker:
        def values(self, values: Any, step: Any = None) -> None:
            seen.append((values, step))
            if step == 2:
                raise OSError("full")

    careful = Careful("none that is registered", Tracker)  # type: ignore[arg-type]
    careful.values({"loss": 1, "dev_score": float("nan"), "best": None, "text": "x"}, 1)
    with pytest.warns(SerbenchWarning, match="full"):
        careful.values({"loss": 2.0}, 2)
    careful.values({"loss": 3.0}, 3)
    careful.end()
    assert seen == [({"loss": 1.0}, 1), ({"loss": 2.0}, 2)]


def test_a_tracked_unit_goes_to_another_process_as_it_is(untracked: Run) -> None:
    """As `--jobs` sends it: plain data, and what it tells of itself with it."""
    division = Division("official", ("a",), ("b",), ("c",))
    job = TrainingJob("cnn-regressor", {}, division, (), 1, 7, "cpu", 1)
    made = tracked.tracked(job, untracked, Place("tensorboard", untracked.results))
    assert pickle.loads(pickle.dumps(made)) == made
    assert (made.about.name, made.about.run_id) == ("cnn-regressor trial 2 official", untracked.run_id)
    assert {key: made.about.config[key] for key in ("trial", "fold", "seed")} == {
        "trial": 2,
        "fold": "official",
        "seed": 7,
    }


def test_settings_are_flat() -> None:
    assert flat({"a": {"b": 1, "c": [1, 2], "none": None}, "d": "x"}) == {"a.b": 1, "a.c": "1,2", "d": "x"}


# What is refused


def refused(*words: Any) -> str:
    done = CliRunner().invoke(app, ["run", "--model", "chance", "--dataset", "demo", *[str(word) for word in words]])
    assert isinstance(done.exception, SerbenchError), done.output
    return str(done.exception)


def test_a_tracker_that_there_is_not(tmp_path: Path) -> None:
    message = refused("--results", tmp_path / "r", "--track", "tensorbord")
    assert "unknown tracker 'tensorbord'. Did you mean 'tensorboard'? There are: mlflow, tensorboard, wandb." in message
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("kind", TRACKERS)
def test_an_absent_library_is_named_before_anything_is_trained(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == kind]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, kind, None)
    with pytest.raises(LibraryError, match=rf"pip install 'serbench\[{kind}\]'"):
        module_of(kind).prepare(tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_a_store_that_can_not_be_used_and_trials_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://nowhere")
    loaded("mlflow")
    message = refused("--results", tmp_path / "r", "--track", "mlflow")
    assert "--track mlflow can't use 'nonsense://nowhere'" in message
    message = refused("--results", tmp_path / "r", "--track", "tensorboard", "--launcher", "ray")
    assert "--track tensorboard is for local processes" in message
    assert not (tmp_path / "r").exists()
