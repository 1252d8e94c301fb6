"""The records of a run's perturbed test audio (`record/stressed.py`) as series: one kind of change at rising levels."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..record.folder import Run
from ..record.stressed import stressed

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
