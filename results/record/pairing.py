"""Pairing two runs by key: (trial, subset, target), never by position, and on the utterances that both have scored.

A run that is the mean of trials (`one_trial`) is one trial, not one for each training in it. Its predictions stand
beside every trial of the other run; its scores are paired once per subset, with the mean of the other run's trials.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from ...datasets.core.errors import SerbenchError
from ..scores.scoring import gold_columns, key_columns, score_predictions
from .folder import Run
from .identity import comparable, differences, one_trial

KEY = ["trial", "subset", "target"]


@dataclass(frozen=True)
class Scored:
    """A run with the predictions of its complete trials, sorted by key, and their scores."""

    run: Run
    predictions: pd.DataFrame
    scores: pd.DataFrame

    @property
    def trials(self) -> set[int]:
        """Complete trials."""
        return {int(t) for t in self.predictions["trial"].unique()}

    @property
    def one_trial(self) -> bool:
        """Whether it is the mean of trials."""
        return one_trial(self.run.spec)

    def values(self, metric: str) -> pd.DataFrame:
        """The values of one metric with their `KEY`, sorted; worked out once."""
        if metric not in self._values:
            self._values[metric] = _of_metric(self.scores, metric)
        return self._values[metric]

    @cached_property
    def _values(self) -> dict[str, pd.DataFrame]:
        return {}

    @cached_property
    def truth(self) -> str:
        """Digest of what the predictions are about: their keys, subsets and gold labels, in order."""
        columns = [*key_columns(self.predictions), "subset", *gold_columns(self.run.task)]
        rows = pd.util.hash_pandas_object(self.predictions[columns], index=False, categorize=False)
        return hashlib.sha256(rows.to_numpy().tobytes()).hexdigest()


@dataclass(frozen=True)
class Aligned:
    """Two runs' predictions of the same trials and items, row by row; `left_out` counts items that one of them
    lacks."""

    a: pd.DataFrame
    b: pd.DataFrame
    left_out: int


@dataclass(frozen=True)
class Paired:
    """Two runs' scores side by side.

    Attributes
    ----------
    scores : one row per (trial, subset, target), with the columns a and b; where one of the two is the mean of
        trials, one per (subset, target), in trial 0
    sides : the predictions behind them
    left_out : number of utterances (or recordings) that only one of the two has scored; they count for neither
    """

    scores: pd.DataFrame
    sides: Aligned

    @property
    def left_out(self) -> int:
        """As `Aligned` counts them."""
        return self.sides.left_out


def load_scored(run: Run) -> Scored:
    """Read and score the complete trials of a run."""
    predictions = run.scored_predictions()
    predictions = predictions.sort_values(key_columns(predictions), ignore_index=True)
    return Scored(run, predictions, score_predictions(predictions, run.task))


def pair(a: Scored, b: Scored, metric: str) -> Paired:
    """Scores of the trials that both runs have, on the utterances that both have scored.

    Where the utterances differ (files that one run had to leave out), both sides are scored again on the common ones.

    Raises
    ------
    SerbenchError
        When the two records hold different gold labels or subsets for the same utterance.
    """
    sides, single = align(a, b), a.one_trial != b.one_trial
    whole = sides.left_out == 0 and a.trials == b.trials and not single
    both = ((a, sides.a), (b, sides.b))
    x, y = (s.values(metric) if whole else _of_metric(score_predictions(side, s.run.task), metric) for s, side in both)
    if _same_keys(x, y, KEY):
        paired = x[KEY].assign(a=x["value"], b=y["value"])
    else:
        paired = x.merge(y, on=KEY, suffixes=("_a", "_b")).sort_values(KEY, ignore_index=True)
        paired = paired.rename(columns={"value_a": "a", "value_b": "b"})
    return Paired(_over_trials(paired) if single else paired, sides)


def align(a: Scored, b: Scored) -> Aligned:
    """Predictions of the trials that both runs have, for the utterances that both have scored, in one order.

    Raises
    ------
    SerbenchError
        When the two records hold different gold labels or subsets for the same utterance.
    """
    if a.truth == b.truth:
        return Aligned(a.predictions, b.predictions, 0)
    if a.one_trial != b.one_trial:
        a, b = (_beside(a, b.trials), b) if a.one_trial else (a, _beside(b, a.trials))
    common = a.trials & b.trials
    left, right = (s.predictions[s.predictions["trial"].isin(common)].reset_index(drop=True) for s in (a, b))
    keys, left_out = key_columns(left), 0
    if not _same_keys(left, right, keys):
        both = left[keys].merge(right[keys], on=keys)
        kept = [side.merge(both, on=keys).sort_values(keys, ignore_index=True) for side in (left, right)]
        left_out = _count_missing(left, kept[0], right, kept[1])
        left, right = kept
    _check_same_truth(a.run, b.run, left, right)
    return Aligned(left, right, left_out)


def protocol_conflicts(runs: Sequence[Run]) -> list[str]:
    """One line per run that can't be compared with the first one, with the fields that differ."""
    first, lines = runs[0], []
    for run in runs[1:]:
        if run.protocol_digest != first.protocol_digest:
            fields = differences(comparable(first.spec), comparable(run.spec))
            shown = "; ".join(fields[:6]) + (f"; and {len(fields) - 6} more" if len(fields) > 6 else "")
            lines.append(f"{first.run_id} ({first.protocol_digest}) and {run.run_id} ({run.protocol_digest}): {shown}")
    return lines


def _of_metric(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    return scores.loc[scores["metric"].eq(metric), [*KEY, "value"]].sort_values(KEY, ignore_index=True)


def _beside(one: Scored, trials: set[int]) -> Scored:
    """The predictions of a mean of trials, standing beside each of some trials."""
    own = one.predictions
    copies = pd.concat([own.assign(trial=trial) for trial in sorted(trials)] or [own.iloc[:0]])
    return Scored(one.run, copies.sort_values(key_columns(copies), ignore_index=True), one.scores)


def _over_trials(paired: pd.DataFrame) -> pd.DataFrame:
    """Scores a and b with their trials averaged: one row per (subset, target)."""
    means = paired.groupby(["subset", "target"], sort=True)[["a", "b"]].mean()
    return means.reset_index().assign(trial=0)[[*KEY, "a", "b"]]


def _same_keys(left: pd.DataFrame, right: pd.DataFrame, keys: list[str]) -> bool:
    return len(left) == len(right) and all(
        np.array_equal(left[key].to_numpy(dtype=object), right[key].to_numpy(dtype=object)) for key in keys
    )


def _count_missing(*frames: pd.DataFrame) -> int:
    left, left_kept, right, right_kept = frames
    lost: set[str] = set()
    for side, kept in ((left, left_kept), (right, right_kept)):
        index = pd.MultiIndex.from_frame(side[key_columns(side)])
        gone = ~index.isin(pd.MultiIndex.from_frame(kept[key_columns(kept)]))
        lost.update(side.loc[gone, "id"])
    return len(lost)


def _check_same_truth(a: Run, b: Run, left: pd.DataFrame, right: pd.DataFrame) -> None:
    for column in ("subset", *gold_columns(a.task)):
        x, y = left[column], right[column]
        differ = ~(x.eq(y) | (x.isna() & y.isna())).to_numpy(dtype=bool)
        if differ.any():
            raise SerbenchError(
                f"{a.run_id} and {b.run_id} hold different values of {column!r} for {left['id'][differ].iloc[0]!r}, "
                "though their protocol digests are equal: one of the records was changed. Delete it and run again."
            )
