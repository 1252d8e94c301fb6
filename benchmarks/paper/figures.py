"""The figures of a paper, by kind: every score with means and intervals, differences, confusion of classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ...results.display.table import latex, records, task_and_target
from ...results.report.figures import MARKERS, OKABE_ITO, confusion, forest, in_panels, styled
from ...results.scores.scoring import scored_targets
from .latex import crossing
from .plan import Display, PaperPlan
from .work import Block

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def figures(
    plan: PaperPlan, display: Display, blocks: Sequence[Block], compared: Mapping[str, pd.DataFrame]
) -> Iterator[tuple[str, str, Figure]]:
    """(name, caption as LaTeX, figure) of what a plan asks for; of confusion one for each block and row."""
    rows = plan.shown(display)
    shown = [block for block in blocks if set(rows) & block.rows.keys()]
    if display.kind == "scores":
        metrics = ", ".join(dict.fromkeys(block.first.task.metric for block in shown))
        said = display.caption or f"{metrics}: every score (trial and subset), means with 95 % intervals"
        yield display.name, latex(said), score_figure(shown, rows)
    elif display.kind == "differences":
        comparison = plan.comparison(display.comparison)
        frame = compared[comparison.name]
        named = frame[frame["rival"].isin(rows)].assign(a="", b="", p_holm=frame["p_crossed_holm"])
        said = display.caption or f"{comparison.system} less other models, with 95 % intervals; filled: p < 0.05"
        yield display.name, latex(said), _differences(named)
    else:
        yield from _confusions(display, shown, rows)


@styled
def score_figure(blocks: Sequence[Block], rows: Sequence[str]) -> Figure:
    """A panel for each block and target: every score as a dot, means with their intervals, chance as a line."""
    places = [(block, target) for block in blocks for target in scored_targets(block.first.task)]
    figure, drawn = in_panels(len(places), 0.9 + 0.3 * len(rows))
    alone = len({(block.first.spec["dataset"]["name"], block.first.task.name) for block, _ in places}) == 1
    for k, (axes, (block, target)) in enumerate(zip(drawn, places, strict=True)):
        _scores(axes, block, target, rows)
        axes.set_yticks(range(len(rows)), rows[::-1] if k % 2 == 0 else [""] * len(rows))
        about = {"dataset": block.first.spec["dataset"]["name"], "task": block.first.task.name, "target": target}
        axes.set_title(target if alone and len(places) > 1 else _about({**about, "metric": block.first.task.metric}))
    return figure


def _scores(axes: Axes, block: Block, target: str, rows: Sequence[str]) -> None:
    board = {row["run_id"]: row for row in records(block.board) if row["target"] == target}
    metric = block.first.task.metric
    for k, name in enumerate(rows):
        if (run := block.rows.get(name)) is None:
            continue
        table, at = block.scored[run.run_id].scores, len(rows) - 1 - k
        values = table.loc[table["target"].eq(target) & table["metric"].eq(metric), "value"]
        colour, row = OKABE_ITO[k % len(OKABE_ITO)], board[run.run_id]
        axes.plot(values, np.full(len(values), at - 0.2), ".", color=colour, alpha=0.45, ms=5, mew=0)
        axes.hlines(at + 0.1, row["low"], row["high"], color=colour, lw=1.6)
        axes.plot(row["mean"], at + 0.1, MARKERS[k % len(MARKERS)], color=colour, ms=5)
    chance = [row["mean"] for row in board.values() if row["chance"] and not np.isnan(row["mean"])]
    if chance:
        axes.axvline(max(chance), color="black", lw=0.8, ls="--")
    axes.set(xlabel=f"{metric} (share)", ylim=(-0.7, len(rows) - 0.3))
    axes.locator_params(axis="x", nbins=5)
    axes.grid(False, axis="y")


@styled
def _differences(named: pd.DataFrame) -> Figure:
    """The report's figure, its lines named by the rival and, where there are several, by corpus, task and target."""
    figure, several = forest(named, ""), named[["dataset", "task", "target"]].drop_duplicates().shape[0] > 1
    (axes,) = figure.axes
    labels = [f"{row['rival']} ({_about(row)})" if several else row["rival"] for row in records(named)]
    axes.set_yticks(axes.get_yticks(), labels)
    axes.set_xlabel(f"{', '.join(dict.fromkeys(named['metric']))} (share)")
    return figure


def _confusions(display: Display, blocks: Sequence[Block], rows: Sequence[str]) -> Iterator[tuple[str, str, Figure]]:
    for block in (block for block in blocks if block.first.task.kind == "classification"):
        for name in (name for name in rows if name in block.rows):
            run = block.rows[name]
            predictions, labels = block.scored[run.run_id].predictions, list(run.task.labels)
            counts = pd.crosstab(predictions["gold"], predictions["predicted"])
            counts = counts.reindex(index=labels, columns=labels, fill_value=0)
            dataset = crossing(run.spec["dataset"]["name"])
            said = latex(display.caption or f"Confusion of {name} over all trials")
            stem = "-".join([display.name, run.run_id.rpartition("_")[2]])
            yield stem, f"{said}: {dataset}, {latex(run.task.name)}", confusion(counts)


def _about(row: Mapping[str, object]) -> str:
    target = row["task"] if row["metric"] == "UAR" else row["target"]
    return f"{str(row['dataset']).replace('>', ' → ')}, {task_and_target(row['task'], target)}"
