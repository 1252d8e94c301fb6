"""The grid on a Ray cluster: each unit (trial, fold) of each training is one task, and so is each shard of extraction.

Ray (Moritz et al. 2018, OSDI) places the tasks; serbench adds what a benchmark needs around them. Before anything
starts, every node is asked for its versions and for the corpora, by digest. Answers are the files of a record, and this
process alone writes records: the results folder need not be shared, and a launcher that was killed is taken up by the
same command. A unit that fails, or whose process or node dies, is tried three times in all and is then recorded as
failed, with its output beside the record. No more units are handed out than keep the slots busy, so the memory of this
process does not grow with their number.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..datasets._config import to_dict
from ..datasets._errors import SerbenchError
from ..datasets._files import canonical_json, digest, write_text
from ..features._extractor import build
from ..results._storage import plain
from ..results.records import Run
from ..sermodels import registry
from . import _ray_node as node
from ._machine import versions as own_versions
from ._memo import source_digest
from ._progress import Display, UnitDisplay
from ._ray_cluster import Cluster, Node, Options, connected
from .plan import Plan
from .protocol import Division, Protocol, unit_seed
from .request import Place
from .setting import Corpora
from .work import lacking_units, wanted_rows

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
    features: list[tuple[int, str, int, int, str, bool]] = field(default_factory=list)
    """(corpus number, role, utterances, files, what it is, whether it takes a graphics card) of each extraction."""


class RayLauncher:
    """Collects the plans of a grid, then works through all of their units on a cluster.

    Parameters
    ----------
    options : address, processors and graphics cards of a trial
    roots : node name or address -> dataset -> folder there
    """

    def __init__(self, options: Options | None = None, roots: Mapping[str, Mapping[str, str]] | None = None) -> None:
        self.options, self.roots = options or Options(), {k: dict(v) for k, v in (roots or {}).items()}
        self.orders: list[Order] = []
        self._places: dict[str, Place] = {}
        self._digests: dict[str, str] = {}

    def add(
        self, plans: Sequence[Plan], corpora: Corpora, device: str, threads: int | None, save_models: bool
    ) -> None:
        """Take in plans that share their training; nothing starts yet.

        Raises
        ------
        SerbenchError
            For a device that does not fit the graphics cards of a trial.
        """
        self.options.check(device)
        lacking = lacking_units(plans) if plans else {}
        if not lacking:
            return
        request, run = plans[0].request, plans[0].run
        for place in (p for plan in plans for p in _places(plan)):
            self._places[node.place_key(place)] = place
            self._digests[node.place_key(place)] = corpora.get(place).digest()
        on_card = registry.load(request.model).Model.uses_device and self.options.gpus_per_trial > 0
        home = digest([platform.node(), str(run.results.resolve())])
        on_each = threads or self.options.cpus_per_trial
        about = {
            "runs": [{"request": asdict(p.request), "run_id": p.run.run_id, "spec": p.run.spec} for p in plans],
            "config": to_dict(plans[0].config), "threads": on_each,
            "device": "cuda" if on_card else "cpu", "save_models": save_models, "home": home, "roots": self.roots,
            "digests": self._digests, "folder": os.getcwd(),
        }  # fmt: skip
        units = [(*unit, tuple(i for i, p in enumerate(plans) if p in lacked)) for unit, lacked in lacking.items()]
        self.orders.append(
            Order(canonical_json(plain(about)), request.model, [plan.run for plan in plans], units, request.protocol,
                  home, on_each, self.options.gpus_per_trial if on_card else 0.0, _extractions(plans))
        )  # fmt: skip

    def run(self, display: Display) -> None:
        """Check the nodes, make the missing features, work through all units; each ends as a record.

        Raises
        ------
        SerbenchError
            When the cluster can't be reached or used; records that were finished before stay.
        """
        if not self.orders:
            return
        with connected(self.options) as cluster:
            versions = self._check(cluster, display)
            for order in self.orders:
                order.text = canonical_json(json.loads(order.text) | {"versions": versions, "digests": self._digests})
            texts = [cluster.put(order.text) for order in self.orders]
            _Extraction(cluster, self.orders, texts, display).work()
            _Work(cluster, self.orders, texts, display).work()
            for home in {order.home for order in self.orders}:
                cluster.on_each_node(node.clear, home, seconds=10.0)

    def _check(self, cluster: Cluster, display: Display) -> dict[str, str]:
        """Ask every node that can take trials what it has; returns the versions that they have in common."""
        most = max(order.gpus for order in self.orders)
        cluster.require(most)
        asked = canonical_json(plain({
            "places": [asdict(place) for place in self._places.values()], "digests": self._digests, "roots": self.roots,
            "folder": os.getcwd(),
        }))  # fmt: skip
        if stray := sorted(set(self.roots) - {name for one in cluster.nodes for name in one.names}):
            known = ", ".join(one.name for one in cluster.nodes)
            raise SerbenchError(f"--root ...@{stray[0]}=...: there is no such node. There are: {known}.")
        found = cluster.on_each_node(node.describe_node, asked, seconds=600.0, names=True)
        if not found:
            raise SerbenchError("every node of the cluster died while it was asked what it has. Start them again.")
        problems = [f"{one}: {problem}" for one, said in found.items() for problem in _problems(said)]
        problems += differing(found)
        if problems:
            raise SerbenchError("the cluster can't take this grid:\n  " + "\n  ".join(problems))
        cluster.caches = {one.id: str(said["cache"]) for one, said in found.items()}
        shared = "one cache" if len(set(cluster.caches.values())) == 1 else "a cache each"
        display.message(f"{len(found)} nodes, {cluster.slots(most)} trials at a time, {shared}")
        return dict(next(iter(found.values()))["versions"])


def differing(found: Mapping[Node, Mapping[str, Any]]) -> list[str]:
    """What nodes and this process disagree in: sources of serbench, and among nodes the version of any library."""
    problems = []
    first = next(iter(found))
    own = source_digest()
    for one, said in found.items():
        if said.get("error"):
            continue
        if said["sources"] != own:
            problems.append(
                f"{one}: its serbench ({said['versions']['serbench']}, sources {said['sources']}) is not the one here "
                f"({own_versions()['serbench']}, sources {own}). Install the same version on every node."
            )
        reference = found[first].get("versions", {})
        problems += [
            f"{one}: {name} {version}, but {first} has {reference[name]}. Records would not be the same: install the "
            "same version on every node."
            for name, version in said["versions"].items()
            if reference.get(name, version) != version
        ]
    return problems


def _problems(said: Mapping[str, Any]) -> list[str]:
    return [str(said["error"])] if said.get("error") else [str(problem) for problem in said["problems"]]


def _places(plan: Plan) -> Iterator[Place]:
    yield from plan.request.places()
    if plan.request.test is not None:
        yield plan.request.test


def _extractions(plans: Sequence[Plan]) -> list[tuple[int, str, int, int, str, bool]]:
    """The extractions that units of these plans need, each with what tells it from others."""
    found = []
    for source, (corpus, rows, _) in enumerate(wanted_rows(plans)):
        for role, request in plans[0].features.items():
            extractor = build(request)
            what = digest([extractor.digest(), corpus.digest(), sorted(map(str, rows.index))])
            found.append((source, role, len(rows), rows["path"].nunique(), f"{request.name} {what}",
                          not extractor.parallel))  # fmt: skip
    return found


class _Extraction:
    """The features of all orders, shard by shard; what several orders need is made once in each cache."""

    def __init__(self, cluster: Cluster, orders: Sequence[Order], texts: Sequence[Any], display: Display) -> None:
        self.cluster, self.orders, self.texts, self.display = cluster, orders, texts, display

    def work(self) -> None:
        """Make what is missing; a shard that is lost with its node is left to the units that need it."""
        seen: set[str] = set()
        for order, text in zip(self.orders, self.texts, strict=True):
            for source, role, utterances, files, what, on_card in order.features:
                if what not in seen:
                    seen.add(what)
                    self._one(order, text, source, role, utterances, files, what.split()[0], on_card)

    def _one(
        self, order: Order, text: Any, source: int, role: str, utterances: int, files: int, name: str, on_card: bool
    ) -> None:  # fmt: skip
        cards = self.cluster.options.gpus_per_trial if on_card else 0.0
        waiting = {}
        groups = self.cluster.by_cache()
        for members in groups:
            count = node.shards(files, sum(one.slots(self.cluster.options, cards) for one in members))
            for k in range(count):
                pinned = members[k % len(members)] if len(groups) > 1 else None
                arguments = (text, order.threads, source, role, k, count)
                waiting[self.cluster.submit(node.make_features, *arguments, gpus=cards, node=pinned)] = k
        failed: dict[str, str] = {}
        done, seconds = 0, 0.0
        with self.display.extraction(name, utterances * len(groups)) as progress:
            for answer in self.cluster.answers(waiting):
                if isinstance(answer.error, SerbenchError):
                    raise answer.error
                if answer.error is not None:
                    self.display.message(f"a shard of {name} was lost ({answer.reason}): trials make what they need")
                    continue
                failed |= answer.value["failed"]
                done, seconds = done + answer.value["done"], seconds + answer.value["seconds"]
                if progress is not None:
                    progress(done, utterances * len(groups), seconds)
        if failed:
            item, why = next(iter(failed.items()))
            more = " and others" if len(failed) > 1 else ""
            self.display.message(f"{len(failed)} files are left out of {name}: {item} ({why}){more}")


class _Work:
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
            quiet = time.monotonic()
            while True:
                self._fill(units)
                if not self._waiting:
                    return
                ended = self.cluster.ready(self._waiting, LOOK_SECONDS)
                for reference in ended:
                    self._take(self._waiting.pop(reference), self.cluster.answer(reference), shown)
                quiet = time.monotonic() if ended else quiet
                self._look(shown, time.monotonic() - quiet)

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

    def _take(self, unit: Unit, answer: Any, shown: UnitDisplay) -> None:
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
            self._again.append(Unit(unit.order, unit.model, unit.trial, unit.division, unit.lacking, attempts))
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
        return {"status": "failed", "error": error, "seed": unit_seed(order.protocol, unit.trial, unit.division.fold),
                "threads": order.threads, "versions": own_versions(), "attempts": attempts}  # fmt: skip

    def _left(self, order: Order, unit: Unit) -> str:
        """What a unit whose process died had printed, from the node that it was on."""
        arguments = (order.home, order.runs[0].run_id, unit.trial, unit.division.fold)
        return "".join(said.get("text", "") for said in self.cluster.on_each_node(_left_log, *arguments).values())

    def _look(self, shown: UnitDisplay, quiet_seconds: float) -> None:
        """Notice nodes that came or went, and a head that is gone."""
        self.cluster.refresh()
        busy = min(len(self._waiting), self.cluster.slots(0.0))
        nodes = len([one for one in self.cluster.nodes if one.slots(self.cluster.options, 0.0)])
        shown.step(f"{busy} at work on {nodes} nodes" if nodes else "no node is alive; waiting for one", 0.0)


def _left_log(home: str, run_id: str, trial: int, fold: str) -> dict[str, Any]:
    return {"text": node.left_log(home, run_id, trial, fold)}


def _keep_log(run: Run, unit: Unit, text: str) -> None:
    """Leave the output of a failed unit beside its record; take away that of an earlier failure."""
    file = run.unit_files(unit.trial, unit.division.fold)[0].with_suffix(".log")
    if text:
        write_text(file, text)
    else:
        file.unlink(missing_ok=True)
