"""What ends a command from outside: Ctrl-C, the signals of a scheduler or a closed terminal, and the user's own limit.

All of them are a `KeyboardInterrupt`, so what stands ready for Ctrl-C (files that are whole or not there, states to go
on from) serves them too. They differ in the exit status: 128 and the number of the signal, as shells say it, and 75
where a limit of time is reached, `EX_TEMPFAIL` of sysexits.h: a job script sees that the same command goes on.
"""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...datasets.core.errors import SerbenchError

SIGNALS = (signal.SIGTERM, signal.SIGHUP)
"""What Slurm (and `timeout`, and a shutdown) sends before it kills, and what a closed terminal sends."""
OUT_OF_TIME = 75
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


class Ended(KeyboardInterrupt):
    """A signal other than Ctrl-C, or the end of the time, ends the work.

    Attributes
    ----------
    status : exit status of the command
    reason : " (SIGTERM)", for the user
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def interruption(number: int) -> KeyboardInterrupt:
    """What a signal raises."""
    if number == signal.SIGINT:
        return KeyboardInterrupt()
    if number == signal.SIGALRM:
        return Ended(OUT_OF_TIME, " (the time of --stop-after is over)")
    return Ended(128 + number, f" ({signal.Signals(number).name})")


def status_of(error: BaseException) -> int:
    """The exit status that an interruption ends with."""
    return error.status if isinstance(error, Ended) else 128 + signal.SIGINT


_seen: list[Ended] = []


def seen() -> Ended | None:
    """The signal that has ended this command, if one has."""
    return _seen[-1] if _seen else None


@contextmanager
def heeded() -> Iterator[None]:
    """Region that signals end as Ctrl-C does; an ignored one (nohup) stays so, and other threads change nothing."""
    _seen.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    ours = [number for number, handler in before.items() if handler is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])


@contextmanager
def stopping_after(text: str | None) -> Iterator[None]:
    """Region that ends after "55m" (`seconds_of`), as Ctrl-C would; None = never."""
    if text is None:
        yield
        return
    seconds = seconds_of(text)
    before = signal.signal(signal.SIGALRM, _end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def seconds_of(text: str) -> int:
    """Seconds of a text such as "55m", "90s" or "1h30m".

    Raises
    ------
    SerbenchError
        For any other text, or no time at all.
    """
    found = _DURATION.fullmatch(text.strip())
    hours, minutes, seconds = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    if not 0 < (whole := 3600 * hours + 60 * minutes + seconds) < 10**8:
        raise SerbenchError(f"--stop-after {text!r}: expected a time such as 55m, 90s or 1h30m.")
    return whole


def _end(number: int, frame: Any) -> None:
    error = interruption(number)
    if isinstance(error, Ended):
        _seen.append(error)
    raise error
