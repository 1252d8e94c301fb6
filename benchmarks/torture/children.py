"""A command of serbench in a forked child: imports are warm, so that thousands of them cost what they do and no more.

The child has its own working folder, cache, standard output and error, and limits of processor time and memory: what
hangs or swells is ended by the system, and counts as such. A command that ends in a traceback has the status 70 here.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

TRACEBACK = 70
HUNG = "hung"
SECONDS = 10
"""Processor time [s] after which a command hangs; waiting is ended after twelve times that."""
GIB = 4
"""Memory [GiB] that a command may take beside what it was forked with."""
SAID = "said.txt"
WARM = (
    "torch",
    "pandas",
    "scipy.signal",
    "sklearn.linear_model",
    "sklearn.svm",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "soundfile",
    "soxr",
    "librosa",
    "rich.progress",
    "safetensors.torch",
    "matplotlib.figure",
    "jinja2",
    "serbench.benchmarks.budget.estimate",
    "serbench.benchmarks.cli.app",
    "serbench.benchmarks.cli.options",
    "serbench.benchmarks.grid.grid",
    "serbench.benchmarks.grid.trial",
    "serbench.benchmarks.grid.cost",
    "serbench.features.extraction.extract",
    "serbench.features.words.speech2vec",
    "serbench.results.record.sharing",
    "serbench.results.stress.table",
    "serbench.results.tables.leaderboard",
    "serbench.results.report.writing",
    "serbench.sermodels.training.torch_model",
)


@dataclass(frozen=True)
class Done:
    """How a child ended.

    Attributes
    ----------
    status : exit status; 128 + number for a signal, as shells say it
    said : what it wrote, the errors among it
    seconds, mib : processor time and largest resident memory
    """

    status: int
    said: str
    seconds: float
    mib: float

    @property
    def traceback(self) -> bool:
        """Whether a traceback was printed, by the program or by the interpreter."""
        return self.status == TRACEBACK or "Traceback (most recent call last)" in self.said

    @property
    def hung(self) -> bool:
        """Whether it was ended for taking too long."""
        return self.status in (128 + signal.SIGXCPU, 128 + signal.SIGALRM)

    @property
    def problem(self) -> str:
        """ "traceback", "hung", "crashed" or nothing."""
        if self.traceback:
            return "traceback"
        if self.hung:
            return HUNG
        return "crashed" if self.status in (128 + signal.SIGSEGV, 128 + signal.SIGABRT, 128 + signal.SIGBUS) else ""


_last: list[Callable[[], object]] = []


def at_exit(last: Callable[[], object]) -> None:
    """Call this at the end of the child."""
    _last.append(last)


def warm() -> None:
    """Import what the commands import, once for all children."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for name in WARM:
        importlib.import_module(name)


def loaded() -> str:
    """The modules of this process in the order of their import, one a line."""
    return "\n".join(sys.modules)


def learn(modules: str) -> None:
    """Import here what a child had imported at its end, so that the next ones find it; what can't be is left out."""
    for name in modules.split():
        if name not in sys.modules:
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def command(
    arguments: Sequence[str],
    folder: Path,
    before: Callable[[], None] = lambda: None,
    meanwhile: Callable[[int], None] = lambda pid: None,
    seconds: int = SECONDS,
) -> Done:
    """Run `serbench ARGUMENTS` in a child.

    Parameters
    ----------
    arguments : what is typed behind "serbench"
    folder : its working folder; the cache is in it
    before : called in the child, before the command; what it gives to `at_exit` is called there after it
    meanwhile : called in this process with the child's number, while it works
    seconds : processor time that it may take
    """
    return call(typed(arguments, before), folder, meanwhile, seconds)


def typed(arguments: Sequence[str], before: Callable[[], None] = lambda: None) -> Callable[[], None]:
    """What a child does where `serbench ARGUMENTS` is typed."""

    def serbench() -> None:
        from ..cli.app import main

        sys.argv = ["serbench", *arguments]
        before()
        main()

    return serbench


def call(
    body: Callable[[], None],
    folder: Path,
    meanwhile: Callable[[int], None] = lambda pid: None,
    seconds: int = SECONDS,
    gib: int = GIB,
) -> Done:
    """Run a function in a child, as `command` does with a command."""
    pid, said = started(body, folder, seconds, gib=gib)
    meanwhile(pid)
    return ended(pid, said)


def started(
    body: Callable[[], None], folder: Path, seconds: int = SECONDS, name: str = "", gib: int = GIB
) -> tuple[int, Path]:
    """Begin a child that runs a function; its number, and the file of what it says."""
    folder.mkdir(parents=True, exist_ok=True)
    said = folder.parent / f"{folder.name}.{name}{SAID}"
    pid = os.fork()
    if pid == 0:
        _child(body, folder, said, seconds, gib)
    return pid, said


def ended(pid: int, said: Path) -> Done:
    """Wait for a child."""
    _, status, usage = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    text = said.read_text(encoding="utf-8", errors="replace")
    said.unlink()
    return Done(code if code >= 0 else 128 - code, text, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def _child(body: Callable[[], None], folder: Path, said: Path, seconds: int, gib: int) -> NoReturn:
    status = TRACEBACK
    try:
        _own(folder, said, seconds, gib)
        body()
        status = 0
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        for last in _last:
            last()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _own(folder: Path, said: Path, seconds: int, gib: int) -> None:
    """The child's own folder, output, cache and limits."""
    handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    for number in (1, 2):
        os.dup2(handle, number)
    sys.stdout, sys.stderr = (
        os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False, buffering=1)
        for number in (1, 2)
    )
    os.chdir(folder)
    os.environ |= {
        "SERBENCH_CACHE": str(folder / "cache"),
        "COLUMNS": "200",
        "PYTHON_CPU_COUNT": "1",
        "HOME": str(folder),
    }
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + (gib << 30), resource.RLIM_INFINITY))
    signal.setitimer(signal.ITIMER_REAL, 12 * seconds)
