"""The files of `serbench traces`: a table, and a figure of words, waveform, gold and predictions over time.

Words are written in lanes at the time they begin, with a mark as long as they last; where the lanes are full a word is
left as its mark alone, and the title says how many are written. A shorter stretch shows more.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...datasets.core.files import write_bytes
from ...results.record.storage import write_csv
from ...results.report import figures
from ...results.report.figures import GREY, OKABE_ITO, STYLE
from .traces import Floats, Traces, lanes, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_INCHES = 10.0
LANES = 4
LETTER_INCHES = 0.062
"""Mean width of a letter of 7 points."""
SHOWN_POINTS = 4000
"""Columns of the waveform's envelope."""


def figure(traces: Traces) -> Figure:
    """The figure; all panels share the time axis."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [0.75] * bool(len(traces.words)) + [0.9] * bool(len(traces.signal)) + [1.5] * len(traces.targets)
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(WIDTH_INCHES, 1.0 + sum(heights)), layout="constrained")
        FigureCanvasAgg(drawn)
        panels = list(drawn.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0])
        written = _words(panels.pop(0), traces) if len(traces.words) else 0
        if len(traces.signal):
            _waveform(panels.pop(0), traces)
        for k, (axes, target) in enumerate(zip(panels, traces.targets, strict=True)):
            _target(axes, traces, k, target)
        panels[-1].set_xlabel("time (s)")
        panels[-1].set_xlim(traces.begin, traces.end)
        handles, labels = panels[0].get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        drawn.suptitle(_title(traces, written), fontsize=9)
    return drawn


def write(traces: Traces, folder: Path) -> list[Path]:
    """Write traces_RUN_RECORDING.csv (`table`), .png and .svg, with stretch and trials in the name if they were asked
    for; returns the paths."""
    stem = re.sub(r"[^\w.+=-]", "-", f"traces_{traces.run_id}_{traces.item}{traces.part}".replace(">", "-to-"))
    paths = [write_csv(folder / f"{stem}.csv", table(traces))]
    drawn = figure(traces)
    for ending, content in (("png", figures.png(drawn, 150)), ("svg", figures.svg(drawn))):
        path = folder / f"{stem}.{ending}"
        write_bytes(path, content)
        paths.append(path)
    return paths


def envelope(signal: Floats, columns: int) -> tuple[Floats, Floats, int]:
    """Lowest and highest sample of at most `columns` equal stretches, so that no peak is lost, and their length."""
    size = max(1, -(-len(signal) // columns))
    padded = np.pad(signal, (0, -len(signal) % size), mode="edge").reshape(-1, size)
    return padded.min(axis=1), padded.max(axis=1), size


def _words(axes: Axes, traces: Traces) -> int:
    """Write the words; returns how many of them found room."""
    letter = LETTER_INCHES * (traces.end - traces.begin) / (WIDTH_INCHES - 1.0)
    words = traces.words.sort_values("start", kind="stable")
    texts = words["word"].astype(str).tolist()
    widths = [(len(text) + 1) * letter for text in texts]
    at = [
        max(traces.begin, min(start, traces.end - width)) for start, width in zip(words["start"], widths, strict=True)
    ]
    places = lanes(at, widths, LANES)
    for text, x, start, end, lane in zip(texts, at, words["start"], words["end"], places, strict=True):
        low = LANES if lane is None else lane
        axes.plot([start, max(end, start)], [low, low], color=GREY if lane is None else OKABE_ITO[2], lw=1.2)
        if lane is not None:
            axes.text(x, lane + 0.12, text, fontsize=7, va="bottom", ha="left", clip_on=True)
    axes.set(ylim=(-0.3, LANES + 0.3), yticks=[], ylabel="words")
    axes.grid(False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(bottom=False)
    return sum(lane is not None for lane in places)


def _waveform(axes: Axes, traces: Traces) -> None:
    low, high, size = envelope(traces.signal, SHOWN_POINTS)
    time = traces.begin + np.arange(len(low)) * size / traces.rate
    axes.fill_between(time, low, high, color=GREY, lw=0.3, rasterized=True)
    top = max(float(np.abs(traces.signal).max()), 1e-3) * 1.05
    axes.set(ylim=(-top, top), ylabel="amplitude\n(full scale 1)")


def _target(axes: Axes, traces: Traces, k: int, target: str) -> None:
    """Gold in black, each trial in colour, and where there are several their mean on top."""
    several = len(traces.predicted) > 1
    for i, (trial, values) in enumerate(traces.predicted.items()):
        label = ("each trial" if i == 0 else None) if several else f"prediction, trial {trial}"
        axes.plot(
            traces.time,
            values[:, k],
            color=OKABE_ITO[5] if several else OKABE_ITO[0],
            lw=0.7 if several else 1.3,
            alpha=0.8,
            label=label,
        )
    if several:
        mean = np.mean([values[:, k] for values in traces.predicted.values()], axis=0)
        axes.plot(traces.time, mean, color=OKABE_ITO[0], lw=1.4, label="mean of the trials")
    axes.plot(traces.time, traces.gold[:, k], color="black", lw=1.2, label="gold standard")
    scores = np.array(traces.scores()[target])
    said = "undefined" if np.isnan(scores).any() else f"{scores.mean():.3f}"
    said += f" ± {scores.std(ddof=1):.3f}" if several and not np.isnan(scores).any() else ""
    low, high = traces.scales[target]
    axes.set_ylabel(f"{target}\n(scale {low:g} to {high:g})")
    axes.set_title(f"{target}: CCC {said} on what is shown", loc="right", fontsize=8, pad=2)


def _title(traces: Traces, written: int) -> str:
    trials = ", ".join(map(str, traces.predicted))
    words = f"; {written} of {len(traces.words)} words written" if len(traces.words) else ""
    return f"{traces.item}, {traces.run_id}, trial{'s' if len(traces.predicted) > 1 else ''} {trials}{words}"
