"""Scores as benchmarks print them that have no subsets: every fold by itself, then the mean over the folds of a trial.

Ours pool the test items of all folds and cut them into subsets, so the two differ a little on the same predictions.
Two runs, ours or published, have the same folds where the same items are tested together, whatever the folds' names.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from ...datasets.core.files import digest
from ..record.folder import Run
from ..scores.scoring import score_predictions

COLUMNS = ("trial", "target", "metric", "value")


def over_folds(run: Run) -> pd.DataFrame:
    """Scores of the complete trials, averaged over the folds: trial, target, metric, value."""
    predictions = run.scored_predictions().assign(subset=0)
    parts = [score_predictions(own, run.task).assign(fold=fold) for fold, own in predictions.groupby("fold")]
    if not parts:
        return pd.DataFrame(columns=list(COLUMNS))
    keys = ["trial", "target", "metric"]
    means = pd.concat(parts).groupby(keys, sort=True)["value"].agg(lambda values: float(np.mean(values)))
    return means.reset_index()[list(COLUMNS)]


def folds_digest(tested: Iterable[Iterable[str]]) -> str:
    """Sixteen hexadecimal digits of which items are tested together: the ids of each fold's test items."""
    return digest(sorted(sorted(ids) for ids in tested))


def folds_of(run: Run) -> str:
    """`folds_digest` of the first complete trial of a run; empty where there is none."""
    trials = run.complete_trials()
    if not trials:
        return ""
    rows = run.predictions(trials[0], columns=["id"]).drop_duplicates(["fold", "id"])
    return folds_digest(ids.astype(str) for _, ids in rows.groupby("fold")["id"])
