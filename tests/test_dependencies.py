"""What is declared in pyproject.toml is what is imported, has a lower bound, and is enough to import every module."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import runpy
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGES = ("datasets", "features", "sermodels", "results", "benchmarks")
DEVELOPERS = ("test", "dev", "docs")  # extras that no user installs
PEERS = {"ctranslate2", "faster_whisper"}  # what a measurement is held against, where somebody has installed it
NEVER_INSTALLED = {"torchaudio"}  # an independent truth where it happens to load

script = runpy.run_path(str(ROOT / "tests" / "lower_bounds.py"))
constraints, requirements = script["constraints"], script["requirements"]


def normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def declared(*extras: str) -> set[str]:
    return {normal(parts["name"]) for parts in requirements(PROJECT, list(extras))}


def imported(file: Path) -> Iterator[str]:
    """Top-level names that a file imports by any means; without those of modules that it writes itself."""
    text = file.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Import(names=names):
                found = [alias.name for alias in names]
            case ast.ImportFrom(module=str(module), level=0):
                found = [module]
            case ast.Call(
                func=ast.Attribute(attr="importorskip" | "import_module") | ast.Name("library"),
                args=[ast.Constant(str(only)), *_],
            ):
                found = [only]
            case _:
                found = []
        yield from (name.split(".")[0] for name in found if f"{name}.py" not in text)


def third_party(files: Iterable[Path]) -> dict[str, set[str]]:
    """Imported name -> distributions that bring it; where none is installed, the declared ones named after it."""
    known, every = packages_distributions(), declared(*PROJECT["optional-dependencies"])
    own = {"serbench", *sys.stdlib_module_names, *(file.stem for file in (ROOT / "tests").glob("*.py"))}
    names = {name for file in files for name in imported(file)} - own
    return {
        name: {normal(found) for found in known.get(name, [])} or {found for found in every if name in found.split("-")}
        for name in names
    }


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from (ROOT / package).rglob("*.py")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_can_be_imported(package: str) -> None:
    parent = importlib.import_module(f"serbench.{package}")
    found = [module.name for module in pkgutil.walk_packages(parent.__path__, f"{parent.__name__}.")]
    assert len(found) >= len(list((ROOT / package).glob("[!_]*.py")))
    for name in found:
        importlib.import_module(name)


def test_every_import_of_the_sources_is_declared() -> None:
    users = set(PROJECT["optional-dependencies"]) - set(DEVELOPERS)
    brought = third_party(sources())
    assert {"numpy", "torch", "ray"} <= set(brought)
    allowed = declared(*users)
    assert {name for name, distributions in brought.items() if not distributions & allowed} - PEERS == set()


def test_every_import_of_the_tests_is_declared() -> None:
    brought = third_party((ROOT / "tests").glob("*.py"))
    assert {"pytest", "hypothesis", "numpy"} <= set(brought)
    allowed = declared("test")
    assert {name for name, distributions in brought.items() if not distributions & allowed} == NEVER_INSTALLED


def test_what_every_installation_brings_is_used_by_the_sources() -> None:
    used = set().union(*third_party(sources()).values())
    assert declared() - used == set()


@pytest.mark.parametrize("extra", PROJECT["optional-dependencies"])
def test_every_direct_dependency_has_a_lower_bound(extra: str) -> None:
    assert list(constraints(PROJECT, [extra]))


def project(*dependencies: str, **extras: list[str]) -> dict[str, Any]:
    return {"name": "toy", "dependencies": list(dependencies), "optional-dependencies": extras}


def test_lower_bounds_become_constraints() -> None:
    toy = project(
        "numpy>=2.0",
        "pandas>=2.2.3,!=3.0.0,<4",
        "scikit-learn >= 1.6.1",
        video=["av>=13; python_version < '3.14'"],
        test=["toy[video, figures]", "pytest[dev]>=8"],
        figures=["rich>=1"],
    )
    assert list(constraints(toy, [])) == ["numpy==2.0", "pandas==2.2.3", "scikit-learn==1.6.1"]
    assert set(constraints(toy, ["test"])) - set(constraints(toy, [])) == {
        "av==13; python_version < '3.14'",
        "rich==1",
        "pytest==8",
    }


@pytest.mark.parametrize("versions", ["", "<3", "==2.0", ">2", "~=2.0", ">=1,>=2", " @ file:///numpy"])
def test_a_dependency_without_a_lower_bound_is_refused(versions: str) -> None:
    with pytest.raises(SystemExit, match=r"needs one lower bound, such as numpy>=1\.0"):
        list(constraints(project(f"numpy{versions}"), []))
