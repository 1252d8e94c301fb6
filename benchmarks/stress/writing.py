"""What `serbench stress` shows of runs: tables on the screen and as files, and the figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ...results.display.table import show
from ...results.groups.gaps import Resamples
from ...results.record.folder import Run
from ...results.record.identity import short_names
from ...results.report.figures import write_figure
from ...results.report.stress_figure import figure
from ...results.scores.scoring import scored_targets
from ...results.stress.robustness import between
from ...results.stress.table import Robustness, between_table, robustness, tables


def show_stress(runs: Sequence[Run], kinds: Sequence[str], how: Resamples, folder: Path) -> Iterator[Path]:
    """Print the tables of these runs and kinds, and write them; yields the paths.

    Runs of one protocol are compared with each other, and share a figure.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.protocol_digest, []).append(run)
    for group in groups.values():
        done = [one for run in group if (one := robustness(run, how, kinds)) is not None]
        shown = [table for one in done for table in tables(one)]
        name = f"stress_{_stem(group[0])}"
        pairs = between_table(between(group, how, kinds), f"{name}_between")
        shown += [] if pairs is None else [pairs]
        yield from show(shown, folder)
        yield from _figures(done, name, how, folder)


def _stem(run: Run) -> str:
    return f"{run.spec['dataset']['name']}_{run.task.name}".replace(">", "-to-").replace(":", "-")


def _figures(done: Sequence[Robustness], name: str, how: Resamples, folder: Path) -> Iterator[Path]:
    names = short_names([one.run.spec for one in done])
    task = done[0].run.task
    curves = {label: one.curves for label, one in zip(names, done, strict=True)}
    for target in scored_targets(task)[:1]:
        drawn = figure(curves, target, task.metric, how)
        yield from write_figure(drawn, folder, name)
