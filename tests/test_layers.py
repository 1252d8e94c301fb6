"""The layers: imports go one way, folders are flat, and no folder can be imported as a top-level package."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = ("datasets", "features", "sermodels", "results", "benchmarks")
MAY_IMPORT = {
    "datasets": set(),
    "features": {"datasets"},
    "sermodels": {"datasets", "features"},
    "results": {"datasets"},
    "benchmarks": {"datasets", "features", "sermodels", "results"},
}


def imported_packages(source: str) -> set[str]:
    """Packages of ours that a module imports, from relative and absolute imports at any depth of its code."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level == 2:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {name.split(".")[0] for name in names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").startswith("serbench"):
            found.add((node.module or "").split(".")[1] if "." in (node.module or "") else "*")
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("serbench.")}
    return found


def test_the_reader_of_imports_sees_every_form():
    source = (
        "from ..results import x\ndef f():\n    from ..features.mel import y\nimport serbench.datasets.schema.task\n"
    )
    assert imported_packages(source) == {"results", "features", "datasets"}


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_one_way(checkout: Path, package: str):
    paths = sorted((checkout / package).glob("*.py"))
    assert len(paths) > 5
    for path in paths:
        wrong = imported_packages(path.read_text(encoding="utf-8")) - MAY_IMPORT[package] - {package}
        assert not wrong, f"{package}/{path.name} imports {wrong}"


@pytest.mark.parametrize("package", PACKAGES)
def test_folders_are_flat(checkout: Path, package: str):
    nested = [p for p in (checkout / package).rglob("*.py") if p.parent != checkout / package and "runs" not in p.parts]
    assert not nested, f"modules in subfolders are missing from the wheel: {nested}"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_folder_is_no_top_level_package(checkout: Path, package: str):
    code = f"import sys; sys.path.insert(0, {str(checkout)!r}); import {package}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "pip install -e ." in done.stderr


def test_tests_do_not_see_the_checkout(checkout: Path):
    assert str(checkout) not in [str(Path(p).resolve()) for p in sys.path if p]


def test_no_package_shadows_a_library():
    """The Hugging Face package `datasets` stays importable (or absent): ours does not take its name."""
    done = subprocess.run(
        [sys.executable, "-c", "import importlib.util as u; s = u.find_spec('datasets'); print(s and s.origin)"],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
        env={**os.environ, "PYTHONSAFEPATH": "1"},
    )
    assert "site-packages" in done.stdout or done.stdout.strip() == "None"
