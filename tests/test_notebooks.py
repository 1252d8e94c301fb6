"""The notebooks of the documentation, run block by block as a reader would, and what they leave."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serbench.datasets.core.errors import SerbenchError
from serbench.sermodels import registry

BLOCK = re.compile(r'^```python(?: title="([\w.]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@pytest.fixture
def ran(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> dict[str, Any]:
    """The names that a notebook leaves, worked through in a folder of its own; a block with a title is a file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    names: dict[str, Any] = {"__name__": "notebook"}
    page = (checkout / "docs" / "notebooks" / f"{request.param}.md").read_text(encoding="utf-8")
    for title, code in BLOCK.findall(page):
        if title:
            Path(title).write_text(code, encoding="utf-8")
        else:
            exec(compile(code, f"{request.param}.md", "exec"), names)
    return names


@pytest.fixture
def _forgotten() -> Iterator[None]:
    """Models that a notebook added are unknown to the tests after it."""
    yield
    registry._plugins.pop("nearest-mean", None)
    sys.modules.pop("nearest_mean", None)


@pytest.mark.parametrize("ran", ["records"], indirect=True)
def test_records_are_tables(ran: dict[str, Any]):
    assert sorted(ran["table"]["model"]) == ["chance", "chance", "linear", "linear"]
    assert all(scores.shape == (2, 4) for scores in ran["scores"].values())
    errors = ran["predictions"]["pred_arousal"] - ran["predictions"]["gold_arousal"]
    weighted = (ran["by_speaker"]["mean"] * ran["by_speaker"]["count"]).sum() / ran["by_speaker"]["count"].sum()
    assert weighted == pytest.approx(errors.mean())
    assert ran["by_speaker"]["count"].sum() == 2 * 192
    assert list(ran["units"]["trial"]) == [0, 1]


@pytest.mark.usefixtures("_forgotten")
@pytest.mark.parametrize("ran", ["own_model"], indirect=True)
def test_a_model_of_ones_own_is_ranked(ran: dict[str, Any], checkout: Path):
    names = set(ran["board"]["name"])
    assert {"nearest-mean", "nearest-mean:one", "chance"} <= names
    one = next(r for r in ran["runs"] if r.name == "nearest-mean:one")
    assert one.spec["model"]["config"]["k"] == 1
    assert np.isfinite(ran["board"]["mean"]).all()
    code = dict(BLOCK.findall((checkout / "docs" / "notebooks" / "own_model.md").read_text()))["nearest_mean.py"]
    assert len([line for line in code.splitlines() if line.strip()]) <= 40
    with pytest.raises(SerbenchError, match="there is a model 'linear' already"):
        registry.add("linear", "nearest_mean")


@pytest.mark.parametrize("ran", ["paper_figure"], indirect=True)
def test_a_figure_for_a_paper_is_drawn(ran: dict[str, Any]):
    for name in ("scores.pdf", "differences.pdf"):
        assert Path(name).read_bytes().startswith(b"%PDF")
    assert r"\toprule" in Path("board.tex").read_text()
    row = ran["shown"].iloc[0]
    assert row["low"] < row["difference"] < row["high"]
