"""docs/results.md is what its records say, leaderboards follow from their predictions, and nothing private is there."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from serbench.datasets.schema.task import Task
from serbench.results.record.folder import Run, load_runs
from serbench.results.tables.verify import verify_leaderboard

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "docs" / "results"
FOLDERS = sorted(path.name for path in RECORDS.iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """`tests/results_page.py` as a module."""
    spec = importlib.util.spec_from_file_location("results_page", ROOT / "tests" / "results_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["results_page"] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_its_records_say(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = script.page()
    assert (ROOT / "docs" / "results.md").read_text(encoding="utf-8") == made
    changed = tmp_path / "results.md"
    changed.write_text(made.replace("0.664", "0.665"), encoding="utf-8")
    assert changed.read_text(encoding="utf-8") != made
    monkeypatch.setattr(script, "PAGE", changed)
    monkeypatch.setattr(script, "page", lambda: made)
    monkeypatch.setattr(sys, "argv", ["results_page.py", "--check"])
    with pytest.raises(SystemExit, match="not what the records say"):
        script.main()
    changed.write_text(made, encoding="utf-8")
    script.main()


def test_a_record_that_is_taken_names_no_folder(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    task = Task("emotion", "classification", ("emotion",), labels=("anger", "sadness"))
    for model, encoder in (("chance", ""), ("probe", "random:/home/me/whisper_base")):
        spec = {
            "model": {"name": model, "preset": "default", "config": {"encoder": encoder}},
            "features": {},
            "dataset": {"name": "emodb", "release": "", "digest": "d" * 16},
            "task": task.to_dict(),
            "protocol": {"name": "4x5", "subsets": 1, "folds": ["one"]},
            "labels": [],
            "arguments": {"root": "/data/emodb", "protocol": {"split": "emobox:/data/folds", "listed": "their list"}},
            "command": f"serbench run --model {model} --root /data/emodb --split emobox:/data/folds",
        }
        rows = {"id": ["a", "b"], "subset": 0, "gold": task.labels, "predicted": task.labels, "p_anger": [1.0, 0.0]}
        facts = {"status": "done", "facts": {"encoder": encoder}}
        Run.create(tmp_path / "mine", spec).write_unit(0, "one", facts, pd.DataFrame(rows | {"p_sadness": [0.0, 1.0]}))
    monkeypatch.setattr(script, "RECORDS", tmp_path / "records")
    script.take("emodb-emobox", [tmp_path / "mine"])
    runs = load_runs(tmp_path / "records" / "emodb-emobox")
    assert not runs.problems
    assert [run.spec["model"]["config"]["encoder"] for run in runs] == ["", "random:whisper_base"]
    assert list(runs[1].predictions(columns=None)) == ["id", "subset", "gold", "predicted", "trial", "fold"]
    text = "".join(file.read_text(encoding="utf-8") for file in runs[0].results.rglob("*.json"))
    assert not re.search("/home|/data|their list", text)
    assert verify_leaderboard(runs[0].results).problems == ()


@pytest.mark.parametrize("name", FOLDERS)
def test_every_leaderboard_follows_from_its_predictions(name: str) -> None:
    verified = verify_leaderboard(RECORDS / name)
    assert verified.problems == ()
    assert verified.runs == len(load_runs(RECORDS / name)) > 2


def test_records_are_small_and_name_no_place_of_a_machine() -> None:
    files = [path for path in RECORDS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 10_000_000
    assert {path.suffix for path in files} <= {".json", ".parquet", ".csv"}
    for path in (path for path in files if path.suffix in (".json", ".csv")):
        found = re.findall(r"(?<![\w.:])/(?:work|root|home|tmp|mnt|Users)\b[^\"]*", path.read_text(encoding="utf-8"))
        assert not found, (path.name, found[:1])
