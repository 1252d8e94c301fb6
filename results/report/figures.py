"""Figures of results: forest, confusion, learning curves, prediction against gold, breakdown, accuracy against cost.

Colours are those of Okabe and Ito (2008, jfly.uni-koeln.de/color), told apart with any kind of colour vision; models
differ by marker too. Every axis has a label with its unit. Each function takes tables and returns a matplotlib figure;
`svg`, `png` and `pdf` give bytes that depend on the figure alone (no date, fixed ids); `inline` puts an SVG on a page.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np
import pandas as pd

from ...datasets.core.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
GREY = "#767676"
WIDTH = 5.4
"""Inches; text of 9 points stays readable where a phone shrinks the figure to its screen."""
STYLE: Any = {
    "text.parse_math": False,
    "svg.hashsalt": "serbench",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "legend.frameon": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
}
POINTS = 3000
"""A scatter shows at most so many points, evenly taken."""
P = ParamSpec("P")
R = TypeVar("R")


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Draw under `STYLE` alone, whatever the user's settings are."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        import matplotlib as mpl

        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


@styled
def forest(pairs: pd.DataFrame, metric: str, what: str = "95 % interval") -> Figure:
    """Differences with intervals, one line per pair: filled where the Holm-adjusted p is below 0.05.

    `pairs` has the columns a, b, difference, low, high, p_holm.
    """
    figure, axes = _figure(1.1 + 0.26 * len(pairs))
    y = np.arange(len(pairs))[::-1]
    for at, row in zip(y, pairs.to_dict("records"), strict=True):
        clear = bool(row["p_holm"] < 0.05)
        colour = OKABE_ITO[0] if clear else GREY
        axes.hlines(at, row["low"], row["high"], color=colour, lw=1.6)
        axes.plot(row["difference"], at, "o", color=colour, mfc=colour if clear else "white", ms=5)
    axes.axvline(0, color="black", lw=0.8)
    axes.set_yticks(y, [f"{a} - {b}" for a, b in zip(pairs["a"], pairs["b"], strict=True)])
    axes.set(xlabel=f"difference of {metric} (share),\n{what}", ylim=(-0.7, len(pairs) - 0.3))
    axes.grid(False, axis="y")
    return figure


@styled
def confusion(counts: pd.DataFrame) -> Figure:
    """Confusion counts (gold by predicted), coloured and written as shares of the gold class, with counts below."""
    k = len(counts)
    figure, axes = _figure(1.3 + 0.5 * k, min(WIDTH, 2.2 + 0.62 * k))
    values = counts.to_numpy(dtype=np.float64)
    total = values.sum(axis=1, keepdims=True)
    shares = np.divide(values, total, out=np.zeros_like(values), where=total > 0)
    image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for i, j in np.ndindex(k, k):
        colour = "black" if shares[i, j] > 0.5 else "white"
        text = f"{100 * shares[i, j]:.0f} %\n{values[i, j]:.0f}" if total[i, 0] else "-"
        axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=7)
    axes.set_xticks(range(k), [str(name) for name in counts.columns], rotation=35, ha="right")
    axes.set_yticks(range(k), [str(name) for name in counts.index])
    axes.set(xlabel="predicted class", ylabel="gold class")
    axes.grid(False)
    figure.colorbar(image, ax=axes, label="share of the gold class", fraction=0.05)
    return figure


@styled
def curves(table: pd.DataFrame) -> Figure:
    """Learning curves: dev score and loss (what there is) by epoch, a line per unit, a dot at the epoch kept."""
    known = [
        c
        for c in table
        if c not in ("trial", "fold", "epoch", "best", "seconds") and pd.api.types.is_numeric_dtype(table[c])
    ]
    shown = sorted(known, key=lambda c: (c != "dev_score", str(c)))[:6]
    figure, panels = in_panels(len(shown), 2.3)
    for axes, column in zip(panels, shown, strict=True):
        for (trial, _), part in table.groupby(["trial", "fold"], sort=True):
            colour = OKABE_ITO[int(str(trial)) % len(OKABE_ITO)]
            axes.plot(part["epoch"], part[column], color=colour, lw=1, marker=".", ms=3)
            best = part[part["best"].astype(bool)]
            axes.plot(best["epoch"], best[column], "o", color=colour, ms=5)
        axes.set(xlabel="epoch", ylabel=str(column).replace("_", " "))
    return figure


@styled
def scatter(predictions: pd.DataFrame, targets: Sequence[str], scales: Mapping[str, Sequence[float]]) -> Figure:
    """Prediction against gold, one panel per target, on the corpus's own scale, with the line of identity."""
    step = max(1, -(-len(predictions) // POINTS))
    some = predictions.iloc[::step]
    figure, panels = in_panels(len(targets), 2.9)
    for axes, target in zip(panels, targets, strict=True):
        gold, predicted = some[f"gold_{target}"], some[f"pred_{target}"]
        axes.plot(gold, predicted, ".", color=OKABE_ITO[0], alpha=0.35, ms=4, mew=0, rasterized=True)
        low, high = scales[target]
        axes.plot([low, high], [low, high], color="black", lw=0.8)
        axes.set(xlabel=f"gold {target} (scale {low:g} to {high:g})", ylabel=f"predicted {target}")
    return figure


@styled
def breakdown(table: pd.DataFrame, by: str, metric: str, order: Sequence[str] = ()) -> Figure:
    """Scores within groups, one marker per model; `table` has the columns name, group, items, mean, of one target.

    `order` names all models of the report, so that each keeps its mark in every figure.
    """
    groups = list(dict.fromkeys(table["group"]))
    figure, axes = _figure(1.2 + 0.27 * len(groups))
    names = list(dict.fromkeys(table["name"]))
    marks = {name: _mark(i) for i, name in enumerate(dict.fromkeys([*order, *names]))}
    at = {group: len(groups) - 1 - i for i, group in enumerate(groups)}
    for i, name in enumerate(names):
        part = table[table["name"].eq(name)]
        shift = 0.0 if len(names) == 1 else 0.36 * (0.5 - i / (len(names) - 1))
        axes.plot(part["mean"], part["group"].map(at) + shift, linestyle="none", label=name, **marks[name])
    items = table.groupby("group")["items"].max()
    axes.set_yticks([at[g] for g in groups], [f"{g} (n = {items[g]})" for g in groups])
    axes.set(xlabel=f"{metric} (share), mean over trials", ylabel=by, ylim=(-0.6, len(groups) - 0.4))
    _legend(figure, len(names))
    return figure


@styled
def cost(table: pd.DataFrame, metric: str, axes_of: Mapping[str, str], human: float = np.nan) -> Figure:
    """Score against what it cost, one panel per kind of cost that is recorded; logarithmic axes.

    `table` has the columns name, mean, low, high and those that `axes_of` names (column -> axis label);
    `human` is drawn as a line across.
    """
    known = [c for c in axes_of if (table[c] > 0).any()]
    figure, panels = in_panels(len(known), 2.6)
    for axes, column in zip(panels, known, strict=True):
        for i, row in enumerate(table.to_dict("records")):
            if not row[column] > 0:
                continue
            mark = _mark(i)
            axes.plot(row[column], row["mean"], linestyle="none", label=row["name"], **mark)
            axes.vlines(row[column], row["low"], row["high"], color=mark["color"], lw=1)
        if not np.isnan(human):
            axes.axhline(human, color=GREY, lw=1, ls="--", label="human")
        axes.set_xscale("log")
        axes.set(xlabel=axes_of[column], ylabel=f"{metric} (share)")
        axes.margins(x=0.15)
        _plain_ticks(axes)
    _legend(figure, len(table))
    return figure


@styled
def by_layer(table: pd.DataFrame, metric: str, title: str) -> Figure:
    """Score of each layer of encoders with intervals, that of their sum as a line across, and its weights below.

    `table` has the columns encoder, layer ("0", "1" ... "sum"), mean, low, high, weight.
    """
    figure, (scores, weights) = in_panels(2, 3.0, 1.5 * WIDTH)
    kinds = list(dict.fromkeys(table["encoder"]))
    for k, kind in enumerate(kinds):
        part = table[table["encoder"].eq(kind)]
        single, colour = part[part["layer"].ne("sum")], _mark(k)["color"]
        at = single["layer"].astype(int).to_numpy()
        gaps = np.abs(single[["low", "high"]].to_numpy().T - single["mean"].to_numpy())
        scores.errorbar(at + 0.08 * k, single["mean"], gaps, capsize=2, label=kind, lw=1.2, **_mark(k))
        for level in part[part["layer"].eq("sum")]["mean"]:
            scores.axhline(level, color=colour, lw=1, ls="--", label=f"{kind}, sum of layers")
        width = 0.8 / len(kinds)
        weights.bar(at + width * (k - (len(kinds) - 1) / 2), single["weight"], width, color=colour, label=kind)
    scores.set(xlabel="hidden state", ylabel=f"{metric} (share)", title=title)
    weights.set(xlabel="hidden state", ylabel="weight in the learned sum (share)")
    for axes in (scores, weights):
        axes.set_xticks(sorted({int(layer) for layer in table["layer"] if layer != "sum"}))
    scores.legend(fontsize=8)
    return figure


def inline(svg_file: bytes, prefix: str, title: str) -> str:
    """An SVG file as an element of a page; its ids start with `prefix`, so that no two figures share one."""
    text = svg_file.decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r"url\(#", f"url(#{prefix}-", text)
    text = re.sub(r'href="#', f'href="#{prefix}-', text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{html.escape(title)}" ', 1)


@styled
def svg(figure: Figure) -> bytes:
    """The figure as a standalone SVG file."""
    return _saved(figure, "svg", {"Date": None, "Creator": "serbench"})


@styled
def png(figure: Figure, dpi: int = 200) -> bytes:
    """The figure as a PNG file."""
    return _saved(figure, "png", {"Software": "serbench"}, dpi)


@styled
def pdf(figure: Figure) -> bytes:
    """The figure as a PDF file, its text as text."""
    return _saved(figure, "pdf", {"CreationDate": None, "Creator": "serbench", "Producer": None})


def write_figure(figure: Figure, folder: Path, name: str) -> Iterator[Path]:
    """Write NAME.svg and NAME.png; yields their paths."""
    for suffix, data in (("svg", svg(figure)), ("png", png(figure))):
        path = folder / f"{name}.{suffix}"
        write_bytes(path, data)
        yield path


def _saved(figure: Figure, form: str, metadata: dict[str, str | None], dpi: int = 200) -> bytes:
    """A file's bytes. Everything is placed once; every later drawing of the figure would do so again."""
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    buffer = io.BytesIO()
    figure.savefig(buffer, format=form, dpi=dpi, metadata=metadata)
    return buffer.getvalue()


def _figure(height: float, width: float = WIDTH) -> tuple[Figure, Axes]:
    figure, panels = in_panels(1, height, width)
    return figure, panels[0]


def in_panels(count: int, height: float, width: float = 0.0) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, two in a row, on the Agg canvas: no display is needed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns, rows = min(2, count), -(-count // 2)
    width = width or (WIDTH if count > 1 else 0.6 * WIDTH)
    figure = Figure(figsize=(width, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(np.ravel(figure.subplots(rows, columns, squeeze=False)))
    for unused in panels[count:]:
        unused.remove()
    return figure, panels[:count]


def _mark(index: int) -> dict[str, Any]:
    """Colour and marker of the model at an index; a different pair for the first 56."""
    colour = OKABE_ITO[index % len(OKABE_ITO)]
    marker = MARKERS[(index + index // len(OKABE_ITO)) % len(MARKERS)]
    return {"color": colour, "marker": marker, "ms": 6, "mec": "white", "mew": 0.5}


def _plain_ticks(axes: Axes) -> None:
    """Powers of ten along a logarithmic axis (1, 2, 5 where there are few), as plain text: `STYLE` reads no
    mathematics."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 30 * low else (1.0,), numticks=4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _legend(figure: Figure, entries: int) -> None:
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=min(3, max(entries, 1)))
