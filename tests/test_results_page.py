"""docs/results.md is what its records say, leaderboards follow from their predictions, and nothing private is there."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from serbench.results.record.folder import load_runs
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


@pytest.mark.parametrize("name", FOLDERS)
def test_every_leaderboard_follows_from_its_predictions(name: str) -> None:
    verified = verify_leaderboard(RECORDS / name)
    assert verified.problems == ()
    assert verified.runs == len(load_runs(RECORDS / name)) > 2


def test_records_are_small_and_name_no_place_of_a_machine() -> None:
    files = [path for path in RECORDS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 5_000_000
    assert {path.suffix for path in files} <= {".json", ".parquet", ".csv"}
    for path in (path for path in files if path.suffix in (".json", ".csv")):
        found = re.findall(r"(?<![\w.:])/(?:work|root|home|tmp|mnt|Users)\b[^\"]*", path.read_text(encoding="utf-8"))
        assert not found, (path.name, found[:1])
