"""Sections of what was looked at beside the score: gaps between groups, calibration; of the runs that it was done for.

`serbench fairness` and `serbench calibration` leave a table in RESULTS/studies; of whose table is there, the report
shows the same again, worked out anew, so that it fits the records as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..calibration.table import Calibration, calibration, table
from ..display.table import Table
from ..groups.table import fairness, tables
from ..record.folder import Run
from .calibration_figure import figure
from .page import Drawing

if TYPE_CHECKING:
    from .data import Ranking


def gap_tables(ranking: Ranking) -> list[Table]:
    """Gaps between groups of the runs that `serbench fairness` was run for."""
    return [tables(fairness(run))[0] for run in _asked(ranking, "fairness")]


def calibrations(ranking: Ranking) -> list[Calibration]:
    """Calibration of the runs that `serbench calibration` was run for."""
    return [calibration(run) for run in _asked(ranking, "calibration")]


def calibration_tables(done: list[Calibration]) -> list[Table]:
    """A table of each."""
    return [table(one) for one in done]


def calibration_drawings(done: list[Calibration]) -> Iterator[Drawing]:
    """A figure of each that has one."""
    for one in done:
        if (drawn := figure(one)) is not None:
            caption = "Left, of classes: bins of equal size. The risk of what is answered, the surest first."
            yield Drawing(f"calibration-{one.run.run_id}", f"Calibration: {one.run.name}", caption, drawn)


def _asked(ranking: Ranking, what: str) -> list[Run]:
    scored = [run for run in ranking.runs if run.run_id in ranking.scored]
    return [run for run in scored if (run.results / "studies" / f"{what}_{run.run_id}.csv").is_file()]
