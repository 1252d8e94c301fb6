"""Sections of what was looked at beside the score: groups, calibration, raters, perturbed audio.

`serbench fairness`, `calibration` and `raters` leave tables in RESULTS/studies; of whose table is there, the report
shows the same again, worked out anew, so that it fits the records as they are. `serbench stress` leaves records, of
which the report draws the curves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..calibration.table import Calibration, calibration, table
from ..curves.table import Curve, read_curve
from ..display.table import Table
from ..groups.gaps import Resamples
from ..groups.table import fairness, tables
from ..raters.run_table import rated_runs, run_tables
from ..record.folder import Run
from ..stress.robustness import between
from ..stress.table import Robustness, between_table, robustness, tables as stress_tables
from ..tables.leaderboard import CHANCE
from .calibration_figure import figure
from .curve_figure import curve_figure
from .page import Drawing
from .stress_figure import figure as stress_figure

if TYPE_CHECKING:
    from .data import Ranking

STRESSED = Resamples(2000)


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
    if not any((run.results / "studies" / f"{stem}_human.csv").is_file() for run in runs):
        return []
    return run_tables(rated_runs(runs, [ranking.names[run.run_id] for run in runs]))


def robust(ranking: Ranking) -> list[Robustness]:
    """Robustness of the runs whose perturbed test audio has records."""
    return [done for run in ranking.ranked if (done := robustness(run, STRESSED)) is not None]


def robustness_tables(ranking: Ranking, done: list[Robustness], stem: str) -> list[Table]:
    """Areas and scores of each run, and the differences of their drops."""
    pairs = between_table(between([one.run for one in done], STRESSED), f"{stem}-stress-between") if done else None
    return [*(table for one in done for table in stress_tables(one)), *([] if pairs is None else [pairs])]


def robustness_drawings(ranking: Ranking, done: list[Robustness]) -> Iterator[Drawing]:
    """The curves of all of these runs in one figure, for each target."""
    curves = {ranking.names[one.run.run_id]: one.curves for one in done}
    caption = "Score over the levels of each perturbation with 95 % intervals; dotted: the clean score."
    for target in ranking.targets if done else ():
        drawn = stress_figure(curves, target, ranking.task.metric, STRESSED)
        yield Drawing(f"stress-{target}", f"Perturbed test audio: {target}", caption, drawn)


def _asked(ranking: Ranking, what: str) -> list[Run]:
    scored = [run for run in ranking.runs if run.run_id in ranking.scored]
    return [run for run in scored if (run.results / "studies" / f"{what}_{run.run_id}.csv").is_file()]
