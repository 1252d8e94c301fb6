"""Where a long work is: what works says it, what watches shows it, and no display is handed from function to function.

    with stage("resampling", 10_000) as at:
        for k in range(10_000):
            at(k)
            ...
    for path in track(paths, "reading"):
        ...

Stages nest, the innermost is the last. They are for people alone: no number depends on them, and where nobody watches
they cost next to nothing. The command line watches (`benchmarks/core/pulse.py`); worker processes are watched from
outside.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
Clock = Callable[[], float]
clock: Clock = time.monotonic
_LEAST_SECONDS = 5.0
"""What is left is not guessed from less than this."""


class Stage:
    """A work under way.

    Attributes
    ----------
    name, total : what is done, and how many of it (0 = not known)
    done, note : how many are finished (parts count), and free words
    shown : whether a progress bar shows it already
    """

    def __init__(self, name: str, total: float = 0) -> None:
        self.name, self.total = name, total
        self.done, self.note, self.shown = 0.0, "", False
        self.began = clock()
        self._first: tuple[float, float] | None = None

    def __call__(self, done: float, note: str = "", total: float | None = None) -> None:
        """So many are done."""
        if self._first is None:
            self._first = (done, clock())
        self.done, self.note, self.total = done, note, self.total if total is None else total

    def within(self, share: float) -> None:
        """A share (0..1) of the next one is done."""
        self(int(self.done) + min(max(share, 0.0), 1 - 1e-9), self.note)

    def text(self) -> str:
        """ "mel 120 of 744 (35 x real time)"."""
        count = f" {int(self.done)} of {int(self.total)}" if self.total else f" {int(self.done)}" if self.done else ""
        return self.name + count + (f" ({self.note})" if self.note else "")

    def left(self, now: float) -> float | None:
        """Seconds that it should still take, at the rate since its first report; None = can't be told."""
        if self._first is None or not self.total:
            return None
        done, since = self.done - self._first[0], now - self._first[1]
        return since * max(0.0, self.total - self.done) / done if done > 0 and since >= _LEAST_SECONDS else None


_open: list[Stage] = []


@contextmanager
def stage(name: str, total: float = 0) -> Iterator[Stage]:
    """Region of a work called `name`, of `total` parts; gives what is called with the number that is done."""
    here = Stage(name, total)
    _open.append(here)
    try:
        yield here
    finally:
        _open.remove(here)


def track(items: Iterable[T], name: str, total: int | None = None) -> Iterator[T]:
    """The items one by one, in a stage that counts them; `total` where they have no length."""
    with stage(name, len(items) if isinstance(items, Sized) else total or 0) as at:
        for done, item in enumerate(items):
            at(done)
            yield item


def noted(what: str) -> None:
    """One more part of the innermost open stage is under way, called `what`; for works whose number is not known."""
    if _open:
        _open[-1](_open[-1].done + 1, what)


def opened() -> tuple[Stage, ...]:
    """The stages that are open now, the outermost first."""
    return tuple(_open)


def where(now: float) -> str:
    """All open stages in one line, with the time since the outermost began; empty where none is open."""
    stages = opened()
    if not stages:
        return ""
    left = next((seconds for s in reversed(stages) if (seconds := s.left(now)) is not None), None)
    rest = "" if left is None else f", about {duration(left)} left"
    return f"{': '.join(s.text() for s in stages)}, {duration(now - stages[0].began)}{rest}"


def duration(seconds: float) -> str:
    """ "40 s", "3 min 20 s", "2 h 5 min"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
