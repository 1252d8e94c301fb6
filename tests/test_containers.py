"""The container files: what hadolint says of the Dockerfile, and that both files install what pyproject.toml has."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "containers"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FILES = {"docker": FOLDER / "Dockerfile", "apptainer": FOLDER / "serbench.def"}
ARGUMENT = re.compile(r"^(?:ARG|   ) ?(PYTHON|BUILD|TORCH|CPU_INDEX|EXTRAS)=\"?([^\"\n]*)\"?$", re.MULTILINE)


def hadolint(file: Path) -> subprocess.CompletedProcess[str]:
    """The linter as its wheel installs it, beside this interpreter."""
    program = Path(sys.executable).parent / "hadolint"
    return subprocess.run([program, "--no-color", file], capture_output=True, text=True, check=False)


def test_hadolint_finds_nothing() -> None:
    done = hadolint(FILES["docker"])
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_would_find_something(tmp_path: Path) -> None:
    spoilt = FILES["docker"].read_text().replace("USER 1000", "USER root").replace("ENTRYPOINT [", "ENTRYPOINT ")
    (tmp_path / "Dockerfile").write_text(spoilt)
    done = hadolint(tmp_path / "Dockerfile")
    assert done.returncode
    assert "DL3002" in done.stdout


@pytest.mark.parametrize("kind", FILES)
def test_the_arguments_are_those_of_the_project(kind: str) -> None:
    arguments = dict(ARGUMENT.findall(FILES[kind].read_text()))
    assert set(arguments) == {"PYTHON", "BUILD", "TORCH", "CPU_INDEX", "EXTRAS"}
    assert (arguments["BUILD"], arguments["CPU_INDEX"]) == ("cuda", "none")
    assert arguments["TORCH"] in PROJECT["dependencies"]
    assert set(arguments["EXTRAS"].split(",")) <= set(PROJECT["optional-dependencies"])
    assert f"Programming Language :: Python :: {arguments['PYTHON']}" in PROJECT["classifiers"]


def test_both_files_have_the_same_arguments() -> None:
    docker, apptainer = (dict(ARGUMENT.findall(file.read_text())) for file in FILES.values())
    assert docker == apptainer


def test_the_apptainer_file_has_its_sections_once_and_in_order() -> None:
    text = FILES["apptainer"].read_text()
    assert re.findall(r"^%(\w+)$", text, re.MULTILINE) == [
        "arguments",
        "files",
        "post",
        "environment",
        "runscript",
        "test",
    ]
    assert re.findall(r"^(Bootstrap|From):", text, re.MULTILINE) == ["Bootstrap", "From"]
    used = set(re.findall(r"\{\{ (\w+) \}\}", text))
    assert used == set(dict(ARGUMENT.findall(text)))


@pytest.mark.parametrize(
    ("build", "index"), [("cpu", "INDEX"), ("cpu", "none"), ("cuda", "INDEX"), ("cuda", "none"), ("gpu", "INDEX")]
)
def test_each_build_installs_its_torch_and_nothing_else_is_taken(build: str, index: str, tmp_path: Path) -> None:
    """The shell of both files, with a pip that only says what it is asked for."""
    torch = dict(ARGUMENT.findall(FILES["docker"].read_text()))["TORCH"]
    script = re.search(r"RUN (if .*?fi)\n", FILES["docker"].read_text(), re.DOTALL)
    assert script
    post = re.search(r"    (case .*?esac)", FILES["apptainer"].read_text(), re.DOTALL)
    assert post
    given = {"BUILD": build, "TORCH": torch, "CPU_INDEX": index, "PATH": f"{tmp_path}:/usr/bin:/bin"}
    (tmp_path / "python").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "python").chmod(0o755)
    shells = [script[1].replace("\\\n", ""), re.sub(r"\{\{ (\w+) \}\}", lambda m: given[m[1]], post[1])]
    for shell in shells:
        done = subprocess.run(["bash", "-c", shell], env=given, capture_output=True, text=True, check=False)
        refused = build == "gpu" or (build, index) == ("cpu", "none")
        assert done.returncode == (2 if refused else 0), done.stderr
        said = done.stdout.replace("--no-cache-dir ", "").strip()
        wanted = {"cpu": f"-m pip install {torch} --index-url INDEX", "cuda": f"-m pip install {torch}", "gpu": ""}
        assert said == ("" if refused else wanted[build])
