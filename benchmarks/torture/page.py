"""`make torture`: every kind of torture, seeded; docs/reliability.md says what was done how often and what was lost.

    python -m serbench.benchmarks.torture.page [--out docs/reliability.md] [--rounds 10] [--seed 0] [--only NAME ...]

The exit status is 1 if anything was lost, changed in silence, or ended in a traceback; each such thing is printed with
the number that repeats it. With `--only`, the other sections of a page that is there stay.
"""

from __future__ import annotations

import argparse
import importlib
import re
import resource
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from ...datasets.core.files import write_text
from ...datasets.core.stages import track
from ..core.machine import versions
from ..core.pulse import pulsing
from .children import warm
from .found import FOUND
from .tally import Tally

KINDS = {
    "killed": ("Killed anywhere", "killed", 1.0),
    "disk": ("Faults of the disk", "disk", 1.0),
    "damage": ("Damage", "damage", 20.0),
    "races": ("Races", "races", 0.4),
    "bits": ("Same seed, same bits", "bits", 0.02),
    "longwork": ("Long work", "longwork", 0.2),
    "signals": ("Signals", "signals", 0.1),
    "hostile": ("Hostile input", "inputs.hostile", 1.0),
    "fuzz": ("Fuzz", "inputs.fuzz", 6.0),
    "commandlines": ("Command lines", "inputs.commandlines", 0.2),
}
"""Kind of torture -> its heading, its module in this room, how many times `--rounds` it repeats each work or file."""
OF_WORKS = ("killed", "disk", "signals", "races", "bits", "longwork", "fuzz")
HEAD = """# Reliability

Written by `make torture` (with `ROUNDS=50` as long as here); don't edit. Each row says what was done how often and
what came of it; the last column counts what must not be: something lost, changed in silence, a traceback, a hang, a
temporary file that stayed. The head of each file of `benchmarks/torture/` says what is done and what is expected.
"""


def measured(name: str, rounds: int, seed: int, works: Sequence[str] | None = None) -> Iterator[Tally]:
    """The rows of one kind; `works` are those that are tried of kinds that have works."""
    module = importlib.import_module(f".{KINDS[name][1]}", __package__)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        asked = (Path(folder), max(1, round(rounds * KINDS[name][2])), seed)
        rows = module.tortured(*asked, works) if works and name in OF_WORKS else module.tortured(*asked)
        yield from track(rows, name)


def section(name: str, rows: Sequence[Tally], rounds: int, seed: int, seconds: float, before: str = "") -> str:
    """A section of the page; of `before`, the section as it was, those rows stay that are about other things."""
    module = importlib.import_module(f".{KINDS[name][1]}", __package__)
    known = ", ".join(f"{library} {version}" for library, version in versions().items())
    lines = [*_kept(before, rows), *map(_line, rows)]
    cells = [line.strip("| ").split(" | ") for line in lines]
    times, wrong = (sum(int(row[column]) for row in cells) for column in (2, 4))
    took = seconds + sum(map(float, re.findall(r"in ([0-9]+) CPU-seconds", before)))
    kinds = Counter(_kind(text) for row in rows for text in row.wrong)
    return "\n".join(
        [
            f"## {KINDS[name][0]}",
            "",
            *(module.__doc__ or "").strip().splitlines(),
            "",
            f"**{times} times, {wrong} wrong.** Measured {datetime.now(UTC):%Y-%m-%d} with --rounds {rounds} "
            f"--seed {seed} in {took:.0f} CPU-seconds; {known}.",
            "",
            "| what | how | times | what came of it | wrong |",
            "| --- | --- | ---: | --- | ---: |",
            *lines,
            "",
            *(f"- wrong {count} times: {kind}" for kind, count in kinds.most_common(12)),
            "",
        ]
    )


def _kept(before: str, rows: Sequence[Tally]) -> list[str]:
    """The table rows of a section that are about other things than these."""
    new = {row.what for row in rows}
    old = [line for line in before.splitlines() if line.startswith("| ")][2:]
    return [line for line in old if line.strip("| ").split(" | ")[0] not in new]


def found() -> str:
    """The section of what this torture has found, and how it was mended."""
    lines = ["## Found and mended", "", "| found | cause | mend |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {one.found} | {one.cause} | {one.mend} |" for one in FOUND), ""])


def sections(text: str) -> dict[str, str]:
    """Module -> section of a page."""
    names = {heading: name for name, (heading, _, _) in KINDS.items()}
    pieces = [f"## {part.strip()}\n" for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]]
    headed = {piece.splitlines()[0].removeprefix("## "): piece for piece in pieces}
    return {names[heading]: piece for heading, piece in headed.items() if heading in names}


def page(measured_sections: Mapping[str, str]) -> str:
    """The Markdown page of these sections, in their order."""
    return "\n".join([HEAD, *(measured_sections[name] for name in KINDS if name in measured_sections), found()])


def _line(row: Tally) -> str:
    came = ", ".join(f"{outcome}: {count}" for outcome, count in sorted(row.outcomes.items())) or "-"
    return f"| {row.what} | {row.how} | {row.times} | {came} | {len(row.wrong) or 0} |"


def _kind(text: str) -> str:
    """A wrong outcome on one line, short, without what would break a list."""
    return re.sub(r"\s+", " ", text).replace("`", "'").replace("<", "(")[:200]


def cpu_seconds() -> float:
    """Of this process and its children, in seconds."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def worked(name: str, given: argparse.Namespace, before: str, keep: Callable[[str], None]) -> int:
    """Torture, and say what was wrong; `keep` takes the section after each row. How often something was wrong."""
    sys.stderr.write(f"torture: {name}\n")
    before = before if given.works and name in OF_WORKS else ""
    began, rows = cpu_seconds(), []
    for row in measured(name, given.rounds, given.seed, given.works):
        rows.append(row)
        for text in row.wrong:
            sys.stderr.write(f"  WRONG: {text}\n")
        keep(section(name, rows, given.rounds, given.seed, cpu_seconds() - began, before))
    return sum(len(row.wrong) for row in rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Torture and write the page; without `--out` it is printed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=10, help="how often each is done; default: 10")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn at random; default: 0")
    parser.add_argument("--only", nargs="+", choices=list(KINDS), help="kinds; default: all")
    parser.add_argument("--works", nargs="+", help="works, models or files, such as 'run linear'; other rows stay")
    given = parser.parse_args(arguments)
    old = given.only and given.out and given.out.exists()
    done = sections(given.out.read_text(encoding="utf-8")) if old else {}
    warm()
    wrong = 0

    def keep(name: str, text: str) -> None:
        done[name] = text
        if given.out:  # after each row, so that nothing is lost where this is ended
            write_text(given.out, page(done))

    with pulsing():
        for name in given.only or KINDS:
            wrong += worked(name, given, done.get(name, ""), partial(keep, name))
    if not given.out:
        sys.stdout.write(page(done))
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
