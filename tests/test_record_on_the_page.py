"""docs/architecture.md says what a run leaves: the keys of a real run's files are those on the page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from serbench.benchmarks import run

PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"


def bullet(file: str) -> str:
    """The bullet about a file of a run folder."""
    found = re.search(rf"^- `{re.escape(file)}`: (.*?)(?=^- |^$)", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def documented(file: str) -> dict[str, set[str]]:
    """Key -> the keys within it that the page names; none for what is no dictionary of fixed keys."""
    parts = re.findall(r"`([a-z_]+)`(?: \{([a-z0-9_,\s]+)\})?", bullet(file))
    return {key: set(re.split(r",\s+", inside)) if inside else set() for key, inside in parts}


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("record")
    rows = [f"{i}.wav,{'ab'[i % 2]},s{i % 6},{('train', 'dev', 'test')[i % 3]}" for i in range(60)]
    (folder / "mine.csv").write_text("path,label,speaker,partition\n" + "\n".join(rows) + "\n")
    (one,) = run("chance", "table", root=folder / "mine.csv", trials=2, results=folder / "results")
    *_, unit = sorted(one.path.glob("unit-*.json"))  # of the second trial: a copy of the first
    return {
        "run.json": json.loads((one.path / "run.json").read_text()),
        "unit-<trial>-<fold>.json": json.loads(unit.read_text()),
    }


@pytest.mark.parametrize("file", ["run.json", "unit-<trial>-<fold>.json"])
def test_the_page_names_the_keys_of_the_file(file: str, record: dict[str, Any]) -> None:
    named = documented(file)
    assert set(named) == set(record[file])
    for key, inside in named.items():
        if inside:
            assert inside == set(record[file][key]), key
