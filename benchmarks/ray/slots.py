"""What a trial takes, what a node of a cluster has, and how many trials fit."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...datasets.core.errors import SerbenchError


@dataclass(frozen=True)
class RayOptions:
    """Where the cluster is and what a trial takes.

    Attributes
    ----------
    address : HOST:PORT of the head; None = RAY_ADDRESS, or a cluster of this machine alone for the time of the run
    cpus_per_trial : processors, and threads, of a trial
    gpus_per_trial : graphics cards; a part of one (0.5: two trials share a card) or a whole number
    """

    address: str | None = None
    cpus_per_trial: int = 1
    gpus_per_trial: float = 0.0

    def __post_init__(self) -> None:
        """Refuse numbers that no trial can have."""
        if self.cpus_per_trial < 1:
            raise SerbenchError(f"--cpus-per-trial {self.cpus_per_trial}: expected 1 or more.")
        cards = self.gpus_per_trial
        if cards < 0 or (cards > 1 and cards != int(cards)):
            raise SerbenchError(f"--gpus-per-trial {cards:g}: expected a part of a card (0.5) or a whole number.")
        if self.address is not None and not re.fullmatch(r"[^\s:/]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}", self.address):
            raise SerbenchError(f"--address {self.address}: expected HOST:PORT of the head, such as 10.0.0.1:6379.")

    def check(self, device: str) -> None:
        """Refuse a device that does not fit the cards of a trial."""
        if self.gpus_per_trial > 0 and device not in ("auto", "cuda"):
            raise SerbenchError(f"--gpus-per-trial {self.gpus_per_trial:g} and --device {device}: leave out one.")
        if self.gpus_per_trial == 0 and device not in ("auto", "cpu"):
            raise SerbenchError(f"--device {device} on a cluster: say what a trial takes, such as --gpus-per-trial 1.")


@dataclass(frozen=True)
class Node:
    """A living node."""

    id: str
    name: str
    address: str
    cpus: float
    gpus: float

    @property
    def names(self) -> tuple[str, ...]:
        """What the node answers to in `--root DATASET@NODE=FOLDER`."""
        return self.name, self.address

    def slots(self, options: RayOptions, gpus: float) -> int:
        """Trials that it can work on at the same time."""
        by_cpu = int(self.cpus // options.cpus_per_trial)
        return min(by_cpu, shares(self.gpus, gpus)) if gpus else by_cpu

    def __str__(self) -> str:
        return f"{self.name} ({self.cpus:g} CPUs, {self.gpus:g} GPUs)"


def shares(cards: float, each: float) -> int:
    """How many tasks of so many cards fit: parts of a card never span two."""
    return int(cards) * int(1 / each + 1e-9) if each < 1 else int(cards // each)
