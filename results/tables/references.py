"""Published results on the same corpora, from `references.csv` beside this file: numbers to read ours against.

Only numbers that were seen in their source are there, each with it. `distance` says how far the protocol behind a
number is from ours, with the reason: "same" (same release, items, classes, folds and averaging), "near" (same items
and classes; folds, selection, repetition or averaging differ), "not comparable" (other training data, classes or test
items, or selection on the test set). The file says how far a number is from our own splits; a ranking whose runs test
the same items together (`folds`) is "same". Rows stand beside a ranking and never in it; only a "same" one is given
the place that it would have there, and our runs stand among them, averaged as they are.

Columns: dataset, release, task and target as registered here, classes, split, metric (UAR, WA, macroF1 and CCC, all
as shares), value, model, source, distance, reason; `folds`, the digest of the test items of each fold where they are
known (`over_folds.folds_digest`); `average`, how the value was averaged where it is known; `recipe`, what `serbench
reproduce` makes the row with, as JSON, and `weights`, the checkpoint that it takes; both empty where it can't. A row
belongs to every release if its own is empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import resources
from typing import Any

import pandas as pd

from ...datasets.core.errors import SerbenchError
from ..display.numbers import number
from ..display.table import Table, on_screen, records, task_and_target, to_markdown as table_markdown
from ..record.folder import Run
from .over_folds import folds_of, over_folds

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
    "folds",
    "average",
    "recipe",
    "weights",
)
OVER_FOLDS = "over folds"
OURS = "ours"


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


def beside(frame: pd.DataFrame, runs: Iterable[Run] = ()) -> pd.DataFrame:
    """The references that belong to the rankings of a leaderboard, with a column `place`; of the primary metric
    first.

    With the runs behind the leaderboard, rows of the same folds are "same", and our runs stand among them (distance
    "ours"), averaged over the folds as they are; the place is the one among those.
    """
    by_id, parts = {run.run_id: run for run in runs}, []
    for (dataset, task), group in frame.groupby(["dataset", "task"], sort=False):
        rows = references(str(dataset), str(task))
        releases = set(group["release"].fillna("").astype(str))
        rows = rows[rows["target"].isin(group["target"])].copy()
        other = rows["release"].ne("") & ~rows["release"].isin(releases)
        mine = group["release"].iloc[0] or "unknown"
        rows.loc[other & rows["distance"].ne("not comparable"), "reason"] += f"; another release than {mine}"
        rows.loc[other, "distance"] = "not comparable"
        rows["place"] = [place(row, group[group["target"].eq(row["target"])]) for row in records(rows)]
        rows = _among(rows, group, by_id)
        first = rows["metric"].eq(group["metric"].iloc[0])
        parts.append(pd.concat([rows[first], rows[~first]]))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*COLUMNS, "place"])


def _among(rows: pd.DataFrame, group: pd.DataFrame, runs: Mapping[str, Run]) -> pd.DataFrame:
    """References of one ranking; those of the ranking's own folds come first, best first, with our runs among them."""
    mine = [(name, runs[run_id]) for name, run_id in zip(group["name"], group["run_id"], strict=True) if run_id in runs]
    mine = list({run.run_id: (name, run) for name, run in mine}.values())
    wanted = set(rows.loc[rows["average"].eq(OVER_FOLDS), "folds"]) - {""}
    folds = folds_of(mine[0][1]) if mine and wanted else ""
    same = rows["folds"].eq(folds) & rows["distance"].ne("same") if folds in wanted else pd.Series(False, rows.index)
    if not same.any():
        return rows
    published, parts = rows[same].copy(), []
    published["distance"] = "same"
    published["reason"] = "the same items, classes and folds, the mean over folds; one training"
    scores = [(name, run, over_folds(run)) for name, run in mine]
    for _, known in published.groupby(["target", "metric"], sort=False):
        own = [_own_row(records(known)[0], name, run, scored) for name, run, scored in scores]
        joined = pd.concat([known, pd.DataFrame(own)]).sort_values("value", ascending=False, kind="stable")
        parts.append(joined.assign(place=[f"#{i + 1}" for i in range(len(joined))]))
    return pd.concat([*parts, rows[~same]])


def _own_row(like: Mapping[str, Any], name: str, run: Run, scored: pd.DataFrame) -> dict[str, Any]:
    """A run of ours as a row among published ones of a target and metric: the mean of its trials."""
    wanted = scored["target"].eq(like["target"]) & scored["metric"].eq(like["metric"])
    values = scored.loc[wanted, "value"]
    return {
        **like,
        "model": f"{name} ({OURS})",
        "value": float(values.mean(skipna=False)),
        "source": run.signature,
        "distance": OURS,
        "reason": f"the mean of {len(values)} trials over their folds",
    }


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
        among = (
            "with ours among those of the same folds" if group["distance"].eq(OURS).any() else "not ranked with ours"
        )
        title = f"{dataset}, {task_and_target(task, target)}: published results, {among}"
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
