"""A score over the levels of a perturbation: intervals, drops against the clean score with tests, and the area.

All levels are scored on the items that every level has, and resampled under the same draws of speakers (or what else
belongs together) and trials, so that what is hard at every level cancels in a drop. The area under the curve is that of
straight lines between neighbouring levels at equal distances, over the clean score and the number of steps: 1 where
nothing is lost, and the mean share of the clean score that is left otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...datasets.core.errors import SerbenchError
from ..groups.gaps import Resamples
from ..record.folder import Run
from ..record.test_items import Clusters, choose_clusters
from ..scores.scoring import MEAN, key_columns, score_predictions, scored_targets
from ..scores.sums import cell_sums
from ..statistics.bootstrap import replicates, summarise
from ..statistics.dependence import crossed_t
from ..statistics.significance import NAN, paired_t
from .records import CLEAN, Series

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Scores of one run over the levels of one perturbation.

    Attributes
    ----------
    series : run and levels
    cells : target -> scores, a row per (trial, subset), a column per level
    draws : target -> resampled scores, (level, resample); none where no resampling was asked for
    clusters : what was drawn together
    left_out : items that some level lacks; they count at no level
    """

    series: Series
    cells: Mapping[str, pd.DataFrame]
    draws: Mapping[str, Floats]
    clusters: Clusters
    left_out: int

    def score(self, target: str, level: str = CLEAN) -> float:
        """The mean score at a level."""
        return float(self.cells[target][level].mean(skipna=False))

    def area(self, target: str) -> float:
        """The area under the curve, relative to the clean score."""
        return float(relative_area(self.cells[target].mean(skipna=False).to_numpy(), self._clean))

    def rows(self, target: str, how: Resamples) -> list[dict[str, Any]]:
        """A row per level: score, drop, their intervals and tests."""
        return [self._row(target, level, how) for level in self.series.levels]

    def summary(self, target: str, how: Resamples) -> dict[str, Any]:
        """The area with its interval, the mean drop, the level that costs most."""
        scores = self.cells[target].mean(skipna=False)
        area, drops = self.area(target), scores[CLEAN] - scores.drop(CLEAN)
        drawn = relative_area(self.draws[target], self._clean) if target in self.draws else np.zeros(0)
        shown = summarise(drawn, area, 0, 0, how.level)
        worst = str(drops.idxmax()) if drops.notna().any() else ""
        return {
            "area": area,
            "low": shown.low,
            "high": shown.high,
            "clean": float(scores[CLEAN]),
            "mean_drop": float(drops.mean(skipna=False)),
            "worst": worst,
            "worst_score": float(scores[worst]) if worst else NAN,
        }

    @property
    def _clean(self) -> int:
        return self.series.levels.index(CLEAN)

    def _row(self, target: str, level: str, how: Resamples) -> dict[str, Any]:
        cells, at = self.cells[target], self.series.levels.index(level)
        draws = self.draws[target] if target in self.draws else np.zeros((len(self.series.levels), 0))
        score = self.score(target, level)
        shown = summarise(draws[at], score, 0, 0, how.level)
        row = {"level": level, "score": score, "low": shown.low, "high": shown.high}
        if level == CLEAN:
            nothing = dict.fromkeys(("drop", "drop_low", "drop_high", "p", "p_crossed", "p_bootstrap"), NAN)
            return {**row, **nothing, "left_out": self.left_out}
        fall = summarise(draws[self._clean] - draws[at], self.score(target) - score, 0, 0, how.level)
        test = paired_t(cells[CLEAN], cells[level])
        return {
            **row,
            "drop": fall.estimate,
            "drop_low": fall.low,
            "drop_high": fall.high,
            "p": test.p,
            "p_crossed": crossed_p(cells[CLEAN], cells[level]),
            "p_bootstrap": fall.p,
            "left_out": self.left_out,
        }


def curve(series: Series, how: Resamples | None = None) -> Curve:
    """Score a series at all of its levels, on the items and trials that all of them have.

    Raises
    ------
    SerbenchError
        Where no trial or item is left that all levels have.
    """
    return curves([series], how)[0]


def curves(several: Sequence[Series], how: Resamples | None = None) -> list[Curve]:
    """Curves of several runs of one protocol, on the items and trials that all of them have at all levels.

    Resampled under the same draws, so that they can be compared.
    """
    chosen = how or Resamples()
    tables, left_out = _common([_tables(series) for series in several])
    first, task = several[0].run, several[0].run.task
    some = next(iter(tables[0].values()))
    clusters = choose_clusters(first.items(), list(some["id"].unique()))
    made = []
    for series, of in zip(several, tables, strict=True):
        scores = {level: _cells(of[level], series.run) for level in series.levels}
        cells = {t: pd.DataFrame({level: one[t] for level, one in scores.items()}) for t in scored_targets(task)}
        draws = _draws([of[level] for level in series.levels], series.run, clusters, chosen)
        made.append(Curve(series, cells, draws, clusters, left_out))
    return made


def relative_area(scores: Floats, clean: int) -> Floats:
    """Area under scores (level, ...) over the clean score and the number of steps; NaN where that is not above 0."""
    area = ((scores[1:] + scores[:-1]) / 2).mean(axis=0) if len(scores) > 1 else scores[0]
    base = scores[clean]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(base > 0, area / base, np.nan)


def _tables(series: Series) -> dict[str, pd.DataFrame]:
    """Level -> predictions of its complete trials."""
    return {level: series.runs[level].scored_predictions() for level in series.levels}


def _common(tables: Sequence[dict[str, pd.DataFrame]]) -> tuple[list[dict[str, pd.DataFrame]], int]:
    """The predictions of the trials and items that all tables have, in one order, and how many items some lack."""
    every = [table for of in tables for table in of.values()]
    ids, trials = ([set(table[key].unique()) for table in every] for key in ("id", "trial"))
    kept, runs = set.intersection(*ids), set.intersection(*trials)
    if not kept or not runs:
        raise SerbenchError("no trial has items that were predicted at all levels. Expected milder levels.")

    def part(table: pd.DataFrame) -> pd.DataFrame:
        rows = table[table["id"].isin(kept) & table["trial"].isin(runs)]
        return rows.sort_values(key_columns(rows), ignore_index=True)

    lost = len(set.union(*ids)) - len(kept)
    return [{level: part(table) for level, table in of.items()} for of in tables], lost


def _cells(predictions: pd.DataFrame, run: Run) -> dict[str, pd.Series[float]]:
    """Target -> scores by (trial, subset)."""
    scores = score_predictions(predictions, run.task)
    scores = scores[scores["metric"].eq(run.task.metric)].set_index(["trial", "subset"])
    return {str(target): part["value"] for target, part in scores.groupby("target", sort=False)}


def _draws(tables: Sequence[pd.DataFrame], run: Run, clusters: Clusters, how: Resamples) -> dict[str, Floats]:
    """Target -> resampled scores of each table under the same draws, (table, resample)."""
    if not how.number:
        return {}
    task = run.task
    found = {
        target: np.stack(
            replicates(
                [cell_sums(table, task, task.metric, target, clusters.of) for table in tables], how.number, how.seed
            )
        )
        for target in task.targets
    }
    return found if len(task.targets) == 1 else {**found, MEAN: np.mean(list(found.values()), axis=0)}


def crossed_p(a: pd.Series[float], b: pd.Series[float]) -> float:
    """p of the crossed t-test of scores by (trial, subset); NaN where a cell has none."""
    trials, subsets = (a.index.get_level_values(name) for name in ("trial", "subset"))
    try:
        return crossed_t(a, b, trials, subsets).p
    except SerbenchError:
        return NAN  # a cell without a score: the two-way table has a hole
