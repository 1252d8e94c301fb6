"""Single raters of a user's table: a column for each, or a file of their own with a row for each answer.

`label@anna`, `arousal@anna` are anna's answers, in the column of the table that they belong to. A further file
(`--option raters=FILE`, CSV, TSV or parquet) has `id` as the table has it (where it has none: the path), `rater`
(may be empty or absent) and `label`, `arousal`, `valence`, `dominance` or `liking`, as many of them as were asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from ..core.errors import SerbenchError
from ..schema.labels import canonical_words
from ..schema.ratings import make_ratings
from ..schema.task import ATTRIBUTES
from .cells import number_column
from .file import LINE, read_table, table_file

MARK = "@"
ANSWERS = ("label", *ATTRIBUTES)


def rater_columns(cells: pd.DataFrame, file: Path) -> list[str]:
    """The columns of single raters.

    Raises
    ------
    SerbenchError
        For one that belongs to no label or attribute, or names no rater.
    """
    marked = [str(column) for column in cells if MARK in str(column)]
    for column in marked:
        answer, _, rater = column.partition(MARK)
        if answer not in ANSWERS or not rater:
            raise SerbenchError(
                f"{file} has the column {column!r}. Expected ANSWER@RATER, such as label@anna; answers are "
                f"{', '.join(ANSWERS)}."
            )
    return marked


def ratings_of_columns(cells: pd.DataFrame, index: pd.Index[str], columns: Iterable[str], file: Path) -> pd.DataFrame:
    """Ratings of the columns of single raters; `index` are the ids of the rows."""
    parts: dict[str, dict[str, Any]] = {}
    for column in columns:
        answer, _, rater = column.partition(MARK)
        values = cells[column] if answer == "label" else number_column(cells, column, file)
        parts.setdefault(rater, {})[answer] = values.to_numpy()
    tables = [pd.DataFrame({**said, "id": list(index), "rater": rater}) for rater, said in parts.items()]
    return _ratings(pd.concat(tables, ignore_index=True))


def ratings_of_file(given: str | Path, ids: pd.Index[str]) -> pd.DataFrame:
    """Ratings of a file with a row for each answer.

    Raises
    ------
    SerbenchError
        For a file that can't be read, has no id or no answer, or names items that the table has not.
    """
    file = table_file(Path(given).expanduser())
    cells = read_table(file, ("id", "rater", *ANSWERS), needed="id")
    there = [answer for answer in ANSWERS if answer in cells]
    if not there:
        raise SerbenchError(f"{file} has no answers. Expected id, rater, and some of: {', '.join(ANSWERS)}.")
    foreign = cells[~cells["id"].isin(ids)]
    if len(foreign):
        row = foreign.iloc[0]
        raise SerbenchError(
            f"line {row[LINE]} of {file}: {row['id']!r} is no id of the table ({len(foreign)} such rows). Expected ids "
            f"such as {ids[0]!r}."
        )
    said = {answer: cells[answer] if answer == "label" else number_column(cells, answer, file) for answer in there}
    if "rater" not in cells:
        cells["rater"] = pd.NA
    twice = cells["rater"].notna() & cells.duplicated(["id", "rater"])
    if twice.any():
        row = cells[twice].iloc[0]
        raise SerbenchError(
            f"line {row[LINE]} of {file}: a second answer of {row['rater']!r} about {row['id']!r}. Expected one."
        )
    return _ratings(pd.DataFrame({"id": cells["id"], "rater": cells["rater"], **said}))


def _ratings(table: pd.DataFrame) -> pd.DataFrame:
    """Answers as `schema/ratings.py` has them; rows without any answer are left out."""
    table = table.dropna(subset=[answer for answer in ANSWERS if answer in table], how="all")
    if "label" not in table:
        return make_ratings(table)
    label = table["label"].astype("string")
    weight = label.notna().astype("float64").where(label.notna())
    made = table.drop(columns="label").assign(emotion=canonical_words(label), weight=weight, raw_emotion=label)
    return make_ratings(made)
