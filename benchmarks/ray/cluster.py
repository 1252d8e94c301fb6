"""A Ray cluster as the launcher sees it: connecting with a message for each failure, nodes, tasks and their answers.

The only module that imports Ray. Token authentication is on unless the user has set RAY_AUTH_MODE; the dashboard and
usage statistics are off.
"""

from __future__ import annotations

import importlib
import os
import secrets
import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...datasets.core.errors import SerbenchError
from ...datasets.core.libraries import library
from .slots import Node, RayOptions

CONNECT_SECONDS = 5.0
"""Longest wait for an address to answer at all."""
REFRESH_SECONDS = 5.0
"""Age at which the list of nodes is asked for anew."""
HEAD_SECONDS = 20.0
"""A head that does not answer for so long is taken to be gone."""
LOST = {
    "WorkerCrashedError": "its process died (killed, out of memory, or a crash)",
    "NodeDiedError": "its node died",
    "OutOfMemoryError": "its process was ended because the node ran out of memory",
    "LocalRayletDiedError": "Ray on its node died",
    "OwnerDiedError": "its owner died",
}
"""What Ray calls a task that was lost -> what a user reads."""
GONE = ("NodeDiedError", "TaskUnschedulableError")
"""What Ray says of a task for a node that is not there any more."""


@dataclass
class Answer:
    """What became of a task: its value, or the error (a `SerbenchError`, or what Ray says of a lost process)."""

    value: Any = None
    error: Exception | None = None
    trace: str = ""

    @property
    def reason(self) -> str:
        """One line on the error."""
        text = str(self.error)
        lost = type(self.error).__name__
        if lost in LOST:
            return f"{LOST[lost]} ({lost})"
        return text.strip().splitlines()[-1] if text.strip() else lost


@contextmanager
def connected(options: RayOptions) -> Iterator[Cluster]:
    """The cluster of an address, or one of this machine; the connection ends with the block.

    Raises
    ------
    SerbenchError
        Without Ray, for an address that does not answer, a wrong or missing token, and other versions there.
    """
    ray = _import_ray()
    address = options.address or os.environ.get("RAY_ADDRESS")
    if address:
        _reach(address)
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if not address:
        settings |= {"include_dashboard": False, "num_cpus": len(os.sched_getaffinity(0))}
    try:
        ray.init(address=address or "local", **settings)
    except Exception as error:
        raise _refused(ray, address, error) from error
    try:
        yield Cluster(ray, options, address)
    finally:
        ray.shutdown()


class Cluster:
    """Nodes, tasks and answers. `caches` holds node id -> id of its cache, once the nodes were asked."""

    def __init__(self, ray: Any, options: RayOptions, address: str | None) -> None:
        self.ray, self.options, self.address = ray, options, address
        self.caches: dict[str, str] = {}
        self.nodes: list[Node] = []
        self._looked = self._answered = float("-inf")
        self._call = ray.remote(max_retries=0)(_call)
        self.refresh()

    def refresh(self) -> None:
        """Ask anew which nodes are alive, now and then; SerbenchError when the head is gone."""
        now = time.monotonic()
        if now - self._looked < REFRESH_SECONDS:
            return
        self._looked = now
        if self.address and not _answers(self.address):
            if now - self._answered > HEAD_SECONDS:
                raise SerbenchError(
                    f"the head of the cluster at {self.address} does not answer any more. Start it and its nodes "
                    "again; finished trials are kept, and the same command goes on where this one was."
                )
            return
        self._answered = now
        alive = [_node(one) for one in self.ray.nodes() if one["Alive"]]
        self.nodes = sorted(alive, key=lambda one: (one.name, one.id))

    def slots(self, gpus: float) -> int:
        """Trials that all nodes together can work on at the same time."""
        return sum(one.slots(self.options, gpus) for one in self.nodes)

    def workers(self) -> list[Node]:
        """Nodes that can take trials at all."""
        return [one for one in self.nodes if one.slots(self.options, 0.0)]

    def require(self, gpus: float) -> None:
        """Refuse a trial that fits no node."""
        there = "; ".join(str(one) for one in self.nodes)
        if not self.slots(0.0):
            asked = self.options.cpus_per_trial
            raise SerbenchError(f"--cpus-per-trial {asked}: no node of the cluster has so many. There are: {there}.")
        if gpus and not self.slots(gpus):
            raise SerbenchError(f"--gpus-per-trial {gpus:g}: no node of the cluster has so many. There are: {there}.")

    def by_cache(self) -> list[list[Node]]:
        """Nodes in groups that share a cache."""
        groups: dict[str, list[Node]] = {}
        for one in self.workers():
            groups.setdefault(self.caches.get(one.id, ""), []).append(one)
        return list(groups.values())

    def put(self, value: Any) -> Any:
        """A reference to a value that many tasks take."""
        return self.ray.put(value)

    def submit(
        self, function: Callable[..., Any], text: Any, *arguments: Any, gpus: float = 0.0, node: Node | None = None
    ) -> Any:
        """Hand out a task: `function(text, names of the node, *arguments)`."""
        settings: dict[str, Any] = {"num_cpus": self.options.cpus_per_trial, "num_gpus": gpus}
        if node is not None:
            settings["scheduling_strategy"] = self._pinned(node)
        return self._call.options(**settings).remote(function, text, True, *arguments)

    def ready(self, waiting: Collection[Any], seconds: float) -> list[Any]:
        """The tasks that have ended, as soon as there is one, or none after some seconds."""
        ended, _ = self.ray.wait(list(waiting), num_returns=1, timeout=seconds)
        if ended:
            ended, _ = self.ray.wait(list(waiting), num_returns=len(waiting), timeout=0)
        return list(ended)

    def answer(self, reference: Any) -> Answer:
        """What became of a task that has ended."""
        try:
            return Answer(self.ray.get(reference))
        except self.ray.exceptions.RayTaskError as error:
            cause = getattr(error, "cause", None)
            return Answer(error=cause if isinstance(cause, SerbenchError) else error, trace=str(error))
        except self.ray.exceptions.RayError as error:
            return Answer(error=error, trace=f"{type(error).__name__}: {error}\n")

    def answers(self, waiting: Collection[Any]) -> Iterator[Answer]:
        """Answers of several tasks in the order in which they come."""
        left = dict.fromkeys(waiting)
        while left:
            for reference in self.ready(left, 1.0):
                del left[reference]
                yield self.answer(reference)
            self.refresh()

    def on_each_node(
        self, function: Callable[..., Any], *arguments: Any, seconds: float = 20.0, names: bool = False
    ) -> dict[Node, dict[str, Any]]:
        """Call a function once on every node that can take trials.

        A node that can't answer has an `error` in place of an answer; one that died meanwhile is left out.
        """
        text, *rest = arguments
        asked = {}
        for one in self.workers():
            pinned = self._call.options(num_cpus=0, scheduling_strategy=self._pinned(one))
            asked[pinned.remote(function, text, names, *rest)] = one
        ended, late = self.ray.wait(list(asked), num_returns=len(asked), timeout=seconds) if asked else ([], [])
        answers = {asked[reference]: {"error": f"it did not answer within {seconds:g} s"} for reference in late}
        for reference in ended:
            answer = self.answer(reference)
            if type(answer.error).__name__ in GONE:
                self.nodes.remove(asked[reference])
            else:
                answers[asked[reference]] = {"error": _unusable(answer)} if answer.error else dict(answer.value or {})
        return {one: answers[one] for one in asked.values() if one in answers}

    def _pinned(self, one: Node) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return NodeAffinitySchedulingStrategy(one.id, soft=False)


def _call(function: Callable[..., Any], text: Any, names: bool, *arguments: Any) -> Any:
    """The body of every task."""
    return function(text, _own_names(), *arguments) if names else function(text, *arguments)


@lru_cache(maxsize=1)
def _own_names() -> tuple[str, ...]:
    """Names of the node that this process works on."""
    ray = importlib.import_module("ray")
    own = ray.get_runtime_context().get_node_id()
    return next((_node(one).names for one in ray.nodes() if one["NodeID"] == own), ())


def _node(one: Mapping[str, Any]) -> Node:
    has = one["Resources"]
    address = str(one["NodeManagerAddress"])
    name = str(one.get("NodeName") or address)
    return Node(str(one["NodeID"]), name, address, has.get("CPU", 0.0), has.get("GPU", 0.0))


def _unusable(answer: Answer) -> str:
    text = f"{answer.error}\n{answer.trace}"
    if "ModuleNotFoundError" in text and "serbench" in text:
        return "serbench can't be imported there. Install the same version as here on every node."
    return answer.reason


def _import_ray() -> Any:
    """Ray, with authentication on and statistics off; both are read when it is imported."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not _has_token() and not os.environ.get("RAY_ADDRESS"):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    library("ray.exceptions", "--launcher ray (and every node of its cluster)")
    return library("ray")


def _has_token() -> bool:
    given = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return given or (Path.home() / ".ray" / "auth_token").exists()


def _reach(address: str) -> None:
    """Refuse an address that nothing listens at."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise SerbenchError(
            f"--address {address}: nothing answers there ({error}). Expected HOST:PORT of a head node that was started "
            "with 'ray start --head --port=PORT'; docs/cluster.md shows how."
        ) from error


def _answers(address: str) -> bool:
    try:
        _reach(address)
    except SerbenchError:
        return False
    return True


def _refused(ray: Any, address: str | None, error: Exception) -> SerbenchError:
    """The message for a connection that failed; some releases name the reason in what lies behind the error alone."""
    text = " ".join(str(one) for one in (error, error.__cause__, error.__context__) if one is not None)
    where = f"the Ray cluster at {address}" if address else "a Ray cluster on this machine"
    if isinstance(error, ray.exceptions.AuthenticationError) or "uthenticat" in text:
        return SerbenchError(
            f"{where} refuses the token. Expected the one that its nodes were started with: set RAY_AUTH_TOKEN_PATH "
            "to its file (or RAY_AUTH_TOKEN to its text), and RAY_AUTH_MODE=token."
        )
    if "ersion mismatch" in text:
        return SerbenchError(f"{where} runs other versions than this process. {text.strip()}")
    return SerbenchError(
        f"{where} can't be used: {text.strip()}. Run serbench on one of its nodes (the head, for example); "
        "docs/cluster.md shows how."
    )
