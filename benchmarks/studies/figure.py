"""The plot of a study: a panel for each target, every score as a dot, the means as bars."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...datasets.core.files import atomic_write
from ...results.report.figures import OKABE_ITO

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .study import Findings

COLOURS = OKABE_ITO[:6]


def figure(findings: Findings) -> Figure:
    """One panel per target: every score as a dot, the mean as a bar; a line where the rows are ordered."""
    from matplotlib.figure import Figure

    targets = list(dict.fromkeys(findings.summary["target"]))
    drawn = Figure(figsize=(1.2 + 3.4 * len(targets), 3.8), layout="constrained")
    panels = drawn.subplots(1, len(targets), squeeze=False)[0]
    for axes, target in zip(panels, targets, strict=True):
        _panel(axes, findings, target)
    panels[0].set_ylabel(str(findings.summary["metric"].iloc[0]))
    drawn.suptitle(findings.study.title, fontsize=11)
    return drawn


def _panel(axes: Axes, findings: Findings, target: str) -> None:
    study = findings.study
    part = findings.summary[findings.summary["target"].eq(target)].set_index("row")
    for k, row in enumerate(study.rows):
        values = findings.scores.query("row == @row.label and target == @target")["value"]
        spread = [k + 0.24 * ((i + 0.5) / len(values) - 0.5) for i in range(len(values))]
        colour = COLOURS[0 if study.axis else k % len(COLOURS)]
        axes.scatter(spread, values, s=10, color=colour, alpha=0.45, linewidths=0)
        axes.plot([k - 0.22, k + 0.22], [part["mean"][row.label]] * 2, color=colour, lw=2.5, solid_capstyle="butt")
        if part["mark"][row.label]:
            axes.annotate(part["mark"][row.label], (k, values.max()), (0, 3), textcoords="offset points", ha="center")
    if study.axis:
        axes.plot(range(len(study.rows)), [part["mean"][row.label] for row in study.rows], color=COLOURS[0], lw=1)
        axes.set_xlabel(study.axis)
    ordered = bool(study.axis)
    axes.set_xticks(
        range(len(study.rows)),
        [row.label for row in study.rows],
        rotation=0 if ordered else 25,
        ha="center" if ordered else "right",
        fontsize=9,
    )
    axes.margins(y=0.12)
    axes.set_title(target, fontsize=10)
    axes.grid(axis="y", lw=0.4, alpha=0.6)


def save_figure(drawn: Figure, path: Path) -> None:
    """Write a figure as PNG, atomically."""
    atomic_write(path, lambda stream: drawn.savefig(stream, format="png", dpi=150))
