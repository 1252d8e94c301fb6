"""The index of all modules, from their docstrings: `python tests/module_index.py > docs/modules.md`."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "datasets": "who said what; tasks, labels, registry",
    "features": "waveform to arrays, cache",
    "sermodels": "arrays to predictions",
    "results": "metrics, records, significance, comparison, leaderboard, report",
    "benchmarks": "protocols, trials, the grid, studies, command line, measurements",
}


HEAD = """Made by `python tests/module_index.py > docs/modules.md` from the docstrings. A file `name.py` of datasets,
features or sermodels is a component of that name; `_name.py` is machinery."""


def summary(path: Path) -> str:
    """The first paragraph's first sentence or line of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.split("\n\n")[0].replace("\n", " ").replace("|", "\\|").strip()


def page() -> str:
    """The index as Markdown: components first, then machinery."""
    lines = ["# Modules", "", HEAD, ""]
    for package, about in PACKAGES.items():
        files = sorted((ROOT / package).glob("*.py"), key=lambda f: (f.name.startswith("_"), f.name))
        lines += [f"## {package}: {about}", "", "| module | what it is |", "|---|---|"]
        lines += [f"| `{f.name}` | {summary(f)} |" for f in files if f.name != "__init__.py"]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
