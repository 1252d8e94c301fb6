"""The lower bounds of pyproject.toml as a constraints file for pip: `python tests/lower_bounds.py test > oldest.txt`.

Written for a machine with nothing but Python: the requirements of the project and of the extras that are named become
`name==bound` lines, markers kept. With them, `pip install -e .[test] -c oldest.txt` takes each direct dependency at its
lowest, from wherever pip is set up to take it.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
REQUIREMENT = re.compile(
    r"(?P<name>[\w.-]+)\s*(?:\[(?P<extras>[^]]*)\])?\s*(?P<versions>[^;]*?)\s*(?:;\s*(?P<marker>.*))?"
)
BOUND = re.compile(r">=\s*([^\s,]+)")


def requirements(project: dict[str, Any], extras: list[str]) -> Iterator[re.Match[str]]:
    """Requirements of the project and of those extras, each once; an extra's reference to the project is followed."""
    waiting = [*project["dependencies"], *(f"{project['name']}[{extra}]" for extra in extras)]
    seen = set()
    while waiting:
        text = waiting.pop(0)
        if text in seen:
            continue
        seen.add(text)
        parts = REQUIREMENT.fullmatch(text)
        if parts is None:
            raise SystemExit(f"pyproject.toml: {text!r} is not of the form 'name[extras]>=version; marker'")
        if parts["name"] == project["name"] and parts["extras"]:
            for extra in parts["extras"].split(","):
                waiting += project["optional-dependencies"][extra.strip()]
        else:
            yield parts


def constraints(project: dict[str, Any], extras: list[str]) -> Iterator[str]:
    """`name==bound` of each requirement; one without a lower bound ends the program."""
    for parts in requirements(project, extras):
        bounds = BOUND.findall(parts["versions"])
        if len(bounds) != 1:
            raise SystemExit(f"pyproject.toml: {parts[0]!r} needs one lower bound, such as {parts['name']}>=1.0")
        yield f"{parts['name']}=={bounds[0]}" + (f"; {parts['marker']}" if parts["marker"] else "")


if __name__ == "__main__":
    print("\n".join(constraints(tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"], sys.argv[1:])))
