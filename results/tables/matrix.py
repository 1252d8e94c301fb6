"""The cross-corpus matrix: every model trained on each corpus and tested on each, with the drop against in-corpus.

Cells of one column share the test items, their subsets and gold labels, so they are compared pairwise: the *drop* is
the score of the model that was trained on the tested corpus itself minus that of the model trained elsewhere. It is
tested over its (trial, subset) table with trials and subsets as crossed random samples (`dependence.crossed_t`): the
trainings of the two cells are independent and paired by their number alone, the test items are the same. So the test
holds for other seeds and other utterances of the tested corpus. The interval of a score is made in the same way.
p-values are Holm-adjusted over the drops of one model and target.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import atomic_write
from ..display.numbers import interval, number
from ..display.table import Table, on_screen
from ..record.folder import Run
from ..record.identity import short_names
from ..record.pairing import KEY, Scored, load_scored, pair
from ..record.storage import write_csv
from ..scores.scoring import scored_targets
from ..statistics.dependence import crossed_t
from ..statistics.significance import NAN, holm

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.console import Group

CHANCE = "chance"
COLUMNS = (
    "model",
    "task",
    "metric",
    "target",
    "trained_on",
    "tested_on",
    "mean",
    "low",
    "high",
    "n",
    "trials",
    "chance",
    "in_corpus",
    "drop",
    "drop_low",
    "drop_high",
    "t",
    "p",
    "p_holm",
    "left_out",
    "signature",
    "run_id",
)
STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
NOTE = (
    "Rows: trained on; columns: tested on. 95 % intervals. drop: score of the model that was trained on the tested "
    "corpus minus this one; t-test with trials and subsets as crossed random samples, Holm-adjusted: * p < .05, "
    "** < .01, *** < .001."
)
Row = dict[str, Any]
Cells = dict[tuple[str, str], Scored]
"""(trained on, tested on) -> scored run."""


def matrix(runs: Iterable[Run]) -> pd.DataFrame:
    """One row per model, target and pair of corpora.

    Parameters
    ----------
    runs : in-corpus and cross-corpus runs of one task; the runs of the model `chance` become a column

    Returns
    -------
    the columns of `COLUMNS`: mean of the n scores with its interval; mean of the best chance row of the same corpora;
    the in-corpus mean of the tested corpus; the drop with interval, t, p; `left_out` items that only one of the two
    cells has scored. What is not there, for lack of a run or of complete trials, is NaN

    Raises
    ------
    SerbenchError
        Without a run, for several tasks, and when two runs of one model fill the same cell.
    """
    chosen = list(runs)
    names = {run.task.name for run in chosen}
    if len(names) != 1:
        raise SerbenchError(f"a matrix is about one task; given: {', '.join(sorted(names)) or 'no run'}.")
    models = _models(chosen)
    chance = [cells for name, cells in models.items() if name.partition(":")[0] == CHANCE]
    rows = [row for name, cells in models.items() if cells not in chance for row in _rows(name, cells, chance)]
    return _adjusted(pd.DataFrame(rows, columns=list(COLUMNS)))


def corpora(run: Run) -> tuple[str, str]:
    """What a run was trained on and what it was tested on."""
    transfer = run.spec.get("transfer")
    own = str(run.spec["dataset"]["name"])
    return (transfer["trained_on"]["name"], transfer["tested_on"]["name"]) if transfer else (own, own)


def _models(runs: Sequence[Run]) -> dict[str, Cells]:
    """Cells of each model, by its short name."""
    models: dict[str, Cells] = {}
    by_corpora: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        by_corpora.setdefault(corpora(run), []).append(run)
    for place, group in by_corpora.items():
        for run, name in zip(group, short_names([run.spec for run in group]), strict=True):
            if place in models.get(name, {}):
                raise SerbenchError(f"two runs of {name} are trained on {place[0]} and tested on {place[1]}.")
            models.setdefault(name, {})[place] = load_scored(run)
    return models


def _rows(name: str, cells: Cells, chance: Sequence[Cells]) -> list[Row]:
    return [
        _row(name, target, place, cells, chance)
        for target in scored_targets(next(iter(cells.values())).run.task)
        for place in cells
    ]


def _row(name: str, target: str, place: tuple[str, str], cells: Cells, chance: Sequence[Cells]) -> Row:
    scored, home = cells[place], cells.get((place[1], place[1]))
    scores = _scores(scored, target)
    test = crossed_t(scores["value"], np.zeros(len(scores)), scores["trial"], scores["subset"])
    floor = [_scores(other[place], target)["value"].mean(skipna=False) for other in chance if place in other]
    drop = _drop(home, scored, target) if home is not None and home is not scored else {}
    return {
        "model": name,
        "task": scored.run.task.name,
        "metric": scored.run.task.metric,
        "target": target,
        "trained_on": place[0],
        "tested_on": place[1],
        "mean": scores["value"].mean(skipna=False),
        "low": test.low,
        "high": test.high,
        "n": len(scores),
        "trials": len(scored.trials),
        "chance": max(floor, default=NAN),
        "in_corpus": NAN if home is None else _scores(home, target)["value"].mean(skipna=False),
        "drop": NAN,
        "drop_low": NAN,
        "drop_high": NAN,
        "t": NAN,
        "p": NAN,
        "p_holm": NAN,
        "left_out": 0,
        **drop,
        "signature": scored.run.signature,
        "run_id": scored.run.run_id,
    }


def _drop(home: Scored, away: Scored, target: str) -> Row:
    """The drop from the model trained on the tested corpus to the one trained elsewhere, on the same test items."""
    paired = pair(home, away, away.run.task.metric)
    scores = paired.scores[paired.scores["target"].eq(target)]
    test = crossed_t(scores["a"], scores["b"], scores["trial"], scores["subset"])
    return {
        "drop": test.difference,
        "drop_low": test.low,
        "drop_high": test.high,
        "t": test.t,
        "p": test.p,
        "left_out": paired.left_out,
    }


def _scores(scored: Scored, target: str) -> pd.DataFrame:
    frame = scored.scores
    return frame.loc[frame["metric"].eq(scored.run.task.metric) & frame["target"].eq(target), [*KEY, "value"]]


def _adjusted(frame: pd.DataFrame) -> pd.DataFrame:
    for _, group in frame.groupby(["model", "target"], sort=False):
        frame.loc[group.index, "p_holm"] = holm(group["p"])
    return frame


def write_matrix(frame: pd.DataFrame, folder: Path) -> list[Path]:
    """Write `cross_TASK.csv`, and a heatmap of each model and target as PNG and SVG; returns the paths."""
    task = _plain(frame["task"].iloc[0])
    written = [write_csv(folder / f"cross_{task}.csv", frame)]
    for title, part in _parts(frame):
        target = f"_{part['target'].iloc[0]}" if frame["target"].nunique() > 1 else ""
        stem = f"cross_{task}_{_plain(part['model'].iloc[0] + target)}"
        written += [_figure(title, part, folder / f"{stem}.{kind}") for kind in ("png", "svg")]
    return written


def render_matrix(frame: pd.DataFrame) -> Group:
    """The matrix for the screen, one table per model and target."""
    tables = []
    for title, part in _parts(frame):
        tested = list(dict.fromkeys(part["tested_on"]))
        rows = []
        for trained, line in part.groupby(part["trained_on"].map(_trained), sort=False):
            by_test = {row["tested_on"]: row for row in line.to_dict("records")}
            rows.append({"model": str(trained), **{t: _text(by_test[t]) if t in by_test else "" for t in tested}})
        tables.append(Table(f"{title}, {part['metric'].iloc[0]}", rows))
    return on_screen(tables, [NOTE])


def _parts(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Title and rows of each model and target."""
    for (model, target), part in frame.groupby(["model", "target"], sort=False):
        several = frame["target"].nunique() > 1
        yield f"{model}: {part['task'].iloc[0]}{f', {target}' if several else ''}", part


def _trained(name: str) -> str:
    """What a row is called: a union of corpora is all of them but the one that is tested."""
    return "the others" if "+" in name else name


def stars(p: float) -> str:
    """How significant a p-value is, in asterisks."""
    return next((mark for limit, mark in STARS if p < limit), "")


def _text(row: Mapping[Any, Any]) -> str:
    """The lines of a cell: mean, interval, drop."""
    lines = [number(row["mean"]), interval(row["low"], row["high"], ".2f")]
    if not np.isnan(row["drop"]):
        lines.append(f"drop {number(row['drop'], '+.3f')}{stars(row['p_holm'])}")
    return "\n".join(lines)


def _plain(name: object) -> str:
    return re.sub(r"[^\w.+-]", "-", str(name))


def _figure(title: str, part: pd.DataFrame, path: Path) -> Path:
    """One heatmap; the same numbers give the same file."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    part = part.assign(row=part["trained_on"].map(_trained))
    trained, tested = list(dict.fromkeys(part["row"])), list(dict.fromkeys(part["tested_on"]))
    with rc_context({"svg.hashsalt": "serbench", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(2.6 + 1.45 * len(tested), 1.9 + 0.85 * len(trained)), layout="constrained")
        axes = figure.add_subplot()
        values = part.pivot(index="row", columns="tested_on", values="mean").reindex(trained, columns=tested)
        known = values.to_numpy(dtype=np.float64)
        low = float(np.nanmin([np.nanmin(known), *part["chance"].dropna()])) if not np.isnan(known).all() else 0.0
        image = axes.imshow(np.ma.masked_invalid(known), cmap="cividis", vmin=low, aspect="auto")
        axes.set_xticks(range(len(tested)), tested, rotation=20, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(trained)), trained)
        axes.set_xlabel("tested on")
        axes.set_ylabel("trained on")
        axes.set_title(title, loc="left", fontweight="bold")
        figure.colorbar(image, ax=axes, label=f"{part['metric'].iloc[0]} (mean of {int(part['n'].max())} scores)")
        figure.supxlabel(_wrapped(NOTE, len(tested)), fontsize=6.5, x=0.01, ha="left")
        for row in part.to_dict("records"):
            _cell(axes, row, tested.index(row["tested_on"]), trained.index(row["row"]), image)
        kind = path.suffix.removeprefix(".")
        more: dict[str, Any] = {"dpi": 200} if kind == "png" else {}
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        atomic_write(path, lambda stream: figure.savefig(stream, format=kind, metadata=metadata, **more))
    return path


def _cell(axes: Axes, row: Mapping[Any, Any], x: int, y: int, image: Any) -> None:
    """The text of a cell, in the colour that can be read on it; in-corpus cells get a frame."""
    from matplotlib.patches import Rectangle

    if np.isnan(row["mean"]):
        axes.text(x, y, "undefined", ha="center", va="center")
        return
    red, green, blue, _ = image.cmap(image.norm(row["mean"]))
    light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
    axes.text(x, y, _text(row).replace("..", " to "), ha="center", va="center", color="black" if light else "white")
    if row["trained_on"] == row["tested_on"]:
        axes.add_patch(Rectangle((x - 0.48, y - 0.47), 0.96, 0.94, fill=False, edgecolor="black", linewidth=2))
        axes.add_patch(Rectangle((x - 0.46, y - 0.44), 0.92, 0.88, fill=False, edgecolor="white", linewidth=1))


def _wrapped(text: str, columns: int) -> str:
    import textwrap

    return textwrap.fill(text, 34 + 24 * columns)
