"""What the report shows of one ranking (dataset, task, protocol digest), gathered from its runs.

Nothing ends the report: what can't be ranked, paired or read is a line in `notes`, with what to type.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.core.stages import track
from ...datasets.schema.task import Task
from ..display.table import records
from ..record.folder import Run
from ..record.pairing import Scored
from ..scores.scoring import score_predictions, scored_targets
from ..tables.compare import compare
from ..tables.leaderboard import ALPHA, leaderboard, with_intervals
from ..tables.pair_tests import Resampling, further_tests
from .facts import items_of
from .letters import letters

GROUPS = ("speaker", "gender", "duration")
BINS = 4
"""Duration is cut into this many groups of equally many items."""
COMPARED = 24
"""On the report's page differences are tested between so many of a ranking's best runs, that is 276 pairs."""


@dataclass
class Ranking:
    """One dataset and task under one protocol.

    Attributes
    ----------
    dataset, digest, task : which one
    runs : all runs of it, the ranked ones first and best first
    frame : its leaderboard, with the column `letters`; empty when no run has a complete trial
    pairs : what `compare` says of every pair of runs with the same trials; empty for fewer than two
    scored : run id -> predictions of the complete trials
    names : run id -> short name
    notes : what could not be done, and what to type
    """

    dataset: str
    digest: str
    task: Task
    runs: list[Run]
    frame: pd.DataFrame = field(default_factory=pd.DataFrame)
    pairs: pd.DataFrame = field(default_factory=pd.DataFrame)
    scored: dict[str, Scored] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """Dataset and task."""
        return f"{self.dataset}, {self.task.name}"

    @property
    def targets(self) -> tuple[str, ...]:
        """Targets in the order of tables."""
        return scored_targets(self.task)

    @property
    def ranked(self) -> list[Run]:
        """Runs of the leaderboard by the first target, the best first."""
        return [run for run in self.runs if run.run_id in self.scored]

    def rows(self, target: str) -> list[dict[str, Any]]:
        """Rows of the leaderboard of one target, the best first."""
        if not len(self.frame):
            return []
        return records(self.frame[self.frame["target"].eq(target)].sort_values("rank"))


def gather(runs: Sequence[Run], bootstrap: int = 0, compared: int | None = None) -> list[Ranking]:
    """The rankings of the runs, by dataset, task and protocol digest; `bootstrap` resamples for intervals (0: none)."""
    return list(each_ranking(runs, bootstrap, compared))


def each_ranking(runs: Sequence[Run], bootstrap: int = 0, compared: int | None = None) -> Iterator[Ranking]:
    """`gather`, one ranking at a time, so that predictions of the others need no memory.

    Parameters
    ----------
    compared : differences are tested between so many of a ranking's best runs; None = between all, which takes the
        square of their number
    """
    groups: dict[tuple[str, str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((str(run.spec["dataset"]["name"]), run.task.name, run.protocol_digest), []).append(run)
    several = Counter(key[:2] for key in groups)
    for (dataset, task, digest), group in track(sorted(groups.items()), "rankings"):
        ranking = Ranking(dataset, digest, group[0].task, list(group))
        if several[dataset, task] > 1:
            ranking.notes.append(
                f"There are runs of {several[dataset, task]} protocols on {ranking.title}; scores under different "
                f"protocol digests are not compared. This ranking is the one of {digest}."
            )
        _rank(ranking, bootstrap, compared)
        yield ranking


def breakdown(ranking: Ranking, by: str) -> tuple[pd.DataFrame, str]:
    """Scores within groups of test items.

    Parameters
    ----------
    by : one of `GROUPS`; durations are cut at quartiles of the items [s]

    Returns
    -------
    (table, note): run_id, name, target, group, items, metric, mean, sd, trials, one row per run, target and group, with
    the mean and standard deviation over trials; and why runs are lacking in it
    """
    tables, lacking = [], []
    for run in ranking.ranked:
        groups = _groups(run, ranking.scored[run.run_id].predictions, by)
        if groups is None:
            lacking.append(ranking.names[run.run_id])
            continue
        scores = _group_scores(ranking.scored[run.run_id], groups)
        tables.append(scores.assign(run_id=run.run_id, name=ranking.names[run.run_id]))
    note = f"The {by} of test items is not recorded for {', '.join(lacking)}: the record holds no items or the corpus "
    note = note + "does not say; repeating the run's command adds items and trains nothing." if lacking else ""
    return (pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()), note


def warned(ranking: Ranking) -> list[str]:
    """What trainings say of themselves, such as a classifier that learnt nothing: one line per unit and warning."""
    return [
        f"{ranking.names.get(run.run_id, run.name)}, trial {unit['trial']}, fold {unit['fold']}: {text}"
        for run in ranking.runs
        for unit in run.units()
        for text in (unit.get("facts") or {}).get("warnings") or ()
    ]


def _rank(ranking: Ranking, bootstrap: int, compared: int | None) -> None:
    """Fill frame, scored, names, pairs and letters."""
    try:
        frame = leaderboard(ranking.runs, kept=ranking.scored)
    except SerbenchError as error:
        ranking.notes.append(f"There is no leaderboard: {error}")
        return
    ranking.notes += [f"Not ranked: {run_id}: {why}" for run_id, why in frame.attrs["problems"].items()]
    ranking.names = dict(zip(frame["run_id"], frame["name"], strict=True))
    order = {run_id: i for i, run_id in enumerate(dict.fromkeys(frame["run_id"]))}
    ranking.runs.sort(key=lambda run: (order.get(run.run_id, len(order)), run.run_id))
    if bootstrap and len(frame):
        try:
            frame = with_intervals(frame, ranking.runs, Resampling(bootstrap=bootstrap))
        except SerbenchError as error:
            ranking.notes.append(f"Intervals are those over the scores, there is no bootstrap: {error}")
    ranking.pairs = _pairs(ranking, compared)
    ranking.frame = frame.assign(letters=_letters(frame, ranking.pairs))


def _pairs(ranking: Ranking, compared: int | None) -> pd.DataFrame:
    """All pairs of the largest set of runs that have the same trials, with the tests of `compare` and the crossed one.

    The others are named with what to type.
    """
    runs = ranking.ranked[:compared]
    if len(runs) < 2:
        return pd.DataFrame()
    if len(runs) < len(ranking.ranked):
        ranking.notes.append(
            f"Differences are tested between the best {len(runs)} of {len(ranking.ranked)} runs. "
            "'serbench compare' tests any others."
        )
    held = Counter(frozenset(ranking.scored[run.run_id].trials) for run in runs)
    common = max(held, key=lambda trials: (held[trials], len(trials), sorted(trials)))
    whole = max(held, key=len)
    chosen = [run for run in runs if ranking.scored[run.run_id].trials == common]
    for run in runs:
        if run not in chosen:
            ranking.notes.append(
                f"{ranking.names[run.run_id]} has other trials than the rest, so its differences are not tested. To "
                f"fill them, type: {run.fill_line(max(whole | common | ranking.scored[run.run_id].trials) + 1)}"
            )
    if len(chosen) < 2:
        return pd.DataFrame()
    try:
        pairs = further_tests(compare(chosen), chosen)
    except SerbenchError as error:
        ranking.notes.append(f"Differences are not tested: {error}")
        return pd.DataFrame()
    return pairs.assign(a=pairs["run_a"].map(ranking.names), b=pairs["run_b"].map(ranking.names))


def _letters(frame: pd.DataFrame, pairs: pd.DataFrame) -> list[str]:
    """Letters of each row of the leaderboard; empty for runs that were not compared."""
    letters_of: dict[tuple[str, str], str] = {}
    for target, part in pairs.groupby("target", sort=False) if len(pairs) else ():
        compared = {*part["run_a"], *part["run_b"]}
        names = [run_id for run_id in frame.loc[frame["target"].eq(target), "run_id"] if run_id in compared]
        different = part.loc[part["p_crossed_holm"] < ALPHA, ["run_a", "run_b"]].itertuples(index=False, name=None)
        letters_of |= {(str(target), run_id): text for run_id, text in letters(names, different).items()}
    return [
        letters_of.get((target, run_id), "") for target, run_id in zip(frame["target"], frame["run_id"], strict=True)
    ]


def _groups(run: Run, predictions: pd.DataFrame, by: str) -> pd.Series[str] | None:
    """The group of each row of the predictions, as text; None when it is not known for any."""
    items = items_of(run)
    column = "duration_seconds" if by == "duration" else by
    if items is None or column not in items or items[column].isna().all():
        return None
    values = items[column]
    if by == "duration":
        cut = pd.qcut(values.astype(float), BINS, duplicates="drop")
        names = {c: f"{c.left:.2f} to {c.right:.2f} s" for c in cut.cat.categories}
        values = cut.map(names).astype(object)
    return predictions["id"].map(values).astype(object).where(lambda s: s.notna(), "unknown").astype(str)


def _group_scores(scored: Scored, groups: pd.Series[str]) -> pd.DataFrame:
    """Scores per group: a group takes the place of a subset in scoring."""
    names = sorted(groups.unique(), key=_by_number)
    codes = groups.map({name: i for i, name in enumerate(names)})
    scores = score_predictions(scored.predictions.assign(subset=codes.to_numpy()), scored.run.task)
    scores = scores[scores["metric"].eq(scored.run.task.metric)]
    items = scored.predictions.assign(group=groups.to_numpy()).groupby("group")["id"].nunique()
    made = scores.groupby(["target", "subset"], sort=False)["value"].agg(mean="mean", sd="std", trials="count")
    table = made.reset_index().assign(metric=scored.run.task.metric)
    table["group"] = [names[int(code)] for code in table.pop("subset")]
    return table.assign(items=table["group"].map(items))


def _by_number(name: str) -> tuple[float, str]:
    head = name.split(" ")[0].lstrip("(")
    try:
        return float(head), name
    except ValueError:
        return np.inf, name
