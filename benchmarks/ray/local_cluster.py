"""A Ray cluster of several nodes on this machine, for tests and measurements: started, killed and ended by itself.

Each node is a `ray start --block` in a process of its own; a token that nobody else has guards the cluster; the
dashboard and usage statistics are off. Only processes that were started here are ever ended.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ...datasets.core.errors import SerbenchError

STARTED = "Ray runtime started"
STORE_BYTES = 100_000_000
"""Memory of each node's object store."""


@contextmanager
def local_cluster(nodes: Sequence[tuple[str, int]]) -> Iterator[LocalCluster]:
    """A head without processors, called "head", and nodes of (name, processors), all ended with the block."""
    with tempfile.TemporaryDirectory(prefix="sr", ignore_cleanup_errors=True) as folder:  # sockets want short names
        cluster = LocalCluster(Path(folder))
        try:
            for name, cpus in (("head", 0), *nodes):
                cluster.start(name, cpus)
            yield cluster
        finally:
            cluster.stop()


@dataclass
class LocalCluster:
    """Nodes by name; see `local_cluster`."""

    folder: Path
    port: int = 0
    nodes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the token and find a free port."""
        self.token = self.folder / "token"
        self.token.touch(mode=0o600)
        self.token.write_text(secrets.token_hex(32))
        with socket.socket() as one:
            one.bind(("127.0.0.1", self.port))
            self.port = int(one.getsockname()[1])

    @property
    def address(self) -> str:
        """HOST:PORT of the head."""
        return f"127.0.0.1:{self.port}"

    def env(self, **more: str) -> dict[str, str]:
        """The environment of nodes, and of commands that use the cluster."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "SERBENCH_ROOT"))}
        return (
            kept
            | {
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN_PATH": str(self.token),
                "RAY_USAGE_STATS_ENABLED": "0",
                "PYTHONSAFEPATH": "1",
                "OMP_NUM_THREADS": "1",
                "SERBENCH_CACHE": str(self.folder / "cache"),
            }
            | more
        )

    def start(self, name: str, cpus: int, seconds: float = 90.0, **env: str) -> None:
        """Start a node and wait until it is there; the one called "head" is the head."""
        head = ["--head", f"--port={self.port}", "--include-dashboard=false", f"--temp-dir={self.folder}/r"]
        joins = [f"--address={self.address}"]
        command = [
            str(Path(sys.executable).parent / "ray"),
            "start",
            *(head if name == "head" else joins),
            "--node-ip-address=127.0.0.1",
            f"--node-name={name}",
            f"--num-cpus={cpus}",
            "--num-gpus=0",
            f"--object-store-memory={STORE_BYTES}",
            "--disable-usage-stats",
            "--block",
        ]
        log = self.folder / f"{name}.log"
        with log.open("wb") as stream:
            self.nodes[name] = subprocess.Popen(
                command, env=self.env(**env), stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
            )
        deadline = time.monotonic() + seconds
        while STARTED not in (said := log.read_text(errors="replace")):
            if self.nodes[name].poll() is not None or time.monotonic() > deadline:
                raise SerbenchError(f"the Ray node {name} did not start within {seconds:g} s: {said[-2000:]}")
            time.sleep(0.1)

    def kill(self, name: str) -> None:
        """End a node at once, with everything that it started."""
        process = self.nodes.pop(name)
        for pid in descendants(process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.wait()

    def stop(self) -> None:
        """End all nodes, the head last."""
        for name in sorted(self.nodes, key=lambda one: one == "head"):
            self.kill(name)


def descendants(pid: int) -> list[int]:
    """A process and all that it started, whatever their groups."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue  # it has ended meanwhile
        children.setdefault(parent, []).append(int(folder.name))
    family, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        family.append(one)
        waiting += children.get(one, [])
    return family
