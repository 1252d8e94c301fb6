"""The figures of one ranking, and its tables of costs and bad files: errors, curves, groups, cost."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ..display.table import Cell, Table
from ..record.folder import Run
from ..scores.scoring import confusion_table
from . import figures
from .data import GROUPS, Ranking, breakdown
from .facts import cost, epochs, excluded, failed
from .page import Drawing

COSTS = {
    "parameters": "trainable parameters (count)",
    "macs_per_second": "multiply-accumulates\n(count per s of audio)",
    "seconds": "wall time of all trials [s]",
    "cpu_seconds": "processor time of all trials [s]",
    "real_time_factor": "real-time factor\n(processing s per s of audio)",
    "peak_mib": "peak memory of the process [MiB]",
}
Row = dict[str, Cell | str]
PAIRS_SHOWN = 20
"""A forest plot shows at most so many pairs: those with the best model first."""
GROUPS_SHOWN = 24
MODELS_SHOWN = 8
FILES_SHOWN = 100
DRAWN = 12
"""Figures of single runs are drawn of so many of a ranking's best."""


def bad_file_table(ranking: Ranking, stem: str) -> Table | None:
    """Files that runs had to leave out, counted, and units that failed."""
    entries = [
        {
            "model": ranking.names.get(run.run_id, run.name),
            "what": kind,
            "item": item,
            "reason": why,
            "run_id": run.run_id,
        }
        for run in ranking.runs
        for kind, item, why in _bad(run)
    ]
    if not entries:
        return None
    rows = [{key: entry[key] for key in ("model", "what", "item", "reason")} for entry in entries[:FILES_SHOWN]]
    more = f" The first {FILES_SHOWN} of {len(entries)} are shown; the CSV has all." if len(entries) > len(rows) else ""
    note = f"{len(entries)} entries. A file that could not be used counts for no score of its run.{more}"
    title = f"{ranking.title}: left out and failed"
    return Table(title, rows, note, name=f"{stem}-left-out", frame=pd.DataFrame(entries))


def cost_table(ranking: Ranking) -> pd.DataFrame:
    """One row per ranked run: name, mean, low, high (first target) and its costs."""
    rows = {r["run_id"]: r for r in ranking.rows(ranking.targets[0])}
    shown = ("name", "mean", "low", "high")
    return pd.DataFrame(
        [{"run_id": run.run_id, **{key: rows[run.run_id][key] for key in shown}, **cost(run)} for run in ranking.ranked]
    )


def drawings(ranking: Ranking) -> Iterator[Drawing]:
    """All figures of the ranking, one at a time."""
    yield from _forests(ranking)
    if (more := len(ranking.runs) - DRAWN) > 0:
        ranking.notes.append(
            f"Confusion matrices, scatter plots and learning curves are those of the best {DRAWN} runs; {more} more "
            "have none here. 'serbench site' writes a page for each run."
        )
    yield from _errors(ranking)
    for run in ranking.runs[:DRAWN]:
        if len(table := epochs(run)):
            name = ranking.names.get(run.run_id, run.name)
            yield Drawing(
                f"curves-{run.run_id}",
                f"Learning curves: {name}",
                "A line per unit (trial and fold), "
                "coloured by trial; large dots are the epochs whose weights were kept.",
                figures.curves(table),
            )
    yield from _groups(ranking)
    table = cost_table(ranking)
    if len(table) and any((table[c] > 0).any() for c in COSTS):
        caption = (
            "Bars: 95 % interval over the scores. Times are sums over all units, features cached; the "
            "real-time factor counts from file to prediction where that was measured, else from cached "
            "features. Memory: the largest of any unit's process. What is not recorded is missing."
        )
        human = float(ranking.rows(ranking.targets[0])[0]["human"])
        yield Drawing("cost", "Accuracy against cost", caption, figures.cost(table, ranking.task.metric, COSTS, human))


def _forests(ranking: Ranking) -> Iterator[Drawing]:
    best = [r["name"] for r in ranking.rows(ranking.targets[0])]
    for target, part in ranking.pairs.groupby("target", sort=False) if len(ranking.pairs) else ():
        place = {name: i for i, name in enumerate(best)}
        ordered = part.assign(_a=part["a"].map(place), _b=part["b"].map(place)).sort_values(["_a", "_b"])
        shown, lost = ordered.head(PAIRS_SHOWN), len(ordered) - PAIRS_SHOWN
        more = f" Further pairs in the table: {lost}." if lost > 0 else ""
        shown = shown.assign(low=shown["crossed_low"], high=shown["crossed_high"], p_holm=shown["p_crossed_holm"])
        caption = f"Right of 0: the first named is better. Filled: p < 0.05 (crossed t-test, Holm-adjusted).{more}"
        yield Drawing(
            f"forest-{target}",
            f"Differences between models: {target}",
            caption,
            figures.forest(shown, ranking.task.metric),
        )


def _errors(ranking: Ranking) -> Iterator[Drawing]:
    """Confusion matrix or scatter of each run, the best first."""
    task = ranking.task
    for run in ranking.ranked[:DRAWN]:
        predictions, name = ranking.scored[run.run_id].predictions, ranking.names[run.run_id]
        if task.kind == "classification":
            yield Drawing(
                f"confusion-{run.run_id}",
                f"Confusion matrix: {name}",
                "All trials together. Each row adds up to 100 % of its gold class; below, the number of predictions.",
                figures.confusion(confusion_table(predictions, task)),
            )
            continue
        kind = "frames" if task.kind == "continuous" else "items"
        shown = -(-len(predictions) // max(1, -(-len(predictions) // figures.POINTS)))
        caption = f"{shown} of {len(predictions)} predicted {kind} of all trials, evenly taken. Line: equal values."
        yield Drawing(
            f"scatter-{run.run_id}",
            f"Prediction against gold: {name}",
            caption,
            figures.scatter(predictions, task.targets, task.scales),
        )


def _groups(ranking: Ranking) -> Iterator[Drawing]:
    for by in GROUPS:
        table, note = breakdown(ranking, by)
        if not len(table):
            if note:
                ranking.notes.append(note)
            continue
        part = table[table["target"].eq(ranking.targets[0])]
        best, groups = ranking.ranked[:MODELS_SHOWN], list(dict.fromkeys(part["group"]))
        shown = part[part["run_id"].isin([r.run_id for r in best]) & part["group"].isin(groups[:GROUPS_SHOWN])]
        lines = [f"{ranking.task.metric} within each group of test items ({ranking.targets[0]}); few items say little."]
        if len(ranking.ranked) > MODELS_SHOWN:
            lines.append(f"The best {MODELS_SHOWN} models are shown.")
        if len(groups) > GROUPS_SHOWN:
            lines.append(f"The first {GROUPS_SHOWN} of {len(groups)} groups are shown.")
        yield Drawing(
            f"by-{by}",
            f"Score by {by}",
            " ".join([*lines, note]).strip(),
            figures.breakdown(
                shown,
                f"{by} [s]" if by == "duration" else by,
                ranking.task.metric,
                [ranking.names[run.run_id] for run in ranking.ranked],
            ),
        )


def _bad(run: Run) -> Iterator[tuple[str, str, str]]:
    yield from (("file left out", item, why) for item, why in excluded(run).items())
    yield from (("unit failed", f"trial {trial}, fold {fold}", error) for trial, fold, error in failed(run))
