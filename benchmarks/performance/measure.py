"""Measuring a whole process (CPU-seconds, wall seconds, peak memory, its ended children included), or a part of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...datasets.core.errors import SerbenchError
from ..core.machine import MAXRSS_UNIT, cpu_seconds

SERBENCH = (sys.executable, "-c", "from serbench.benchmarks.cli.app import main; main()")
"""The command line as a process of this Python."""


@dataclass(frozen=True)
class Cost:
    """What a process took; memory is the largest resident set of it or any one of its children, in MiB."""

    cpu_seconds: float
    wall_seconds: float
    peak_mib: float


LAUNCHER = """
import json, os, sys, time
report, command = sys.argv[1], sys.argv[2:]
started = time.perf_counter()
child = os.fork()
if not child:
    os.execvp(command[0], command)
_, status, usage = os.wait4(child, 0)
with open(report, "w") as file:
    json.dump([usage.ru_utime + usage.ru_stime, time.perf_counter() - started, usage.ru_maxrss], file)
sys.exit(os.waitstatus_to_exitcode(status) and 1)
"""
"""Started between us and the command: the kernel counts a process's memory before `exec` into its peak, and ours may
be large, the launcher's is small."""


def measure(command: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str | None] | None = None) -> Cost:
    """Run a command to its end and return its cost; a non-zero exit status is an error that holds its last output.

    Parameters
    ----------
    env : variables beside those of this process; None takes one away
    """
    variables = {key: value for key, value in {**os.environ, **(env or {})}.items() if value is not None}
    with tempfile.TemporaryDirectory() as name:
        report = Path(name) / "cost.json"
        done = subprocess.run(
            [sys.executable, "-S", "-c", LAUNCHER, str(report), *command],
            cwd=cwd,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if done.returncode:
            raise SerbenchError(f"{' '.join(command)} ended with a failure: {done.stdout[-800:].decode()}")
        cpu, wall, peak = json.loads(report.read_text())
    return Cost(cpu, wall, peak * MAXRSS_UNIT / 2**20)


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Region whose `cpu_seconds` (ended children included) and `wall_seconds` the dictionary holds at its end."""
    spent: dict[str, float] = {}
    cpu, wall = cpu_seconds(), time.perf_counter()
    yield spent
    spent |= {"cpu_seconds": cpu_seconds() - cpu, "wall_seconds": time.perf_counter() - wall}
