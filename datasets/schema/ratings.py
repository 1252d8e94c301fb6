"""Single raters' answers: one table, item x rater x label, that corpora keep beside what their raters agreed on.

| column | meaning |
|---|---|
| id | of the item |
| rater | who answered; missing where a corpus keeps no names: then each row is a rater of its own |
| emotion | the canonical emotion chosen; missing where the word counts for none, or nothing was chosen |
| weight | share of the rater's vote: 1, or 1/k in k rows of a rater who chose k; missing where no word was given |
| arousal, valence, dominance, liking | the rater's values on the corpus's own scale, in the first of his rows |

A corpus may add a column of its own that a task is about, such as `raw_emotion`. `answers` makes of it what a task
asks: the classes, or the values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..core.errors import SerbenchError
from .task import ATTRIBUTES, Task

if TYPE_CHECKING:
    from .corpus import Corpus

TEXTS = ("id", "rater", "emotion")
NUMBERS = ("weight", *ATTRIBUTES)


def make_ratings(rows: pd.DataFrame) -> pd.DataFrame:
    """Complete a table of ratings to the columns above: `id`, and what there is of the others."""
    table = rows.reset_index(drop=True)
    for column in TEXTS:
        known = table[column].astype("string") if column in table else pd.Series(pd.NA, table.index, dtype="string")
        table[column] = known
    for column in NUMBERS:
        nothing = 1.0 if column == "weight" and "emotion" in rows else np.nan
        table[column] = table[column].astype("float64") if column in table else nothing
    return table[[*TEXTS, *NUMBERS, *(c for c in table if c not in (*TEXTS, *NUMBERS))]]


def shared_votes(ratings: pd.DataFrame, words: pd.Series[Any]) -> pd.DataFrame:
    """A row for each word of a rater: lists of words taken apart, each with its share of the vote.

    Parameters
    ----------
    ratings : one row per item and rater, with the attributes
    words : the lists of words of each row, an empty list where a rater chose none

    Returns
    -------
    the rows with `word` and `weight`; attributes stand in the first row of a rater alone
    """
    number = words.map(len)
    table = ratings.assign(word=words, weight=(1.0 / number).where(number > 0)).explode("word")
    further = table.index.duplicated()
    table.loc[further, [c for c in ATTRIBUTES if c in table]] = np.nan
    return table.reset_index(drop=True)


def rated(corpus: Corpus, task: Task) -> bool:
    """Whether the corpus keeps answers of single raters that the task is about."""
    return corpus.rater_source is not None and task.kind != "continuous"


def answers(corpus: Corpus, task: Task, ids: Sequence[str]) -> pd.DataFrame:
    """What single raters answered to a task about some items.

    Returns
    -------
    columns id, rater (missing where names are not kept), weight, and `answer` (a class of the task, missing for
    any other answer) or one column per target; items in the order of `ids`

    Raises
    ------
    SerbenchError
        For a task of traces, and a corpus that keeps no single raters' answers to this task.
    """
    if not rated(corpus, task):
        what = "traces have none" if task.kind == "continuous" else "its files hold none"
        raise SerbenchError(
            f"{corpus.name} has no single raters' answers to the task {task.name!r}: {what}. Corpora that keep them: "
            "msp-podcast, iemocap, msp-improv, crema-d, demo, and a table with a column label@NAME for each rater or "
            "--option raters=FILE."
        )
    table = corpus.ratings()
    place = pd.Index(ids).get_indexer(pd.Index(table["id"]))
    table = table.assign(place=place)[place >= 0].sort_values("place", kind="stable")
    if task.kind != "classification":
        made = table[["id", "rater", "weight", *task.targets]].dropna(subset=list(task.targets), how="all")
    else:
        column = task.column if task.column in table else "emotion"
        chosen = table[column]
        known = chosen.map(dict(task.mapping)) if task.mapping else chosen
        answer = known.where(known.isin(task.labels)).astype("string")
        made = table[["id", "rater", "weight"]].assign(answer=answer)[table["weight"].notna()]
    return made.reset_index(drop=True)
