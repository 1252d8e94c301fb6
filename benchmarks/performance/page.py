"""`make bench`: every measurement in one page, each as CPU-seconds, wall seconds and peak memory beside its reference.

    python -m serbench.benchmarks.performance.page [--out docs/performance.md] [--data EMODB_ROOT] [--only NAME ...]

A module of the room `parts` takes part when it has `rows(data)` (or `rows()`), a list of dictionaries with
`title`, `cpu_seconds`, `wall_seconds`, `peak_mib` and, for our own side, `ratio`, `limit` and `met`. A part that fails
is named with its reason, and the others go on. With `--only`, the other sections of a page that is there stay.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import pkgutil
import platform
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ...datasets.core.files import write_text
from ...datasets.core.stages import track
from ..core.machine import versions
from ..core.pulse import pulsing
from . import parts as parts_room
from .rows import Row, row

HEAD = """# Performance

Written by `make bench`, or section by section by `python -m serbench.benchmarks.performance.page --only NAME --out
docs/performance.md`, with `--data EMODB_ROOT` for what reads real speech; don't edit. Each row is a process of its own;
CPU-seconds count all threads and children, and for whole commands the start and imports too. References run in the
same session as ours. Wall seconds on a shared machine mean little; CPU-seconds and ratios are what to compare.
"""


def parts() -> list[str]:
    """Names of the measurement modules."""
    return [module.name for module in pkgutil.iter_modules(parts_room.__path__)]


def measure_part(name: str, data: Path | None) -> tuple[list[Row], str | None]:
    """Rows of one module, and the reason if it could not be measured."""
    module = importlib.import_module(f"{parts_room.__name__}.{name}")
    if not hasattr(module, "rows"):
        return [], "it has no rows()"
    wants = "data" in inspect.signature(module.rows).parameters
    if wants and data is None:
        return [], "it needs EMO-DB: give its folder as --data"
    try:
        return list(module.rows(data) if wants else module.rows()), None
    except Exception as error:  # one part never ends the others
        return [], f"{type(error).__name__}: {error}"


def section(name: str, rows: Sequence[Row], problem: str | None = None) -> str:
    """A section of the page: when and where it was measured, and its rows."""
    known = ", ".join(f"{library} {version}" for library, version in versions().items())
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    lines = [f"## {name}", "", f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine}; {known}.", ""]
    if problem:
        lines += [f"Not measured: {problem}", ""]
    if rows:
        lines += [
            "| what | CPU s | wall s | peak MiB | ratio | limit | kept |",
            "| --- | ---: | ---: | ---: | ---: | --- | --- |",
            *map(_line, rows),
            "",
        ]
    return "\n".join(lines)


def sections(text: str) -> dict[str, str]:
    """Name -> section of a page."""
    pieces = [f"## {part.strip()}\n" for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]]
    return {one.splitlines()[0].removeprefix("## "): one for one in pieces}


def page(measured: Mapping[str, str]) -> str:
    """The Markdown page of these sections, in their order."""
    return "\n".join([HEAD, *(measured[name] for name in ["demo", *parts()] if name in measured)])


def demo_rows() -> list[Row]:
    """The commands of `make demo`, in a folder of their own with an empty cache."""
    from .measure import SERBENCH, Cost, measure

    steps = (
        ["run", "--model", "linear", "--model", "svm", "--model", "cnn-regressor:small", "--dataset", "demo"],
        ["leaderboard", "--dataset", "demo"],
        ["compare", "linear", "svm", "cnn-regressor:small", "chance", "--dataset", "demo"],
    )
    with tempfile.TemporaryDirectory() as name:
        env = {"SERBENCH_CACHE": str(Path(name) / "cache"), "PYTHONSAFEPATH": "1"}
        costs = [measure([*SERBENCH, *step], cwd=Path(name), env=env) for step in steps]
    cpu, wall = sum(c.cpu_seconds for c in costs), sum(c.wall_seconds for c in costs)
    peak = max(c.peak_mib for c in costs)
    return [
        row(
            "`make demo` after set-up, nothing cached",
            Cost(cpu, wall, peak),
            limit="240 wall seconds, 3 GB",
            met=wall <= 240 and peak * 2**20 <= 3e9,
        )
    ]


def _line(row: Row) -> str:
    numbers = [f"{row[k]:.2f}" if row.get(k) is not None else "" for k in ("cpu_seconds", "wall_seconds")]
    peak = f"{row['peak_mib']:.0f}" if row.get("peak_mib") is not None else ""
    kept = {True: "yes", False: "NO"}.get(row.get("met", ""), "")
    cells = [row["title"], *numbers, peak, f"{row['ratio']:.2f}" if "ratio" in row else "", row.get("limit", ""), kept]
    return "| " + " | ".join(cells) + " |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the page; without `--out` it is printed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--data", type=Path, help="folder of EMO-DB")
    parser.add_argument("--only", nargs="+", choices=["demo", *parts()], help="parts to measure; default: all")
    given = parser.parse_args(arguments)
    data = given.data
    if data is None and os.environ.get("SERBENCH_TEST_DATA"):
        data = Path(os.environ["SERBENCH_TEST_DATA"]) / "emodb"
    measured = (
        sections(given.out.read_text(encoding="utf-8")) if given.only and given.out and given.out.exists() else {}
    )
    with pulsing():
        for name in track(given.only or ["demo", *parts()], "measuring"):
            sys.stderr.write(f"measuring {name}\n")
            measured[name] = section(name, demo_rows()) if name == "demo" else section(name, *measure_part(name, data))
    text = page(measured)
    if given.out:
        write_text(given.out, text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
