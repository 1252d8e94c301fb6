"""Training labels other than the agreed ones: all that raters said of an item, as copies of it that any model takes.

`raters`: an item once for each rater, with that rater's class or values. `soft`: every item equally often, R times (the
most frequent number of raters, at most `MOST`), its classes in the proportion of the raters' votes, by largest
remainders: the cross-entropy over the copies is R times the soft cross-entropy where shares are multiples of 1/R.
Answers that are no class of the task are left out; an item without any other keeps its agreed label. Dev and test are
scored against agreed labels as ever.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...datasets.core.errors import SerbenchError, unknown
from ...datasets.schema.corpus import Corpus
from ...datasets.schema.ratings import answers, rated
from ...datasets.schema.task import Task
from ...results.raters.votes import Answers, answers_of
from ...sermodels.core.sermodel import Data
from ..protocol.request import AGREED, LABELS

SOFT, RATERS = "soft", "raters"
RULES = (AGREED, SOFT, RATERS)
MOST = 10


def check_rule(rule: str, corpus: Corpus, task: Task, *, nested: bool, copied: bool = False) -> None:
    """Refuse a rule that there is not, or that corpus, task or protocol don't allow."""
    if rule not in RULES:
        raise unknown(f"value of {LABELS}", rule, RULES)
    if rule == AGREED:
        return
    if rule == SOFT and task.kind != "classification":
        raise SerbenchError(f"{LABELS}=soft is for classes; {task.name!r} is of kind {task.kind}. Expected =raters.")
    if nested:
        raise SerbenchError(
            f"{LABELS}={rule} copies items, which inner folds would tear apart. Leave --dev nested out."
        )
    if copied:
        raise SerbenchError(f"{LABELS}={rule} and --train-with both learn copies of items. Leave one of them out.")
    if not rated(corpus, task):
        answers(corpus, task, [])  # says which corpora have raters


def relabelled(data: Data, corpus: Corpus, rule: str) -> Data:
    """The training data with the labels of a rule: `raters` or `soft`."""
    said = answers_of(answers(corpus, data.task, data.ids), data.task, tuple(data.ids))
    if data.task.kind != "classification":
        places, labels = _values(said, data)
    else:
        places, labels = _each(said, data) if rule == RATERS else _soft(said, data)
    return replace(data.take(places), labels=labels)


def _each(said: Answers, data: Data) -> tuple[np.ndarray, np.ndarray]:
    """Positions and classes, one for each answer that is a class."""
    known = said.first < len(data.task.labels)
    lacking = np.setdiff1d(np.arange(len(data)), said.item[known])
    places = np.concatenate([said.item[known], lacking])
    labels = np.concatenate([said.first[known], np.asarray(data.labels)[lacking]])
    order = np.argsort(places, kind="stable")
    return places[order], labels[order].astype(np.int64)


def _values(said: Answers, data: Data) -> tuple[np.ndarray, np.ndarray]:
    """Positions and values (answer, target) of the answers that name every target."""
    known = np.isfinite(said.own).all(axis=1)
    lacking = np.setdiff1d(np.arange(len(data)), said.item[known])
    places = np.concatenate([said.item[known], lacking])
    labels = np.concatenate([said.own[known], np.asarray(data.labels)[lacking]])
    order = np.argsort(places, kind="stable")
    return places[order], labels[order]


def _soft(said: Answers, data: Data) -> tuple[np.ndarray, np.ndarray]:
    """Positions and classes, every item equally often."""
    number = len(data.task.labels)
    copies = int(min(MOST, np.bincount(said.per_item()).argmax() or 1))
    votes = said.total[:, :number].copy()
    lacking = votes.sum(axis=1) == 0
    votes[lacking] = np.eye(number)[np.asarray(data.labels)[lacking]]
    exact = copies * votes / votes.sum(axis=1, keepdims=True)
    counts = np.floor(exact + 1e-9)
    rest = (copies - counts.sum(axis=1)).astype(int)
    order = np.argsort(-(exact - counts), axis=1, kind="stable")
    for row, left in enumerate(rest):
        counts[row, order[row, :left]] += 1
    places, classes = np.nonzero(counts)
    repeats = counts[places, classes].astype(int)
    return np.repeat(places, repeats), np.repeat(classes, repeats).astype(np.int64)
