"""`serbench env`: versions, the device, and for each part whether it is usable, why not, what is lost, what to type."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from typer.testing import CliRunner

from serbench.benchmarks.cli.app import app
from serbench.benchmarks.core import environment
from serbench.benchmarks.core.environment import PARTS, Part, state
from serbench.benchmarks.core.machine import WAITING, cores
from serbench.datasets.core import libraries


def said(*arguments: str, status: int = 0) -> list[str]:
    result = CliRunner().invoke(app, ["env", *arguments])
    assert result.exit_code == status, result.output
    return result.output.splitlines()


@pytest.fixture(scope="module")
def project(checkout: Path) -> dict:
    return tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_versions_are_those_that_are_installed() -> None:
    lines = {line.split()[0]: line for line in said()}
    for name in ("numpy", "torch", "transformers", "opensmile"):
        assert lines[name].split()[1] == importlib.metadata.version(name)
        assert " usable" in lines[name]
    assert lines["device:"].startswith("device: cuda:0" if torch.cuda.is_available() else "device: ")


def test_every_dependency_is_a_part(project: dict) -> None:
    """Required ones and extras; what an extra of tests, documentation or developers brings is no part."""
    required = {canonicalize_name(Requirement(text).name) for text in project["dependencies"]}
    assert {part.distribution for part in PARTS if not part.extra} == required
    extras = {
        name: texts for name, texts in project["optional-dependencies"].items() if name not in ("dev", "test", "docs")
    }
    brought = {(canonicalize_name(Requirement(text).name), extra) for extra, texts in extras.items() for text in texts}
    assert {(part.distribution, part.extra) for part in PARTS if part.extra} == brought


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the OpenMP library of Linux prints its settings")
@pytest.mark.parametrize(("given", "waits"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_threads_wait_asleep_unless_the_environment_says_how(given: dict[str, str], waits: str) -> None:
    """What OpenMP itself reads, in a process that loads torch after the program has begun."""
    code = "import serbench.benchmarks.cli.app as cli; cli.app = lambda: __import__('torch'); cli.main()"
    environment = {name: value for name, value in os.environ.items() if name not in WAITING}
    environment |= {"OMP_DISPLAY_ENV": "true"} | given
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    policies = re.findall(r"OMP_WAIT_POLICY\s*=\s*'(\w+)'", shown.stderr)
    assert set(policies) == {waits}, shown.stderr[-1000:]


def test_strict_passes_where_all_required_parts_are_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    said("--strict")
    monkeypatch.setitem(sys.modules, "faiss", None)
    said("--strict")


def test_strict_fails_where_a_required_part_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soxr", None)
    (line,) = [line for line in said("--strict", status=1) if line.split()[0] == "soxr"]
    assert "NOT usable, REQUIRED: not installed; lost: audio of another sampling rate" in line
    assert re.search(r"; type: pip install 'soxr>=[\d.]+'$", line)


def test_strict_passes_where_a_part_is_left_out_for_this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [Requirement(text) for text in ("soxr>=0.5; python_version < '3'", "gensim>=4; python_version < '3'")]
    monkeypatch.setattr(libraries, "_requirements", lambda: there)
    monkeypatch.setitem(sys.modules, "soxr", None)
    (line,) = [line for line in said("--strict") if line.split()[0] == "soxr"]
    assert 'NOT usable, optional: not installed, since serbench asks for it where python_version < "3"; lost: ' in line


def test_a_part_that_is_not_installed_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    (line,) = [line for line in said() if line.split()[0] == "faiss-cpu"]
    assert "NOT usable, optional: not installed; lost: model.kmeans=faiss of deepemocluster" in line
    assert line.endswith("type: pip install 'serbench[faiss]'")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise OSError('libother.so: cannot open shared object file')", "OSError: libother.so: cannot open"),
        ("raise RuntimeError", "RuntimeError: no message"),
        ("import a_library_that_nobody_has", "it needs a_library_that_nobody_has, which is not installed"),
        ("import broken_part.absent", "its part broken_part.absent is missing"),
    ],
)
def test_a_broken_part_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, reason: str
) -> None:
    (tmp_path / "broken_part").mkdir()
    (tmp_path / "broken_part" / "__init__.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_part", raising=False)
    found = state(Part("broken_part", "broken-part", "a test"))
    assert found.version is None
    assert reason in str(found.problem)


def test_a_version_beyond_the_bounds_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    version = environment.installed_version
    monkeypatch.setattr(environment, "installed_version", lambda name: "99.0" if name == "torch" else version(name))
    (line,) = [line for line in said("--strict") if line.split()[0] == "torch"]
    assert re.search(r"torch +99\.0 +usable \(untried: serbench asks for .*<3.*; type: pip install 'torch", line)


def test_processors_are_those_that_python_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """PYTHON_CPU_COUNT is Python's own variable, which it heeds itself from 3.13 on."""
    monkeypatch.setenv("PYTHON_CPU_COUNT", "3")
    assert cores() == 3
    for said_nothing in ("", "default"):
        monkeypatch.setenv("PYTHON_CPU_COUNT", said_nothing)
        assert cores() == len(os.sched_getaffinity(0))
