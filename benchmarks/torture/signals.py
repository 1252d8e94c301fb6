"""Signals: a run that gets SIGTERM (what Slurm sends before it kills), SIGHUP or Ctrl-C, or that reaches its own limit.

The signal is sent by the process to itself at a random change of the disk, as a scheduler's comes at any moment.
Expected: the exit status of that signal, a line on how to go on, no traceback, no temporary file,
and a state from which the same command ends in what an unbroken run leaves.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from random import Random

from .children import command
from .disk import left
from .faults import KILL, Faults
from .killed import SECONDS, ended, struck, whole
from .tally import Tally
from .works import Work, Workshop

SENT = {signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGINT: 130, signal.SIGALRM: 75}
"""Signal -> exit status; SIGALRM is the limit of `--stop-after`."""
NAMES = ("run linear", "run deepemocluster", "run semantic-fusion", "words speech2vec")
GO_ON = "the same command goes on"


def tortured(place: Path, rounds: int, seed: int, names: list[str] | None = None) -> Iterator[Tally]:
    """A row for each work and signal, sent at `rounds` points each."""
    shop, rng = Workshop(place, names or list(NAMES)), Random(seed)
    for work in shop.works:
        for number in SENT:
            if number != signal.SIGALRM or work.arguments[0] == "run":
                yield sent(shop, work, number, rounds, rng)


def sent(shop: Workshop, work: Work, number: signal.Signals, rounds: int, rng: Random) -> Tally:
    """The work with a signal at `rounds` points, and once more without."""
    unbroken, count = whole(shop, work, KILL)
    told = "--stop-after" if number == signal.SIGALRM else number.name
    row = Tally(work.name, f"{told} at {min(rounds, count)} of {count} points")
    asked = Work(work.name, (*work.arguments, "--stop-after", "1h")) if number == signal.SIGALRM else work
    for at in sorted(rng.sample(range(1, count + 1), min(rounds, count))):
        folder = shop.fresh(work)
        done = struck(asked, folder, Signalled(folder, number, at))
        after, wrong = ended(command(work.arguments, folder, seconds=SECONDS), folder, unbroken)
        if done.problem or done.status not in (SENT[number], 0) or (done.status and GO_ON not in done.said):
            wrong = f"exit status {done.status}, {done.said[-400:]!r}"
        over = "it had ended already" if done.status == 0 else f"status {SENT[number]}, then {after}"
        wrong = wrong or left(folder)
        row.add(over, f"{work.name}, {told} at point {at}: {wrong}" if wrong else "")
        shutil.rmtree(folder)
    return row


class Signalled(Faults):
    """Faults of which the one is that a signal comes."""

    def __init__(self, place: Path, number: signal.Signals, at: int) -> None:
        super().__init__(place, KILL, 0)
        self.number, self.moment = number, at

    def strike(self, writes: bool = True) -> bool:
        """Count a point, and send the signal at the chosen one."""
        self.count += 1
        if self.count == self.moment:
            os.kill(os.getpid(), self.number)
        return False
