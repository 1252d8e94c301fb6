"""The page of one run: its scores, recipe and configuration, what it gets wrong, how to repeat it, what to download."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..display.numbers import duration, interval, number, p_value
from ..display.table import Cell, Table
from ..record.pairing import Scored
from ..report.facts import day, epochs, excluded, failed
from ..report.page import Part, Picture, Section
from ..scores.scoring import confusion_table
from .chart import Series, chart
from .downloads import CONFIGURATION, WHAT

if TYPE_CHECKING:
    from ..report.data import Ranking

POINTS = 400
"""A chart of predictions against gold shows at most so many, evenly taken."""
FILES_SHOWN = 100
NONE_OUT = Part("", ["No file was left out and no unit failed."])


@dataclass(frozen=True)
class Entry:
    """A run of a ranking as its page needs it.

    Attributes
    ----------
    ranking, scored : the ranking, and the run with its predictions
    rows : its rows of the leaderboard, one per target
    among : target -> number of rows in the ranking
    spec, units : the record without paths of a machine
    """

    ranking: Ranking
    scored: Scored
    rows: Sequence[Mapping[str, Any]]
    among: Mapping[str, int]
    spec: Mapping[str, Any]
    units: Sequence[Mapping[str, Any]]

    @property
    def title(self) -> str:
        """What the page is about."""
        return f"{self.rows[0]['name']} on {self.ranking.title}"


def sections(entry: Entry, files: str) -> list[Section]:
    """What stands on the page; `files` is the address of the folder with the run's downloads."""
    left_out = list(_left_out(entry))
    more = f"The first {FILES_SHOWN} of {len(left_out)}." if len(left_out) > FILES_SHOWN else ""
    bad = Table("Left out and failed", left_out[:FILES_SHOWN], more, name="left-out")
    curves = list(_curves(entry))
    return [
        Section("scores", "Scores", tables=[_placed(entry), _metrics(entry.scored)]),
        Section("errors", "Errors", tables=_confusion(entry), figures=list(_values(entry))),
        *([Section("training", "Training", figures=curves)] if curves else []),
        Section("repeat", "Repeat it", parts=[_repeat(entry, files)]),
        Section("recipe", "Recipe", parts=list(_recipe(entry))),
        Section("left-out-files", f"Left out: {len(left_out)}", tables=[bad], parts=[] if left_out else [NONE_OUT]),
    ]


def _placed(entry: Entry) -> Table:
    """Place, score and test against chance, for each target."""
    rows = [
        {
            "target": str(row["target"]),
            "place": Cell(f"{row['rank']} of {entry.among[row['target']]}", int(row["rank"])),
            str(row["metric"]): Cell(number(row["mean"]), float(row["mean"])),
            "95 % interval": interval(row["low"], row["high"]),
            "n": Cell(str(row["n"]), int(row["n"])),
            "letters": row["letters"] or "-",
            "p (chance)": "" if row["chance"] else p_value(row["p_chance_crossed"]),
            "better than chance": str(row["beats_chance"] or "is chance"),
        }
        for row in entry.rows
    ]
    note = "Over n scores (trial x subset). p (chance): crossed t-test, Holm-adjusted over the ranking."
    return Table("Place in the ranking", rows, note, name="place")


def _metrics(scored: Scored) -> Table:
    """Mean and deviation of every metric."""
    found = scored.scores.groupby(["target", "metric"], sort=False)["value"].agg(["mean", "std", "min", "max"])
    rows: list[dict[str, Cell | str]] = [
        {"target": str(target), "metric": str(metric), **{str(k): Cell(number(v), float(v)) for k, v in values.items()}}
        for (target, metric), values in zip(found.index, found.to_dict("records"), strict=True)
    ]
    return Table("All metrics, over trials and subsets", rows, name="metrics")


def _confusion(entry: Entry) -> list[Table]:
    """Counts of gold by predicted classes, shaded by their share of the gold class."""
    task = entry.ranking.task
    if task.kind != "classification":
        return []
    counts = confusion_table(entry.scored.predictions, task)
    rows: list[dict[str, Cell | str]] = []
    for label, row in zip(counts.index, counts.to_numpy(), strict=True):
        total = int(row.sum())
        shares = row / total if total else np.zeros(len(row))
        cells = {
            str(name): Cell(f"{100 * share:.0f} % ({count})", float(share), shade=round(10 * share))
            for name, share, count in zip(counts.columns, shares, row, strict=True)
        }
        rows.append({"gold": str(label), **cells, "all": Cell(str(total), total)})
    note = "Rows are gold classes, columns predicted ones; all trials together. Shares are those of the gold class."
    return [Table("Confusion matrix", rows, note, name="confusion")]


def _curves(entry: Entry) -> Iterator[Picture]:
    """Learning curves of the dev score and the loss, a line for each unit."""
    table = epochs(entry.scored.run)
    for column in ("dev_score", "loss"):
        if column in table and pd.api.types.is_numeric_dtype(table[column]):
            lines = [
                Series(f"{trial}, {fold}", part["epoch"].tolist(), part[column].tolist())
                for (trial, fold), part in table.groupby(["trial", "fold"], sort=True)
            ]
            title = f"Learning curves: {column.replace('_', ' ')}"
            yield from _picture(f"curve-{column}", title, "A line for each training.", lines, "epoch", column)


def _values(entry: Entry) -> Iterator[Picture]:
    """Of attributes: predictions against gold; of traces: both over time, of the first recording of the first trial."""
    task, found = entry.ranking.task, entry.scored.predictions
    for target in () if task.kind == "classification" else task.targets:
        gold, predicted = f"gold_{target}", f"pred_{target}"
        if task.kind == "continuous":
            part = found[found["trial"].eq(found["trial"].min()) & found["id"].eq(found["id"].iloc[0])]
            seconds = (part["frame"] * (task.frame_seconds or 1.0)).tolist()
            lines = [Series(name, seconds, part[c].tolist()) for name, c in (("gold", gold), ("predicted", predicted))]
            caption = f"Recording {part['id'].iloc[0]}, trial {part['trial'].iloc[0]}."
            yield from _picture(f"trace-{target}", f"Trace: {target}", caption, lines, "time [s]", target)
            continue
        some = found.iloc[:: max(1, -(-len(found) // POINTS))]
        points = Series(target, some[gold].tolist(), some[predicted].tolist(), dots=True, line=False)
        low, high = task.scales[target]
        equal = Series("equal", [low, high], [low, high])
        caption = f"{len(some)} of {len(found)} predictions, evenly taken; the line is where both are equal."
        title = f"Prediction against gold: {target}"
        yield from _picture(f"scatter-{target}", title, caption, [points, equal], f"gold {target}", "predicted")


def _picture(name: str, title: str, caption: str, series: Sequence[Series], across: str, up: str) -> Iterator[Picture]:
    drawn = chart(series, title, across, up)
    if drawn:
        yield Picture(name, title, caption, drawn)


def _repeat(entry: Entry, files: str) -> Part:
    command = str(entry.spec.get("command") or "")
    commands = [*([command] if command else []), f"serbench run --from-record {CONFIGURATION}"]
    links = [(f"{name}: {what}", f"{files}/{name}") for name, what in WHAT.items()]
    return Part("", ["The first line made the run; the last repeats it from its configuration."], (), commands, links)


def _recipe(entry: Entry) -> Iterator[Part]:
    """Signature, settings, and on what the run was made."""
    spec, run = entry.spec, entry.scored.run
    yield Part("Signature", commands=[run.signature])
    config = {**spec["model"]["config"], **{k: v for k, v in spec["model"].items() if k in ("search", "refit")}}
    yield Part("Configuration of the model", facts=[(str(k), _text(v)) for k, v in config.items()])
    features = [(role, str(one["signature"])) for role, one in spec["features"].items()]
    yield Part("Features", facts=features)
    row, done = entry.rows[0], [unit for unit in entry.units if unit["status"] == "done"]
    versions: dict[str, str] = dict(next((unit.get("versions") or {} for unit in done), {}))
    facts = [
        ("run", run.run_id),
        ("finished (UTC)", day(run)),
        ("device", ", ".join(sorted({str(unit["device"]) for unit in done if unit.get("device")}))),
        ("trained parameters", "" if pd.isna(row["parameters"]) else str(int(row["parameters"]))),
        ("wall time of all trials", duration(row["seconds"])),
        *sorted(versions.items()),
    ]
    yield Part("What it was made with", facts=facts, is_open=False)


def _left_out(entry: Entry) -> Iterator[dict[str, Cell | str]]:
    """Files that could not be used and units that failed, their reasons without paths of a machine."""
    reasons = {str(i): str(why) for unit in entry.units for i, why in (unit.get("excluded") or {}).items()}
    for item in excluded(entry.scored.run):
        yield {"what": "file left out", "item": item, "reason": reasons.get(item, "")}
    errors = {(u["trial"], u["fold"]): str(u.get("error") or "") for u in entry.units}
    for trial, fold, _ in failed(entry.scored.run):
        yield {"what": "unit failed", "item": f"trial {trial}, fold {fold}", "reason": errors.get((trial, fold), "")}


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
