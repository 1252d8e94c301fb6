"""What lies beyond a run's mean score, on the screen and as files: groups, calibration, raters; and all of it at once.

`careful` is what `serbench run --protocol careful` does after the clean scores: test audio perturbed at two levels of
each of `KINDS`, fairness, calibration, and models beside a human where the corpus keeps its raters. The tables are
those of the single commands, so the report has them as sections. What can't be done for a run is said, and left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ...datasets.core.errors import SerbenchError
from ...results.calibration.table import calibration, table as calibration_table
from ...results.display.table import show
from ...results.groups.gaps import Resamples
from ...results.groups.grouping import LOUDNESS
from ...results.groups.table import fairness, tables as fairness_tables
from ...results.record.folder import Run
from ...results.record.test_items import has_ratings
from ...results.report.calibration_figure import figure
from ...results.report.figures import write_figure
from ...results.tables.leaderboard import CHANCE
from ..core.progress import Display
from ..grid.execution import Execution
from .raters import tables_of_runs

KINDS = ("white", "babble", "telephone", "opus")
"""Perturbations of `careful`: none of them needs an extra."""
Paths = Iterator[Path]


def show_fairness(run: Run, by: Iterable[str], how: Resamples, folder: Path, display: Display) -> Paths:
    """Gaps between groups of a run's test items; for loudness, levels are added to the record first."""
    groups = tuple(by)
    if LOUDNESS in groups:
        from .loudness import add_levels

        add_levels(run, display)
    yield from show(fairness_tables(fairness(run, groups, how)), folder)


def show_calibration(run: Run, folder: Path) -> Paths:
    """How sure a run may be, with its figure."""
    done = calibration(run)
    table = calibration_table(done)
    yield from show([table], folder)
    drawn = figure(done)
    yield from () if drawn is None else write_figure(drawn, folder, table.name)


def careful(runs: Sequence[Run], how: Execution, resamples: Resamples, folder: Path) -> Paths:
    """Everything of this module for runs with saved weights, and stress at two levels of each of `KINDS`."""
    models = [run for run in runs if run.spec["model"]["name"] != CHANCE and run.complete_trials()]
    kinds = [kind for kind in KINDS if _stressed(models, kind, how)]
    if models and kinds:
        from ..stress.writing import show_stress

        yield from show_stress(models, kinds, resamples, folder)
    for run in models:
        gaps = show_fairness(run, (), resamples, folder, how.display)
        yield from _unless(f"fairness of {run.name}", gaps, how.display)
        yield from _unless(f"calibration of {run.name}", show_calibration(run, folder), how.display)
    for group in _by_task(models):
        name = f"{group[0].spec['dataset']['name']}, {group[0].task.name}"
        if rated := [run for run in group if has_ratings(run.path)]:
            yield from _unless(f"raters of {name}", _beside_raters(rated, resamples, folder), how.display)
        else:
            how.display.message(f"raters of {name} are left out: the records hold no answers of single raters")


def _stressed(models: Sequence[Run], kind: str, how: Execution) -> bool:
    """Whether the runs could be scored at two levels of a kind; else one line says why not."""
    from ...features.perturbations.kinds import KINDS as KNOWN
    from ...features.perturbations.perturbation import Perturbation
    from ..stress.perturbed_run import stress

    mild, hard = KNOWN[kind].levels[1], KNOWN[kind].levels[-1]
    try:
        stress(models, [Perturbation(kind, mild), Perturbation(kind, hard)], how)
    except SerbenchError as error:
        how.display.message(f"stress by {kind} is left out: {error}")
        return False
    return True


def _beside_raters(rated: Sequence[Run], how: Resamples, folder: Path) -> Paths:
    """Runs with the answers of raters in their records beside these."""
    tables, _ = tables_of_runs(rated, how)
    yield from show(tables, folder)


def _unless(what: str, work: Paths, display: Display) -> Paths:
    """The paths of some work; where it can't be done, one line that says why."""
    try:
        yield from work
    except SerbenchError as error:
        display.message(f"{what} is left out: {error}")


def _by_task(models: Sequence[Run]) -> list[list[Run]]:
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in models:
        groups.setdefault((run.spec["dataset"]["name"], run.task.name), []).append(run)
    return list(groups.values())
