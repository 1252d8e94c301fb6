"""Races: four processes at the same work in the same folder, and some that delete or copy while others read or write.

The rule: of several processes at the same run, extraction or command, none waits for another and none is refused. Each
does what it finds undone, and together they leave what one alone leaves: every prediction, record, weight and array,
once, to the byte. (Work that two begin at the same moment is done twice; `--jobs` divides it.) `serbench cache prune`
beside readers costs them time alone: what is gone is made again. `serbench merge` beside a run that writes copies units
that are finished, whole, and none else; a second merge brings the others.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .children import command, ended, started, typed
from .killed import SECONDS
from .tally import Tally
from .works import Work, Workshop, fingerprint, leftovers, sound

PROCESSES = 4
NAMES = ("run linear", "run deepemocluster", "extract", "merge", "report", "words speech2vec")
PRUNED, MERGED = "extract again", "run of many units"
TIMES = 8
"""How often the process that prunes or merges does so beside the others."""


def tortured(place: Path, rounds: int, seed: int, names: list[str] | None = None) -> Iterator[Tally]:
    """For each work a row of races with itself; then pruning beside readers, and merging beside a writer."""
    shop = Workshop(place)
    for name in names or (*NAMES, PRUNED, MERGED):
        work = shop.named(name)
        folder = shop.fresh(work)
        sound(command(work.arguments, folder, seconds=SECONDS), work.name)
        alone = fingerprint(folder)
        rounded = {PRUNED: pruned, MERGED: merged}.get(name, raced)
        yield rounded(shop, work, alone, rounds)
        shutil.rmtree(folder)


def raced(shop: Workshop, work: Work, alone: dict[str, str], rounds: int) -> Tally:
    """Four processes at once, so often."""
    row = Tally(work.name, f"{PROCESSES} processes at once")
    for _ in range(rounds):
        folder = shop.fresh(work)
        wrong = at_once([typed(work.arguments)] * PROCESSES, folder) or _difference(fingerprint(folder), alone)
        row.add("as one alone", _said(work, wrong or _left(folder)))
        shutil.rmtree(folder)
    return row


def pruned(shop: Workshop, work: Work, alone: dict[str, str], rounds: int) -> Tally:
    """Three processes that read a cache, and one that empties it again and again."""
    row = Tally("cache prune", f"{TIMES} times beside {PROCESSES - 1} that read: {work.name}")
    emptied = again(("cache", "prune", "--feature", "mel"))
    for _ in range(rounds):
        folder = shop.fresh(work)
        wrong = at_once([emptied, *[typed(work.arguments)] * (PROCESSES - 1)], folder, "unknown cached feature")
        found = fingerprint(folder)
        lost = {name: digest for name, digest in alone.items() if name.startswith("cache/") and name not in found}
        row.add("as one alone", _said(work, wrong or _difference(found | lost, alone) or _left(folder)))
        shutil.rmtree(folder)
    return row


def merged(shop: Workshop, work: Work, alone: dict[str, str], rounds: int) -> Tally:
    """A process that writes a run, and three that merge it elsewhere again and again; then each merges once more."""
    row = Tally("merge", f"{TIMES} times by {PROCESSES - 1} beside a writer: {work.name}")
    lines = [("merge", "results", "--out", f"merged-{k}") for k in range(PROCESSES - 1)]
    begun = "results/runs/*/unit-*.json"
    for _ in range(rounds):
        folder = shop.fresh(work)
        wrong = at_once([typed(work.arguments), *(again(line, begun) for line in lines)], folder)
        part = sum(1 for _ in folder.glob("merged-*/runs/*/unit-*.json"))
        for line in lines:
            sound(command(line, folder), "merge")
        found = fingerprint(folder)
        copies = [_below(found, f"{line[-1]}/") for line in lines]
        whole = {name: digest for name, digest in _below(found, "results/").items() if name.startswith("runs/")}
        wrong = wrong or next((text for copy in copies if (text := _difference(copy, whole))), "")
        own = {name: digest for name, digest in found.items() if not name.startswith("merged-")}
        row.add("whole", _said(work, wrong or _difference(own, alone) or _left(folder)))
        row.outcomes["units that were copied meanwhile"] += part
        shutil.rmtree(folder)
    return row


def at_once(bodies: list[Callable[[], None]], folder: Path, early: str = "") -> str:
    """Do all of it at once in children; what is wrong with how one ended or with what it said, or nothing.

    `early` is what a command may be told before there is anything for it.
    """
    begun = [started(body, folder, SECONDS, f"{k}.") for k, body in enumerate(bodies)]
    done = [ended(*one) for one in begun]
    for one in done:
        refused = [
            line for line in one.said.splitlines() if line.startswith("serbench: ") and not (early and early in line)
        ]
        if one.status != 0 or one.problem or refused or "left out" in one.said:
            return f"status {one.status}: {one.said[-400:]}"
    return ""


def again(arguments: tuple[str, ...], there: str = "") -> Callable[[], None]:
    """What a child does that types a command again and again; a refusal is for `at_once` to judge.

    With `there`, it waits until there is such a file.
    """

    def body() -> None:
        while there and not any(Path().glob(there)):
            time.sleep(0.002)
        for _ in range(TIMES):
            try:
                typed(arguments)()
            except SystemExit as leaving:
                if leaving.code not in (0, 2, None):
                    raise

    return body


def _difference(found: dict[str, str], alone: dict[str, str]) -> str:
    """What there is otherwise than one process leaves it; empty = nothing."""
    other = sorted(name for name in found.keys() | alone.keys() if found.get(name) != alone.get(name))
    return f"{', '.join(other[:5])} differ" if other else ""


def _left(folder: Path) -> str:
    return f"{', '.join(left)} stayed" if (left := leftovers(folder)) else ""


def _below(found: dict[str, str], start: str) -> dict[str, str]:
    return {name.removeprefix(start): digest for name, digest in found.items() if name.startswith(start)}


def _said(work: Work, wrong: str) -> str:
    return f"{work.name}: {wrong}" if wrong else ""
