"""Sections of what was looked at beside the score: gaps between groups, calibration, raters; of what it was done for.

`serbench fairness`, `calibration` and `raters` leave tables in RESULTS/studies; of whose table is there, the report
shows the same again, worked out anew, so that it fits the records as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..calibration.table import Calibration, calibration, table
from ..curves.table import Curve, read_curve
from ..display.table import Table
from ..groups.table import fairness, tables
from ..raters.run_table import rated_runs, run_tables
from ..record.folder import Run
from ..tables.leaderboard import CHANCE
from .calibration_figure import figure
from .curve_figure import curve_figure
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


def curves(ranking: Ranking) -> Iterator[Curve]:
    """The learning curve that `serbench curve` has left for the corpus and task."""
    for folder in dict.fromkeys(run.results / "studies" for run in ranking.ranked):
        if (done := read_curve(folder, ranking.dataset, ranking.task)) is not None:
            yield done
            return


def curve_drawings(done: Sequence[Curve]) -> Iterator[Drawing]:
    """A figure of each."""
    for one in done:
        caption = (
            "Marks with intervals are measured; lines are the fitted power laws, dotted where they are extrapolated."
        )
        yield Drawing("shares", "Score by training items", caption, curve_figure(one))


def rater_tables(ranking: Ranking) -> list[Table]:
    """Models beside the raters, where `serbench raters` was run for the corpus and task; agreement as it was found."""
    runs = [run for run in ranking.ranked if run.spec["model"]["name"] != CHANCE]
    stem = f"raters_{ranking.dataset}_{ranking.task.name}"
    if not any((run.results / "studies" / f"{stem}.csv").is_file() for run in runs):
        return []
    return run_tables(rated_runs(runs, [ranking.names[run.run_id] for run in runs]))


def _asked(ranking: Ranking, what: str) -> list[Run]:
    scored = [run for run in ranking.runs if run.run_id in ranking.scored]
    return [run for run in scored if (run.results / "studies" / f"{what}_{run.run_id}.csv").is_file()]
