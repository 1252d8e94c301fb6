"""Killed anywhere: SIGKILL at points of a work, which is then done again and compared with an unbroken one.

A point is in front of (or half through) every change that a work makes on the disk, see `faults.py`. Points are drawn
at random of all that an unbroken run passes, and some works are killed twice: the repetition is killed as well, and a
third one ends. Whatever remains must be what an unbroken run leaves, to the byte, without a temporary file; of records
all but how the work went: the seconds that it took, the epoch after which a training was taken up.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

from .children import Done, at_exit, command, learn, loaded
from .faults import KILL, Faults
from .tally import Tally
from .works import Work, Workshop, fingerprint, leftovers, sound

SECONDS = 30


def tortured(place: Path, rounds: int, seed: int, names: list[str] | None = None) -> Iterator[Tally]:
    """A row for each work, killed at `rounds` points each."""
    shop, rng = Workshop(place, names), Random(seed)
    for work in shop.works:
        yield killed(shop, work, rounds, rng)


def killed(shop: Workshop, work: Work, rounds: int, rng: Random) -> Tally:
    """The work at `rounds` points, all of them if there are no more."""
    unbroken, count = whole(shop, work, KILL)
    row = Tally(work.name, f"killed at {min(rounds, count)} of {count} points")
    for at in sorted(rng.sample(range(1, count + 1), min(rounds, count))):
        folder = shop.fresh(work)
        again = rng.randrange(1, count + 1) if rng.random() < 0.25 else 0
        for point in (at, again):
            if point:
                struck(work, folder, Faults(folder, KILL, point))
        outcome, wrong = ended(command(work.arguments, folder, seconds=SECONDS), folder, unbroken)
        row.add(outcome, f"{work.name}, point {at}{f', then {again}' if again else ''}: {wrong}" if wrong else "")
        shutil.rmtree(folder)
    return row


def whole(shop: Workshop, work: Work, kind: str) -> tuple[dict[str, str], int]:
    """What the work leaves when nothing happens to it, and the number of points of that kind that it passes.

    What it imports is imported here afterwards, so that each of the many that follow costs its work alone.
    """
    folder, counted = shop.fresh(work), shop.place / "count"
    faults = Faults(folder, kind)
    sound(struck(work, folder, faults, counted), work.name)
    count, modules = counted.read_text().split("\n", 1)
    learn(modules)
    found = fingerprint(folder)
    shutil.rmtree(folder)
    return found, int(count)


def struck(work: Work, folder: Path, faults: Faults, counted: Path | None = None) -> Done:
    """The work with faults in it; the number of points that it passed is written to `counted`."""

    def before() -> None:
        faults.install()
        if counted is not None:
            at_exit(lambda: counted.write_text(f"{faults.count}\n{loaded()}"))

    return command(work.arguments, folder, before, seconds=SECONDS)


def ended(done: Done, folder: Path, unbroken: dict[str, str]) -> tuple[str, str]:
    """The outcome of the repetition, and what is wrong with it."""
    if done.status != 0:
        return "", f"the repetition ended with {done.status}: {done.said[-300:]}"
    if left := leftovers(folder):
        return "", f"{', '.join(left)} stayed"
    found = fingerprint(folder)
    if other := sorted(name for name in found.keys() | unbroken.keys() if found.get(name) != unbroken.get(name)):
        return "", f"{', '.join(other[:5])} differ"
    return "as unbroken", ""
