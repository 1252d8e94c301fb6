"""Cross-corpus runs: records, shared trainings, stopping and going on, and the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from serbench.benchmarks.cli.cross import spread
from serbench.benchmarks.grid import grid
from serbench.benchmarks.protocol import setting
from serbench.benchmarks.protocol.request import Place, Request
from serbench.benchmarks.protocol.setting import Corpora, resolve
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.corpus import Corpus
from serbench.results.record.folder import Run, load_runs
from serbench.results.tables.leaderboard import leaderboard
from serbench.sermodels.chance import Model as Chance

FOUR = ("anger", "happiness", "neutral", "sadness")


def predictions(one: Run) -> pd.DataFrame:
    return one.predictions().sort_values(["trial", "id"]).reset_index(drop=True)


# ---- records --------------------------------------------------------------------------------------------------------


def test_a_cross_run_has_a_record_and_a_row_of_its_own(toys: dict[str, Corpus], tmp_path: Path) -> None:
    common = {"task": "emotion-4", "results": tmp_path, "trials": 2}
    (home,) = grid.run("chance", "beta", **common)
    (away,) = grid.run("chance", "alpha", test_dataset="beta", **common)
    assert away.spec["dataset"]["name"] == "alpha>beta"
    assert away.run_id.startswith("alpha-beta_emotion-4_chance_")
    assert away.protocol_digest != home.protocol_digest
    assert "|data:alpha>beta@" in away.signature
    assert away.spec["protocol"]["split"] == "speakers"
    assert away.spec["protocol"]["test_split"] == "official"
    frame = leaderboard(load_runs(tmp_path))
    assert set(frame["dataset"]) == {"beta", "alpha>beta"}
    assert len(frame[frame["dataset"] == "alpha>beta"]) == 2  # both chance rows
    assert (frame["n"] == 8).all()
    items = away.items()
    assert items is not None
    assert set(items.index) == set(predictions(away)["id"])


def test_changes_of_either_corpus_are_other_runs(toys: dict[str, Corpus], tmp_path: Path) -> None:
    def run_id() -> str:
        (run,) = grid.run("chance", "alpha", test_dataset="beta", task="arousal", results=tmp_path, trials=1)
        return run.run_id

    first = run_id()
    assert run_id() == first
    for name in ("alpha", "beta"):
        before = toys[name]
        toys[name] = replace(before, release="2")
        assert run_id() != first
        toys[name] = before


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The training ids of every fit of the chance model."""
    seen: list[tuple[str, ...]] = []
    fit = Chance.fit

    def counted(self: Chance, train: Any, *rest: Any, **more: Any) -> Any:
        seen.append(tuple(train.ids))
        return fit(self, train, *rest, **more)

    monkeypatch.setattr(Chance, "fit", counted)
    return seen


def test_one_training_serves_all_tested_corpora(toys: dict[str, Corpus], tmp_path: Path, fits: list) -> None:
    common = {"task": "arousal", "trials": 2}
    together = grid.run("chance", "alpha", test_dataset=["alpha", "beta", "gamma"], results=tmp_path / "a", **common)
    assert [run.spec["dataset"]["name"] for run in together] == ["alpha", "alpha>beta", "alpha>gamma"]
    assert len(fits) == 4 + 2 * 4  # the chance row once a fold, the random one in each trial, whatever is tested
    assert len(set(fits)) == 4
    for run, test in zip(together, ("alpha", "beta", "gamma"), strict=True):
        more = {} if test == "alpha" else {"test_dataset": test}
        (alone,) = grid.run("chance", "alpha", results=tmp_path / test, **more, **common)
        assert alone.run_id == run.run_id
        pd.testing.assert_frame_equal(predictions(alone), predictions(run), check_exact=True)
    unit = together[1].unit(0, "speaker-s0")
    assert unit is not None
    assert sorted(unit["trained_for"]) == sorted(run.run_id for run in together)


def test_what_is_finished_is_not_trained_again(toys: dict[str, Corpus], tmp_path: Path, fits: list) -> None:
    common = {"task": "arousal", "trials": 2, "results": tmp_path}
    runs = grid.run("chance:random", "alpha", test_dataset=["beta", "gamma"], **common)
    whole = [predictions(run) for run in runs]
    del fits[:]
    grid.run("chance:random", "alpha", test_dataset=["beta", "gamma"], **common)
    assert not fits
    for suffix in ("json", "parquet"):
        next(runs[1].path.glob(f"unit-1-speaker-s2.{suffix}")).unlink()
    stamps = {p: p.stat().st_mtime_ns for p in runs[0].path.glob("unit-*")}
    grid.run("chance:random", "alpha", test_dataset=["beta", "gamma"], **common)
    assert len(fits) == 1
    assert {p: p.stat().st_mtime_ns for p in runs[0].path.glob("unit-*")} == stamps
    for run, before in zip(runs, whole, strict=True):
        pd.testing.assert_frame_equal(predictions(run), before, check_exact=True)


@pytest.mark.parametrize("writes", [1, 2, 5])
def test_a_stopped_run_goes_on_and_ends_in_the_same_numbers(
    toys: dict[str, Corpus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    common = {"task": "arousal", "trials": 1, "test_dataset": ["beta", "gamma"]}
    write, left = Run.write_unit, [writes]

    def stopping(self: Run, *given: Any) -> Any:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return write(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "write_unit", stopping)
        with pytest.raises(KeyboardInterrupt):
            grid.run("chance:random", "alpha", results=tmp_path / "stopped", **common)
    done = [len(list(run.path.glob("unit-*.json"))) for run in load_runs(tmp_path / "stopped")]
    assert sum(done) == writes
    again = grid.run("chance:random", "alpha", results=tmp_path / "stopped", **common)
    unbroken = grid.run("chance:random", "alpha", results=tmp_path / "unbroken", **common)
    for a, b in zip(again, unbroken, strict=True):
        pd.testing.assert_frame_equal(predictions(a), predictions(b), check_exact=True)


def test_a_test_set_that_fails_fails_alone(
    toys: dict[str, Corpus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = Chance.predict

    def failing(self: Chance, data: Any) -> Any:
        if any(i.startswith("beta") for i in data.ids):
            raise ValueError("no beta, please")
        return predict(self, data)

    monkeypatch.setattr(Chance, "predict", failing)
    bad, good = grid.run("chance", "alpha", test_dataset=["beta", "gamma"], task="arousal", results=tmp_path, trials=1)
    assert {u["status"] for u in bad.units()} == {"failed"}
    assert {u["error"] for u in bad.units()} == {"ValueError: no beta, please"}
    assert {u["status"] for u in good.units()} == {"done"}


# ---- several corpora together ---------------------------------------------------------------------------------------


def test_training_on_several_corpora_takes_each_of_their_folds_in_turn(
    toys: dict[str, Corpus], tmp_path: Path, fits: list
) -> None:
    (run,) = grid.run("chance", "alpha+gamma", test_dataset="beta", task="arousal", results=tmp_path, trials=5)
    assert run.spec["dataset"]["name"] == "alpha+gamma>beta"
    assert run.folds == ["joined"]
    assert len(predictions(run)) == 5 * 60
    folds = {name: resolve(Request("chance", name, task="arousal")).divisions for name in ("alpha", "gamma")}
    for trial, trained in enumerate(fits[:5]):
        turn = trial % 4  # alpha has four folds, gamma three
        parts = [(name, folds[name][turn % len(folds[name])]) for name in ("alpha", "gamma")]
        assert set(trained) == {f"{name}/{i}" for name, division in parts for i in division.train}
    values = pd.concat(
        [toys["alpha"].utterances["arousal"], (toys["gamma"].utterances["arousal"] + 1) * 2 + 1],
        keys=["alpha", "gamma"],
    )
    values.index = ["/".join(key) for key in values.index]
    first = predictions(run).query("trial == 0")["pred_arousal"]
    np.testing.assert_allclose(first, (values[list(fits[0])].mean() - 1) / 4 * 6 + 1)


# ---- the command line -----------------------------------------------------------------------------------------------


def test_words_after_an_option_belong_to_it() -> None:
    words = ["--models", "a", "b:x", "--trials", "2", "--datasets", "c", "--leave-one-out"]
    assert spread(words, ("--models", "--datasets")) == [
        "--models",
        "a",
        "--models",
        "b:x",
        "--trials",
        "2",
        "--datasets",
        "c",
        "--leave-one-out",
    ]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two `table` corpora in folders of their own."""
    found = {}
    for name, scale in (("one", (1, 5)), ("two", (1, 7))):
        folder = tmp_path_factory.mktemp(name)
        generator = np.random.default_rng(len(found))
        rows = [
            {
                "path": f"{i}.wav",
                "speaker": f"s{i}",
                "partition": ("train", "dev", "test", "test")[i % 4],
                "emotion": FOUR[i // 4 % 4],
                "arousal": round(generator.uniform(*scale), 3),
                "scale": f"{scale[0]}..{scale[1]}",
            }
            for i in range(64)
        ]
        pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)
        found[name] = folder / f"{name}.csv"
    return found


def serbench(*words: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-c", "from serbench.benchmarks.cli.app import main; main()", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_a_cross_run_on_the_command_line_repeats_itself(files: dict[str, Path], tmp_path: Path) -> None:
    done = serbench(
        "run",
        "--model",
        "chance",
        "--dataset",
        "table",
        "--root",
        files["one"],
        "--test-dataset",
        "table",
        "--test-root",
        files["two"],
        "--task",
        "arousal",
        "--trials",
        1,
        "--results",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "predictions on 1 .. 5 carried to 1 .. 7" in done.stderr
    run = next(r for r in load_runs(tmp_path) if r.spec["model"]["preset"] == "default")
    assert run.spec["dataset"]["name"] == "table>table"
    assert run.spec["dataset"]["release"] == "one>two"
    words = run.spec["command"].split()
    assert words[:2] == ["serbench", "run"]
    again = serbench(*words[1:], "--results", tmp_path / "again")
    assert again.returncode == 0, again.stderr
    (folder,) = (tmp_path / "again").glob(f"runs/{run.run_id}")
    pd.testing.assert_frame_equal(predictions(Run.open(folder)), predictions(run))
    (repeated,) = grid.from_record(run.path, results=tmp_path / "third")
    assert repeated.run_id == run.run_id
    assert json.loads((repeated.path / "run.json").read_text())["arguments"] == run.spec["arguments"]


def test_processes_share_a_training_too(files: dict[str, Path], tmp_path: Path) -> None:
    common = {"root": files["one"], "test_dataset": "table", "test_root": files["two"], "task": "arousal", "trials": 2}
    (serial,) = grid.run("chance:random", "table", results=tmp_path / "a", **common)
    (parallel,) = grid.run("chance:random", "table", results=tmp_path / "b", jobs=2, **common)
    pd.testing.assert_frame_equal(predictions(serial), predictions(parallel), check_exact=True)


def test_a_request_survives_its_command_line_and_json() -> None:
    request = Request(
        "linear",
        "iemocap",
        "/a b",
        options={"context": "ended"},
        task="emotion-4",
        also=(Place("emodb", "/e"),),
        test=Place("meld", "/m", options={"test_clips": "plain"}, split="official"),
        classes=("anger", "sadness"),
    )
    assert request.command() == (
        "serbench run --model linear --dataset iemocap+emodb --root 'iemocap=/a b' --root emodb=/e --test-dataset meld "
        "--test-root /m --test-split official --task emotion-4 --classes anger,sadness --option iemocap.context=ended "
        "--option meld.test_clips=plain"
    )
    from dataclasses import asdict

    assert Request.from_dict(json.loads(json.dumps(asdict(request)))) == request
    old = asdict(Request("linear", "emodb"))
    for key in ("also", "test", "classes"):
        del old[key]
    assert Request.from_dict(old) == Request("linear", "emodb")


def test_roots_releases_and_options_find_their_corpus(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, silent_corpora: dict[str, Corpus]
) -> None:
    seen: dict[str, tuple[Any, ...]] = {}

    def load(name: str, *given: Any) -> Corpus:
        seen[name] = given
        return silent_corpora[name]

    monkeypatch.setattr(setting, "load_corpus", load)
    grid.run(
        "chance",
        "alpha+gamma",
        test_dataset="beta",
        root={"alpha": "/a", "gamma": "/g"},
        test_root="/b",
        release={"gamma": "2"},
        test_release="3",
        task="arousal",
        results=tmp_path,
        trials=1,
        options={"beta.cut": "plain", "alpha.turns": "all"},
    )
    assert seen == {
        "alpha": ("/a", None, {"turns": "all"}),
        "gamma": ("/g", "2", {}),
        "beta": ("/b", "3", {"cut": "plain"}),
    }
    with pytest.raises(SerbenchError, match="dataset of --root"):
        grid.run("chance", "alpha", root={"delta": "/d"}, results=tmp_path)
    assert Corpora().get(Place("alpha")) is silent_corpora["alpha"]
