"""Measuring a whole process: CPU-seconds, wall seconds and peak memory, its ended children included."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..datasets._errors import SerbenchError


@dataclass(frozen=True)
class Cost:
    """What a process took; memory is the largest resident set of it or any one of its children, in MiB."""

    cpu_seconds: float
    wall_seconds: float
    peak_mib: float


def measure(command: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Cost:
    """Run a command to its end and return its cost; a non-zero exit status is an error that holds its last output."""
    started = time.perf_counter()
    with subprocess.Popen(
        list(command), cwd=cwd, env={**os.environ, **(env or {})}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SerbenchError(f"{' '.join(command)} ended with status {process.returncode}: {output[-800:].decode()}")
    return Cost(usage.ru_utime + usage.ru_stime, time.perf_counter() - started, usage.ru_maxrss / 1024)
