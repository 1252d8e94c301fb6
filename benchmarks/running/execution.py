"""How what is asked for is worked through: in which folder, on what, by whom; and what is worked through, an order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol as Interface

from ...datasets.core.errors import SerbenchError
from ..core.machine import cores
from ..core.progress import Display, Silent

if TYPE_CHECKING:
    from ...results.record.folder import Run
    from ..protocol.setting import Corpora
    from .plan import Job, Plan, Unit


@dataclass(frozen=True)
class Order:
    """A plan with the records that take what comes of it, one for each of its parts."""

    plan: Plan
    runs: tuple[Run, ...]

    def units(self) -> list[Unit]:
        """What is still to do, in the order in which it is worked through."""
        return self.plan.units([part.lacking(run) for part, run in zip(self.plan.parts, self.runs, strict=True)])

    def job(self, unit: Unit, device: str, threads: int, *, save_models: bool = False) -> Job:
        """A unit as plain data."""
        return self.plan.job(unit, [run.path for run in self.runs], device, threads, save_models=save_models)


class Launcher(Interface):
    """Works through orders somewhere."""

    def work(self, orders: Iterable[Order], how: Execution, corpora: Corpora) -> Iterator[Order]:
        """Take up the orders, work through all of their units, and give each back when its units have records."""


@dataclass(frozen=True)
class Execution:
    """How a grid is worked through.

    Attributes
    ----------
    results : folder that holds `runs/`
    device : "auto", "cpu", "cuda" or "mps"
    jobs : processes that work on units at the same time
    threads : of each process; None = the machine's cores divided by `jobs`. Numbers are identical on one machine for
        the same number of threads, whatever `jobs` is
    save_models : whether the weights of every trial are kept beside its record
    display : what the user sees
    launcher : what works through the units instead of this machine, such as `ray.launcher.RayLauncher`
    """

    results: str | Path = "results"
    device: str = "auto"
    jobs: int = 1
    threads: int | None = None
    save_models: bool = False
    display: Display = field(default_factory=Silent)
    launcher: Launcher | None = None

    def __post_init__(self) -> None:
        """Refuse a number of processes that there can't be."""
        if self.jobs < 1:
            raise SerbenchError(f"jobs={self.jobs}: expected 1 or more.")

    @property
    def folder(self) -> Path:
        """The results folder."""
        return Path(self.results)

    @property
    def threads_of_each(self) -> int:
        """Threads of each process on this machine."""
        return self.threads or max(1, cores() // self.jobs)
