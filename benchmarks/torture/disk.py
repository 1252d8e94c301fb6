"""Faults of the disk: every write of a work fails once, or the disk is full from there on, or a write is cut short.

Expected of a failing write: a message that says what to do, exit status 2, no traceback, no temporary file, and a state
from which the same command ends, on a mended disk, in what an unbroken run leaves. A short write is no fault: what is
left is written by the next call, so nothing may be noticed. Unnoticed is also the loss of what only saves time, such as
remembered digests of sound, where all else is as unbroken. A folder that nobody may write to is refused likewise.
"""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

from .children import Done, command
from .faults import SHORT, Faults
from .killed import SECONDS, ended, struck, whole
from .tally import Tally
from .works import Work, Workshop, leftovers

LOCKED = 0o555
KINDS = (
    ("ENOSPC", True, "full disk (ENOSPC)"),
    ("EIO", False, "one failing write (EIO)"),
    (SHORT, False, "short write"),
)
_CAPABILITIES = (0x20080522, 0)
"""Version 3 of Linux's capset, for this process."""


def tortured(place: Path, rounds: int, seed: int, names: list[str] | None = None) -> Iterator[Tally]:
    """For each work a row for each kind of fault, at `rounds` writes each, and one for folders that are locked."""
    shop, rng = Workshop(place, names), Random(seed)
    for work in shop.works:
        for kind, lasting, said in KINDS:
            yield faulty(shop, work, (kind, lasting, said), rounds, rng)
        yield locked(shop, work)


def faulty(shop: Workshop, work: Work, fault: tuple[str, bool, str], rounds: int, rng: Random) -> Tally:
    """The work with a fault at `rounds` of its writes, and once more without."""
    kind, lasting, said = fault
    unbroken, count = whole(shop, work, kind)
    row = Tally(work.name, f"{said} at {min(rounds, count)} of {count} writes")
    for at in sorted(rng.sample(range(1, count + 1), min(rounds, count))):
        folder = shop.fresh(work)
        done = struck(work, folder, Faults(folder, kind, at, lasting=lasting))
        wrong = ended(done, folder, unbroken)[1] if done.status == 0 else refusal(done) or left(folder)
        outcome, after = ended(command(work.arguments, folder, seconds=SECONDS), folder, unbroken)
        what = "unnoticed" if done.status == 0 else f"refused, then {outcome}"
        wrong = wrong or after
        row.add(what, f"{work.name}, write {at}, {said}: {wrong}" if wrong else "")
        shutil.rmtree(folder)
    return row


def locked(shop: Workshop, work: Work) -> Tally:
    """The work as a user who may write nowhere in its folder."""
    row = Tally(work.name, "a folder that may not be written to")
    folder = shop.fresh(work)
    for path in (folder, *(p for p in folder.rglob("*") if p.is_dir())):
        path.chmod(LOCKED)
    wrong = refusal(command(work.arguments, folder, powerless, seconds=SECONDS))
    row.add("refused", f"{work.name}: {wrong}" if wrong else "")
    for path in (folder, *(p for p in folder.rglob("*") if p.is_dir())):
        path.chmod(0o755)
    shutil.rmtree(folder)
    return row


def powerless() -> None:
    """Give up what lets root write into any folder, whatever its mode says."""
    if ctypes.CDLL(None, use_errno=True).capset((ctypes.c_uint32 * 2)(*_CAPABILITIES), (ctypes.c_uint32 * 6)()):
        raise OSError(ctypes.get_errno(), "capset")


def refusal(done: Done) -> str:
    """What is wrong with the refusal of a command; empty where it says what to do, with exit status 2."""
    if done.problem:
        return f"{done.problem}: {done.said[-400:]}"
    if done.status != 2:
        return f"exit status {done.status}: {done.said[-300:]}"
    return "" if "Expected" in done.said or "Type" in done.said else f"no remedy in {done.said[-300:]!r}"


def left(folder: Path) -> str:
    """Temporary files that stayed, in words."""
    return f"{', '.join(stayed)} stayed" if (stayed := leftovers(folder)) else ""
