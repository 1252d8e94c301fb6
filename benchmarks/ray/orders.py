"""What a cluster works through, and how: the orders of a grid, first their features shard by shard, then their units.

An *order* is one training configuration with the runs that it serves. This process alone writes records, from the files
that nodes answer with. A unit that fails, or whose process or node dies, is tried `ATTEMPTS` times in all and is then
recorded as failed, with its output beside the record. No more units are handed out than keep the slots busy, so the
memory of this process does not grow with their number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import write_text
from ...results.record.folder import Run
from ..core.machine import versions as own_versions
from ..core.progress import Display, UnitDisplay
from ..protocol.protocol import Division, Protocol, unit_seed
from . import node
from .cluster import Answer, Cluster

ATTEMPTS = 3
"""A unit that failed so often is recorded as failed."""
AHEAD = 2
"""Units that are handed out for each slot: one that works and one that waits at hand."""
LOOK_SECONDS = 1.0
"""Time between two looks at the cluster while no unit ends."""


@dataclass(frozen=True)
class Unit:
    """One unit of one order, and how often it was tried."""

    order: int
    model: str
    trial: int
    division: Division
    lacking: tuple[int, ...]
    failures: int = 0


@dataclass(frozen=True)
class Feature:
    """A feature that units of an order need, of the order's corpus number `source`.

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


@dataclass
class Order:
    """One training configuration with the runs that it serves: its text for the nodes, and what is to do."""

    text: str
    model: str
    runs: list[Run]
    units: list[tuple[int, str, tuple[int, ...]]]
    protocol: Protocol
    home: str
    threads: int
    gpus: float
    features: list[Feature] = field(default_factory=list)


def make_features(cluster: Cluster, orders: Sequence[Order], texts: Sequence[Any], display: Display) -> None:
    """The features of all orders, shard by shard; what several orders need is made once in each cache.

    A shard that is lost with its node is left to the units that need it.
    """
    seen: set[str] = set()
    for order, text in zip(orders, texts, strict=True):
        for feature in order.features:
            if feature.digest not in seen:
                seen.add(feature.digest)
                _make(cluster, order, text, feature, display)


def _make(cluster: Cluster, order: Order, text: Any, feature: Feature, display: Display) -> None:
    """One feature of one corpus, in every cache of the cluster."""
    waiting, caches = _shards(cluster, order, text, feature)
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


def _shards(cluster: Cluster, order: Order, text: Any, feature: Feature) -> tuple[list[Any], int]:
    """Hand out all shards of a feature; returns the tasks, and the number of caches that they fill."""
    cards = cluster.options.gpus_per_trial if feature.on_card else 0.0
    groups, waiting = cluster.by_cache(), []
    for members in groups:
        count = node.shards(feature.files, sum(one.slots(cluster.options, cards) for one in members))
        for k in range(count):
            pinned = members[k % len(members)] if len(groups) > 1 else None
            arguments = (text, order.threads, feature.source, feature.role, k, count)
            waiting.append(cluster.submit(node.make_features, *arguments, gpus=cards, node=pinned))
    return waiting, len(groups)


class Work:
    """All units of all orders in one stream, with one progress view."""

    def __init__(self, cluster: Cluster, orders: Sequence[Order], texts: Sequence[Any], display: Display) -> None:
        self.cluster, self.orders, self.texts, self.display = cluster, orders, texts, display
        self._again: deque[Unit] = deque()
        self._waiting: dict[Any, Unit] = {}

    def work(self) -> None:
        """Hand out units while there are slots, take in answers, write records."""
        units = self._units()
        total = sum(len(order.units) for order in self.orders)
        with self.display.units(f"{len(self.orders)} trainings' grid", total) as shown:
            while True:
                self._fill(units)
                if not self._waiting:
                    return
                for reference in self.cluster.ready(self._waiting, LOOK_SECONDS):
                    self._take(self._waiting.pop(reference), self.cluster.answer(reference), shown)
                self._look(shown)

    def _units(self) -> Iterator[Unit]:
        for number, order in enumerate(self.orders):
            for trial, fold, lacking in order.units:
                yield Unit(number, order.model, trial, Division(fold, (), (), ()), lacking)

    def _fill(self, units: Iterator[Unit]) -> None:
        most = AHEAD * max(1, self.cluster.slots(0.0))
        while len(self._waiting) < most:
            unit = self._again.popleft() if self._again else next(units, None)
            if unit is None:
                return
            order = self.orders[unit.order]
            arguments = (self.texts[unit.order], unit.trial, unit.division.fold, unit.lacking)
            self._waiting[self.cluster.submit(node.train, *arguments, gpus=order.gpus)] = unit

    def _take(self, unit: Unit, answer: Answer, shown: UnitDisplay) -> None:
        """Record a unit that ended, or put it back into the queue."""
        order, fold = self.orders[unit.order], unit.division.fold
        runs = [order.runs[i] for i in unit.lacking]
        if answer.error is None:
            facts, log = answer.value["facts"], answer.value["log"]
            error = next((str(f["error"]) for f in facts if f["status"] != "done"), None)
        else:
            facts, error = [], answer.reason
            log = self._left(order, unit) + answer.trace
        attempts = unit.failures + 1
        if error is not None and attempts < ATTEMPTS:
            where = f"{unit.model} trial {unit.trial + 1}, fold {fold}"
            self.display.message(f"{where}: attempt {attempts} of {ATTEMPTS} failed: {error}")
            self._again.append(replace(unit, failures=attempts))
            return
        written = []
        for i, run in zip(unit.lacking, runs, strict=True):
            if answer.error is None:
                written.append(run.adopt_unit(unit.trial, fold, answer.value["files"][str(i)], attempts))
            else:
                written.append(run.write_unit(unit.trial, fold, self._failed(order, unit, error, attempts), None))
            _keep_log(run, unit, log if error is not None else "")
        shown.done(unit, next((f for f in written if f["status"] != "done"), written[0]))

    def _failed(self, order: Order, unit: Unit, error: str | None, attempts: int) -> dict[str, Any]:
        return {
            "status": "failed",
            "error": error,
            "seed": unit_seed(order.protocol, unit.trial, unit.division.fold),
            "threads": order.threads,
            "versions": own_versions(),
            "attempts": attempts,
        }

    def _left(self, order: Order, unit: Unit) -> str:
        """What a unit whose process died had printed, from the node that it was on."""
        arguments = (order.home, order.runs[0].run_id, unit.trial, unit.division.fold)
        return "".join(said.get("text", "") for said in self.cluster.on_each_node(node.left_log, *arguments).values())

    def _look(self, shown: UnitDisplay) -> None:
        """Notice nodes that came or went, and a head that is gone."""
        self.cluster.refresh()
        busy = min(len(self._waiting), self.cluster.slots(0.0))
        nodes = len(self.cluster.workers())
        shown.step(f"{busy} at work on {nodes} nodes" if nodes else "no node is alive; waiting for one", 0.0)


def _keep_log(run: Run, unit: Unit, text: str) -> None:
    """Leave the output of a failed unit beside its record; take away that of an earlier failure."""
    file = run.unit_files(unit.trial, unit.division.fold)[0].with_suffix(".log")
    if text:
        write_text(file, text)
    else:
        file.unlink(missing_ok=True)
