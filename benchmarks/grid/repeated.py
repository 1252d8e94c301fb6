"""Trials of a deterministic model: one training of each fold, of which every further trial holds a copy that says so.

The row pairs with other models' by (trial, subset) as all rows do. A copy has the predictions of the trained unit,
its own seed (which decided nothing), no seconds, and `same_as`, the trial that it repeats.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

from ...results.record.folder import Run
from ..protocol.protocol import unit_seed
from .plan import Part

NOT_SPENT = ("seconds", "cpu_seconds", "seconds_fit", "seconds_predict")


def copied(run: Run, facts: Mapping[str, Any], trial: int, seed: int) -> dict[str, Any]:
    """Leave a finished or failed unit of a run as another trial too; returns the facts as written."""
    source, own = run.unit_files(facts["trial"], facts["fold"])[0], run.unit_files(trial, facts["fold"])[0]
    done = facts["status"] == "done"
    again = {key: 0.0 for key in NOT_SPENT if key in facts}
    again |= {"seed": seed, "deterministic": True, "same_as": facts.get("same_as", facts["trial"])}
    if done and (weights := source.with_suffix(".safetensors")).is_file():
        shutil.copyfile(weights, own.with_suffix(".safetensors"))
    predictions = run.unit_predictions(facts) if done else None
    return run.write_unit(trial, facts["fold"], {**facts, **again}, predictions)


def repeat_finished(part: Part, run: Run) -> None:
    """Copy the finished trials of a run into those that lack a record, fold by fold; nothing is trained."""
    finished: dict[str, Mapping[str, Any]] = {}
    for unit in (unit for unit in run.units() if unit["status"] == "done"):
        finished.setdefault(unit["fold"], unit)
    for trial, fold in part.lacking(run):
        if fold in finished:
            copied(run, finished[fold], trial, unit_seed(part.request.protocol, trial, fold))
