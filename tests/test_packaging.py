"""What the wheel holds, and that the command line starts without heavy libraries."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PACKAGES = ("datasets", "features", "sermodels", "results", "benchmarks")


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_nothing_else(checkout: Path, tmp_path: Path):
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(checkout)]
    subprocess.run(command, capture_output=True, text=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    inside = {n for n in zipfile.ZipFile(wheel).namelist() if not re.search(r"\.dist-info/", n)}
    expected = {f"serbench/{p}/{f.name}" for p in PACKAGES for f in (checkout / p).glob("*.py")}
    expected |= {f"serbench/{p}/py.typed" for p in PACKAGES}
    data = {n for n in inside if not n.endswith((".py", "py.typed"))}
    assert inside - data == expected
    assert all((checkout / Path(n).relative_to("serbench")).is_file() for n in data)


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom serbench.benchmarks import cli\n"
        "sys.argv = ['serbench', '--help']\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        "import json; print('\\n' + json.dumps(sorted(m for m in sys.modules if '.' not in m)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert "typer" in loaded
    assert not set(loaded) & {"torch", "pandas", "librosa", "numpy", "scipy", "sklearn", "opensmile", "transformers"}


@pytest.mark.parametrize("kind", ["models", "datasets", "features", "tasks", "presets"])
def test_list_imports_nothing_heavy(kind: str):
    code = (
        "import sys, json\nfrom serbench.benchmarks.core.listing import lines\n"
        f"print(json.dumps([list(lines({kind!r})), sorted(m for m in sys.modules if '.' not in m)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    shown, loaded = json.loads(done.stdout.splitlines()[-1])
    assert len(shown) >= 3
    assert not set(loaded) & {"torch", "pandas", "librosa", "numpy", "scipy", "sklearn"}


def test_versions_agree(checkout: Path):
    """The citation file, the changelog and the package name one version."""
    version = re.search(r'^version = "(.+)"', (checkout / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert f"version: {version}" in (checkout / "CITATION.cff").read_text()
    assert f"## {version}" in (checkout / "CHANGELOG.md").read_text()


def test_no_registry_host_is_named(checkout: Path):
    """Sources hold no package registry's address, so a checkout installs from whatever index the user has."""
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=checkout, check=False).stdout
    pattern = re.compile(r"(files\.pythonhosted|pypi\.org/simple|download\.pytorch)\.?")
    named = [
        f
        for f in tracked.split()
        if f != "tests/test_packaging.py"
        and pattern.search((checkout / f).read_text(encoding="utf-8", errors="replace"))
    ]
    assert not named
