"""Records of perturbed test audio: runs like any other, under RESULTS/stress, which name the run that they are of.

Their specification is that of the clean run with an entry `stress`: `of` (the clean run's id), `name` ("white:10"),
`kind`, `level` (text), `unit`, `says`, `falling` (harder the lower the level is), `clean` (the level that changes
nothing, or null) and `digest` of all that decides the samples. The protocol digest is the clean run's, so they pair.
"""

from __future__ import annotations

import glob
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...datasets.core.errors import SerbenchError
from ..record.folder import Run

FOLDER = "stress"
CLEAN = "clean"
"""The level of the run itself."""


@dataclass(frozen=True)
class Series:
    """A run, and its records at the levels of one kind of perturbation, the mildest level first.

    Attributes
    ----------
    run : the clean one
    kind, unit, says : what was done, and what its levels are in
    levels : names of the levels along the axis, `CLEAN` at its own place
    runs : level -> the run there
    """

    run: Run
    kind: str
    unit: str
    says: str
    levels: tuple[str, ...]
    runs: dict[str, Run]

    def only(self, levels: Collection[str]) -> Series:
        """The series at some of its levels, and clean."""
        kept = tuple(level for level in self.levels if level in levels or level == CLEAN)
        return replace(self, levels=kept, runs={level: self.runs[level] for level in kept})


def folder(results: Path) -> Path:
    """Where records of perturbed audio lie, beside those of a results folder."""
    return Path(results) / FOLDER


def stressed(run: Run) -> list[Run]:
    """The sound records of a run's test audio perturbed that have a complete trial; of two of one name the newer."""
    found: dict[str, Run] = {}
    stem = run.run_id.rpartition("_")[0]
    files = folder(run.results).glob(f"runs/{glob.escape(stem)}_*/run.json")
    for file in sorted(files, key=lambda path: (path.stat().st_mtime_ns, path)):
        try:
            one = Run.open(file)
        except SerbenchError:
            continue  # the command makes it again
        about = one.spec.get("stress") or {}
        if about.get("of") == run.run_id and one.complete_trials():
            found[str(about["name"])] = one
    return list(found.values())


def series_of(run: Run, records: Sequence[Run] | None = None) -> list[Series]:
    """The series of a run, by kind, from its records (default: all that there are)."""
    kinds: dict[str, list[Run]] = {}
    for one in stressed(run) if records is None else records:
        kinds.setdefault(str(one.spec["stress"]["kind"]), []).append(one)
    return [_series(run, kind, kinds[kind]) for kind in sorted(kinds)]


def _series(run: Run, kind: str, records: Sequence[Run]) -> Series:
    about: dict[str, Any] = records[0].spec["stress"]
    runs = {str(one.spec["stress"]["level"]): one for one in records}
    levels = sorted(runs, key=lambda text: -float(text) if about["falling"] else float(text))
    place = 0
    if about["clean"] is not None:
        clean, towards = float(about["clean"]), -1.0 if about["falling"] else 1.0
        place = sum(towards * float(text) < towards * clean for text in levels)
    levels.insert(place, CLEAN)
    return Series(run, kind, str(about["unit"]), str(about["says"]), tuple(levels), {CLEAN: run, **runs})
