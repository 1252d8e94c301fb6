"""What a user sees while a run works: a silent display, and one with progress bars on the terminal.

Both say where they are as stages (`datasets/core/stages.py`); where there is no terminal, those are told every 20
seconds.
"""

from __future__ import annotations

import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, TextIO

from ...datasets.core.errors import printable
from ...datasets.core.stages import Stage, stage
from .ending import SIGNALS, interruption
from .pulse import pulsing, spoke

COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")
Extraction = Callable[[int, int, float], None]
"""(done, total, seconds of audio done)."""


class UnitDisplay(Protocol):
    """Shows the units of one run."""

    def step(self, text: str, share: float) -> None:
        """Progress within the current unit, in 0..1."""

    def done(self, name: str, facts: dict[str, Any]) -> None:
        """The unit of that name ended with these facts."""


class Display(Protocol):
    """Shows messages, extractions and units."""

    def message(self, text: str) -> None:
        """One line for the user."""

    def extraction(self, name: str, total: int) -> AbstractContextManager[Extraction | None]:
        """Context in which features called `name` are made."""

    def units(self, name: str, total: int) -> AbstractContextManager[UnitDisplay]:
        """Context in which `total` units are worked through."""


class Silent:
    """Shows nothing; for Python callers and worker processes."""

    def message(self, text: str) -> None:
        """Drop the line."""

    @contextmanager
    def extraction(self, name: str, total: int) -> Iterator[Extraction | None]:
        """Give no callback that shows anything."""
        with stage(name, total) as at:
            yield lambda done, of, audio_seconds: at(done, total=of)

    @contextmanager
    def units(self, name: str, total: int) -> Iterator[UnitDisplay]:
        """Give a display that shows nothing."""
        with stage(name, total) as at:
            yield _SilentUnits(at)


class _SilentUnits:
    def __init__(self, at: Stage) -> None:
        self.at, self.count = at, 0

    def step(self, text: str, share: float) -> None:
        """Note it."""
        self.at(self.count + min(max(share, 0.0), 1.0), text)

    def done(self, name: str, facts: dict[str, Any]) -> None:
        """Count it."""
        self.count += 1
        self.at(self.count)


class Terminal:
    """Progress bars on standard error; where that is no terminal, plain lines, and one every 20 seconds at least."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True)

    def message(self, text: str) -> None:
        """Print one line."""
        self.console.print(printable(text), markup=False, highlight=False)
        spoke()

    @contextmanager
    def extraction(self, name: str, total: int) -> Iterator[Extraction | None]:
        """A bar with the rate in times real time, shown as soon as something has to be made."""
        import time

        started = time.perf_counter()
        with self._bar() as bar, self._stage(name, total) as at:
            task = bar.add_task(name, total=total, note="")

            def step(done: int, of: int, audio_seconds: float) -> None:
                rate = audio_seconds / max(time.perf_counter() - started, 1e-9)
                note = f"{rate:.{int(rate < 10)}f} x real time" if audio_seconds else ""
                bar.update(task, completed=done, total=of, note=note)
                at(done, note, of)

            yield step

    @contextmanager
    def units(self, name: str, total: int) -> Iterator[UnitDisplay]:
        """A bar over units with the text of the current one."""
        with self._bar() as bar, self._stage(name, total) as at, lasting_interrupts() as check:
            yield _TerminalUnits(self, bar, at, check)

    @contextmanager
    def _stage(self, name: str, total: int) -> Iterator[Stage]:
        with pulsing(), stage(name, total) as at:
            at.shown = self.console.is_terminal
            yield at

    def _bar(self) -> Any:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        return Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)


class _TerminalUnits:
    def __init__(self, terminal: Terminal, bar: Any, at: Stage, check: Callable[[], None]) -> None:
        self.terminal, self.bar, self.at, self.count, self.check = terminal, bar, at, 0, check
        self.task = bar.add_task(at.name, total=at.total, note="")

    def step(self, text: str, share: float) -> None:
        """Show the current unit's progress."""
        self.check()
        done = self.count + min(max(share, 0.0), 1.0)
        self.bar.update(self.task, completed=done, note=text)
        self.at(done, text)

    def done(self, name: str, facts: dict[str, Any]) -> None:
        """Print the unit's outcome and move on."""
        self.check()
        self.count += 1
        self.bar.update(self.task, completed=self.count, note="")
        self.at(self.count)
        where = f"{name} ({self.count} of {self.at.total:g})"
        if facts["status"] != "done":
            self.terminal.message(f"{where}: FAILED: {facts['error']}")
        else:
            score, counts = facts.get("dev_score"), facts.get("counts") or {}
            dev = "" if counts.get("dev") == 0 else f"dev {'undefined' if score is None else f'{score:.3f}'}, "
            self.terminal.message(f"{where}: {dev}{facts['seconds']:.1f} s")
            for warning in (facts.get("facts") or {}).get("warnings", ()):
                self.terminal.message(f"{where}: {warning}")


class Harmless:
    """A stream of text that prints control characters as their escapes; on a terminal, colours alone are let through.

    Names of files come from other people, and a terminal takes what begins with an escape character for a command.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text without commands."""
        parts = COLOUR.split(text) if self._stream.isatty() else [text]
        self._stream.write("".join(p if COLOUR.fullmatch(p) else _without_commands(p) for p in parts))
        return len(text)


def _without_commands(text: str) -> str:
    return text if text.isprintable() else "\r".join(map(printable, text.split("\r")))


@contextmanager
def harmless_output() -> Iterator[None]:
    """Region in which standard output is `Harmless`."""
    before = sys.stdout
    sys.stdout = Harmless(before)  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.stdout = before


@contextmanager
def lasting_interrupts() -> Iterator[Callable[[], None]]:
    """Region in which a Ctrl-C, or what else ends a command, is not lost; gives a function that raises it again.

    The interpreter drops an exception that is raised in a destructor, and some libraries catch all of them while they
    are being imported.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    numbers = (signal.SIGINT, signal.SIGALRM, *SIGNALS)
    before = {n: handler for n in numbers if callable(handler := signal.getsignal(n))}
    seen: list[int] = []

    def handle(number: int, frame: Any) -> None:
        seen.append(number)
        before[signal.Signals(number)](number, frame)

    def check() -> None:
        if seen:
            raise interruption(seen[0])

    for number in before:
        signal.signal(number, handle)
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
