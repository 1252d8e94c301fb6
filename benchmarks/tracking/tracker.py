"""One small interface for trackers, and the promise that none of them can spoil a run.

A tracker watches: no record, signature or number depends on it, and what it raises after the start is said once.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from ...datasets.core.errors import SerbenchWarning, unknown

TRACKERS = ("tensorboard", "mlflow", "wandb")
"""What may follow `--track`; each is a file of this room with a function `start`, and an extra of that name."""


@dataclass(frozen=True)
class Place:
    """Which tracker, and the results folder that it writes below where it writes files."""

    kind: str
    results: Path


@dataclass(frozen=True)
class About:
    """What is tracked: its name, the run that it belongs to, and its configuration, flat."""

    name: str
    run_id: str
    config: Mapping[str, Any]


class Tracker(Protocol):
    """One tracked training, or one record; it has begun when it is made."""

    def values(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Take finite numbers: of an epoch, or final ones without a step."""

    def file(self, path: Path) -> None:
        """Keep a file."""

    def end(self, *, failed: bool) -> None:
        """It is over."""


_GIVEN_UP: set[str] = set()
"""Trackers that have failed in this process since a run began."""


class Careful:
    """A tracker whose first failure is said, and then its kind is left alone; only finite numbers are passed on."""

    def __init__(self, kind: str, start: Callable[[], Tracker]) -> None:
        self._kind = kind
        self._tracker: Tracker | None = None
        attempt(kind, lambda: setattr(self, "_tracker", start()))

    def values(self, values: Mapping[str, Any], step: int | None = None) -> None:
        """Pass on what are numbers."""
        numbers = {key: float(v) for key, v in values.items() if isinstance(v, int | float) and math.isfinite(v)}
        if (tracker := self._tracker) is not None:
            attempt(self._kind, lambda: tracker.values(numbers, step))

    def file(self, path: Path) -> None:
        """Pass on a file."""
        if (tracker := self._tracker) is not None:
            attempt(self._kind, lambda: tracker.file(path))

    def end(self, *, failed: bool = False) -> None:
        """End it."""
        if (tracker := self._tracker) is not None:
            attempt(self._kind, lambda: tracker.end(failed=failed))


def attempt(kind: str, act: Callable[[], object]) -> None:
    """Do something for a tracker; its first failure is a warning, and the last of what is done for it."""
    if kind in _GIVEN_UP:
        return
    try:
        act()
    except Exception as error:  # a server that is gone, a full disk, anything: the run goes on
        _GIVEN_UP.add(kind)
        said = (str(error).strip().splitlines() or ["no message"])[0]
        warnings.warn(
            f"--track {kind} failed and is given up here ({type(error).__name__}: {said}); "
            "the run and its records go on without it.",
            SerbenchWarning,
            stacklevel=2,
        )


def module_of(kind: str) -> Any:
    """The file of a tracker.

    Raises
    ------
    SerbenchError
        For a tracker that there is not.
    """
    if kind not in TRACKERS:
        raise unknown("tracker", kind, TRACKERS)
    return import_module(f".{kind}_tracker", __package__)


def prepare(place: Place) -> None:
    """Load the tracker's library and make what all of its processes share.

    Raises
    ------
    LibraryError
        Where the library is missing.
    SerbenchError
        For a tracker that there is not, or one that can't begin.
    """
    module_of(place.kind).prepare(place.results)
    _GIVEN_UP.discard(place.kind)


def open_tracker(place: Place, about: About) -> Careful:
    """A tracker for one training or one record."""
    return Careful(place.kind, lambda: module_of(place.kind).start(place.results, about))


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted names: numbers, texts and truth values as they are, lists as texts."""
    if isinstance(value, Mapping):
        return {k: v for key, one in value.items() for k, v in flat(one, f"{prefix}{key}.").items()}
    name = prefix.removesuffix(".")
    if isinstance(value, Sequence) and not isinstance(value, str):
        return {name: ",".join(map(str, value))}
    return {} if value is None else {name: value}
