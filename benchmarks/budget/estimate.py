"""`serbench plan`: what a run will take, before anything starts: trainings, hours, memory and disk.

Costs of a training come from finished trials, else from a short pilot (`budget/unit_cost.py`): a process that makes the
features of a few items and trains on them, for one epoch where a model trains in epochs. Each line says where its
figure comes from; what is not known is said, never guessed.
"""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import cache_root, digest
from ...datasets.core.stages import stage
from ...features.cache.cache import FeatureCache
from ...features.cache.pack import entry_key
from ...features.core.audio import AudioHashes, signature
from ...features.extraction.file_tasks import FileTask, tasks_of
from ...results.record.storage import plain
from ..core.machine import resolve_device
from ..grid.execution import Execution, make_plan
from ..grid.grid import requests_of, sharing
from ..grid.plan import Plan
from ..grid.training import TrainingPlan
from ..protocol.request import Grid, Request
from ..protocol.setting import Corpora
from .pilot import Pilot, audio_seconds, pilot
from .unit_cost import UnitCost, carried, recorded

STATES = 4
"""Copies of the weights that an unfinished training keeps: the running and the best ones, two moments of Adam."""


@dataclass(frozen=True)
class Training:
    """One configuration on one corpus: its trainings to do and done, and what one of them takes (None: unknown)."""

    name: str
    todo: int
    done: int
    on_card: bool
    cost: UnitCost | None
    problem: str = ""


@dataclass(frozen=True)
class Features:
    """A feature of a corpus: files and seconds of audio that are not cached yet; costs for each second of audio."""

    name: str
    files: int
    audio_seconds: float
    cpu_seconds: float | None
    bytes: float | None


@dataclass
class Budget:
    """What a grid will take.

    Attributes
    ----------
    free : (folder, bytes needed there, bytes free there) of each file system that is written to
    """

    trainings: list[Training] = field(default_factory=list)
    features: list[Features] = field(default_factory=list)
    free: list[tuple[Path, float, float]] = field(default_factory=list)

    def hours(self, *, on_card: bool) -> float:
        """Processor hours, or hours of graphics cards, of all that is known."""
        if on_card:
            return sum(t.todo * t.cost.seconds for t in self.trainings if t.cost and t.on_card) / 3600
        made = sum(f.audio_seconds * f.cpu_seconds for f in self.features if f.cpu_seconds is not None)
        return (sum(t.todo * t.cost.cpu_seconds for t in self.trainings if t.cost and not t.on_card) + made) / 3600

    def lines(self, jobs: int = 1) -> Iterator[str]:
        """What `serbench plan` prints."""
        yield from (line(t) for t in self.trainings)
        yield from (feature_line(f) for f in self.features)
        cpu, card = self.hours(on_card=False), self.hours(on_card=True)
        hours = [f"{cpu:.2g} CPU hours"] + ([f"{card:.2g} GPU hours"] if card else [])
        todo, done = sum(t.todo for t in self.trainings), sum(t.done for t in self.trainings)
        unknown = sum(t.todo for t in self.trainings if t.cost is None)
        yield (
            f"in all: {todo} trainings to do, {done} done; about {' and '.join(hours)}"
            + (f", and {unknown} trainings of unknown length" if unknown else "")
        )
        peaks = [t.cost.peak_mib for t in self.trainings if t.todo and t.cost and t.cost.peak_mib]
        if peaks:
            yield f"memory: up to {max(peaks) * jobs:,.0f} MiB" + (f" ({jobs} processes)" if jobs > 1 else "")
        for folder, needed, there in self.free:
            yield f"disk of {folder}: about {size(needed)} needed, {size(there)} free"

    def data(self) -> dict[str, Any]:
        """The same in full precision: trainings, features to make, hours, disks."""
        disks = [{"folder": str(folder), "needed": needed, "free": there} for folder, needed, there in self.free]
        return {
            "trainings": [asdict(one) for one in self.trainings],
            "features": [asdict(one) for one in self.features],
            "hours": {"cpu": self.hours(on_card=False), "gpu": self.hours(on_card=True)},
            "disks": disks,
        }

    def check(self) -> None:
        """Refuse a disk that is too small."""
        for folder, needed, there in self.free:
            if needed > there:
                raise SerbenchError(
                    f"the disk of {folder} has {size(there)} free, and this needs about {size(needed)}. Free some of "
                    "it ('serbench cache prune' takes features away), or name another: --results, SERBENCH_CACHE."
                )


def estimate(grid: Grid, how: Execution, *, pilots: bool = True) -> Budget:
    """What a grid will take; nothing is written to the results, and nothing is trained but the pilots.

    `pilots` says whether one may be made where no record helps.
    """
    corpora = Corpora()
    return estimate_of(requests_of(grid, corpora, how), how, corpora, pilots=pilots)


def estimate_of(requests: Iterable[Request], how: Execution, corpora: Corpora, *, pilots: bool = True) -> Budget:
    """What requests will take (`estimate`)."""
    budget, seen, tries = Budget(), set[str](), dict[str, Pilot]()
    for group in sharing(requests):
        plan = make_plan(group, corpora)
        lacking = [part.lacking(part.record(how.folder)) for part in plan.parts]
        todo = len(plan.units(lacking))
        done = sum(len(part.lacking(None)) - len(left) for part, left in zip(plan.parts, lacking, strict=True))
        on_card = plan.uses_device and resolve_device(how.device) != "cpu"
        cost, name = recorded(plan, how.folder), _name(plan)
        missing = list(_uncached(plan, seen)) if todo else []
        tried = None
        if todo and pilots and (cost is None or missing) and isinstance(plan, TrainingPlan):
            alike = _alike(plan)
            if alike not in tries:
                how.display.message(f"pilot: {name}, on a few items")
                with stage(f"pilot of {name}"):
                    tries[alike] = pilot(plan, how.device, how.threads or 1)
            tried = tries[alike]
            cost = carried(tried, plan) if cost is None and len(tried.trainings) > 1 else cost
        unknown = tried.problem if tried is not None else "no record, and no pilot was made"
        budget.trainings.append(Training(name, todo, done, on_card, cost, "" if cost else unknown))
        budget.features += [_priced(one, role, tried) for role, one in missing]
    budget.free = list(_disks(budget, how))
    return budget


def _alike(plan: TrainingPlan) -> str:
    """What decides the cost of a training: the same for tasks of one kind with as many outputs and items."""
    setting, features = plan.setting, [(role, asdict(one)) for role, one in plan.features.items()]
    sizes = [(len(d.train), len(d.dev), len(d.test)) for d in setting.divisions]
    task = (setting.task.kind, setting.task.n_outputs, sizes, [part.setting.tested.digest() for part in plan.parts])
    return digest(plain([plan.parts[0].spec["model"], features, setting.corpus.digest(), task]))


def _name(plan: Plan) -> str:
    request, tested = plan.request, [part.setting.tested.name for part in plan.parts if part.setting.crosses]
    name = request.model if request.preset is None else f"{request.model}:{request.preset}"
    return f"{name} on {plan.setting.corpus.name}{f', tested on {chr(44).join(tested)}' if tested else ''}"


def _uncached(plan: Plan, seen: set[str]) -> Iterator[tuple[str, Features]]:
    """(role, what is not cached) of the features that a plan needs and no earlier one has asked for."""
    for _, role, extractor, (corpus, rows, _), key in plan.extractions():
        if key in seen:
            continue
        seen.add(key)
        name = f"{plan.features[role].name} of {corpus.name}"
        if corpus.audio_source is not None:  # looking would decode the clips
            spans = [s for s in (rows["end"] - rows["start"]).tolist() if s == s]
            seconds = statistics.mean(spans or [0.0]) * len(rows)
            yield role, Features(f"{name}, cached or not", rows["path"].nunique(), seconds, None, None)
            continue
        section, hashes = FeatureCache().section(extractor), AudioHashes(FeatureCache().folder.parent / "audio")
        tasks, _ = tasks_of(rows, corpus.root)
        left = [task for task in tasks if not _cached(task, section, hashes)]
        if left:
            yield role, Features(name, len(left), audio_seconds(left), None, None)


def _cached(task: FileTask, section: Any, hashes: AudioHashes) -> bool:
    """Whether all segments of a file are cached; a file that is not there has nothing to be made."""
    try:
        sha = hashes.known(task.path, signature(task.path))
    except OSError:
        return True
    return sha is not None and all(section.frames(entry_key(sha, s.start, s.end)) is not None for s in task.segments)


def _priced(one: Features, role: str, tried: Pilot | None) -> Features:
    price = None if tried is None else tried.features.get(role)
    return one if price is None else replace(one, cpu_seconds=price[0], bytes=price[1])


def _disks(budget: Budget, how: Execution) -> Iterator[tuple[Path, float, float]]:
    """(folder, bytes that are needed, bytes that are free) of the file systems of the cache and of the results."""
    known = [(t.todo, t.cost) for t in budget.trainings if t.cost is not None]
    records = sum(todo * (cost.bytes + (4 * cost.parameters if how.save_models else 0)) for todo, cost in known)
    states = max((4 * STATES * how.jobs * cost.parameters for todo, cost in known if todo), default=0.0)
    made = sum(f.audio_seconds * f.bytes for f in budget.features if f.bytes is not None)
    needed: dict[int, tuple[Path, float]] = {}
    for folder, size_ in ((how.folder, records + states), (cache_root(), made)):
        there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
        device = there.stat().st_dev
        first, before = needed.get(device, (there, 0.0))
        needed[device] = first, before + size_
    for folder, size_ in needed.values():
        yield folder, size_, float(shutil.disk_usage(folder).free)


def line(one: Training) -> str:
    """A training as `serbench plan` prints it."""
    if not one.todo:
        return f"{one.name}: nothing to do, {one.done} trainings are done"
    text = f"{one.name}: {one.todo} trainings to do, {one.done} done; "
    if one.cost is None:
        return text + f"unknown length ({one.problem})"
    each = one.cost.seconds if one.on_card else one.cost.cpu_seconds
    return text + f"about {duration(each)} of {'GPU' if one.on_card else 'CPU'} each ({one.cost.source})"


def feature_line(one: Features) -> str:
    """Features to make, as `serbench plan` prints them."""
    text = f"features {one.name}: {one.files} files to make, {duration(one.audio_seconds)} of audio; "
    if one.cpu_seconds is None or one.bytes is None:
        return text + "unknown length"
    made = one.audio_seconds * one.cpu_seconds
    return text + f"about {duration(made)} of CPU, {size(one.audio_seconds * one.bytes)}"


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 60:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def size(count: float) -> str:
    """Bytes for people."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count:.0f} bytes"
