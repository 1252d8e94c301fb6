"""Late fusion: the predictions of two runs, mixed with a weight that the dev part chose (`serbench fuse`).

For each trial and fold the weight w of run A (and 1 - w of run B) is the one of 0, 1/n ... 1 whose mixture is best on
the stored dev predictions of that unit, by the metric that selects epochs; the test predictions are mixed with it. No
test label is looked at. A trial of the fusion is made of the same trial of both parents, so trials stay independent.

Kittler, Hatef, Duin and Matas, "On combining classifiers", IEEE TPAMI 20(3), 1998, doi:10.1109/34.667881:
theirs is the sum rule, of which this is the weighted form; the steps of the weight are a free choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ...datasets.core.errors import SerbenchError
from ..record.folder import Run
from ..record.identity import short_names
from . import derived
from .derived import Part
from .mixing import best_weight, dev_value, mixed, output_columns

NAME = "late-fusion"
STEPS = 20


def fuse(a: Run, b: Run, *, steps: int = STEPS) -> Run:
    """Fuse two runs; what is recorded already is made again.

    Parameters
    ----------
    steps : number of steps of the weight between 0 and 1

    Raises
    ------
    SerbenchError
        For runs of different protocols, without a finished trial in common or without dev predictions; says what to
        type.
    """
    if steps < 1:
        raise SerbenchError(f"--steps {steps} is out of range. Expected 1 or more, such as {STEPS}.")
    derived.check_parents([a, b], 2, "late fusion")
    trials = derived.common_trials([a, b])
    pairs = {(t, fold): (_part(a, t, fold), _part(b, t, fold)) for t in trials for fold in a.folds}
    command = f"serbench fuse {a.run_id} {b.run_id}" + (f" --steps {steps}" if steps != STEPS else "")
    devs = {key: tuple(_dev(part) for part in pair) for key, pair in pairs.items()}
    run = derived.create(NAME, [a, b], {"steps": steps}, "weights:dev", command)
    for (trial, fold), pair in pairs.items():
        _fuse_unit(run, trial, fold, pair, devs[trial, fold], steps)
    return run


def weights_table(run: Run) -> pd.DataFrame:
    """What was chosen in each unit of a fusion: trial, fold, weight, and the dev scores of both parents and of it."""
    rows = []
    for unit in run.units():
        chosen = unit["facts"]
        rows.append(
            {
                "trial": unit["trial"],
                "fold": unit["fold"],
                **{f"weight {name}": w for name, w in chosen["weights"].items()},
                **{f"dev {name}": score for name, score in chosen["dev_scores"].items()},
                "dev fused": unit["dev_score"],
            }
        )
    return pd.DataFrame(rows)


def _fuse_unit(
    run: Run, trial: int, fold: str, pair: tuple[Part, Part], dev: tuple[pd.DataFrame, ...], steps: int
) -> None:
    task = run.task
    weight, value = best_weight(dev[0], dev[1], task, steps)
    weights = (weight, 1 - weight)
    names = short_names([part.run.spec for part in pair])
    parts = [Part(part.run, part.facts, w) for part, w in zip(pair, weights, strict=True)]
    told = {
        "weights": dict(zip(names, weights, strict=True)),
        "dev_scores": {name: dev_value(table, task) for name, table in zip(names, dev, strict=True)},
    }
    predictions = mixed([part.run.unit_predictions(part.facts) for part in parts], weights, task)
    facts: Mapping[str, Any] = {"dev_score": value, "facts": told}
    derived.write(run, trial, fold, parts, predictions, mixed(dev, weights, task), facts)


def _part(run: Run, trial: int, fold: str) -> Part:
    facts = run.unit(trial, fold)
    assert facts is not None, "a complete trial has every unit"
    return Part(run, facts)


def _dev(part: Part) -> pd.DataFrame:
    """The dev predictions of a unit.

    Raises
    ------
    SerbenchError
        Where it holds none; says how to make some.
    """
    run, dev = part.run, part.run.dev_predictions(part.facts)
    if dev is None:
        other = f"{run.results}-dev"
        raise SerbenchError(
            f"{run.run_id} holds no predictions of its dev part: it was recorded before serbench kept them, has no dev "
            f"part, or was exported. Weights are chosen on dev, so make the run again in another folder. Type\n"
            f"  serbench run --from-record {run.path} --results {other}"
        )
    if lacking := [column for column in output_columns(run.task) if column not in dev]:
        raise SerbenchError(
            f"the dev part of {run.run_id} has no {lacking[0]!r}: it was trained on another task than it is tested on. "
            "Expected runs whose dev and test parts have the same labels."
        )
    return dev
