"""The grid on a Ray cluster: each unit (trial, fold) of each training is one task, and so is each shard of extraction.

Ray (Moritz et al. 2018, OSDI) places the tasks; serbench adds what a benchmark needs around them. Before anything
starts, every node is asked for its versions and for the corpora, by digest. Answers are the files of a record, and this
process alone writes records: the results folder need not be shared, and a launcher that was killed is taken up by the
same command. How the tasks are handed out and taken in is in `ray/parcels.py`.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import canonical_json, digest
from ...results.record.storage import plain
from ..core.machine import versions as own_versions
from ..core.progress import Display
from ..grid.execution import Execution, Order
from ..grid.finished import source_digest
from ..grid.plan import Plan
from ..protocol.setting import Corpora
from . import node
from .cluster import Cluster, connected
from .parcels import Feature, Parcel, Stream, make_features
from .slots import Node, RayOptions


class RayLauncher:
    """Takes in all orders of a grid, then works through their units on a cluster together.

    Parameters
    ----------
    options : address, processors and graphics cards of a trial
    roots : node name or address -> dataset -> folder there
    """

    def __init__(self, options: RayOptions | None = None, roots: Mapping[str, Mapping[str, str]] | None = None) -> None:
        self.options, self.roots = options or RayOptions(), {k: dict(v) for k, v in (roots or {}).items()}

    def work(self, orders: Iterable[Order], how: Execution, corpora: Corpora) -> Iterator[Order]:
        """Check the nodes, make the missing features, work through all units; each ends as a record.

        Raises
        ------
        SerbenchError
            For a device that does not fit the graphics cards of a trial, and when the cluster can't be reached or used;
            records that were finished before stay.
        """
        self.options.check(how.device)
        taken = list(orders)
        places = {node.place_key(p): p for one in taken for part in one.plan.parts for p in part.request.all_places()}
        corpora_there = {
            "places": [asdict(place) for place in places.values()],
            "digests": {key: corpora.get(place).digest() for key, place in places.items()},
            "roots": self.roots,
            "folder": os.getcwd(),
        }
        if parcels := [self._packed(order, how, corpora_there) for order in taken if order.units()]:
            with connected(self.options) as cluster:
                versions = self._check(cluster, max(parcel.gpus for parcel in parcels), corpora_there, how.display)
                texts = [
                    cluster.put(canonical_json(plain(parcel.about | {"versions": versions}))) for parcel in parcels
                ]
                make_features(cluster, parcels, texts, how.display)
                Stream(cluster, parcels, texts, how.display).work()
                for home in {parcel.home for parcel in parcels}:
                    cluster.on_each_node(node.clear, home, seconds=10.0)
        yield from taken

    def _packed(self, order: Order, how: Execution, corpora_there: Mapping[str, Any]) -> Parcel:
        """An order with all that a node needs to know of it."""
        plan, threads = order.plan, how.threads or self.options.cpus_per_trial
        on_card = plan.uses_device and self.options.gpus_per_trial > 0
        home = digest([platform.node(), str(how.folder.resolve())])
        about = {
            **corpora_there,
            "plan": plan.text(),
            "specs": [part.spec for part in plan.parts],
            "run_id": order.runs[0].run_id,
            "threads": threads,
            "device": "cuda" if on_card else "cpu",
            "save_models": how.save_models,
            "home": home,
        }
        gpus = self.options.gpus_per_trial if on_card else 0.0
        return Parcel(about, plan, order.runs, order.units(), home, threads, gpus, _features(plan))

    def _check(self, cluster: Cluster, gpus: float, asked: Mapping[str, Any], display: Display) -> dict[str, str]:
        """Ask every node that can take trials what it has; returns the versions that they have in common."""
        cluster.require(gpus)
        if stray := sorted(set(self.roots) - {name for one in cluster.nodes for name in one.names}):
            known = ", ".join(one.name for one in cluster.nodes)
            raise SerbenchError(f"--root ...@{stray[0]}=...: there is no such node. There are: {known}.")
        answers = cluster.on_each_node(node.describe_node, canonical_json(plain(asked)), seconds=600.0, names=True)
        if not answers:
            raise SerbenchError("every node of the cluster died while it was asked what it has. Start them again.")
        problems = [f"{one}: {problem}" for one, said in answers.items() for problem in _problems(said)]
        problems += differing(answers)
        if problems:
            raise SerbenchError("the cluster can't take this grid:\n  " + "\n  ".join(problems))
        cluster.caches = {one.id: str(said["cache"]) for one, said in answers.items()}
        shared = "one cache" if len(set(cluster.caches.values())) == 1 else "a cache each"
        display.message(f"{len(answers)} nodes, {cluster.slots(gpus)} trials at a time, {shared}")
        return dict(next(iter(answers.values()))["versions"])


def differing(answers: Mapping[Node, Mapping[str, Any]]) -> list[str]:
    """What nodes and this process disagree in: sources of serbench, and among nodes the version of any library."""
    problems = []
    first = next(iter(answers))
    own = source_digest()
    for one, said in answers.items():
        if said.get("error"):
            continue
        if said["sources"] != own:
            problems.append(
                f"{one}: its serbench ({said['versions']['serbench']}, sources {said['sources']}) is not the one here "
                f"({own_versions()['serbench']}, sources {own}). Install the same version on every node."
            )
        reference = answers[first].get("versions", {})
        problems += [
            f"{one}: {name} {version}, but {first} has {reference[name]}. Records would not be the same: install the "
            "same version on every node."
            for name, version in said["versions"].items()
            if reference.get(name, version) != version
        ]
    return problems


def _problems(said: Mapping[str, Any]) -> list[str]:
    return [str(said["error"])] if said.get("error") else [str(problem) for problem in said["problems"]]


def _features(plan: Plan) -> list[Feature]:
    """The features that the units of a plan need from the caches."""
    return [
        Feature(source, role, len(rows), rows["path"].nunique(), plan.features[role].name, key, not extractor.parallel)
        for source, role, extractor, (_, rows, _), key in plan.extractions()
    ]
