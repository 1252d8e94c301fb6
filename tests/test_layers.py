"""Floors and rooms: imports go one way, nothing imports in a circle, and no floor is a top-level package.

The graph is the true one: imports of every level and form, within functions and under TYPE_CHECKING too. A room is a
folder of a floor with all folders in it; a component that is a single file is a room of its own.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

Graph = dict[str, set[str]]
FLOORS = {
    "datasets": set(),
    "features": {"datasets"},
    "sermodels": {"datasets", "features"},
    "results": {"datasets"},
    "benchmarks": {"datasets", "features", "sermodels", "results"},
}
"""Floor -> the floors below, which it may import."""
MAIN = {"datasets": "reader", "features": "extractor", "sermodels": "model"}
NAME_COMPONENTS = ("benchmarks.studies", "benchmarks.performance", "datasets.mocks")
"""Rooms that are about single components: studies of a paper, measurements, one miniature per corpus."""
MOST_FILES = 16


def dotted(root: Path, path: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(source: str, module: str, is_package: bool, modules: set[str]) -> set[str]:
    """Modules of ours that a module imports, anywhere in its code; names are dotted, without `serbench`."""
    found = set()
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {a.name.removeprefix("serbench.") for a in node.names if a.name.startswith("serbench.")}
        if not isinstance(node, ast.ImportFrom):
            continue
        if node.level:
            base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
        elif (node.module or "").split(".")[0] == "serbench":
            base = (node.module or "").split(".")[1:]
        else:
            continue
        name = ".".join(part for part in base if part)
        for alias in node.names:
            whole = f"{name}.{alias.name}".strip(".")
            found.add(whole if whole in modules else name)
    return found - {module}


@pytest.fixture(scope="module")
def graph(checkout: Path) -> Graph:
    paths = {dotted(checkout, p): p for floor in FLOORS for p in sorted((checkout / floor).rglob("*.py"))}
    return {
        name: imported(path.read_text(encoding="utf-8"), name, path.name == "__init__.py", set(paths))
        for name, path in paths.items()
    }


def room(module: str) -> str:
    """The room that a module is in: floor and first folder, or the module itself where it lies on the floor."""
    return ".".join(module.split(".")[:2])


def at_load(source: str) -> str:
    """A module without the bodies of its functions and what only type checkers read."""

    class Load(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
            return ast.Pass()

        def visit_If(self, node: ast.If) -> ast.AST | None:
            return None if "TYPE_CHECKING" in ast.unparse(node.test) else node

    return ast.unparse(ast.fix_missing_locations(Load().visit(ast.parse(source))))


def longest_chain(graph: Graph) -> list[str]:
    """The longest way through a graph without circles."""
    known: dict[str, list[str]] = {}

    def chain(node: str) -> list[str]:
        if node not in known:
            known[node] = [node, *max((chain(other) for other in sorted(graph[node])), key=len, default=[])]
        return known[node]

    return max((chain(node) for node in sorted(graph)), key=len)


def circle(graph: Graph) -> list[str]:
    """Some circle of a graph, in order, or nothing."""
    done: set[str] = set()

    def search(node: str, path: list[str]) -> list[str]:
        if node in path:
            return path[path.index(node) :]
        if node in done:
            return []
        for other in sorted(graph.get(node, ())):
            if found := search(other, [*path, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(graph) if (found := search(node, []))), [])


def rooms(graph: Graph) -> Graph:
    joined: Graph = {}
    for name, others in graph.items():
        joined.setdefault(room(name), set()).update({room(other) for other in others} - {room(name)})
    return joined


def components(checkout: Path, floor: str) -> set[str]:
    """Files of a floor, and its rooms that hold a main part."""
    files = {f"{floor}.{path.stem}" for path in (checkout / floor).glob("[!_]*.py")}
    return files | {f"{floor}.{path.parent.name}" for path in (checkout / floor).glob(f"*/{MAIN[floor]}.py")}


def test_the_reader_of_imports_sees_every_form():
    modules = {"features.room.one", "features.room", "results", "results.x", "datasets.core.files", "features.mel"}
    source = (
        "from ...results import x\nfrom . import one, two\nfrom typing import TYPE_CHECKING\n"
        "def f():\n    from ..mel import y\nif TYPE_CHECKING:\n    import serbench.datasets.core.files\n"
    )
    expected = {"results.x", "features.room.one", "features.room", "features.mel", "datasets.core.files"}
    assert imported(source, "features.room.three", False, modules) == expected
    assert imported("from .one import x", "features.room", True, modules) == {"features.room.one"}
    assert imported("from serbench.results import x, z", "features.a", False, modules) == {"results.x", "results"}


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]


@pytest.mark.parametrize("floor", FLOORS)
def test_floors_import_one_way(graph: Graph, floor: str):
    members = [name for name in graph if name.split(".")[0] == floor]
    assert len(members) > 5
    for name in members:
        wrong = {other for other in graph[name] if other.split(".")[0] not in FLOORS[floor] | {floor}}
        assert not wrong, f"{name} imports {wrong}"


def test_no_module_imports_in_a_circle(graph: Graph):
    assert not circle(graph)


def test_no_room_imports_in_a_circle(graph: Graph):
    assert not circle(rooms(graph))


def test_chains_of_imports_are_short(checkout: Path):
    """What a module loads, loads, and so on: at most twelve modules one behind the other."""
    paths = {dotted(checkout, p): p for floor in FLOORS for p in sorted((checkout / floor).rglob("[!_]*.py"))}
    graph = {
        name: imported(at_load(path.read_text(encoding="utf-8")), name, False, set(paths)) & set(paths)
        for name, path in paths.items()
    }
    assert 4 < len(longest_chain(graph)) <= 12, longest_chain(graph)


def test_a_run_enters_few_modules(tmp_path: Path):
    """A training on a corpus that lies on the disk: the demo corpus is generated at its first use, before."""
    code = "from serbench.datasets.reading.load import load_corpus\nload_corpus('demo')"
    subprocess.run([sys.executable, "-c", code], check=True)
    code = (
        "import sys\nfrom serbench.benchmarks.cli.app import main\n"
        "sys.argv = 'serbench run --model linear --dataset demo --trials 1'.split()\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "files = [getattr(m, '__file__', None) or '' for n, m in sys.modules.items() if n.startswith('serbench.')]\n"
        "print(sum(bool(f) and not f.endswith('__init__.py') for f in files))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert 30 < int(done.stdout.split()[-1]) <= 60


@pytest.mark.parametrize("floor", FLOORS)
def test_machinery_names_no_component(graph: Graph, checkout: Path, floor: str):
    known = {component for other in MAIN for component in components(checkout, other)}
    machinery = [n for n in graph if n.startswith(f"{floor}.") and room(n) not in {*known, *NAME_COMPONENTS}]
    assert len(machinery) > 5
    assert not [(name, other) for name in machinery for other in graph[name] if room(other) in known]


def folders(checkout: Path) -> Iterator[Path]:
    for floor in FLOORS:
        yield from (path for path in (checkout / floor).rglob("*") if path.is_dir() and list(path.glob("*.py")))


def test_a_room_says_what_it_holds_imports_nothing_and_is_small(checkout: Path):
    assert len(list(folders(checkout))) > 30
    for folder in folders(checkout):
        code = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
        assert ast.get_docstring(code), f"{folder} does not say what it holds"
        assert not [node for node in ast.walk(code) if isinstance(node, ast.Import | ast.ImportFrom)], folder
        if folder.name != "mocks":  # one per corpus
            assert len(list(folder.glob("[!_]*.py"))) <= MOST_FILES, f"{folder} holds too many files for a room"


@pytest.mark.parametrize("floor", FLOORS)
def test_a_floor_is_no_top_level_package(checkout: Path, floor: str):
    code = f"import sys; sys.path.insert(0, {str(checkout)!r}); import {floor}"
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
