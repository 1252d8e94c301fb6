"""Single raters' answers as arrays: votes for classes or values, item by item.

A rater who gave several classes shares one vote among them; where one answer is asked for it is the first. Answers
that are no class of the task have a column of their own, the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...datasets.schema.task import Task

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Answers:
    """Answers of raters about items, one row for each item and rater.

    Attributes
    ----------
    items : ids of the items
    item : place of each answer's item, (answer,)
    rater : who answered, (answer,); "" where names are not kept
    own : each answer as votes (answer, class + 1), or as values (answer, target), NaN where not given
    first : the class that was named first, (answer,), the number of classes where it is none of them; of values all 0
    """

    items: tuple[str, ...]
    item: Integers
    rater: npt.NDArray[np.str_]
    own: Floats
    first: Integers

    @cached_property
    def given(self) -> Floats:
        """1 where something was answered, 0 elsewhere; shape of `own`."""
        return np.isfinite(self.own).astype(np.float64)

    @cached_property
    def total(self) -> Floats:
        """Sum of the answers about each item, (item, column)."""
        return self.summed(np.nan_to_num(self.own))

    @cached_property
    def count(self) -> Floats:
        """Number of answers about each item, (item, column)."""
        return self.summed(self.given)

    @property
    def named(self) -> bool:
        """Whether it is known who answered."""
        return bool((self.rater != "").all())

    def per_item(self) -> Integers:
        """Number of raters of each item."""
        return np.bincount(self.item, minlength=len(self.items)).astype(np.int64)

    def summed(self, rows: Floats) -> Floats:
        """Sum of rows (answer, column) over the answers about each item, (item, column)."""
        columns = [np.bincount(self.item, column, minlength=len(self.items)) for column in rows.T]
        return np.stack(columns, axis=1).astype(np.float64)


def answers_of(table: pd.DataFrame, task: Task, ids: Sequence[str] | None = None) -> Answers:
    """A table of ratings (`record/test_items.py`) as arrays, of some items, or of all that it has."""
    items = tuple(dict.fromkeys(table["id"])) if ids is None else tuple(ids)
    place = pd.Index(items).get_indexer(pd.Index(table["id"]))
    table, place = table[place >= 0], place[place >= 0]
    unnamed = table["rater"].isna().to_numpy(dtype=bool)
    who = table["rater"].fillna("").to_numpy(dtype=str)
    alone = np.where(unnamed, np.arange(len(table)), -1)
    keys = pd.DataFrame({"item": place, "who": who, "alone": alone})
    answer = keys.groupby(["item", "who", "alone"], sort=True).ngroup().to_numpy(dtype=np.int64)
    _, begin = np.unique(answer, return_index=True)
    if task.kind == "classification":
        own, first = _votes(table, task, answer.astype(np.int64), begin.astype(np.int64))
    else:
        own, first = table[list(task.targets)].to_numpy(dtype=np.float64)[begin], np.zeros(len(begin), np.int64)
    return Answers(items, place[begin].astype(np.int64), who[begin], own, first)


def _votes(table: pd.DataFrame, task: Task, answer: Integers, begin: Integers) -> tuple[Floats, Integers]:
    """Votes (answer, class + 1) and the first class of each answer."""
    codes = pd.Index(list(task.labels)).get_indexer(pd.Index(table["answer"].astype(object)))
    codes = np.where(codes < 0, len(task.labels), codes)
    own = np.zeros((len(begin), len(task.labels) + 1))
    np.add.at(own, (answer, codes), table["weight"].fillna(1.0).to_numpy(dtype=np.float64))
    return own, codes[begin].astype(np.int64)


def plurality(votes: Floats) -> Integers:
    """The column with most votes in each row (item, column); -1 at a tie and where there is no vote."""
    if not votes.shape[1]:
        return np.full(len(votes), -1)
    most = votes.max(axis=1, keepdims=True)
    clear = (np.isclose(votes, most).sum(axis=1) == 1) & (most[:, 0] > 0)
    return np.where(clear, votes.argmax(axis=1), -1).astype(np.int64)


def shares(answers: Answers) -> Floats:
    """Share of the votes for each class of the task, (item, class); NaN where no vote is for any of them."""
    votes = answers.total[:, :-1]
    whole = votes.sum(axis=1, keepdims=True)
    made: Floats = np.divide(votes, whole, out=np.full_like(votes, np.nan), where=whole > 0)
    return made


def agreement(answers: Answers, task: Task) -> Floats:
    """How far the raters of an item agree, (item,), more is more; NaN for fewer than two raters.

    Classes: the share of the votes that the most frequent answer has. Values: minus the standard deviation (n - 1),
    each target in units of its own over all answers, averaged over the targets.
    """
    if task.kind == "classification":
        votes = answers.total
        whole = votes.sum(axis=1)
        share = np.divide(votes.max(axis=1), whole, out=np.full(len(votes), np.nan), where=whole > 0)
        return np.where(answers.per_item() > 1, share, np.nan)
    n, total = answers.count, answers.total
    mean = np.divide(total, n, out=np.zeros_like(total), where=n > 0)
    centred = np.nan_to_num(answers.own - mean[answers.item])
    squares = answers.summed(centred**2)
    spread = np.sqrt(np.divide(squares, n - 1, out=np.full_like(squares, np.nan), where=n > 1))
    unit = np.nanstd(answers.own, axis=0)
    return np.asarray(-(spread / np.where(unit > 0, unit, 1.0)).mean(axis=1))
