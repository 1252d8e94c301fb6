"""What ends a command from outside: limits of time, signals, and exit statuses."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from serbench.benchmarks.core import ending
from serbench.benchmarks.core.progress import lasting_interrupts
from serbench.benchmarks.torture import children
from serbench.datasets.core.errors import SerbenchError

TIMES = {"55m": 3300, "90s": 90, "1h30m": 5400, "2h0m5s": 7205, " 1s ": 1}


def send(number: signal.Signals) -> None:
    """Send a signal to this process, and wait for it."""
    os.kill(os.getpid(), number)
    time.sleep(1)


@pytest.mark.parametrize(("text", "seconds"), TIMES.items())
def test_a_time_is_hours_minutes_and_seconds(text: str, seconds: int) -> None:
    assert ending.seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "55", "m", "0s", "-5m", "1.5h", "1m1h", "99999999h", "5 m", "nan"])
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(SerbenchError, match="expected a time such as 55m"):
        ending.seconds_of(text)


def test_the_time_is_over_and_the_alarm_is_gone_after_it() -> None:
    with pytest.raises(ending.Ended) as caught, ending.stopping_after("1s"):
        time.sleep(5)
    assert ending.status_of(caught.value) == 75
    with ending.stopping_after("1s"):
        pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_interrupts_and_is_forgotten_after_the_region(number: signal.Signals, status: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt) as caught, ending.heeded():
        send(number)
    assert ending.status_of(caught.value) == status
    assert signal.getsignal(number) is before
    seen = ending.seen()
    assert seen is not None
    assert seen.status == status


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ending.heeded():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_that_a_library_swallows_is_raised_again() -> None:
    with ending.heeded(), lasting_interrupts() as check:
        with suppress(BaseException):  # as some libraries do
            send(signal.SIGTERM)
        with pytest.raises(ending.Ended) as caught:
            check()
    assert caught.value.status == 143


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_any_command_ends_with_the_status_of_its_signal(tmp_path: Path, number: signal.Signals) -> None:

    def body() -> None:
        import sys

        from serbench.benchmarks.cli import app

        app.app = lambda: os.kill(os.getpid(), number) or time.sleep(5)  # type: ignore[assignment]
        sys.argv = ["serbench", "list"]
        app.main()

    assert children.call(body, tmp_path / "b").status == 128 + number
