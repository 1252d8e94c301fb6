"""The grid on a Ray cluster: each unit (trial, fold) of each training is one task, and so is each shard of extraction.

Ray (Moritz et al. 2018, OSDI) places the tasks; serbench adds what a benchmark needs around them. Before anything
starts, every node is asked for its versions and for the corpora, by digest. Answers are the files of a record, and this
process alone writes records: the results folder need not be shared, and a launcher that was killed is taken up by the
same command. How the tasks are handed out and taken in is in `ray/orders.py`.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ...datasets.core.config import to_dict
from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import canonical_json, digest
from ...results.record.storage import plain
from ...sermodels import registry
from ..core.machine import versions as own_versions
from ..core.progress import Display
from ..grid.finished import source_digest
from ..grid.plan import Plan
from ..grid.work import cached_features, extraction_key, lacking_units, wanted_rows
from ..protocol.request import Place
from ..protocol.setting import Corpora
from . import node
from .cluster import Cluster, connected
from .orders import Feature, Order, Work, make_features
from .slots import Node, Options


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

    def add(self, plans: Sequence[Plan], corpora: Corpora, device: str, threads: int | None, save_models: bool) -> None:
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
        for place in (p for plan in plans for p in plan.request.all_places()):
            self._places[node.place_key(place)] = place
            self._digests[node.place_key(place)] = corpora.get(place).digest()
        on_card = registry.load(request.model).Model.uses_device and self.options.gpus_per_trial > 0
        home = digest([platform.node(), str(run.results.resolve())])
        on_each = threads or self.options.cpus_per_trial
        about = {
            "runs": [{"request": asdict(p.request), "run_id": p.run.run_id, "spec": p.run.spec} for p in plans],
            "config": to_dict(plans[0].config),
            "threads": on_each,
            "device": "cuda" if on_card else "cpu",
            "save_models": save_models,
            "home": home,
            "roots": self.roots,
            "digests": self._digests,
            "folder": os.getcwd(),
        }
        units = [(*unit, tuple(i for i, p in enumerate(plans) if p in lacked)) for unit, lacked in lacking.items()]
        self.orders.append(
            Order(
                canonical_json(plain(about)),
                request.model,
                [plan.run for plan in plans],
                units,
                request.protocol,
                home,
                on_each,
                self.options.gpus_per_trial if on_card else 0.0,
                _features(plans),
            )
        )

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
            make_features(cluster, self.orders, texts, display)
            Work(cluster, self.orders, texts, display).work()
            for home in {order.home for order in self.orders}:
                cluster.on_each_node(node.clear, home, seconds=10.0)

    def _check(self, cluster: Cluster, display: Display) -> dict[str, str]:
        """Ask every node that can take trials what it has; returns the versions that they have in common."""
        most = max(order.gpus for order in self.orders)
        cluster.require(most)
        asked = canonical_json(
            plain(
                {
                    "places": [asdict(place) for place in self._places.values()],
                    "digests": self._digests,
                    "roots": self.roots,
                    "folder": os.getcwd(),
                }
            )
        )
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


def _features(plans: Sequence[Plan]) -> list[Feature]:
    """The features that units of these plans need from the caches."""
    found = []
    for source, (corpus, rows, _) in enumerate(wanted_rows(plans)):
        for role, extractor in cached_features(plans[0]):
            what, files = extraction_key(extractor, corpus, rows), rows["path"].nunique()
            name = plans[0].features[role].name
            found.append(Feature(source, role, len(rows), files, name, what, not extractor.parallel))
    return found
