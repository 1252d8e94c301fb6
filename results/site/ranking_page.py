"""The page of a ranking: its leaderboards, how the best score grew, differences, published results, protocol card."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..display.table import Cell, Table
from ..report.board import leaderboard_table, pair_table, reference_table
from ..report.facts import day
from ..report.page import Part, Picture, Section
from ..report.protocol_card import protocol_card
from .chart import Series, chart

if TYPE_CHECKING:
    from ..report.data import Ranking

Row = dict[str, Cell | str]


def sections(ranking: Ranking, stem: str, root: str) -> list[Section]:
    """What stands on the page of a ranking; `root` is the address of the site's root from there."""
    boards = [board(ranking, target, stem, root) for target in ranking.targets if ranking.rows(target)]
    parts = [
        Part("Differences between models", tables=_shown(pair_table(ranking, stem)), is_open=False),
        Part("Published results", tables=_shown(reference_table(ranking, stem)), is_open=False),
        Part("Protocol card", facts=protocol_card(ranking), is_open=False),
        Part("Downloads", links=[("this ranking in full precision, as CSV", f"{quote(stem)}.csv")]),
    ]
    return [Section(stem, "Leaderboard", ranking.notes, trend(ranking), boards, parts)]


def preview(ranking: Ranking, stem: str, title: str, most: int) -> Section:
    """A ranking on the first page: its best rows by the first target, with a link to all of them."""
    count = len(ranking.rows(ranking.targets[0]))
    text = f"All {count} rows, differences, protocol" if count > most else "Differences, all targets, protocol"
    parts = [Part("", links=[(f"{text}: {title}", f"rankings/{quote(stem)}.html")])]
    keys = {"dataset": ranking.dataset, "task": ranking.task.name}
    shown = board(ranking, ranking.targets[0], stem, "", most) if count else None
    tables = [replace(shown, title=f"{title}: {ranking.task.metric} as a share")] if shown else []
    return Section(stem, title, list(dict.fromkeys(ranking.notes)), trend(ranking), tables, parts, keys)


def board(ranking: Ranking, target: str, stem: str, root: str, most: int | None = None) -> Table:
    """The leaderboard with a link to the page of each run and the day on which it was finished."""
    return leaderboard_table(ranking, target, stem, most, _linked({run.run_id: day(run) for run in ranking.runs}, root))


def _linked(days: Mapping[str, str], root: str) -> Callable[[Any, Row], Row]:
    def more(record: Any, row: Row) -> Row:
        name, run_id = row["model"], str(record["run_id"])
        assert isinstance(name, Cell)
        link = Cell(name.text, name.value, name.hint, f"{root}runs/{quote(run_id)}.html")
        return {**row, "model": link, "finished": Cell(days[run_id] or "-", days[run_id])}

    return more


def trend(ranking: Ranking) -> list[Picture]:
    """Scores by the day on which they were made, and the best one until then; nothing before there are two days."""
    days = {run.run_id: _ordinal(day(run)) for run in ranking.runs}
    points = sorted(
        (days[row["run_id"]], float(row["mean"]))
        for row in ranking.rows(ranking.targets[0])
        if days[row["run_id"]] and row["mean"] == row["mean"] and not row["chance"]
    )
    if len({at for at, _ in points}) < 2:
        return []
    at, scores = [x for x, _ in points], [y for _, y in points]
    best = [max(scores[: i + 1]) for i in range(len(scores))]
    series = [Series("best so far", *_steps(at, best)), Series("runs", at, scores, dots=True, line=False)]
    title = f"{ranking.task.metric} over time"
    drawn = chart(series, title, "day on which the run was finished", ranking.task.metric, _as_day)
    return [Picture(f"trend-{ranking.digest}", title, "Chance rows are left out.", drawn)]


def _steps(at: Sequence[int], best: Sequence[float]) -> tuple[list[float], list[float]]:
    """A line that rises only where a better score came."""
    x, y = [float(at[0])], [best[0]]
    for i in range(1, len(at)):
        if best[i] > best[i - 1]:
            x += [float(at[i]), float(at[i])]
            y += [best[i - 1], best[i]]
    return [*x, float(at[-1])], [*y, best[-1]]


def _ordinal(text: str) -> int:
    """Days since the year 1; 0 for what is no day."""
    try:
        return datetime.date.fromisoformat(text).toordinal()
    except ValueError:
        return 0


def _as_day(ordinal: float) -> str:
    return datetime.date.fromordinal(round(ordinal)).isoformat()


def _shown(table: Table | None) -> list[Table]:
    return [table] if table is not None and table.rows else []
