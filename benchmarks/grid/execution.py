"""How what is asked for is worked through: in which folder, on what, and by whom; and this machine's way of doing so.

What is worked through is an order: a plan with the records that take what comes of it. Features that are missing are
extracted first, once for all units; then each unit that some of an order's records lacks is trained (or predicted).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol as Interface

from ...datasets.core.errors import SerbenchError
from ...results.record.folder import Run
from ..core.machine import cores, default_threads, resolve_device
from ..core.progress import Display, Silent, UnitDisplay
from ..protocol.request import Request
from ..protocol.setting import Corpora
from .plan import Job, Plan, Unit
from .source import Source
from .training import plan_training
from .trial import TrainingJob


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

    def lost(self, unit: Unit, threads: int) -> list[dict[str, Any]]:
        """Record a unit whose process died as failed; returns the facts as written."""
        error = "its process died (killed, out of memory, or a crash); the same command tries it again"
        return [
            self.runs[part].write_unit(trial, unit.fold, self.plan.lost(unit, trial, error, threads), None)
            for trial, part in unit.records()
        ]


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
    threads : of each process; None = OMP_NUM_THREADS, else the cores divided by `jobs`. Numbers are identical on one
        machine for the same number of threads, whatever `jobs` is
    save_models : whether the weights of every trial are kept beside its record
    display : what the user sees
    track : "tensorboard", "mlflow" or "wandb": what is told of each epoch and each record; empty for none
    launcher : what works through the units instead of this machine, such as `ray.launcher.RayLauncher`
    """

    results: str | Path = "results"
    device: str = "auto"
    jobs: int = 1
    threads: int | None = None
    save_models: bool = False
    display: Display = field(default_factory=Silent)
    launcher: Launcher | None = None
    track: str = ""

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
        return self.threads or default_threads(self.jobs)


def make_plan(requests: Sequence[Request], corpora: Corpora, config: Mapping[str, Any] | None = None) -> Plan:
    """Resolve requests that are worked through together, of either kind; arguments as of `plan_training`."""
    if requests[0].weights:
        from .untrained import plan_weights

        return plan_weights(requests, corpora)
    return plan_training(requests, corpora, config)


def read_plan(text: str, corpora: Corpora) -> Plan:
    """The plan of `Plan.text`, made from the corpora of this process."""
    requests, config = json.loads(text)
    return make_plan([Request.from_dict(one) for one in requests], corpora, config)


class ThisMachine:
    """Works through one order after the other, in this process or in `Execution.jobs` processes."""

    def work(self, orders: Iterable[Order], how: Execution, corpora: Corpora) -> Iterator[Order]:
        """Features, then units; an order is taken up when the one before is done."""
        for order in orders:
            if units := order.units():
                plan, threads = order.plan, how.threads_of_each
                device = resolve_device(how.device) if plan.uses_device else "cpu"
                sources = plan.sources(how.jobs if how.jobs > 1 else cores(), how.display)
                jobs = [order.job(unit, device, threads, save_models=how.save_models) for unit in units]
                if how.track:
                    jobs = _tracked(jobs, order.runs[0], how)
                with how.display.units(f"{plan.request.model} on {plan.setting.corpus.name}", len(jobs)) as shown:
                    if how.jobs == 1 or len(jobs) == 1:
                        for unit, job in zip(units, jobs, strict=True):
                            shown.done(unit.name, worst(job.run(sources, shown.step)))
                    else:
                        _units_in_processes(order, list(zip(units, jobs, strict=True)), how, shown)
            yield order


def _tracked(jobs: Iterable[Job], run: Run, how: Execution) -> list[Job]:
    """Jobs that tell a tracker of their epochs; one that trains nothing stays as it is."""
    from ..tracking.tracked import tracked
    from ..tracking.tracker import Place

    place = Place(how.track, how.folder)
    return [tracked(job, run, place) if isinstance(job, TrainingJob) else job for job in jobs]


def worst(facts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the line of a unit shows: its first failure, if there is one."""
    return next((f for f in facts if f["status"] != "done"), facts[0])


def _units_in_processes(order: Order, tasks: Sequence[tuple[Unit, Job]], how: Execution, shown: UnitDisplay) -> None:
    """Units in several processes; one that ends its process is tried once more alone, then recorded as failed."""
    from ...features.extraction.processes import in_processes

    def died(task: tuple[Unit, Job]) -> tuple[str, list[dict[str, Any]]]:
        return task[0].name, order.lost(task[0], how.threads_of_each)

    function = partial(_run, text=order.plan.text())
    for name, facts in in_processes(tasks, function, how.jobs, died, batch=1, share_cores=False):
        shown.done(name, worst(facts))


def _run(task: tuple[Unit, Job], text: str) -> tuple[str, list[dict[str, Any]]]:
    """A unit in a process of its own: corpora and the (by now cached) features are opened once per process."""
    unit, job = task
    return unit.name, job.run(_sources(text))


@lru_cache(maxsize=2)
def _sources(text: str) -> list[Source]:
    return read_plan(text, Corpora()).sources(1, Silent())
