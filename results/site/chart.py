"""Small charts as SVG whose colours are those of the page, light or dark: points and lines on two linear axes.

The figures of the report (matplotlib) are files for papers; a site has a page for each of thousands of runs, where a
chart has to take a millisecond. Ticks are matplotlib's.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

WIDTH, HEIGHT = 440, 260
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 26, 46
"""Margins around the field of a chart, in the units of its width."""
COLOURS = 8


@dataclass(frozen=True)
class Series:
    """Numbers of one name: `x` and `y` of equal length, drawn as dots, as a line through them, or both."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    dots: bool = False
    line: bool = True


def chart(
    series: Sequence[Series], title: str, across: str, up: str, text: Callable[[float], str] | None = None
) -> str:
    """An SVG element; empty where there is no finite number.

    Parameters
    ----------
    across, up : labels of the axes
    text : what stands at a tick of the lower axis (default: the number)
    """
    xs, ys = (np.concatenate([np.asarray(getattr(one, side), dtype=float) for one in series]) for side in "xy")
    known = np.isfinite(xs) & np.isfinite(ys)
    if not known.any():
        return ""
    x_ticks, y_ticks = _ticks(xs[known]), _ticks(ys[known])
    place = _Place(x_ticks, y_ticks)
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">',
        *_axes(place, x_ticks, y_ticks, across, up, text or _number),
        *(part for i, one in enumerate(series) for part in _drawn(one, i % COLOURS, place)),
        *(_legend(series) if 1 < len(series) <= COLOURS else ()),
        "</svg>",
    ]
    return "".join(parts)


@dataclass(frozen=True)
class _Place:
    """Where numbers lie: linear between the first and the last tick of each axis."""

    across: Sequence[float]
    up: Sequence[float]

    def x(self, value: float) -> float:
        share = (value - self.across[0]) / (self.across[-1] - self.across[0])
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        share = (value - self.up[0]) / (self.up[-1] - self.up[0])
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def _ticks(values: np.ndarray) -> list[float]:
    """Round numbers around all values."""
    from matplotlib.ticker import MaxNLocator

    low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    return [float(tick) for tick in MaxNLocator(4).tick_values(low, high)]


def _number(value: float) -> str:
    return f"{value:.6g}"


def _axes(
    place: _Place,
    across: Sequence[float],
    up: Sequence[float],
    x_label: str,
    y_label: str,
    text: Callable[[float], str],
) -> Iterator[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for tick in up:
        y = place.y(tick)
        yield f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y}" y2="{y}"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{html.escape(_number(tick))}</text>'
    shown = across if text is _number else [across[0], across[len(across) // 2], across[-1]]  # days need much room
    for tick in dict.fromkeys(shown):
        anchor = "start" if tick == across[0] else "end" if tick == across[-1] else "middle"
        yield f'<text x="{place.x(tick)}" y="{bottom + 16}" text-anchor="{anchor}">{html.escape(text(tick))}</text>'
    yield f'<path class="axis" d="M{LEFT} {TOP}V{bottom}H{right}"/>'
    yield f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{html.escape(x_label)}</text>'
    yield f'<text x="4" y="14">{html.escape(y_label)}</text>'


def _drawn(one: Series, colour: int, place: _Place) -> Iterator[str]:
    points = [(place.x(x), place.y(y)) for x, y in zip(one.x, one.y, strict=True) if np.isfinite(x) and np.isfinite(y)]
    if one.line and len(points) > 1:
        way = "L".join(f"{x} {y}" for x, y in points)
        yield f'<path class="line c{colour}" d="M{way}"/>'
    if one.dots or len(points) == 1:
        yield from (f'<circle class="dot c{colour}" cx="{x}" cy="{y}" r="3"/>' for x, y in points)


def _legend(series: Sequence[Series]) -> Iterator[str]:
    step = (WIDTH - LEFT - RIGHT) / len(series)
    for i, one in enumerate(series):
        x = LEFT + 60 + i * (step - 60 / len(series))
        yield f'<circle class="dot c{i}" cx="{x:.0f}" cy="10" r="4"/>'
        yield f'<text x="{x + 8:.0f}" y="14">{html.escape(one.name)}</text>'
