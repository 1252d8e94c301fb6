"""Ensembles: the mean of predictions over the trials of a run, or over runs (`serbench ensemble`).

Over runs, trial t is the mean of the runs' trials t: as many trials as the runs have in common, each made of trainings
of its own, so tests over trials mean what they do for any run.

Over trials, the mean of k trainings is one predictor, and one trial of the record, however large k is: there is one
score per subset, and nothing is known of how another ensemble would differ. Its record says so (`one_trial`), and
pairing (`record/pairing.py`) takes its difference from another run once per subset, from that run's mean over trials:
a test never counts it k times. Compare two ensembles, or read the bootstrap over speakers.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ...datasets.core.errors import SerbenchError
from ..record.folder import Run
from . import derived
from .derived import Part
from .mixing import dev_value, mixed

NAME = "ensemble"
OVER = ("trials", "runs")


def ensemble(runs: Sequence[Run], over: str = "") -> Run:
    """The mean of several predictions; what is recorded already is made again.

    Parameters
    ----------
    over : "trials" of one run, or of several runs all together; "runs", trial by trial; empty = runs where there are
        several

    Raises
    ------
    SerbenchError
        For runs of different protocols, a mean of one thing alone, or trials that repeat one another.
    """
    chosen = over or ("trials" if len(runs) == 1 else "runs")
    if chosen not in OVER:
        raise SerbenchError(f"--over {over}: expected {' or '.join(OVER)}.")
    derived.check_parents(runs, 1 if chosen == "trials" else 2, f"an ensemble over {chosen}")
    trials = derived.common_trials(runs)
    if chosen == "trials":
        _expect_different(runs, trials)
    command = " ".join(["serbench ensemble", *(run.run_id for run in runs), "--over", chosen])
    counted = {"trials": trials} if chosen == "trials" else {}
    label = f"mean of {len(runs) * len(trials)} trials" if chosen == "trials" else f"mean of {len(runs)} runs"
    one = chosen == "trials"
    run = derived.create(NAME, runs, {"over": chosen, **counted}, f"ensemble:{label}", command, one_trial=one)
    groups = {0: trials} if one else {trial: [trial] for trial in trials}
    for trial, members in groups.items():
        for fold in runs[0].folds:
            _mean_unit(run, trial, fold, [_part(one, t, fold) for one in runs for t in members])
    return run


def _mean_unit(run: Run, trial: int, fold: str, parts: Sequence[Part]) -> None:
    weights = [1 / len(parts)] * len(parts)
    predictions = mixed([part.run.unit_predictions(part.facts) for part in parts], weights, run.task)
    held = [part.run.dev_predictions(part.facts) for part in parts]
    known = [table for table in held if table is not None]
    dev: pd.DataFrame | None = mixed(known, weights, run.task) if len(known) == len(parts) else None
    score = None if dev is None else dev_value(dev, run.task)
    derived.write(run, trial, fold, parts, predictions, dev, {"dev_score": score, "facts": {"members": len(parts)}})


def _part(run: Run, trial: int, fold: str) -> Part:
    facts = run.unit(trial, fold)
    assert facts is not None, "a complete trial has every unit"
    return Part(run, facts)


def _expect_different(runs: Sequence[Run], trials: Sequence[int]) -> None:
    """Refuse a mean of trials that are one prediction: of one trial, and of copies."""
    digests = [
        {unit["predictions"]["sha256"] for t in trials if (unit := run.unit(t, run.folds[0])) is not None}
        for run in runs
    ]
    if sum(map(len, digests)) < 2:
        run = runs[0]
        raise SerbenchError(
            f"the trials of {run.run_id} are one prediction ({len(trials)} trials): there is nothing to average. "
            f"Expected several trials that differ, or several runs. To add trials, type\n  {run.fill_line(5)}"
        )
