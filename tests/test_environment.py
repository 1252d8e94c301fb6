"""`serbench env`: versions, the device, and for each part whether it is usable, and why not."""

from __future__ import annotations

import importlib.metadata
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from serbench.benchmarks.cli.app import app
from serbench.benchmarks.core.environment import PARTS, Part, usable


def said() -> list[str]:
    result = CliRunner().invoke(app, ["env"])
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def test_versions_are_those_that_are_installed() -> None:
    lines = {line.split()[0]: line for line in said()}
    for name in ("numpy", "torch", "torchaudio", "opensmile"):
        assert lines[name].split()[1] == importlib.metadata.version(name)
        assert " usable" in lines[name]
    assert lines["device:"].startswith("device: cuda:0" if torch.cuda.is_available() else "device: ")


def test_every_extra_that_users_may_install_is_listed() -> None:
    file = Path(__file__).parents[1] / "pyproject.toml"
    extras = tomllib.loads(file.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert {part.extra for part in PARTS if part.extra} >= set(extras) - {"dev", "test"}


def test_a_part_that_is_not_installed_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    (line,) = [line for line in said() if line.split()[0] == "faiss-cpu"]
    assert "NOT usable: not installed; type: pip install 'serbench[faiss]'" in line


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise OSError('libother.so: cannot open shared object file')", "OSError: libother.so: cannot open"),
        ("raise RuntimeError", "RuntimeError: no message"),
        ("import a_library_that_nobody_has", "it needs a_library_that_nobody_has, which is not installed"),
    ],
)
def test_a_broken_part_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, reason: str
) -> None:
    (tmp_path / "broken_part.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_part", raising=False)
    version, problem = usable(Part("broken_part", "broken-part", "a test"))
    assert version is None
    assert reason in str(problem)
