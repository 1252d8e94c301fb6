"""The figure of `few_labels`: score over labelled speakers, a panel for each target."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from .figure import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ALONE = ", no pool"
"""End of the name of a model without the pool."""


def figure(gains: pd.DataFrame) -> Figure:
    """Lines: solid with the pool, dashed without it, the floor black; dotted across: the floor with every label.

    Parameters
    ----------
    gains : `few_labels.gains`
    """
    from matplotlib.figure import Figure

    targets = list(dict.fromkeys(gains["target"]))
    drawn = Figure(figsize=(2.6 + 3.6 * len(targets), 4.0), layout="constrained")
    panels = drawn.subplots(1, len(targets), squeeze=False)[0]
    for axes, target in zip(panels, targets, strict=True):
        _panel(axes, gains[gains["target"].eq(target)])
        axes.set_title(str(target), fontsize=10)
    panels[0].set_ylabel(str(gains["metric"].iloc[0]))
    handles, labels = panels[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside right center", fontsize=8, frameon=False)
    return drawn


def _panel(axes: Axes, rows: pd.DataFrame) -> None:
    some, every = rows[rows["labelled"].gt(0)], rows[rows["labelled"].eq(0)]
    numbers = sorted(some["labelled"].unique())
    names = list(dict.fromkeys(name.removesuffix(ALONE) for name in some["row"]))
    for name, means in some.groupby("row", sort=False):
        kind = names.index(str(name).removesuffix(ALONE))
        colour = "black" if kind == 0 else COLOURS[(kind - 1) % len(COLOURS)]
        style = "--" if str(name).endswith(ALONE) else "-"
        values = means.set_index("labelled")["mean"].reindex(numbers)
        axes.plot(range(len(numbers)), values, style, color=colour, marker="o", ms=3, lw=1.3, label=str(name))
    top = every.iloc[0]
    axes.axhline(float(top["mean"]), color="black", lw=1, ls=":", label=f"{top['row']}, every label")
    axes.set_xticks(range(len(numbers)), [str(n) for n in numbers])
    axes.set_xlabel("labelled training speakers")
    axes.grid(axis="y", lw=0.4, alpha=0.6)
