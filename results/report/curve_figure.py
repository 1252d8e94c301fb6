"""The figure of learning curves: scores by training items with their law, dashed where it is extrapolated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..curves.table import FURTHER, Curve, law_of
from ..display.table import records
from .figures import MARKERS, OKABE_ITO, WIDTH, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@styled
def curve_figure(done: Curve) -> Figure:
    """A panel for each target: a mark with its interval for each share, a line for the law of each model."""
    from matplotlib.figure import Figure

    targets = list(dict.fromkeys(done.points["target"]))
    columns = min(2, len(targets))
    rows = -(-len(targets) // columns)
    drawn = Figure(figsize=(WIDTH * (0.65 if columns == 1 else 1.2), 3.0 * rows), layout="constrained")
    panels = np.ravel(drawn.subplots(rows, columns, squeeze=False))
    for axes, target in zip(panels, targets, strict=False):
        _panel(axes, done, str(target))
        axes.set(title=str(target) if len(targets) > 1 else "", ylabel=f"{done.metric} (share)")
    for unused in panels[len(targets) :]:
        unused.remove()
    panels[0].legend(loc="best")
    return drawn


def _panel(axes: Axes, done: Curve, target: str) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    names = list(dict.fromkeys(done.points["model"]))
    laws = {(row["model"], row["target"]): law_of(row) for row in records(done.laws)}
    for k, name in enumerate(names):
        colour, marker = OKABE_ITO[k % len(OKABE_ITO)], MARKERS[k % len(MARKERS)]
        part = done.points[done.points["model"].eq(name) & done.points["target"].eq(target)]
        n, mean = part["items"].to_numpy(dtype=np.float64), part["mean"].to_numpy(dtype=np.float64)
        gaps = np.abs(part[["low", "high"]].to_numpy(dtype=np.float64).T - mean)
        axes.errorbar(n, mean, gaps, fmt=marker, color=colour, ms=5, lw=1, capsize=2, label=name)
        if law := laws.get((name, target)):
            inside, beyond = (np.geomspace(a, b, 60) for a, b in ((n.min(), n.max()), (n.max(), FURTHER[-1] * n.max())))
            axes.plot(inside, law.at(inside), color=colour, lw=1.2)
            axes.plot(beyond, law.at(beyond), color=colour, lw=1.0, ls=":")
    largest = float(done.points["items"].max())
    if laws:
        axes.axvspan(largest, FURTHER[-1] * largest, color="0.93", lw=0)
        axes.text(largest * 1.05, axes.get_ylim()[0], " extrapolated", va="bottom", fontsize=7, color="0.35")
    axes.set_xscale("log")
    ticks = sorted({round(float(n)) for n in done.points["items"]})
    axes.set_xticks([*ticks, round(FURTHER[-1] * largest)] if laws else ticks)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("training items (logarithmic)")
