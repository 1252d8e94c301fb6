"""What the measurement modules share: rows as JSON on their command line, and measurements in processes of their own.

A module ends with `main(__doc__, rows)`. Where `rows` starts further processes, it has a table of `runs`: functions of
texts that measure something in their own process and return facts, among them `cpu_seconds` and `wall_seconds`;
`apart` starts the module again with `--run NAME --argument KEY=VALUE --out FILE`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import write_json
from ..core.machine import THREADS
from .measure import Cost, measure

Row = dict[str, Any]
Facts = dict[str, Any]
Environment = Mapping[str, str | None]
"""Variables that a process gets beside its parent's; None takes one away."""
ONE_THREAD: Environment = dict.fromkeys(THREADS, "1")
DEFAULT_THREADS: Environment = dict.fromkeys(THREADS)
DATA = {"type": Path, "help": "folder of EMO-DB, with wav/ in it"}
"""The option --data of modules whose rows need EMO-DB."""
_DIGITS = {"cpu_seconds": 4, "wall_seconds": 4, "peak_mib": None}


def wav_files(data: Path) -> list[Path]:
    """The recordings of an EMO-DB folder."""
    files = sorted((data / "wav").glob("*.wav"))
    if not files:
        raise SerbenchError(f"{data} holds no wav/*.wav. Expected the folder of EMO-DB; type --data FOLDER.")
    return files


def row(title: str, costs: Cost | Mapping[str, Any], **judged: Any) -> Row:
    """A row of the performance page: rounded costs, and of `ratio`, `limit` and `met` those that are not None."""
    facts = asdict(costs) if isinstance(costs, Cost) else costs
    taken = {key: _rounded(facts.get(key), digits) for key, digits in _DIGITS.items()}
    more = {key: round(value, 4) if isinstance(value, float) else value for key, value in judged.items()}
    return {"title": title, **taken, **{key: value for key, value in more.items() if value is not None}}


def rows_of(table: Mapping[str, Callable[[], list[Row]]], only: Sequence[str] | None = None) -> list[Row]:
    """The rows of a table of measurements, or of some of them."""
    return [one for name in only or table for one in table[name]()]


def apart(module: str, what: str, *, env: Environment = ONE_THREAD, **arguments: object) -> Facts:
    """Run one measurement of a module in a process of its own.

    Returns
    -------
    What it measured, and as `peak_mib` the largest resident set of that process or any one of its children.
    """
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "out.json"
        given = [text for key, value in arguments.items() for text in ("--argument", f"{key}={value}")]
        command = [sys.executable, "-m", module, "--run", what, *given, "--out", str(out)]
        cost = measure(command, env={"PYTHONSAFEPATH": "1", **env})
        return {**json.loads(out.read_text(encoding="utf-8")), "peak_mib": cost.peak_mib}


def interleaved(measured: Mapping[str, Callable[[], Facts]], rounds: int) -> dict[str, Facts]:
    """Median facts of several measurements that take turns, so that a busy machine slows all alike."""
    rounds_of: dict[str, list[Facts]] = {name: [] for name in measured}
    for _ in range(rounds):
        for name, work in measured.items():
            rounds_of[name].append(work())
    return {
        name: {key: statistics.median(one[key] for one in facts) for key in facts[0]}
        for name, facts in rounds_of.items()
    }


def main(
    doc: str | None,
    rows: Callable[..., object] | Mapping[str, Callable[[], list[Row]]],
    runs: Mapping[str, Callable[..., Facts]] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    arguments: Sequence[str] | None = None,
) -> None:
    """Measure, and write the result as JSON, or print it.

    Parameters
    ----------
    doc : the module's docstring; its first line is the help text
    rows : what is measured: a function, or a table of functions from which --only chooses
    runs : what --run measures in this process
    options : the options that the function `rows` takes, each with its keywords for argparse
    """
    runs, options = runs or {}, options or {}
    parser = argparse.ArgumentParser(description=doc.splitlines()[0] if doc else None)
    parser.add_argument("--out", type=Path, help="JSON file; without it the result is printed")
    for name, keywords in options.items():
        parser.add_argument(f"--{name}", **keywords)
    if isinstance(rows, Mapping):
        parser.add_argument("--only", nargs="+", choices=list(rows), help="what is measured; default: all")
    if runs:
        parser.add_argument("--run", choices=list(runs), help="one measurement, in this process")
        parser.add_argument("--argument", action="append", default=[], help="KEY=VALUE of that measurement")
    given = vars(parser.parse_args(arguments))
    result: object
    if given.get("run"):
        result = runs[given["run"]](**dict(text.split("=", 1) for text in given["argument"]))
    elif isinstance(rows, Mapping):
        result = rows_of(rows, given["only"])
    else:
        if missing := [f"--{name}" for name in options if given[name] is None]:
            parser.error(f"the following arguments are required: {', '.join(missing)}")
        result = rows(**{name: given[name] for name in options})
    if given["out"]:
        write_json(given["out"], result)
    else:
        sys.stdout.write(json.dumps(result, indent=1) + "\n")


def _rounded(value: float | None, digits: int | None) -> float | None:
    return None if value is None else round(value, digits)
