"""What a cluster works through, and how: parcels, first their features shard by shard, then their units.

A *parcel* is an order as it goes to the nodes. This process alone writes records, from the files
that nodes answer with. A unit that fails, or whose process or node dies, is tried `ATTEMPTS` times in all and is then
recorded as failed, with its output beside the record. No more units are handed out than keep the slots busy, so the
memory of this process does not grow with their number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import write_text
from ...results.record.folder import Run
from ..core.progress import Display, UnitDisplay
from ..grid.execution import worst
from ..grid.plan import Plan, Unit
from . import node
from .cluster import Answer, Cluster

ATTEMPTS = 3
"""A unit that failed so often is recorded as failed."""
AHEAD = 2
"""Units that are handed out for each slot: one that works and one that waits at hand."""
LOOK_SECONDS = 1.0
"""Time between two looks at the cluster while no unit ends."""


@dataclass(frozen=True)
class Attempt:
    """One unit of one parcel, and how often it was tried."""

    parcel: int
    unit: Unit
    failures: int = 0


@dataclass(frozen=True)
class Feature:
    """A feature that units of a parcel need, of its corpus number `source`.

    Attributes
    ----------
    utterances, files : how many it is made of
    name : as the user knows it
    digest : the same for the same numbers
    on_card : whether it takes a graphics card
    """

    source: int
    role: str
    utterances: int
    files: int
    name: str
    digest: str
    on_card: bool


@dataclass(frozen=True)
class Parcel:
    """An order as it goes to the nodes: what they need to know of it, and what is to do."""

    about: dict[str, Any]
    plan: Plan
    runs: tuple[Run, ...]
    units: list[Unit]
    home: str
    threads: int
    gpus: float
    features: list[Feature]


def make_features(cluster: Cluster, parcels: Sequence[Parcel], texts: Sequence[Any], display: Display) -> None:
    """The features of all parcels, shard by shard; what several of them need is made once in each cache.

    A shard that is lost with its node is left to the units that need it.
    """
    seen: set[str] = set()
    for parcel, text in zip(parcels, texts, strict=True):
        for feature in parcel.features:
            if feature.digest not in seen:
                seen.add(feature.digest)
                _make(cluster, parcel, text, feature, display)


def _make(cluster: Cluster, parcel: Parcel, text: Any, feature: Feature, display: Display) -> None:
    """One feature of one corpus, in every cache of the cluster."""
    waiting, caches = _shards(cluster, parcel, text, feature)
    failed: dict[str, str] = {}
    done, seconds, total = 0, 0.0, feature.utterances * caches
    with display.extraction(feature.name, total) as progress:
        for answer in cluster.answers(waiting):
            if isinstance(answer.error, SerbenchError):
                raise answer.error
            if answer.error is not None:
                display.message(f"a shard of {feature.name} was lost ({answer.reason}): trials make what they need")
                continue
            failed |= answer.value["failed"]
            done, seconds = done + answer.value["done"], seconds + answer.value["seconds"]
            if progress is not None:
                progress(done, total, seconds)
    if failed:
        item, why = next(iter(failed.items()))
        more = " and others" if len(failed) > 1 else ""
        display.message(f"{len(failed)} files are left out of {feature.name}: {item} ({why}){more}")


def _shards(cluster: Cluster, parcel: Parcel, text: Any, feature: Feature) -> tuple[list[Any], int]:
    """Hand out all shards of a feature; returns the tasks, and the number of caches that they fill."""
    cards = cluster.options.gpus_per_trial if feature.on_card else 0.0
    groups, waiting = cluster.by_cache(), []
    for members in groups:
        count = node.shards(feature.files, sum(one.slots(cluster.options, cards) for one in members))
        for k in range(count):
            pinned = members[k % len(members)] if len(groups) > 1 else None
            arguments = (text, parcel.threads, feature.source, feature.role, k, count)
            waiting.append(cluster.submit(node.make_features, *arguments, gpus=cards, node=pinned))
    return waiting, len(groups)


class Stream:
    """All units of all parcels in one stream, with one progress view."""

    def __init__(self, cluster: Cluster, parcels: Sequence[Parcel], texts: Sequence[Any], display: Display) -> None:
        self.cluster, self.parcels, self.texts, self.display = cluster, parcels, texts, display
        self._again: deque[Attempt] = deque()
        self._waiting: dict[Any, Attempt] = {}

    def work(self) -> None:
        """Hand out units while there are slots, take in answers, write records."""
        fresh = (Attempt(number, unit) for number, parcel in enumerate(self.parcels) for unit in parcel.units)
        total = sum(len(parcel.units) for parcel in self.parcels)
        with self.display.units(f"{len(self.parcels)} trainings' grid", total) as shown:
            while True:
                self._fill(fresh)
                if not self._waiting:
                    return
                for reference in self.cluster.ready(self._waiting, LOOK_SECONDS):
                    self._take(self._waiting.pop(reference), self.cluster.answer(reference), shown)
                self._look(shown)

    def _fill(self, fresh: Iterator[Attempt]) -> None:
        most = AHEAD * max(1, self.cluster.slots(0.0))
        while len(self._waiting) < most:
            attempt = self._again.popleft() if self._again else next(fresh, None)
            if attempt is None:
                return
            text, unit, gpus = self.texts[attempt.parcel], asdict(attempt.unit), self.parcels[attempt.parcel].gpus
            self._waiting[self.cluster.submit(node.work_through, text, unit, gpus=gpus)] = attempt

    def _take(self, attempt: Attempt, answer: Answer, shown: UnitDisplay) -> None:
        """Record a unit that ended, or put it back into the queue."""
        parcel, unit = self.parcels[attempt.parcel], attempt.unit
        if answer.error is None:
            log = answer.value["log"]
            error = next((str(f["error"]) for f in answer.value["facts"] if f["status"] != "done"), None)
        else:
            log, error = self._left(parcel, unit) + answer.trace, answer.reason
        attempts = attempt.failures + 1
        if error is not None and attempts < ATTEMPTS:
            self.display.message(f"{unit.name}: attempt {attempts} of {ATTEMPTS} failed: {error}")
            self._again.append(replace(attempt, failures=attempts))
            return
        written = []
        for k, (trial, part) in enumerate(unit.records()):
            run = parcel.runs[part]
            if answer.error is None:
                written.append(run.adopt_unit(trial, unit.fold, answer.value["files"][k], attempts))
            else:
                facts = parcel.plan.lost(unit, trial, error, parcel.threads) | {"attempts": attempts}
                written.append(run.write_unit(trial, unit.fold, facts, None))
            _keep_log(run, trial, unit.fold, log if error is not None else "")
        shown.done(unit.name, worst(written))

    def _left(self, parcel: Parcel, unit: Unit) -> str:
        """What a unit whose process died had printed, from the node that it was on."""
        arguments = (parcel.home, parcel.runs[0].run_id, unit.trials[0], unit.fold)
        return "".join(said.get("text", "") for said in self.cluster.on_each_node(node.left_log, *arguments).values())

    def _look(self, shown: UnitDisplay) -> None:
        """Notice nodes that came or went, and a head that is gone."""
        self.cluster.refresh()
        busy = min(len(self._waiting), self.cluster.slots(0.0))
        nodes = len(self.cluster.workers())
        shown.step(f"{busy} at work on {nodes} nodes" if nodes else "no node is alive; waiting for one", 0.0)


def _keep_log(run: Run, trial: int, fold: str, text: str) -> None:
    """Leave the output of a failed unit beside its record; take away that of an earlier failure."""
    file = run.unit_files(trial, fold)[0].with_suffix(".log")
    if text:
        write_text(file, text)
    else:
        file.unlink(missing_ok=True)
