"""The tables and figures of one ranking: leaderboard, references, pairs, errors, curves, groups, cost, bad files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pandas as pd

from ..display.numbers import count, duration, interval, number, p_value
from ..display.table import Cell, Table, task_and_target
from ..record.folder import Run
from ..scores.scoring import confusion_table
from ..tables import references as published
from ..tables.beside_human import human_mark, human_note, with_human
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


def leaderboard_table(
    ranking: Ranking, target: str, stem: str, most: int | None = None, more: Callable[[Any, Row], Row] | None = None
) -> Table:
    """Rank, score with interval and letters, test against chance, cost.

    `most` is the number of rows that are shown; `more` changes the cells of a record's row, such as to add some.
    """
    rows, what = ranking.rows(target)[:most], task_and_target(ranking.task.name, target)
    plain = ["chance" if row["chance"] else "" for row in rows]
    boards = [more(row, _board(row)) if more else _board(row) for row in rows]
    cells, styles = with_human(rows, boards, plain)
    return Table(
        f"{ranking.dataset}, {what}: {ranking.task.metric} as a share",
        cells,
        _board_note(rows, ranking),
        styles,
        f"{stem}-leaderboard-{target}",
        ranking.frame[ranking.frame["target"].eq(target)],
        kind="leaderboard",
    )


def reference_table(ranking: Ranking, stem: str) -> Table | None:
    """Published results on the same corpus and task, beside ours and never among them."""
    published_here = published.beside(ranking.frame, ranking.runs) if len(ranking.frame) else pd.DataFrame()
    if not len(published_here):
        return None
    rows: list[Row] = [
        {
            "model": str(r["model"]),
            "target": str(r["target"]),
            "metric": str(r["metric"]),
            "value": Cell(number(r["value"]), r["value"]),
            "release": str(r["release"]),
            "split": str(r["split"]),
            "protocol distance": str(r["distance"]),
            "reason": str(r["reason"]),
            "place": str(r["place"]) or "not ranked",
            "source": str(r["source"]),
        }
        for r in published_here.to_dict("records")
    ]
    note = (
        "Numbers as published, as shares. A place in our ranking is named only where the protocol distance is "
        '"same"; all others were measured on other data, splits or with other selection.'
    )
    return Table(f"{ranking.title}: published results", rows, note, name=f"{stem}-references", frame=published_here)


def pair_table(ranking: Ranking, stem: str) -> Table | None:
    """Every pair of models with the difference and its tests."""
    if not len(ranking.pairs):
        return None
    rows: list[Row] = [
        {
            "a": str(r["a"]),
            "b": str(r["b"]),
            "target": str(r["target"]),
            "a - b": Cell(number(r["difference"], "+.3f"), float(r["difference"])),
            "95 % interval": interval(r["crossed_low"], r["crossed_high"], "+.3f"),
            "d": Cell(number(r["dz"], "+.2f"), float(r["dz"])),
            **{
                head: Cell(p_value(r[column]), float(r[column]))
                for head, column in (
                    ("p crossed", "p_crossed_holm"),
                    ("p", "p_holm"),
                    ("p trials", "p_trials_holm"),
                    ("p Wilcoxon", "p_wilcoxon_holm"),
                )
            },
            "n": Cell(str(r["n"]), int(r["n"])),
            "items left out": Cell(str(r["left_out"]), int(r["left_out"])),
        }
        for r in ranking.pairs.to_dict("records")
    ]
    note = (
        "p crossed: two-tailed t-test with trials and subsets as crossed random samples, with its interval. p: paired "
        "t-test over the n scores (trial x subset); they share trained models and test items, so it finds differences "
        "too easily. p trials: the same test over the trial means. p Wilcoxon: "
        "signed-rank test. All are Holm-adjusted over this table. d: Cohen's d for pairs."
    )
    if ranking.pairs["repeated_trials"].any():
        note += " Where both models train deterministically their trials repeat one another: p and d overstate."
    if (ranking.pairs["untrained"] != "no").any():
        note += " Weights without training are one set of weights for all trials: the tests hold for these weights."
    title = f"{ranking.title}: differences between models"
    return Table(title, rows, note, name=f"{stem}-pairs", frame=ranking.pairs)


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
    yield from _errors(ranking)
    for run in ranking.runs:
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
    for run in ranking.ranked:
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


def _board(row: Mapping[str, Any]) -> Row:
    bounds = (row["boot_low"], row["boot_high"]) if "boot_low" in row else (row["low"], row["high"])
    mark = {"no": " †", "untested": " ?"}.get(row["beats_chance"], "")
    failures = f" ({row['failed_trials']} failed)" if row["failed_trials"] else ""
    parameters = float("nan") if pd.isna(row["parameters"]) else float(row["parameters"])
    flags = f" [{row['labels']}]" if row["labels"] else ""
    return {
        "#": Cell(str(row["rank"]), int(row["rank"])),
        "model": Cell(f"{row['name']}{mark}{human_mark(row)}{failures}{flags}", row["name"], row["signature"]),
        row["metric"]: Cell(number(row["mean"]), float(row["mean"])),
        "95 % interval": Cell(interval(*bounds), float(bounds[0])),
        "letters": row["letters"] or "-",
        "sd": Cell(number(row["sd"]), float(row["sd"])),
        "p (chance)": Cell("" if row["chance"] else p_value(row["p_chance_holm"]), float(row["p_chance_holm"])),
        "n": Cell(str(row["n"]), int(row["n"])),
        "trials": Cell(str(row["trials"]), int(row["trials"])),
        "time": Cell(duration(row["seconds"]), float(row["seconds"])),
        "parameters": Cell(count(parameters), parameters),
        "files out": Cell(str(row["left_out"]), int(row["left_out"])),
    }


def _board_note(rows: list[dict[str, Any]], ranking: Ranking) -> str:
    first = rows[0]
    parts = ["Means over n scores (trial x subset); sd: of these scores."]
    if "boot_low" in first:
        drawn = sorted({f"{r['boot_clusters']} {r['boot_cluster']}s" for r in rows})
        parts.append(f"Intervals: bootstrap over {' or '.join(drawn)} and trials, {first['boot_resamples']} resamples.")
    else:
        parts.append("Intervals: t-interval over the scores.")
    if len(ranking.pairs):
        parts.append(
            "Models that share a letter do not differ significantly (crossed t-tests over trials and subsets, "
            "Holm-adjusted over all pairs and targets of this ranking, 0.05); -: not compared."
        )
    if chance := next((r["chance_row"] for r in rows if r["chance_row"]), ""):
        parts.append(f"p (chance): paired t-test against {chance}, Holm-adjusted. Grey rows are chance.")
    marks = {r["beats_chance"] for r in rows}
    parts += ["† not significantly better than chance (crossed t-test, Holm-adjusted)."] * ("no" in marks)
    parts += human_note(rows)
    parts += ["? not tested against chance: run the model chance on this task too."] * ("untested" in marks)
    return " ".join([*parts, "time: wall time of all trials."])


def _bad(run: Run) -> Iterator[tuple[str, str, str]]:
    yield from (("file left out", item, why) for item, why in excluded(run).items())
    yield from (("unit failed", f"trial {trial}, fold {fold}", error) for trial, fold, error in failed(run))
