"""What lies beyond a run's mean score, on the screen and as files: groups, calibration, raters; and all of it at once.

`careful` is what `serbench run --protocol careful` does after the clean scores: test audio perturbed at two levels of
each of `KINDS`, fairness, calibration, and models beside a human where the corpus keeps its raters. The tables are
those of the single commands, so the report has them as sections. What can't be done for a run is said, and left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import write_bytes
from ...results.calibration.table import calibration, table as calibration_table
from ...results.display.table import Table, on_screen, write_table
from ...results.groups.gaps import Resamples
from ...results.groups.grouping import LOUDNESS
from ...results.groups.table import fairness, tables as fairness_tables
from ...results.record.folder import Run
from ...results.report.calibration_figure import figure
from ...results.report.figures import png, svg
from ...results.tables.leaderboard import CHANCE
from ..core.progress import Display
from ..grid.execution import Execution

KINDS = ("white", "babble", "telephone", "opus")
"""Perturbations of `careful`: none of them needs an extra."""
Paths = Iterator[Path]


def shown(tables: Sequence[Table], folder: Path) -> Paths:
    """Print tables and write them (CSV, Markdown, LaTeX); yields the paths."""
    from rich.console import Console

    Console().print(on_screen(list(tables)))
    for table in tables:
        yield from write_table(table, folder)


def show_fairness(run: Run, by: Iterable[str], how: Resamples, folder: Path, display: Display) -> Paths:
    """Gaps between groups of a run's test items; for loudness, levels are added to the record first."""
    groups = tuple(by)
    if LOUDNESS in groups:
        from .loudness import add_levels

        add_levels(run, display)
    yield from shown(fairness_tables(fairness(run, groups, how)), folder)


def show_calibration(run: Run, folder: Path) -> Paths:
    """How sure a run may be, with its figure."""
    done = calibration(run)
    table = calibration_table(done)
    yield from shown([table], folder)
    drawn = figure(done)
    for suffix, data in () if drawn is None else (("svg", svg(drawn)), ("png", png(drawn))):
        path = folder / f"{table.name}.{suffix}"
        write_bytes(path, data)
        yield path


def show_raters(runs: Sequence[Run], how: Resamples, folder: Path, display: Display) -> Paths:
    """Runs on one corpus and task beside its raters; what lacks answers is said."""
    from .raters import tables_of_runs

    tables, notes = tables_of_runs(runs, how)
    for note in notes:
        display.message(note)
    yield from shown(tables, folder) if tables else ()


def careful(runs: Sequence[Run], how: Execution, resamples: Resamples, folder: Path) -> Paths:
    """Everything of this module for runs with saved weights, and stress at two levels of each of `KINDS`."""
    models = [run for run in runs if run.spec["model"]["name"] != CHANCE and run.complete_trials()]
    kinds = [kind for kind in KINDS if _stressed(models, kind, how)]
    if models and kinds:
        from ..stress.writing import show

        yield from show(models, kinds, resamples, folder)
    for run in models:
        gaps = show_fairness(run, (), resamples, folder, how.display)
        yield from _unless(f"fairness of {run.name}", gaps, how.display)
        yield from _unless(f"calibration of {run.name}", show_calibration(run, folder), how.display)
    for group in _by_task(models):
        name = f"{group[0].spec['dataset']['name']}, {group[0].task.name}"
        beside = show_raters(group, resamples, folder, how.display)
        yield from _unless(f"raters of {name}", beside, how.display)


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
