"""The figure of robustness: the score over the levels of each perturbation, a line for each model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .figures import GREY, MARKERS, OKABE_ITO, WIDTH, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..groups.gaps import Resamples
    from ..stress.curves import Curve

COLUMNS = 2


@styled
def figure(models: Mapping[str, Sequence[Curve]], target: str, metric: str, how: Resamples) -> Figure:
    """A panel for each kind of perturbation: scores with intervals along its levels, the clean score at its own place.

    `models` is the name of a model -> its curves.
    """
    from matplotlib.figure import Figure

    kinds = list(dict.fromkeys(one.series.kind for several in models.values() for one in several))
    columns = min(COLUMNS, len(kinds))
    rows = -(-len(kinds) // columns)
    drawn = Figure(figsize=(WIDTH * columns / 2 + 0.8, 2.3 * rows + 0.4), layout="constrained")
    panels = drawn.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for axes, kind in zip(panels, kinds, strict=False):
        for k, (name, several) in enumerate(models.items()):
            for one in (one for one in several if one.series.kind == kind):
                _line(axes, one, target, name, k, how)
        axes.set_title(kind)
    for axes in panels[len(kinds) :]:
        axes.remove()
    for axes in panels[::columns]:
        axes.set_ylabel(metric)
    handles, names = panels[0].get_legend_handles_labels()
    drawn.legend(handles, names, loc="outside lower center", ncols=min(len(names), 4))
    return drawn


def _line(axes: Axes, one: Curve, target: str, name: str, k: int, how: Resamples) -> None:
    rows = one.rows(target, how)
    at = np.arange(len(rows))
    scores, low, high = (np.array([row[key] for row in rows]) for key in ("score", "low", "high"))
    colour = OKABE_ITO[k % len(OKABE_ITO)]
    axes.fill_between(at, low, high, color=colour, alpha=0.15, lw=0)
    axes.plot(at, scores, f"{MARKERS[k % len(MARKERS)]}-", color=colour, lw=1.4, ms=4, label=name)
    axes.axhline(one.score(target), color=colour, lw=0.7, ls=":")
    axes.axvline(one.series.levels.index("clean"), color=GREY, lw=0.5)
    axes.set_xticks(at, one.series.levels)
    axes.set_xlabel(f"{one.series.says} [{one.series.unit}]")
