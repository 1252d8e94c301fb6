"""A human in a leaderboard: what a rater scores against the others, and whether a model differs from that.

Where the records of a ranking hold the answers of single raters (`record/test_items.py`), `HUMAN` are filled: `human`
with interval and number of scores, `human_who` in words; `human_difference`, the model's score minus the human's
under the same references (`raters/human.py`), its p by the crossed t-test, adjusted by Holm over the ranking, and
`against_human`: "below", "above", "no difference", or empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...datasets.core.errors import SerbenchError
from ..display.numbers import interval, number
from ..raters.human import Human, against, human, summary, tested_items
from ..record.pairing import Scored
from ..record.test_items import has_ratings, ratings_of
from ..statistics.significance import holm

NAME = "human"
HUMAN = ("human", "human_low", "human_high", "human_n", "human_who", "human_difference", "p_human", "against_human")
NOBODY: Mapping[str, Any] = {key: "" if key in ("human_who", "against_human") else float("nan") for key in HUMAN}
MARKS = {"below": " ↓", "above": " ↑"}
NOTE = "({name}): {who}. ↓ below, ↑ above it, against the same references (crossed t-test, Holm-adjusted)."
Row = dict[str, Any]


def add_human(rows: Sequence[Row], scored: Mapping[str, Scored], problems: dict[str, str], alpha: float) -> None:
    """Fill `HUMAN` of the rows of a ranking; damaged answers are a line in `problems`."""
    rated = [one for one in scored.values() if has_ratings(one.run.path)]
    try:
        drawn = _drawn(rated)
    except SerbenchError as error:
        problems[NAME] = str(error)
        return
    if drawn is None:
        return
    people = summary(drawn.scores())
    for row in rows:
        one = people[row["target"]]
        row.update(human=one.mean, human_low=one.low, human_high=one.high, human_n=one.n, human_who=drawn.text)
    models = [row for row in rows if not row["chance"]]
    tests = {run_id: against(drawn, scored[run_id].predictions) for run_id in {row["run_id"] for row in models}}
    each = [tests[row["run_id"]][row["target"]] for row in models]
    for row, test, p in zip(models, each, holm([test.p for test in each]), strict=True):
        found = "" if np.isnan(p) else "no difference" if p >= alpha else "above" if test.difference > 0 else "below"
        row.update(human_difference=test.difference, p_human=float(p), against_human=found)


def with_human(
    rows: Sequence[Row], cells: list[dict[str, Any]], styles: list[str]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Cells and styles of a ranking with the human where it would stand, without a rank."""
    if not knows_human(rows):
        return cells, styles
    first = rows[0]
    known = {
        "model": f"({NAME})",
        first["metric"]: number(first["human"]),
        "mean": number(first["human"]),
        "95 % interval": interval(first["human_low"], first["human_high"]),
        "n": str(int(first["human_n"])),
    }
    at = sum(row["mean"] >= first["human"] for row in rows)
    line = {header: known.get(header, "") for header in cells[0]}
    return [*cells[:at], line, *cells[at:]], [*styles[:at], NAME, *styles[at:]]


def human_mark(row: Mapping[str, Any]) -> str:
    """The mark of a model that differs from the human."""
    return MARKS.get(row["against_human"], "")


def human_note(rows: Sequence[Row]) -> list[str]:
    """What the human's line and column mean, where there are any."""
    return [NOTE.format(name=NAME, who=rows[0]["human_who"])] if knows_human(rows) else []


def knows_human(rows: Sequence[Row]) -> bool:
    """Whether a ranking has a human's score."""
    return bool(rows) and not np.isnan(rows[0].get("human", np.nan))


def _drawn(rated: Sequence[Scored]) -> Human | None:
    ratings = ratings_of(one.run.path for one in rated)
    if ratings is None:
        return None
    first = rated[0]
    return human(ratings, tested_items(first.predictions, first.run.task), first.run.task)
