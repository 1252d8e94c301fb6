"""Published results on the same corpora, from `references.csv` beside this file: numbers to read ours against.

Only numbers that were seen in their source are there, each with it. `distance` says how far the protocol behind a
number is from ours, with the reason: "same" (same release, items, classes, selection and repetition), "near" (same
items and classes; selection, repetition or averaging differ), "not comparable" (other training data, classes or test
items, or selection on the test set). Rows stand beside a ranking and never in it; only a "same" one is given the
place that it would have there.

Columns: dataset, release, task and target as registered here, classes, split, metric (UAR, WA, macroF1 and CCC, all
as shares), value, model, source, distance, reason. A row belongs to every release if its own is empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from typing import Any

import pandas as pd

from ...datasets.core.errors import SerbenchError
from ..display.numbers import number
from ..display.table import Table, on_screen, records, task_and_target, to_markdown as table_markdown

COLUMNS = (
    "dataset",
    "release",
    "task",
    "target",
    "classes",
    "split",
    "metric",
    "value",
    "model",
    "source",
    "distance",
    "reason",
)


def references(dataset: str | None = None, task: str | None = None) -> pd.DataFrame:
    """The published results on a dataset and task (None: on all), in the columns of `COLUMNS`; possibly none.

    Ordered by dataset, task, target, metric, distance and value.
    """
    table = _table()
    keep = pd.Series(True, index=table.index)
    for column, wanted in (("dataset", dataset), ("task", task)):
        if wanted is not None:
            keep &= table[column].eq(wanted)
    return table[keep].reset_index(drop=True)


def place(row: Mapping[str, Any], ranking: pd.DataFrame) -> str:
    """The place that a reference would have in a ranking, as "before #2" or "last"; empty unless its distance is
    "same".

    `ranking` holds the rows of one dataset, task and target of a leaderboard.
    """
    if row["distance"] != "same" or not len(ranking) or ranking["metric"].iloc[0] != row["metric"]:
        return ""
    below = ranking[ranking["mean"] < row["value"]]
    return f"before #{int(below['rank'].min())}" if len(below) else "last"


def beside(frame: pd.DataFrame) -> pd.DataFrame:
    """The references that belong to the rankings of a leaderboard, with a column `place`; of the primary metric
    first."""
    parts = []
    for (dataset, task), group in frame.groupby(["dataset", "task"], sort=False):
        rows = references(str(dataset), str(task))
        releases = set(group["release"].fillna("").astype(str))
        rows = rows[rows["target"].isin(group["target"])].copy()
        other = rows["release"].ne("") & ~rows["release"].isin(releases)
        mine = group["release"].iloc[0] or "unknown"
        rows.loc[other & rows["distance"].ne("not comparable"), "reason"] += f"; another release than {mine}"
        rows.loc[other, "distance"] = "not comparable"
        rows["place"] = [place(row, group[group["target"].eq(row["target"])]) for row in records(rows)]
        first = rows["metric"].eq(group["metric"].iloc[0])
        parts.append(pd.concat([rows[first], rows[~first]]))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*COLUMNS, "place"])


def render(rows: pd.DataFrame) -> Any:
    """References for the screen: a table per dataset, task and target, then each source once."""
    from rich.text import Text

    if not len(rows):
        return Text("No published results are known for these datasets and tasks.")
    return on_screen(_tables(rows), _notes(rows))


def to_markdown(rows: pd.DataFrame) -> str:
    """References as Markdown tables, then each reason and source once."""
    parts = [table_markdown(table, "####") for table in _tables(rows)]
    return "\n\n".join([*parts, "\n".join(f"- {note}" for note in _notes(rows))]) + "\n" if parts else ""


def _tables(shown: pd.DataFrame) -> list[Table]:
    """A table per dataset, task and target; what can't be compared is grey."""
    reasons, sources, tables = _numbered(shown["reason"]), _numbered(shown["source"]), []
    for (dataset, task, target), group in shown.groupby(["dataset", "task", "target"], sort=False):
        ranked = group["place"].any()
        rows = [
            {
                "model": str(row["model"]),
                "metric": str(row["metric"]),
                "value": number(row["value"]),
                "release": str(row["release"]),
                "split": str(row["split"]),
                "distance": str(row["distance"]),
                "why": f"({reasons[row['reason']]})",
                "source": f"[{sources[row['source']]}]",
                **({"place": str(row["place"])} if ranked else {}),
            }
            for row in group.to_dict("records")
        ]
        styles = ["grey" if row["distance"] == "not comparable" else "" for row in rows]
        title = f"{dataset}, {task_and_target(task, target)}: published results, not ranked with ours"
        tables.append(Table(title, rows, styles=styles))
    return tables


def _notes(rows: pd.DataFrame) -> list[str]:
    """Each reason and source once, by its number."""
    reasons, sources = _numbered(rows["reason"]), _numbered(rows["source"])
    return [*(f"({i}) {reason}" for reason, i in reasons.items()), *(f"[{i}] {text}" for text, i in sources.items())]


def _numbered(texts: pd.Series[str]) -> dict[str, int]:
    return {text: i + 1 for i, text in enumerate(dict.fromkeys(texts))}


@lru_cache(maxsize=1)
def _table() -> pd.DataFrame:
    with resources.files(__package__).joinpath("references.csv").open(encoding="utf-8") as stream:
        table = pd.read_csv(stream, dtype=str, keep_default_na=False)
    if list(table.columns) != list(COLUMNS):
        raise SerbenchError("results/tables/references.csv is damaged: reinstall serbench.")
    return table.assign(value=table["value"].astype(float))
