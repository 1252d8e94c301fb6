"""What a human scores: each rater against the other raters of the same items, under the metric and subsets of a model.

A draw holds one answer out for each item; the reference is what the remaining raters say: their most frequent class
(items without a clear one, or whose clear one is no class of the task, count in no draw), or their mean. Where it is
known who answered, and at least two raters answered `LEAST` items of every subset, and half of all answers are theirs,
each of these is a draw of his own. Else a draw takes a rater at random for each item, another one in each draw.

Where a task's labels are what speakers were to express, the label is the reference and raters are heard against it.
An answer that is no class of the task is wrong: its rater was free to give it, which a model is not.

A model is held against a human on equal terms: the same items, scored against the same references, trial by draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...datasets.schema.task import Task
from ..record.test_items import Ratings
from ..scores.scoring import class_indices, score_predictions, scored_targets
from ..statistics.dependence import crossed_t
from ..statistics.significance import PairedTest, mean_interval
from .votes import Answers, Floats, answers_of, plurality

LEAST = 10
DRAWS = 5


@dataclass(frozen=True)
class Human:
    """Held-out raters as a table of predictions: trial (the draw), id, subset, gold (the reference), predicted.

    `raters` are the names of the draws' raters, empty where raters were drawn at random.
    """

    table: pd.DataFrame
    task: Task
    raters: tuple[str, ...]
    intended: bool

    def scores(self) -> pd.DataFrame:
        """Scores by trial (draw), subset and target, the task's own metric alone."""
        return _scores(self.table, self.task)

    @property
    def text(self) -> str:
        """Who was held against what, in words."""
        who = (
            f"each of {len(self.raters)} raters" if self.raters else f"a rater drawn for each item, {self.draws} draws"
        )
        return f"{who} against {'what was intended' if self.intended else 'the other raters of the same items'}"

    @property
    def draws(self) -> int:
        """Number of draws."""
        return int(self.table["trial"].nunique())


@dataclass(frozen=True)
class Row:
    """A human's score of a target: mean, interval over the n scores of draws and subsets."""

    mean: float
    sd: float
    low: float
    high: float
    n: int


def human(ratings: Ratings, items: pd.DataFrame, task: Task, seed: int = 0) -> Human | None:
    """Draws of held-out raters; None where no item has the raters that it takes (one is no second opinion).

    Parameters
    ----------
    items : id and subset of the test items, and where labels are what was intended `gold`
    """
    answers = answers_of(ratings.table, task, tuple(items["id"]))
    build = _classes if task.kind == "classification" else _values
    every = build(answers, items.reset_index(drop=True), task, ratings.intended)
    made = every[every["usable"]]
    if made.empty:
        return None
    raters = _raters(made, int(items["subset"].nunique()))
    if raters:
        drawn = made[made["rater"].isin(raters)]
        drawn = drawn.assign(trial=pd.Index(raters).get_indexer(pd.Index(drawn["rater"])))
    else:
        drawn = _random(every, seed)
    return Human(drawn.drop(columns=["rater", "usable"]).reset_index(drop=True), task, tuple(raters), ratings.intended)


def summary(scores: pd.DataFrame) -> dict[str, Row]:
    """Target -> row of a table of scores."""
    rows = {}
    for target, part in scores.groupby("target", sort=False):
        values = part["value"].to_numpy(dtype=np.float64)
        sd = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
        rows[str(target)] = Row(float(values.mean()), sd, *mean_interval(values), len(values))
    return rows


def tested_items(predictions: pd.DataFrame, task: Task) -> pd.DataFrame:
    """id, subset and (of classes) gold of each test item, once."""
    columns = ["id", "subset", *(["gold"] if task.kind == "classification" else [])]
    return predictions[columns].drop_duplicates("id", ignore_index=True)


def against(drawn: Human, predictions: pd.DataFrame) -> dict[str, PairedTest]:
    """Target -> test of a model's score minus the human's, over draws and subsets (crossed t-test).

    Draw d is scored with the model's trial d modulo their number.
    """
    trials = np.unique(predictions["trial"].to_numpy())
    wanted = drawn.table.assign(draw=drawn.table["trial"], trial=trials[drawn.table["trial"].to_numpy() % len(trials)])
    outputs = ["predicted"] if drawn.task.kind == "classification" else [f"pred_{t}" for t in drawn.task.targets]
    guessed = predictions[["trial", "id", *outputs]]
    if drawn.task.kind == "classification":
        guessed = guessed.assign(predicted=class_indices(predictions, "predicted", drawn.task))
    both = wanted.merge(guessed, on=["trial", "id"], suffixes=("_human", ""))
    both = both.assign(trial=both["draw"])
    model = _scores(both, drawn.task)
    people = _scores(both.assign(**{c: both[f"{c}_human"] for c in outputs}), drawn.task)
    tests = {}
    for target in scored_targets(drawn.task):
        a, b = (side[side["target"].eq(target)] for side in (model, people))
        tests[target] = crossed_t(a["value"], b["value"], a["trial"], a["subset"])
    return tests


def _scores(table: pd.DataFrame, task: Task) -> pd.DataFrame:
    scores = score_predictions(table, task)
    return scores[scores["metric"].eq(task.metric)].reset_index(drop=True)


def _classes(answers: Answers, items: pd.DataFrame, task: Task, intended: bool) -> pd.DataFrame:
    """Every answer that can be held out, as a row with its reference."""
    number = len(task.labels)
    if intended:
        gold = class_indices(items, "gold", task)[answers.item]
    else:
        gold = plurality(answers.total[answers.item] - answers.own)
    wrong = np.where(answers.first == number, (gold + 1) % max(number, 1), answers.first)
    usable = (gold >= 0) & (gold < number)
    return _rows(answers, items, {"gold": gold, "predicted": wrong}, usable)


def _values(answers: Answers, items: pd.DataFrame, task: Task, intended: bool) -> pd.DataFrame:
    """Every answer that can be held out; a target without an answer or another rater is no label, and predicts 0."""
    del intended
    others = answers.count[answers.item] - answers.given
    total = answers.total[answers.item] - np.nan_to_num(answers.own)
    known = (others > 0) & (answers.given > 0)
    reference = np.divide(total, others, out=np.full_like(total, np.nan), where=known)
    columns: dict[str, npt.NDArray[Any]] = {}
    for k, target in enumerate(task.targets):
        columns |= {f"gold_{target}": reference[:, k], f"pred_{target}": np.where(known, answers.own, 0.0)[:, k]}
    return _rows(answers, items, columns, known.any(axis=1))


def _rows(answers: Answers, items: pd.DataFrame, columns: dict[str, npt.NDArray[Any]], usable: Any) -> pd.DataFrame:
    held = items[["id", "subset"]].iloc[answers.item].reset_index(drop=True)
    return held.assign(**columns, rater=answers.rater, usable=usable)


def _raters(made: pd.DataFrame, subsets: int) -> list[str]:
    """Raters who are draws of their own; none where they are too few, or not known."""
    if made["rater"].eq("").any():
        return []
    per = made.groupby(["rater", "subset"]).size().unstack(fill_value=0)
    enough = per.index[(per >= LEAST).all(axis=1)] if per.shape[1] == subsets else per.index[:0]
    theirs = int(per.loc[enough].to_numpy().sum())
    return sorted(map(str, enough)) if len(enough) > 1 and 2 * theirs >= len(made) else []


def _random(made: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Draws of one answer for each item, in a random order, again from the first when they are used up.

    It is drawn among all answers, and left out after that where it has no reference: of an item with two raters against
    one, only the one has the others agreed, and drawing among such answers would always draw him.
    """
    order: Floats = np.random.default_rng([seed, 17]).random(len(made))
    mixed = made.assign(order=order).sort_values(["id", "order"], kind="stable").drop(columns="order")
    turn = mixed.groupby("id").cumcount().to_numpy()
    size = mixed.groupby("id")["id"].transform("size").to_numpy()
    kept = mixed["usable"].to_numpy(dtype=bool)
    draws: pd.DataFrame = pd.concat([mixed[(turn == draw % size) & kept].assign(trial=draw) for draw in range(DRAWS)])
    return draws
