"""A sign of life: a line on standard error that says where a long work is, at least every 30 seconds.

A thread looks at the open stages (`datasets/core/stages.py`) every second, so a line comes in the middle of a long
batch as well, and from work that counts nothing. Where a progress bar shows them, nothing is written.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ...datasets.core import stages

EVERY_SECONDS = 20.0
"""Between two lines: well below the 30 seconds that are promised, as the thread may wait for the interpreter."""
LOOK_SECONDS = 1.0


class Pulse:
    """Writes where the work is whenever `every_seconds` have gone by without a line."""

    def __init__(self, write: Callable[[str], None], every_seconds: float = EVERY_SECONDS) -> None:
        self.write, self.every_seconds = write, every_seconds
        self.spoke()

    def spoke(self) -> None:
        """A line was written, by whomever."""
        self._last = stages.clock()

    def look(self) -> None:
        """Write a line if it is time for one."""
        now = stages.clock()
        if now - self._last < self.every_seconds or any(s.shown for s in stages.opened()):
            return
        if line := stages.where(now):
            self.write(line)
            self._last = now


_beating: list[Pulse] = []


def spoke() -> None:
    """Something else told the user where the work is."""
    for pulse in _beating:
        pulse.spoke()


@contextmanager
def pulsing() -> Iterator[None]:
    """Region in which lines are written to standard error; one inside another changes nothing."""
    if _beating:
        yield
        return
    pulse, over = Pulse(_to_stderr, EVERY_SECONDS), threading.Event()
    _beating.append(pulse)
    thread = threading.Thread(target=_beat, args=(pulse, over), name="serbench-pulse", daemon=True)
    thread.start()
    try:
        yield
    finally:
        _beating.remove(pulse)
        over.set()
        thread.join()


def _beat(pulse: Pulse, over: threading.Event) -> None:
    while not over.wait(LOOK_SECONDS):
        pulse.look()


def _to_stderr(line: str) -> None:
    try:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass  # nobody reads any more; the work goes on
