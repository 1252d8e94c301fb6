"""What the wheel holds, and that the command line starts without heavy libraries."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serbench.benchmarks.cli.app import app

TEMPLATES = ("page.html.jinja", "site.html.jinja", "macros.html.jinja", "style.css", "script.js")
PLANS = ("deepemocluster", "maec", "semantic-fusion")
DATA = {
    *(f"serbench/results/report/templates/{name}" for name in TEMPLATES),
    "serbench/results/tables/references.csv",
    *(f"serbench/benchmarks/paper/plans/{name}.toml" for name in PLANS),
    "serbench/benchmarks/paper/references.bib",
    "serbench/benchmarks/torture/golden.json",
}
FLOORS = ("datasets", "features", "sermodels", "results", "benchmarks")


def sources(tree: Path) -> set[str]:
    """Every Python file of the five floors, at any depth, relative to the tree; results that lie there are none."""
    found = {str(p.relative_to(tree)) for floor in FLOORS for p in (tree / floor).rglob("*.py")}
    return {name for name in found if not name.startswith("results/runs/")}


def build(tree: Path, out: Path, *options: str) -> None:
    """Build a tree into a folder."""
    command = [sys.executable, "-m", "build", *options, "--no-isolation", "--outdir", str(out), str(tree)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.fixture(scope="module")
def tree(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with a new room, `datasets/attic`, that no list names."""
    copy = tmp_path_factory.mktemp("copy") / "serbench"
    left = shutil.ignore_patterns(".*", "build", "__pycache__", "runs", "*.egg-info", "tests", "docs")
    shutil.copytree(checkout, copy, ignore=left)
    attic = copy / "datasets" / "attic" / "trunk"
    attic.mkdir(parents=True)
    (attic.parent / "__init__.py").write_text('"""A new room."""\n')
    (attic / "__init__.py").write_text('"""A room in it."""\n')
    (attic / "coat.py").write_text("WORN = True\n")
    return copy


def contents(wheel: Path) -> set[str]:
    return {n for n in zipfile.ZipFile(wheel).namelist() if not re.search(r"\.dist-info/", n)}


def expected(tree: Path) -> set[str]:
    return {f"serbench/{name}" for name in sources(tree)} | {f"serbench/{floor}/py.typed" for floor in FLOORS}


@pytest.mark.slow
@pytest.mark.parametrize("through", ["tree", "sdist"])
def test_the_wheel_holds_every_module_and_nothing_else(tree: Path, tmp_path: Path, through: str) -> None:
    """From the tree, or from the archive of sources made of it; a room that is new to it too."""
    # without either option, the wheel is made from the sdist
    build(tree, tmp_path, *(["--wheel"] if through == "tree" else []))
    inside = contents(next(tmp_path.glob("*.whl")))
    assert "serbench/datasets/attic/trunk/coat.py" in inside
    assert inside - expected(tree) == DATA
    assert expected(tree) <= inside


@pytest.fixture(scope="module", params=["wheel", "editable", "strict editable"])
def environment(request: pytest.FixtureRequest, tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of its own with serbench installed from the tree; its libraries are those of this one."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    shared = [p for p in sys.path if p.endswith("site-packages")]
    (own,) = folder.glob("lib/python*/site-packages")
    (own / "shared.pth").write_text("\n".join(shared) + "\n")
    given = {
        "wheel": [str(tree)],
        "editable": ["-e", str(tree)],
        "strict editable": ["-e", str(tree), "--config-settings", "editable_mode=strict"],
    }[request.param]
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-cache-dir"]
    done = subprocess.run(
        [folder / "bin" / "python", *install, "--ignore-installed", *given],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONSAFEPATH": "1"},
    )
    assert not done.returncode, done.stderr[-2000:]
    return folder


@pytest.mark.slow
def test_an_installed_serbench_has_every_room(environment: Path, tree: Path, tmp_path: Path) -> None:
    """Modules are found and are this installation's own, data too, and the command starts and lists what there is."""
    names = sorted(name.removesuffix(".py").replace("/", ".") for name in sources(tree))
    names = [name.removesuffix(".__init__") for name in names]
    code = (
        "import importlib.util as u, json, sys\n"
        f"missing = [n for n in {names} if u.find_spec('serbench.' + n) is None]\n"
        "import serbench.datasets.attic.trunk.coat as coat\n"
        "from serbench.results.tables.references import references\n"
        "from serbench.results.report.page import page\n"
        "print(json.dumps([missing, coat.WORN, coat.__file__, len(references()), page('a page', [])]))"
    )
    python = environment / "bin" / "python"
    done = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ}
    )
    assert not done.returncode, done.stderr[-2000:]
    missing, worn, place, published, page = json.loads(done.stdout)
    assert "<h1>a page</h1>" in page
    assert not missing
    assert worn
    assert published > 10
    assert any(Path(place).resolve().is_relative_to(owner.resolve()) for owner in (environment, tree))
    listed = subprocess.run(
        [environment / "bin" / "serbench", "list", "models"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert not listed.returncode, listed.stderr[-2000:]
    shown = {line.split()[0] for line in listed.stdout.splitlines()}
    assert {"linear", "deepemocluster", "semantic-fusion"} <= shown
    assert not shown & {"core", "training", "chunked", "inputs", "clustering", "pretrained"}


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom serbench.benchmarks.cli import app as cli\n"
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
    """The citation file, the changelog, the package and the program name one version."""
    version = re.search(r'^version = "(.+)"', (checkout / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert f"version: {version}" in (checkout / "CITATION.cff").read_text()
    assert f"## {version}" in (checkout / "CHANGELOG.md").read_text()
    assert CliRunner().invoke(app, ["--version"]).output == f"serbench {version}\n"


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
