"""The raters of a corpus as tables: how far they agree, the ceilings that follow, and what each of them scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.core.libraries import LibraryError
from ...datasets.schema.task import Task
from ..display.numbers import number
from ..display.table import Cell, Table
from ..record.test_items import Ratings
from .agreement import alpha_of_classes, alpha_of_values, complete_table, crossed_reliability, reliability
from .ceiling import ccc_ceiling, uar_ceiling
from .human import Human, human
from .votes import Answers, answers_of

CLASS_NOTE = (
    "alpha: Krippendorff's, nominal, of the first answers (others than the task's classes are a class of their own). "
    "Agree: mean share of the most frequent answer. Ceiling: UAR of who knows how raters vote about each item, against "
    "the most frequent of as many new votes. Human: {human}."
)
VALUE_NOTE = (
    "alpha: Krippendorff's, interval. ICC(1,1), ICC(1,k): reliability of one rater and of the mean (Shrout and Fleiss "
    "1979), raters drawn anew for each item; ICC(2,1), ICC(3,1) only where the same raters rated every item. Ceiling: "
    "CCC of a prediction that is what raters say on average, and the most that any prediction of it reaches. Human: "
    "{human}."
)
RATERS_SHOWN = 12


@dataclass(frozen=True)
class Raters:
    """Of a corpus: figures (a row per target), scores by rater, the human, and what could not be said."""

    corpus: str
    task: Task
    figures: pd.DataFrame
    by_rater: pd.DataFrame
    drawn: Human | None
    notes: tuple[str, ...] = ()


def raters(corpus: str, task: Task, ratings: Ratings, items: pd.DataFrame, seed: int = 0) -> Raters:
    """Agreement, ceilings and human scores.

    Parameters
    ----------
    items : id, subset and (for labels that say what was intended) gold of the items that are looked at

    Raises
    ------
    SerbenchError
        Where no item was rated by two or more raters.
    """
    answers = answers_of(ratings.table, task, tuple(items["id"]))
    if not len(answers.item) or answers.per_item().max() < 2:
        what = "nobody rated" if not len(answers.item) else "one rater alone rated each of"
        raise SerbenchError(
            f"{what} the {len(items)} items of {corpus}, task {task.name}: agreement takes two raters or more."
        )
    drawn = human(ratings, items, task, seed)
    notes: list[str] = []
    rows = [
        _figures(answers, task, k, notes, seed)
        for k in range(1 if task.kind == "classification" else len(task.targets))
    ]
    if drawn is not None:
        means = drawn.scores().groupby("target")["value"].mean()
        rows = [row | {"human": float(means[row["target"]])} for row in rows]
    return Raters(corpus, task, pd.DataFrame(rows), _by_rater(drawn), drawn, tuple(dict.fromkeys(notes)))


def _figures(answers: Answers, task: Task, column: int, notes: list[str], seed: int) -> dict[str, Any]:
    """The figures of a target."""
    rated = np.bincount(answers.item, answers.given[:, column], minlength=len(answers.items))
    names = np.unique(answers.rater)
    row: dict[str, Any] = {
        "target": task.targets[column],
        "items": int((rated > 0).sum()),
        "raters": len(names) if answers.named else None,
        "per item": float(rated[rated > 0].mean()),
    }
    classes = task.kind == "classification"
    try:
        row["alpha"] = alpha_of_classes(answers) if classes else alpha_of_values(answers, column)
    except LibraryError as error:
        notes.append(f"alpha is left out: {error}")
        row["alpha"] = float("nan")
    if classes:
        votes = answers.total[answers.per_item() > 1]
        agree = float((votes.max(axis=1) / votes.sum(axis=1)).mean())
        return row | {"agree": agree, "ceiling": uar_ceiling(answers, seed)}
    found = reliability(answers.own[:, column], answers.item)
    row |= {"ICC(1,1)": found.single, "ICC(1,k)": found.mean}
    if (table := complete_table(answers, column)) is not None:
        row |= dict(zip(("ICC(2,1)", "ICC(3,1)"), crossed_reliability(table), strict=True))
    ceiling = ccc_ceiling(found)
    return row | {"ceiling": ceiling.truth, "at most": ceiling.best}


def _by_rater(drawn: Human | None) -> pd.DataFrame:
    """Mean score of each rater over subsets, where raters are draws of their own."""
    if drawn is None or not drawn.raters:
        return pd.DataFrame(columns=["rater", "target", "items", "score"])
    scores = drawn.scores().groupby(["trial", "target"], sort=False)["value"].mean().rename("score").reset_index()
    items = drawn.table.groupby("trial").size()
    made = scores.assign(rater=[drawn.raters[t] for t in scores["trial"]], items=scores["trial"].map(items))
    return made[["rater", "target", "items", "score"]]


def corpus_tables(found: Raters) -> list[Table]:
    """Agreement, and the raters one by one where they are few enough to be draws."""
    stem = f"raters_{found.corpus}_{found.task.name}"
    note = CLASS_NOTE if found.task.kind == "classification" else VALUE_NOTE
    who = "not known: no item has another rater to be held against" if found.drawn is None else found.drawn.text
    note = " ".join([note.format(human=who), *found.notes])
    rows = [{str(k): _cell(v) for k, v in row.items()} for row in found.figures.to_dict("records")]
    title = f"{found.corpus}, {found.task.name}: agreement of raters"
    tables = [Table(title, rows, note, (), stem, found.figures)]
    if len(found.by_rater):
        tables.append(_rater_table(found, f"{stem}_each"))
    return tables


def _rater_table(found: Raters, name: str) -> Table:
    """The raters, the best first; of more than `RATERS_SHOWN` the best and the last ones."""
    first = found.by_rater["target"].iloc[0]
    order = found.by_rater[found.by_rater["target"].eq(first)].sort_values("score", ascending=False)["rater"].tolist()
    half = RATERS_SHOWN // 2
    shown = order if len(order) <= RATERS_SHOWN else [*order[:half], *order[-half:]]
    scores = {(r["rater"], r["target"]): float(r["score"]) for r in found.by_rater.to_dict("records")}
    items = {str(r["rater"]): int(r["items"]) for r in found.by_rater.to_dict("records")}
    targets = list(dict.fromkeys(map(str, found.by_rater["target"])))
    rows: list[dict[str, Cell | str]] = [
        {
            "rater": rater,
            "items": Cell(str(items[rater]), items[rater]),
            **{target: Cell(number(scores[rater, target]), scores[rater, target]) for target in targets},
        }
        for rater in shown
    ]
    lost = f" {len(order) - len(shown)} raters between them are in the CSV file." if len(order) > len(shown) else ""
    note = f"{found.task.metric} of each rater against the others, mean over subsets.{lost}"
    title = f"{found.corpus}, {found.task.name}: rater by rater"
    return Table(title, rows, note, (), name, found.by_rater)


def _cell(value: object) -> Cell | str:
    if isinstance(value, float):
        return Cell(number(value), value)
    return Cell(str(value), value) if isinstance(value, int) else "" if value is None else str(value)
