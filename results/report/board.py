"""Tables of a ranking: the leaderboard, published results beside it, differences between models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..display.numbers import count, duration, interval, number, p_value
from ..display.table import Cell, Table, task_and_target
from ..tables import references as published
from ..tables.beside_human import human_mark, human_note, with_human

if TYPE_CHECKING:
    from .data import Ranking

Row = dict[str, Cell | str]


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
        compared = {*ranking.pairs["run_a"], *ranking.pairs["run_b"]}
        pairs = "all pairs" if len(compared) == len(ranking.ranked) else "all compared pairs"
        parts.append(
            "Models that share a letter do not differ significantly (crossed t-tests over trials and subsets, "
            f"Holm-adjusted over {pairs} and targets of this ranking, 0.05); -: not compared."
        )
    if chance := next((r["chance_row"] for r in rows if r["chance_row"]), ""):
        parts.append(f"p (chance): paired t-test against {chance}, Holm-adjusted. Grey rows are chance.")
    marks = {r["beats_chance"] for r in rows}
    parts += ["† not significantly better than chance (crossed t-test, Holm-adjusted)."] * ("no" in marks)
    parts += human_note(rows)
    parts += ["? not tested against chance: run the model chance on this task too."] * ("untested" in marks)
    return " ".join([*parts, "time: wall time of all trials."])
