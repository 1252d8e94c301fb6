"""Calibration and abstention of a run: one table of figures, and what the figure is drawn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...datasets.core.errors import SerbenchError
from ..display.numbers import number
from ..display.table import Cell, Table, records
from ..groups.measures import probabilities
from ..record.folder import Run
from ..scores.scoring import class_indices
from . import classes, values
from .abstention import Curve, least_area, risk_coverage

Floats = npt.NDArray[np.float64]
LEVEL = 0.9
CLASS_NOTE = (
    "ECE: expected calibration error in bins of equal size. Too sure: mean confidence minus the share that is right. "
    "Brier 0 to 2, NLL in nats. AURC: mean error over all coverages, answering the surest first, beside the least that "
    "could be reached; at half: of the surer half. Means over trials."
)
VALUE_NOTE = (
    "Slope and intercept of gold on prediction (1 and 0 are calibrated), means over trials. Covered: gold inside the "
    "90 % prediction interval of the trials. AURC: squared error where items on which trials agree are answered first, "
    "of the trials' mean, with the least that could be reached. A run whose trials are copies has no spread."
)


@dataclass(frozen=True)
class Calibration:
    """Figures of a run (a row per target), and the curves of each target: bins, gold and prediction, abstention."""

    run: Run
    frame: pd.DataFrame
    reliability: classes.Reliability | None
    curves: dict[str, Curve]


def calibration(run: Run) -> Calibration:
    """Calibration of the complete trials of a run.

    Raises
    ------
    SerbenchError
        When no trial is complete, or the model's class scores are no probabilities.
    """
    of = _of_classes if run.task.kind == "classification" else _of_values
    return of(run, run.looked_into())


def _of_classes(run: Run, predictions: pd.DataFrame) -> Calibration:
    scores = probabilities(predictions, run.task)
    if scores is None:
        raise SerbenchError(
            f"the class scores of {run.name} are no probabilities (they are not 0 to 1 with sum 1), so nothing can be "
            "said of their calibration."
        )
    gold = class_indices(predictions, "gold", run.task)
    wrong, sure = (scores.argmax(axis=1) != gold).astype(np.float64), classes.confidence(scores)
    rows = []
    for of in predictions.groupby("trial").indices.values():
        bins, curve = classes.reliability(scores[of], gold[of]), risk_coverage(sure[of], wrong[of])
        rows.append(
            {
                "ECE": bins.error,
                "too sure": bins.over,
                "Brier": classes.brier(scores[of], gold[of]),
                "NLL": classes.log_loss(scores[of], gold[of]),
                "error": curve.loss,
                "at half": curve.at(0.5),
                "AURC": curve.area,
                "least": least_area(wrong[of]),
            }
        )
    target = run.task.targets[0]
    frame = pd.DataFrame([{"target": target, **pd.DataFrame(rows).mean()}])
    return Calibration(run, frame, classes.reliability(scores, gold), {target: risk_coverage(sure, wrong)})


def _of_values(run: Run, predictions: pd.DataFrame) -> Calibration:
    keys = [key for key in ("id", "frame") if key in predictions]
    rows, curves = [], {}
    for target in run.task.targets:
        labelled = predictions[predictions[f"gold_{target}"].notna()]
        wide = labelled.pivot(index=keys, columns="trial", values=f"pred_{target}").sort_index()
        gold = labelled.drop_duplicates(keys).set_index(keys)[f"gold_{target}"].reindex(wide.index)
        y, by_trial = gold.to_numpy(dtype=np.float64), wide.to_numpy(dtype=np.float64).T
        lines = [values.line(y, one) for one in by_trial]
        row = {"target": target, "slope": np.mean([one.slope for one in lines])}
        row |= {"intercept": np.mean([one.intercept for one in lines]), "covered": values.coverage(y, by_trial, LEVEL)}
        if len(by_trial) > 1 and np.ptp(by_trial, axis=0).any():
            squared = (y - by_trial.mean(axis=0)) ** 2
            curves[target] = risk_coverage(-by_trial.std(axis=0, ddof=1), squared)
            row |= {"error": curves[target].loss, "at half": curves[target].at(0.5)}
            row |= {"AURC": curves[target].area, "least": least_area(squared)}
        rows.append(row)
    return Calibration(run, pd.DataFrame(rows), None, curves)


def table(done: Calibration) -> Table:
    """The figures as a table."""
    run = done.run
    rows = [{str(k): _cell(v) for k, v in row.items()} for row in records(done.frame)]
    note = CLASS_NOTE if run.task.kind == "classification" else VALUE_NOTE
    title = f"{run.name} on {run.spec['dataset']['name']}, {run.task.name}: calibration"
    return Table(title, rows, note, (), f"calibration_{run.run_id}", done.frame)


def _cell(value: object) -> Cell | str:
    return Cell(number(float(value)), float(value)) if isinstance(value, float) else str(value)
