"""Submissions: what is wrong is found, what is right stands where the leaderboard ranks it; worst inputs."""

from __future__ import annotations

import json
import re
import shlex
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from serbench.benchmarks.cli.app import app
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.task import Task
from serbench.results.record import sharing
from serbench.results.record.folder import Run, load_runs
from serbench.results.record.packing import export_run
from serbench.results.record.sharing import merge
from serbench.results.submissions.check import check_submission
from serbench.results.tables.leaderboard import leaderboard

LABELS = ("anger", "sadness")
EMOTION = Task("emotion", "classification", ("emotion",), LABELS)
ITEMS = 24


def make(results: Path, model: str, right: float, *, seed: int = 0, turned: int = 0, trials: int = 2) -> Run:
    """A run whose predictions hit a share of the items; of the first `turned` items the gold label is the other one."""
    run = Run.create(
        results,
        {
            "model": {"name": model, "preset": "default", "config": {"right": right}},
            "features": {},
            "dataset": {"name": "demo", "release": "", "digest": "d" * 16, "licence": "MIT", "citation": "nobody"},
            "task": EMOTION.to_dict(),
            "labels": [],
            "serbench": "0.1.0",
            "protocol": {"name": "4x5", "subsets": 4, "folds": ["official"], "seed": seed, "group": "none"},
            "command": f"serbench run --model {model} --dataset demo",
        },
    )
    codes = np.arange(ITEMS) // 4 % 2
    for trial in range(trials):
        hit = np.random.default_rng([trial, len(model)]).random(ITEMS) < right
        truth = np.where(np.arange(ITEMS) < turned, 1 - codes, codes)
        table = pd.DataFrame(
            {
                "id": [f"u{i}" for i in range(ITEMS)],
                "subset": np.arange(ITEMS) % 4,
                "gold": np.array(LABELS)[truth],
                "predicted": np.array(LABELS)[np.where(hit, codes, 1 - codes)],
            }
        )
        run.write_unit(trial, "official", {"status": "done"}, table)
    return run


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """The results that submissions are meant for."""
    make(tmp_path / "there", "chance", 0.5)
    make(tmp_path / "there", "fair", 0.8)
    return tmp_path / "there"


def states(source: Path, results: Path | None = None) -> dict[str, str]:
    """Check -> the worst that was said of it."""
    found: dict[str, str] = {}
    for one in check_submission(source, results):
        found[one.check] = "problem" if "problem" in (one.state, found.get(one.check)) else one.state
    return found


def text(source: Path, results: Path | None = None) -> str:
    return "\n".join(one.text for one in check_submission(source, results))


def changed(source: Path, out: Path, change: Callable[[str, bytes], bytes]) -> Path:
    """An archive with every file of another one, changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return out


@pytest.mark.parametrize("labels", [True, False])
def test_a_sound_submission_has_the_place_that_the_leaderboard_gives_it(
    tmp_path: Path, there: Path, labels: bool
) -> None:
    run = make(tmp_path / "mine", "good", 0.95)
    file = export_run(run, tmp_path / "good.zip", labels=labels)
    assert "problem" not in states(file, there).values()
    merge([file], there)
    (row,) = (r for r in leaderboard(load_runs(there)).to_dict("records") if r["run_id"] == run.run_id)
    assert "there already" in text(file, there)
    expected = f"#{row['rank']} of 3 on demo, emotion: UAR {row['mean']:.3f}, better than chance: {row['beats_chance']}"
    assert expected in text(file, there)


def test_without_labels_and_without_results_nothing_is_scored(tmp_path: Path) -> None:
    file = export_run(make(tmp_path / "mine", "good", 0.95), tmp_path / "good.zip")
    found = states(file)
    assert found["digests"] == "ok"
    assert found["scores"] == "note"
    assert "place" not in found


def test_changed_predictions_are_found_by_their_digest(tmp_path: Path, there: Path) -> None:
    file = export_run(make(tmp_path / "mine", "good", 0.7), tmp_path / "good.zip", labels=True)

    def better(name: str, data: bytes) -> bytes:
        if not name.endswith("unit-0-official.parquet"):
            return data
        (tmp_path / "one.parquet").write_bytes(data)
        table = pd.read_parquet(tmp_path / "one.parquet")
        table.assign(predicted=table["gold"]).to_parquet(tmp_path / "one.parquet")
        return (tmp_path / "one.parquet").read_bytes()

    assert states(changed(file, tmp_path / "b.zip", better), there) == {"digests": "problem"}


def test_a_changed_configuration_is_found_by_the_run_id(tmp_path: Path, there: Path) -> None:
    file = export_run(make(tmp_path / "mine", "good", 0.7), tmp_path / "good.zip", labels=True)
    other = changed(file, tmp_path / "b.zip", lambda name, data: data.replace(b'"right": 0.7', b'"right": 0.8'))
    assert states(other, there) == {"digests": "problem"}


def test_scores_that_do_not_follow_are_found(tmp_path: Path, there: Path) -> None:
    file = export_run(make(tmp_path / "mine", "good", 0.7), tmp_path / "good.zip", labels=True)

    def better(name: str, data: bytes) -> bytes:
        return data if not name.endswith("scores.csv") else data.replace(b"UAR,0.", b"UAR,0.9")

    assert states(changed(file, tmp_path / "b.zip", better), there)["scores"] == "problem"


def test_gold_labels_of_its_own_are_found(tmp_path: Path, there: Path) -> None:
    file = export_run(make(tmp_path / "mine", "good", 0.7, turned=3), tmp_path / "good.zip", labels=True)
    found = states(file, there)
    assert found["gold labels"] == "problem"
    assert "hold different values of 'gold' for 'u0'" in text(file, there)


def test_another_protocol_can_not_be_ranked(tmp_path: Path, there: Path) -> None:
    file = export_run(make(tmp_path / "mine", "good", 0.7, seed=1), tmp_path / "good.zip", labels=True)
    assert states(file, there)["protocol"] == "problem"
    assert "protocol.seed: 0 and 1" in text(file, there)


def test_a_site_and_a_merge_take_what_export_writes(tmp_path: Path, there: Path) -> None:
    from serbench.results.site.writing import write_site

    file = export_run(make(tmp_path / "mine", "good", 0.95), tmp_path / "good.zip")
    assert write_site([there, file], tmp_path / "site").runs == 3
    merge([file], there)
    assert write_site([there], tmp_path / "site").runs == 3


def test_the_workflow_of_a_results_repository_verifies_and_builds(
    tmp_path: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines of the template, in order, on a repository with one submission."""
    workflow = Path(__file__).parents[1] / "docs" / "results_repository" / "results.yml"
    lines = re.findall(r"^\s*(?:- run: |run: )?(serbench .*)$", workflow.read_text(encoding="utf-8"), re.MULTILINE)
    assert [line.split()[1] for line in lines] == ["submission", "merge", "leaderboard", "leaderboard", "site"]
    monkeypatch.chdir(tmp_path)
    there.rename(tmp_path / "results")
    export_run(make(tmp_path / "mine", "good", 0.95), tmp_path / "submissions" / "good.zip")
    for line in lines:
        words = [word.replace("$file", "submissions/good.zip") for word in shlex.split(line)[1:]]
        done = CliRunner().invoke(app, words, catch_exceptions=False)
        assert done.exit_code == 0, f"{line}: {done.output}"
    assert len(list((tmp_path / "site" / "runs").glob("*.html"))) == 3


def test_the_command_and_its_worst_inputs(tmp_path: Path, there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = CliRunner()

    def check(*given: Any) -> Any:
        return runner.invoke(app, ["submission", "check", *map(str, given)], catch_exceptions=False)

    good = export_run(make(tmp_path / "mine", "good", 0.95), tmp_path / "good.zip", labels=True)
    done = check(good, "--results", there, "--json")
    assert done.exit_code == 0
    assert {row[2] for row in json.loads(done.stdout)["tables"][0]["rows"]} == {"ok"}
    bad = export_run(make(tmp_path / "mine", "bad", 0.7, turned=3), tmp_path / "bad.zip", labels=True)
    assert check(good, bad, "--results", there).exit_code == 1

    (tmp_path / "text.zip").write_text("this is no archive")
    (tmp_path / "empty").mkdir()
    for file, message in (
        (tmp_path / "text.zip", "neither a results folder nor an exported zip"),
        (tmp_path / "empty", "there are no runs in"),
        (tmp_path / "nowhere.zip", "neither a results folder nor an exported zip"),
    ):
        with pytest.raises(SerbenchError, match=message):
            check(file)
    monkeypatch.setattr(sharing, "LARGEST", 100)
    monkeypatch.setattr(sharing, "MOST_TIMES", 1)
    with pytest.raises(SerbenchError, match="would unpack to"):
        check(good)
