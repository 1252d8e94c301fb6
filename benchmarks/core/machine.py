"""The machine that a unit runs on: devices, threads, CPU time, and the versions of what decides the numbers."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import sys
from datetime import UTC, datetime
from pathlib import Path

from ...datasets.core.errors import SerbenchError

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Variables that fix the threads of numerical libraries."""
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Variables that say how OpenMP's threads wait for each other."""
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes that `ru_maxrss` counts in."""
VERSIONS = ("serbench", "torch", "numpy", "scipy", "pandas", "scikit-learn", "opensmile", "librosa", "transformers")


GIVEN = os.environ.get("OMP_NUM_THREADS", "")
"""What the environment said when this process began; `limit_threads` writes there."""


def cores() -> int:
    """Processors that this process may use; fewer where Python's own PYTHON_CPU_COUNT says so."""
    said = os.environ.get("PYTHON_CPU_COUNT", "")
    if said.isdigit() and int(said):
        return int(said)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_threads(jobs: int) -> int:
    """Threads of each of some processes where no number is asked for: OMP_NUM_THREADS, else its share of the cores."""
    return int(GIVEN) if GIVEN.isdigit() and int(GIVEN) else max(1, cores() // jobs)


def wait_asleep() -> None:
    """Let OpenMP's threads sleep while they wait for each other, unless the environment says how they wait.

    A thread that spins keeps the core that another program, or the thread it waits for, needs: beside one busy process
    on two cores a training takes several times as long. Call it before torch is loaded, which reads the variable once.
    """
    if not any(name in os.environ for name in WAITING):
        os.environ[WAITING[0]] = "PASSIVE"


def cpu_seconds() -> float:
    """CPU time of this process and its ended children, in seconds."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def peak_mib() -> float:
    """Largest resident memory of this process so far, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # rusage would count what this process was forked from
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT / 2**20


def now() -> str:
    """The time (UTC) as records hold it, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that can change a number."""
    known = {"python": platform.python_version()}
    for name in VERSIONS:
        try:
            known[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            known[name] = "not installed"
    return known


def resolve_device(device: str) -> str:
    """Turn "auto" into "cuda", "mps" or "cpu"; refuse a device that is not there."""
    if device == "cpu":
        return device
    import torch

    there = [
        "cpu",
        *(["cuda"] if torch.cuda.is_available() else []),
        *(["mps"] if torch.backends.mps.is_available() else []),
    ]
    if device == "auto":
        return next((d for d in ("cuda", "mps") if d in there), "cpu")
    if device.split(":")[0] not in there:
        raise SerbenchError(
            f"--device {device}: there is no such device here. Expected auto or one of: {', '.join(there)}."
        )
    return device


def device_name(device: str) -> str:
    """The device as records name it: "cpu" with the machine's architecture, or the graphics card's name."""
    if not device.startswith("cuda"):
        return f"{device} ({platform.machine()})"
    import torch

    return f"{device} ({torch.cuda.get_device_name(device)})"


def limit_threads(threads: int) -> None:
    """Fix this process's threads, so that jobs don't fight over cores and sums are made in one order.

    Call it after the model's module was imported: libraries that are loaded later take the environment's setting.
    """
    for name in THREADS:
        os.environ[name] = str(threads)
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(threads)
    if "numpy" in sys.modules:
        import threadpoolctl

        threadpoolctl.threadpool_limits(threads)
