"""Figures of the cluster analysis: attributes by cluster, and a projection of the chunks in the colours of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .clusters import Clustered

SHOWN = 4000
"""Most chunks of a projection that are drawn: evenly spaced ones."""


def distributions(systems: Sequence[Clustered], plot: str = "box") -> Figure:
    """A row of panels per system, a panel per attribute: a box (or violin) per cluster."""
    from matplotlib.figure import Figure

    attributes = systems[0].attributes
    drawn = Figure(figsize=(1 + 3.4 * len(attributes), 0.6 + 2.7 * len(systems)), layout="constrained")
    panels = drawn.subplots(len(systems), len(attributes), squeeze=False, sharex="row", sharey="col")
    for line, one in zip(panels, systems, strict=True):
        for axes, attribute in zip(line, attributes, strict=True):
            _by_cluster(axes, one, attribute, plot)
        line[0].set_ylabel(one.name)
    drawn.supxlabel("cluster", fontsize=10)
    return drawn


def projections(systems: Sequence[Clustered]) -> Figure:
    """A row of panels per system: its chunks coloured by cluster, by each attribute, and by emotion."""
    from matplotlib.figure import Figure

    columns = ["cluster", *systems[0].attributes, *(["emotion"] if systems[0].chunks["emotion"].notna().any() else [])]
    drawn = Figure(figsize=(3.3 * len(columns), 0.4 + 2.9 * len(systems)), layout="constrained")
    panels = drawn.subplots(len(systems), len(columns), squeeze=False)
    for line, one in zip(panels, systems, strict=True):
        chunks = one.chunks.iloc[np.unique(np.linspace(0, len(one.chunks) - 1, SHOWN).astype(int))]
        for axes, column in zip(line, columns, strict=True):
            _map(drawn, axes, chunks, column)
        line[0].set_ylabel(one.name)
    return drawn


def _by_cluster(axes: Axes, one: Clustered, attribute: str, plot: str) -> None:
    known = one.chunks[one.chunks[attribute].notna()]
    groups = {int(str(k)): part[attribute].to_numpy(dtype=np.float64) for k, part in known.groupby("cluster")}
    row = one.measures[one.measures["target"].eq(attribute)].iloc[0]
    if plot == "violin":
        varied = {k: v for k, v in groups.items() if np.ptp(v) > 0}  # a density needs some spread
        if varied:
            axes.violinplot(list(varied.values()), list(varied), showmedians=True, widths=0.8)
        single = {k: float(v[0]) for k, v in groups.items() if k not in varied}
        axes.plot(list(single), list(single.values()), "_k", ms=12)
    else:
        axes.boxplot(
            list(groups.values()),
            positions=list(groups),
            widths=0.65,
            sym=".",
            manage_ticks=False,
            flierprops={"markersize": 2},
            medianprops={"color": "#d55e00"},
        )
    axes.set_xticks(list(groups), [str(k) for k in groups], fontsize=8)
    axes.set_title(f"{attribute}: ratio {row['value']:.3f} (chance {row['chance']:.3f})", fontsize=9)
    axes.grid(axis="y", lw=0.4, alpha=0.6)


def _map(drawn: Figure, axes: Axes, chunks: pd.DataFrame, column: str) -> None:
    import matplotlib

    style: dict[str, Any] = {"s": 5, "linewidths": 0, "alpha": 0.7}
    if column not in ("cluster", "emotion"):
        values = chunks[column].to_numpy(dtype=np.float64)
        dots = axes.scatter(chunks["x"], chunks["y"], c=values, cmap="viridis", **style)
        drawn.colorbar(dots, ax=axes, shrink=0.8)
    else:
        classes = sorted(chunks[column].dropna().unique())
        colours = matplotlib.colormaps["tab10" if len(classes) <= 10 else "tab20"]
        for i, value in enumerate(classes):
            part = chunks[chunks[column].eq(value)]
            axes.scatter(part["x"], part["y"], color=colours(i % colours.N), label=str(value), **style)
        axes.legend(fontsize=6, markerscale=2, ncols=2 if len(classes) > 5 else 1, handletextpad=0.1, framealpha=0.6)
    axes.set(xticks=[], yticks=[])
    axes.set_title(column, fontsize=9)
