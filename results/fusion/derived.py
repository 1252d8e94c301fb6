"""The record of a run that is made of others: its specification names them, and each unit the predictions taken.

It is a record like any other and stands in leaderboards, comparisons and reports. What it took of its parents is
addressed twice: the specification holds their run ids (digests of all that decides their numbers) and signatures, each
unit the SHA-256 of the predictions that it was made of. Its cost is that of all its parents together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import digest
from ..record.folder import Run
from ..record.identity import short_names
from ..record.pairing import protocol_conflicts
from ..record.test_items import has_ratings, read_ratings, write_ratings


@dataclass(frozen=True)
class Part:
    """One unit of a parent: its run, its facts, and the weight of its predictions."""

    run: Run
    facts: Mapping[str, Any]
    weight: float = 1.0


def check_parents(runs: Sequence[Run], least: int, what: str) -> None:
    """Refuse too few runs, one that is named twice, and runs of different protocols.

    Raises
    ------
    SerbenchError
        Says which, and what is expected.
    """
    ids = [run.run_id for run in runs]
    if len(ids) < least or len(set(ids)) < len(ids):
        given = ", ".join(ids) or "none"
        raise SerbenchError(f"{what} needs {least} or more different runs; given: {given}. Name each run once.")
    if conflicts := protocol_conflicts(runs):
        raise SerbenchError(f"{what} needs runs of one protocol:\n  " + "\n  ".join(conflicts))


def common_trials(runs: Sequence[Run]) -> list[int]:
    """Trials that all runs have finished.

    Raises
    ------
    SerbenchError
        Where there is none; says what to type.
    """
    trials = set.intersection(*(set(run.complete_trials()) for run in runs))
    if not trials:
        lines = "\n  ".join(run.fill_line(5) for run in runs)
        raise SerbenchError(f"the runs have no finished trial in common. To fill them, type\n  {lines}")
    return sorted(trials)


def create(
    name: str, runs: Sequence[Run], config: Mapping[str, Any], label: str, command: str, *, one_trial: bool = False
) -> Run:
    """The record, in the results folder of the first parent, with the test items that the parents know of.

    Parameters
    ----------
    one_trial : whether its predictions are the mean of trials, so that it is one trial itself
    """
    names, first = short_names([run.spec for run in runs]), runs[0]
    several = len(runs) > 1
    content = {**config, "parents": [run.run_id for run in runs]}
    features: dict[str, Any] = {}
    for parent, run in zip(names, runs, strict=True):
        own = run.spec["features"]
        features |= {f"{parent}.{role}": feature for role, feature in own.items()} if several else dict(own)
    labels = dict.fromkeys([*(one for run in runs for one in run.spec.get("labels") or ()), label])
    model: dict[str, Any] = {
        "name": name,
        "preset": "+".join(one.replace(":", "-") for one in names),
        "config": content,
        "config_digest": digest(content, 16),
        "parents": [{"run": run.run_id, "signature": run.signature} for run in runs],
    }
    if one_trial:
        model["one_trial"] = True
    kept: dict[str, Any] = {
        key: first.spec[key] for key in ("dataset", "task", "protocol", "transfer") if key in first.spec
    }
    spec = {
        **kept,
        "model": model,
        "features": features,
        "labels": list(labels),
        "arguments": {"made_of": [run.run_id for run in runs], "command": command},
        "command": command,
        "serbench": first.spec.get("serbench"),
    }
    made = Run.create(first.results, spec)
    _know_items(made, runs)
    return made


def _know_items(run: Run, parents: Sequence[Run]) -> None:
    known = next((items for parent in parents if (items := parent.items()) is not None), None)
    if run.items() is None and known is not None:
        run.write_items(known.reset_index())
    said = next((told for parent in parents if (told := read_ratings(parent.path)) is not None), None)
    if said is not None and not has_ratings(run.path):
        write_ratings(run.path, said)


def write(
    run: Run,
    trial: int,
    fold: str,
    parts: Sequence[Part],
    predictions: pd.DataFrame,
    dev: pd.DataFrame | None,
    facts: Mapping[str, Any],
) -> None:
    """Leave one unit; `facts` are its dev score and what it says of itself."""
    units = [part.facts for part in parts]
    excluded = {item: why for unit in reversed(units) for item, why in (unit.get("excluded") or {}).items()}
    content = {
        "status": "done",
        "error": None,
        "seed": units[0].get("seed"),
        **{key: _total(units, key) for key in ("seconds", "cpu_seconds", "seconds_predict", "parameters")},
        "epochs": [],
        "best_epoch": None,
        **{key: units[0].get(key) for key in ("device", "versions", "threads")},
        "counts": {**(units[0].get("counts") or {}), "test": int(predictions["id"].nunique())},
        "excluded": excluded,
        "parents": [
            {"run": p.run.run_id, "trial": p.facts["trial"], "sha256": p.facts["predictions"]["sha256"]} for p in parts
        ],
        **facts,
    }
    run.write_unit(trial, fold, content, predictions, dev)


def _total(units: Sequence[Mapping[str, Any]], key: str) -> float | int | None:
    known = [unit[key] for unit in units if unit.get(key) is not None]
    return sum(known) if known else None
