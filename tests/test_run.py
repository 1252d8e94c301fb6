"""The grid on a small corpus on disk: records, skipping, resuming after kill -9, an untouched test set, bad input."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from serbench.benchmarks.core import machine
from serbench.benchmarks.core.progress import lasting_interrupts
from serbench.benchmarks.grid.execution import Execution, Order, ThisMachine
from serbench.benchmarks.grid.grid import from_record, run
from serbench.benchmarks.grid.plan import Unit
from serbench.benchmarks.protocol.request import Request
from serbench.benchmarks.protocol.setting import Corpora
from serbench.datasets.core.errors import SerbenchError
from serbench.results.record.folder import Run, load_runs


@pytest.fixture(scope="session")
def corpus_file(toy_corpus: Callable[..., Path]) -> Path:
    """A `table` corpus of 80 babbles of 10 speakers of both genders."""
    return toy_corpus(count=80, seconds=0.6, columns=("gender", "arousal", "emotion"))


def arguments(corpus_file: Path, results: Path, *more: str) -> list[str]:
    return [
        sys.executable,
        "-c",
        "from serbench.benchmarks.cli.app import main; main()",
        "run",
        "--dataset",
        "table",
        "--root",
        str(corpus_file),
        "--results",
        str(results),
        "--threads",
        "1",
        *more,
    ]


def serbench(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def predictions(one: Run) -> pd.DataFrame:
    return one.predictions().sort_values(["trial", "id"]).reset_index(drop=True)


def test_a_run_leaves_twenty_scores_and_chance_rows(corpus_file: Path, tmp_path: Path):
    (one,) = run("linear", "table", root=corpus_file, task="arousal", results=tmp_path, threads=1)
    scores = one.scores()
    ccc = scores[(scores["metric"] == "CCC") & (scores["target"] == "arousal")]
    assert sorted(zip(ccc["trial"], ccc["subset"], strict=True)) == [(t, s) for t in range(5) for s in range(4)]
    assert ccc["value"].mean() > 0.5
    runs = load_runs(tmp_path)
    assert not runs.problems
    assert sorted((r.spec["model"]["name"], r.spec["model"]["preset"]) for r in runs) == [
        ("chance", "default"),
        ("chance", "random"),
        ("linear", "default"),
    ]


def test_a_finished_run_is_neither_repeated_nor_prepared(corpus_file: Path, tmp_path: Path, monkeypatch):
    (one,) = run("linear", "table", root=corpus_file, results=tmp_path, trials=2, threads=1)
    before = {p: p.stat().st_mtime_ns for p in one.path.iterdir()}
    again = "the run was prepared again"
    monkeypatch.setattr("serbench.benchmarks.grid.grid.make_plan", lambda *a, **k: pytest.fail(again))
    (again,) = run("linear", "table", root=corpus_file, results=tmp_path, trials=2, threads=1)
    assert again.path == one.path
    assert {p: p.stat().st_mtime_ns for p in one.path.iterdir()} == before


def test_more_trials_extend_the_same_run(corpus_file: Path, tmp_path: Path):
    (two,) = run("svm", "table", root=corpus_file, results=tmp_path, trials=2, threads=1)
    first = predictions(two)
    (three,) = run("svm", "table", root=corpus_file, results=tmp_path, trials=3, threads=1)
    assert three.path == two.path
    longer = predictions(three)
    pd.testing.assert_frame_equal(longer[longer["trial"] < 2].reset_index(drop=True), first)
    assert longer["trial"].nunique() == 3


def test_test_labels_change_no_prediction(corpus_file: Path, tmp_path: Path):
    """Scaling and selection see train and dev alone: shuffled test labels leave every prediction as it was."""
    table = pd.read_csv(corpus_file)
    tested = table["partition"] == "test"
    table.loc[tested, ["arousal", "emotion"]] = table.loc[tested, ["arousal", "emotion"]].to_numpy()[::-1]
    changed = corpus_file.parent / "shuffled.csv"
    table.to_csv(changed, index=False)
    for task, column in (("arousal", "pred_arousal"), ("emotion", "p_anger")):
        for model in ("linear", "svm", "cnn-regressor"):
            settings = {"train.epochs": "2"} if model == "cnn-regressor" else {}
            preset = "small" if model == "cnn-regressor" else None
            common = {"task": task, "trials": 1, "threads": 1, "settings": settings, "preset": preset}
            (a,) = run(model, "table", root=corpus_file, results=tmp_path / "a", **common)
            (b,) = run(model, "table", root=changed, results=tmp_path / "b", **common)
            left, right = (predictions(r).set_index("id")[column] for r in (a, b))
            pd.testing.assert_series_equal(left, right)
            assert (
                not predictions(a)
                .set_index("id")
                .filter(like="gold")
                .equals(predictions(b).set_index("id").filter(like="gold"))
            )


TO_BE_KILLED = ("--model", "cnn-regressor:small", "--task", "arousal", "--trials", "2", "--set", "train.epochs=3")


@pytest.fixture(scope="module")
def unbroken(corpus_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a run that nothing stops."""
    results = tmp_path_factory.mktemp("unbroken")
    done = serbench(arguments(corpus_file, results, *TO_BE_KILLED))
    assert done.returncode == 0, done.stderr
    return results


@pytest.mark.slow
@pytest.mark.parametrize("units_before", [0, 1])
def test_kill_and_run_again_ends_in_the_same_numbers(
    corpus_file: Path, tmp_path: Path, unbroken: Path, units_before: int
):
    command = arguments(corpus_file, tmp_path / "killed", *TO_BE_KILLED)
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        folder = next((tmp_path / "killed").glob("runs/*cnn*"), None)
        units = len(list(folder.glob("unit-*.json"))) if folder else 0
        begun = folder and (any(folder.glob(".unfinished-*")) or units)
        if begun and units >= units_before:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(list((tmp_path / "killed").glob("runs/*cnn*/unit-*.json"))) < 2
    done = serbench(command)
    assert done.returncode == 0, done.stderr
    (killed,), (whole,) = (
        [r for r in load_runs(folder) if r.spec["model"]["name"] == "cnn-regressor"]
        for folder in (tmp_path / "killed", unbroken)
    )
    pd.testing.assert_frame_equal(predictions(killed), predictions(whole), check_exact=True)


@pytest.fixture
def _interruptible():
    """Ctrl-C works in this process and those it starts, also where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
def test_an_interrupt_that_a_library_swallows_is_not_lost():
    with lasting_interrupts() as check:
        check()
        with contextlib.suppress(BaseException):  # as a library's import may do
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            check()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.slow
@pytest.mark.usefixtures("_interruptible")
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_interrupt_leaves_a_usable_state_and_says_how_to_go_on(corpus_file: Path, tmp_path: Path, jobs: str):
    """Ctrl-C reaches the process and those it started, as from a terminal."""
    more = ("--model", "cnn-regressor:small", "--task", "arousal", "--trials", "3", "--set", "train.epochs=50")
    command = arguments(corpus_file, tmp_path, *more, "--jobs", jobs)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not any(tmp_path.glob("runs/*cnn*/.unfinished-*")):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in said
    assert "Traceback" not in said
    assert not load_runs(tmp_path).problems


def test_processes_leave_the_same_records_as_one(corpus_file: Path, tmp_path: Path):
    common = {"root": corpus_file, "task": "arousal", "trials": 2, "threads": 1, "settings": {"train.epochs": "2"}}
    (serial,) = run("cnn-regressor", "table", results=tmp_path / "serial", preset="small", **common)
    (parallel,) = run("cnn-regressor", "table", results=tmp_path / "parallel", preset="small", jobs=2, **common)
    pd.testing.assert_frame_equal(predictions(serial), predictions(parallel), check_exact=True)


@pytest.mark.parametrize(("given", "jobs", "threads"), [("3", 2, 3), ("", 1, 8), ("", 3, 2), ("0", 16, 1), ("x", 8, 1)])
def test_threads_are_those_of_the_environment_or_a_share_of_the_cores(
    monkeypatch: pytest.MonkeyPatch, given: str, jobs: int, threads: int
):
    monkeypatch.setattr(machine, "GIVEN", given)
    monkeypatch.setattr(machine, "cores", lambda: 8)
    assert Execution(jobs=jobs).threads_of_each == threads
    assert Execution(jobs=jobs, threads=5).threads_of_each == 5


@dataclass(frozen=True)
class Deadly:
    """A unit that ends its process."""

    def run(self, sources: object, progress: object = None) -> list[dict[str, object]]:
        os.kill(os.getpid(), signal.SIGKILL)
        return []


@dataclass(frozen=True)
class DeadlyOrder(Order):
    """An order of which one unit ends its process."""

    def job(self, unit: Unit, device: str, threads: int, *, save_models: bool = False) -> Any:
        job = super().job(unit, device, threads, save_models=save_models)
        return Deadly() if unit.trials == (1,) else job


class DeadlyMachine(ThisMachine):
    """This machine, on which the unit of the second trial ends its process."""

    def work(self, orders: Iterable[Order], how: Execution, corpora: Corpora) -> Iterator[Order]:
        yield from super().work((DeadlyOrder(o.plan, o.runs) for o in orders), how, corpora)


def test_a_unit_that_kills_its_process_is_recorded_and_ends_nothing(corpus_file: Path, tmp_path: Path):
    asked = {"root": corpus_file, "results": tmp_path, "preset": "random", "trials": 4, "threads": 1, "jobs": 2}
    (one,) = run("chance", "table", launcher=DeadlyMachine(), **asked)
    facts = {trial: json.loads(file.read_text()) for trial, file in enumerate(sorted(one.path.glob("unit-*.json")))}
    assert {trial: f["status"] for trial, f in facts.items()} == {0: "done", 1: "failed", 2: "done", 3: "done"}
    assert "its process died" in facts[1]["error"]
    assert facts[1]["threads"] == 1
    assert facts[1]["seed"] not in {facts[trial]["seed"] for trial in (0, 2, 3)}
    (again,) = run("chance", "table", **asked)
    assert json.loads(again.unit_files(1, facts[1]["fold"])[0].read_text())["status"] == "done"


def test_a_record_repeats_its_run(corpus_file: Path, tmp_path: Path):
    (one,) = run(
        "svm", "table", root=corpus_file, results=tmp_path / "a", trials=2, threads=1, settings={"model.costs": "3"}
    )
    (again,) = from_record(one.path / "run.json", results=tmp_path / "b", threads=1)
    assert again.run_id == one.run_id
    pd.testing.assert_frame_equal(predictions(one), predictions(again), check_exact=True)


def test_a_record_of_another_corpus_is_refused(corpus_file: Path, tmp_path: Path):
    copy = corpus_file.parent / "copy.csv"
    copy.write_text(corpus_file.read_text())
    (one,) = run("chance", "table", root=copy, results=tmp_path, trials=1)
    copy.write_text("\n".join(corpus_file.read_text().splitlines()[:-1]))
    with pytest.raises(SerbenchError, match="digest"):
        from_record(one.path, results=tmp_path / "b")


def test_a_bad_file_is_left_out_and_counted(corpus_file: Path, tmp_path: Path):
    lines = corpus_file.read_text().splitlines()
    (corpus_file.parent / "broken.wav").write_bytes(b"RIFF no audio")
    broken = corpus_file.parent / "broken.csv"
    broken.write_text("\n".join([*lines, "broken.wav,g,test,male,4.0,anger", "lost.wav,a,train,male,4.0,anger"]) + "\n")
    (one,) = run("linear", "table", root=broken, results=tmp_path, trials=1, threads=1)
    (unit,) = one.units()
    assert unit["status"] == "done"
    assert len(unit["excluded"]) == 2
    assert all(reason for reason in unit["excluded"].values())
    assert "broken.wav" not in " ".join(one.predictions()["id"])


def test_a_failing_trial_is_recorded_and_does_not_end_the_grid(corpus_file: Path, tmp_path: Path):
    more = ("--model", "cnn-regressor:small", "--model", "chance", "--task", "arousal", "--trials", "1")
    done = serbench(
        arguments(corpus_file, tmp_path, *more, "--set", "train.learning_rate=1e30", "--set", "train.epochs=3")
    )
    assert done.returncode == 1, done.stderr
    by_model = {r.spec["model"]["name"]: r for r in load_runs(tmp_path) if r.spec["model"]["preset"] != "random"}
    (failed,) = by_model["cnn-regressor"].units()
    assert failed["status"] == "failed"
    assert "finite" in failed["error"]
    assert by_model["chance"].units()[0]["status"] == "done"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--model", "linaer"], "Did you mean 'linear'?"),
        (["--model", "linear", "--task", "arousl"], "Did you mean 'arousal'?"),
        (["--model", "linear", "--set", "model.alfa=1"], "model."),
        (["--model", "linear", "--set", "nonsense"], "expected KEY=VALUE"),
        (["--model", "linear", "--set", "train.epochs=1"], "no training loop"),
        (["--model", "linear", "--preset", "paper2"], "preset"),
        (["--model", "linear", "--split", "officiel"], "Did you mean 'official'?"),
        (["--model", "linear", "--subsets", "0"], "out of range"),
        (["--model", "linear", "--trials", "0"], "expected 1 or more"),
        (["--model", "cnn-regressor", "--device", "cuda:7"], "no such device"),
        ([], "expected --model"),
    ],
)
def test_bad_input_says_what_to_type(corpus_file: Path, tmp_path: Path, more: list[str], said: str):
    done = serbench(arguments(corpus_file, tmp_path, *more))
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_root_names_the_variable(tmp_path: Path):
    with pytest.raises(SerbenchError, match="SERBENCH_ROOT_EMODB"):
        run("chance", "emodb", results=tmp_path)
    with pytest.raises(SerbenchError, match="does not exist"):
        run("chance", "emodb", root=tmp_path / "nowhere", results=tmp_path)


def test_a_model_that_nobody_knows_is_told_before_a_corpus_is_looked_for(tmp_path: Path):
    with pytest.raises(SerbenchError, match=r"unknown model 'linaer'. Did you mean 'linear'"):
        run("linaer", "emodb", root=tmp_path / "nowhere", results=tmp_path)


def test_the_command_line_is_a_request_again():
    request = Request("svm", "emodb", root="/my data", settings={"model.costs": "3"}, trials=2)
    expected = "serbench run --model svm --dataset emodb --root '/my data' --trials 2 --set model.costs=3"
    assert request.command() == expected


def test_records_hold_versions_configuration_and_seeds(corpus_file: Path, tmp_path: Path):
    (one,) = run("linear", "table", root=corpus_file, results=tmp_path, trials=2, threads=1)
    spec = json.loads((one.path / "run.json").read_text())
    assert spec["model"]["config"]
    assert spec["features"]["input"]["identity"]["libraries"]
    assert spec["dataset"]["digest"] in json.dumps(spec)
    units = one.units()
    assert len({u["seed"] for u in units}) == 2
    assert all(u["versions"]["numpy"] == np.__version__ and u["threads"] == 1 for u in units)
    ages = [datetime.now(UTC) - datetime.fromisoformat(u["finished"]) for u in units]
    assert all(timedelta(seconds=-2) < age < timedelta(hours=1) for age in ages)
    assert os.path.basename(one.path) == spec["run_id"]
