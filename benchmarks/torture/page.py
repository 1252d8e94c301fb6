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
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ...datasets.core.files import write_text
from ...datasets.core.stages import track
from ..core.machine import versions
from ..core.pulse import pulsing
from .children import warm
from .found import FOUND
from .tally import Tally

KINDS = {
    "killed": ("Killed anywhere", 1.0),
    "disk": ("Faults of the disk", 0.3),
    "damage": ("Damage", 20.0),
    "signals": ("Signals", 0.3),
    "hostile": ("Hostile input", 1.0),
    "fuzz": ("Fuzz", 20.0),
    "commandlines": ("Command lines", 0.5),
    "races": ("Races and repetition", 0.3),
}
"""Module of this room -> its heading, and how many times `--rounds` it repeats each of its works or files."""
OF_WORKS = ("killed", "disk", "signals", "races")
HEAD = """# Reliability

Written by `make torture` (`ROUNDS=100` makes it longer); don't edit. Each row says what was done how often and what
came of it; the last column counts what must not be: something lost, changed in silence, a traceback, a hang, a
temporary file that stayed. The head of each file of `benchmarks/torture/` says what is done and what is expected.
"""


def measured(name: str, rounds: int, seed: int, works: Sequence[str] | None = None) -> list[Tally]:
    """The rows of one kind; `works` are those that are tried of kinds that have works."""
    module = importlib.import_module(f"{__package__}.{name}")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        asked = (Path(folder), max(1, round(rounds * KINDS[name][1])), seed)
        rows = module.tortured(*asked, works) if works and name in OF_WORKS else module.tortured(*asked)
        return list(track(rows, name))


def section(name: str, rows: Sequence[Tally], rounds: int, seed: int, seconds: float) -> str:
    """A section of the page."""
    module = importlib.import_module(f"{__package__}.{name}")
    known = ", ".join(f"{library} {version}" for library, version in versions().items())
    times, wrong = sum(row.times for row in rows), sum(len(row.wrong) for row in rows)
    lines = [
        f"## {KINDS[name][0]}",
        "",
        *(module.__doc__ or "").strip().splitlines(),
        "",
        f"**{times} times, {wrong} wrong.** Measured {datetime.now(UTC):%Y-%m-%d} with --rounds {rounds} --seed {seed} "
        f"in {seconds:.0f} CPU-seconds; {known}.",
        "",
        "| what | how | times | what came of it | wrong |",
        "| --- | --- | ---: | --- | ---: |",
        *map(_line, rows),
        "",
    ]
    kinds = Counter(_kind(text) for row in rows for text in row.wrong)
    return "\n".join([*lines, *(f"- wrong {count} times: {kind}" for kind, count in kinds.most_common(12)), ""])


def found() -> str:
    """The section of what this torture has found, and how it was mended."""
    lines = ["## Found and mended", "", "| found | cause | mend |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {one.found} | {one.cause} | {one.mend} |" for one in FOUND), ""])


def sections(text: str) -> dict[str, str]:
    """Module -> section of a page."""
    names = {heading: name for name, (heading, _) in KINDS.items()}
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


def worked(name: str, rounds: int, seed: int, works: Sequence[str] | None = None) -> tuple[str, int]:
    """Torture, and say what was wrong; the section, and how often something was."""
    sys.stderr.write(f"torture: {name}\n")
    began, rows = cpu_seconds(), measured(name, rounds, seed, works)
    wrong = [text for row in rows for text in row.wrong]
    for text in wrong:
        sys.stderr.write(f"  WRONG: {text}\n")
    return section(name, rows, rounds, seed, cpu_seconds() - began), len(wrong)


def main(arguments: Sequence[str] | None = None) -> int:
    """Torture and write the page; without `--out` it is printed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=10, help="how often each is done; default: 10")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn at random; default: 0")
    parser.add_argument("--only", nargs="+", choices=list(KINDS), help="kinds; default: all")
    parser.add_argument("--works", nargs="+", help="works of those kinds that have works, such as 'run linear'")
    given = parser.parse_args(arguments)
    old = given.only and given.out and given.out.exists()
    done = sections(given.out.read_text(encoding="utf-8")) if old else {}
    warm()
    wrong = 0
    with pulsing():
        for name in given.only or KINDS:
            done[name], count = worked(name, given.rounds, given.seed, given.works)
            wrong += count
            if given.out:  # after each, so that nothing is lost where this is ended
                write_text(given.out, page(done))
    if not given.out:
        sys.stdout.write(page(done))
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
