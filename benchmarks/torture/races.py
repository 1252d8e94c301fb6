"""Races: four processes at the same work in the same folder; and repetition: the same work again, to the same bits.

Expected: each of the four ends well, and together they leave what one alone leaves: every prediction, record, weight
and array, once. Readers may look while writers write.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from .children import command, ended, started, typed
from .killed import SECONDS
from .tally import Tally
from .works import Work, Workshop, fingerprint, leftovers, sound

PROCESSES = 4
NAMES = ("run linear", "run deepemocluster", "extract", "merge", "report", "words speech2vec")


def tortured(place: Path, rounds: int, seed: int, names: list[str] | None = None) -> Iterator[Tally]:
    """For each work a row of races and one of repetitions."""
    shop = Workshop(place, names or list(NAMES))
    for work in shop.works:
        folder = shop.fresh(work)
        sound(command(work.arguments, folder, seconds=SECONDS), work.name)
        alone = fingerprint(folder)
        yield raced(shop, work, alone, rounds)
        yield repeated(shop, work, alone, rounds)


def raced(shop: Workshop, work: Work, alone: dict[str, str], rounds: int) -> Tally:
    """Four processes at once, so often."""
    row = Tally(work.name, f"{PROCESSES} processes at once")
    for _ in range(rounds):
        folder = shop.fresh(work)
        begun = [started(typed(work.arguments), folder, SECONDS, f"{k}.") for k in range(PROCESSES)]
        done = [ended(*one) for one in begun]
        bad = [f"status {one.status}: {one.said[-400:]}" for one in done if one.status != 0]
        wrong = "; ".join(bad[:1]) or _difference(folder, alone)
        row.add("as one alone", f"{work.name}: {wrong}" if wrong else "")
        shutil.rmtree(folder)
    return row


def repeated(shop: Workshop, work: Work, alone: dict[str, str], rounds: int) -> Tally:
    """The same work in another folder, so often."""
    row = Tally(work.name, "done again elsewhere")
    for _ in range(rounds):
        folder = shop.fresh(work)
        sound(command(work.arguments, folder, seconds=SECONDS), work.name)
        wrong = _difference(folder, alone)
        row.add("the same bits", f"{work.name}: {wrong}" if wrong else "")
        shutil.rmtree(folder)
    return row


def _difference(folder: Path, alone: dict[str, str]) -> str:
    """What a folder has otherwise than one process leaves it; empty = nothing."""
    found = fingerprint(folder)
    if other := sorted(name for name in found.keys() | alone.keys() if found.get(name) != alone.get(name)):
        return f"{', '.join(other[:5])} differ"
    return f"{', '.join(left)} stayed" if (left := leftovers(folder)) else ""
