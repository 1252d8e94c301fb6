"""From predictions to scores, one per (trial, subset, target, metric), and the dev metric that selection uses.

A table of predictions has the columns `id`, `subset` (and `trial` when it holds several trials), and

- classification: `gold`, `predicted` (class names, or class indices), `p_<label>` ... (class scores);
- regression: `gold_<target>`, `pred_<target>` ...;
- continuous: `frame` and the columns of regression, one row per label frame. CCC is taken over the concatenated frames
  of all recordings of a subset, not averaged over recordings.

The predictions of all folds of a trial are pooled before they are scored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.schema.task import Task
from . import metrics

SCORE_COLUMNS = ("trial", "subset", "target", "metric", "value", "n")
CLASSIFICATION: dict[str, Callable[[Any, Any, int], float]] = {
    "UAR": metrics.uar,
    "WA": lambda gold, predicted, _: metrics.accuracy(gold, predicted),
    "macroF1": metrics.macro_f1,
    "weightedF1": metrics.weighted_f1,
}
REGRESSION: dict[str, Callable[[Any, Any], float]] = {"CCC": metrics.ccc, "PCC": metrics.pcc, "RMSE": metrics.rmse}
MEAN = "mean"
"""Target name of the mean over several targets."""

Labels = npt.NDArray[Any] | Sequence[npt.NDArray[Any]]
Row = tuple[int, int, str, str, float, int]
Groups = dict[tuple[int, int], npt.NDArray[np.intp]]


def score_predictions(predictions: pd.DataFrame, task: Task) -> pd.DataFrame:
    """Score a table of predictions.

    Returns
    -------
    one row per (trial, subset, target, metric), sorted: the columns of `SCORE_COLUMNS`; `n` counts the labelled
    utterances (or frames) behind the value. Several targets get a further target "mean" (the mean of their values)

    Raises
    ------
    SerbenchError
        When a column is missing, an utterance (or frame) occurs twice in a trial, or a class is not one of the task's.
    """
    check_predictions(predictions, task)
    if "trial" not in predictions:
        predictions = predictions.assign(trial=0)
    score = _score_classes if task.kind == "classification" else _score_values
    return pd.DataFrame(list(score(predictions, task, _groups(predictions))), columns=list(SCORE_COLUMNS))


def dev_score(task: Task) -> Callable[[Labels, Labels], float]:
    """The function (labels, predictions) -> score that epochs and settings are selected by; higher is better.

    UAR of the highest class score for classification; CCC averaged over the targets otherwise, for continuous tasks
    over the concatenated frames of all recordings, without the frames that have no label. Where the CCC of a target is
    undefined (gold and predictions are one and the same constant) it counts as 0: the answer is always a number.

    Raises
    ------
    SerbenchError
        From the returned function: for predictions that are not finite, no labels at all, or shapes that don't fit.
    """

    def score(labels: Labels, predictions: Labels) -> float:
        gold, predicted = (
            _concatenate(labels, predictions)
            if task.kind == "continuous"
            else (np.asarray(labels), np.asarray(predictions))
        )
        _check_dev(gold, predicted, task)
        if task.kind == "classification":
            return metrics.uar(gold, np.argmax(predicted, axis=1), len(task.labels))
        values = [metrics.ccc(gold[:, k], predicted[:, k]) for k in range(len(task.targets))]
        return float(np.mean(np.nan_to_num(values, nan=0.0)))

    return score


def confusion_table(predictions: pd.DataFrame, task: Task) -> pd.DataFrame:
    """Confusion counts of a table of predictions, all trials together: gold classes by predicted classes."""
    check_predictions(predictions, task)
    labels = list(task.labels)
    gold, predicted = (class_indices(predictions, side, task) for side in ("gold", "predicted"))
    counts = metrics.confusion(gold, predicted, len(labels))
    return pd.DataFrame(counts, index=pd.Index(labels, name="gold"), columns=pd.Index(labels, name="predicted"))


def check_predictions(predictions: pd.DataFrame, task: Task) -> None:
    """Raise `SerbenchError` when columns are missing or an item is predicted twice in one trial."""
    missing = [c for c in required_columns(task) if c not in predictions]
    if missing:
        raise SerbenchError(
            f"the predictions of the task {task.name!r} lack the column(s) {', '.join(missing)}; "
            f"they have: {', '.join(map(str, predictions.columns))}."
        )
    homeless = predictions["subset"].isna()
    if homeless.any():
        raise SerbenchError(f"the prediction for {predictions.loc[homeless, 'id'].iloc[0]!r} has no subset.")
    twice = predictions.duplicated(key_columns(predictions))
    if twice.any():
        example = predictions.loc[twice, "id"].iloc[0]
        raise SerbenchError(f"{int(twice.sum())} items are predicted more than once in a trial, such as {example!r}.")


def required_columns(task: Task) -> list[str]:
    """Columns that a table of predictions of the task must have for scoring."""
    if task.kind == "classification":
        return ["id", "subset", "gold", "predicted"]
    values = [f"{side}_{target}" for side in ("gold", "pred") for target in task.targets]
    return ["id", "subset", *(["frame"] if task.kind == "continuous" else []), *values]


def scored_targets(task: Task) -> tuple[str, ...]:
    """Targets in the order of tables: the mean first where there are several, then the task's own order."""
    return (MEAN, *task.targets) if len(task.targets) > 1 else task.targets


def gold_columns(task: Task) -> list[str]:
    """The columns of a table of predictions that hold gold labels."""
    return ["gold"] if task.kind == "classification" else [f"gold_{target}" for target in task.targets]


def key_columns(predictions: pd.DataFrame) -> list[str]:
    """The columns that address one prediction: trial, id, frame, as far as the table has them."""
    return [c for c in ("trial", "id", "frame") if c in predictions]


def not_finite(predictions: pd.DataFrame) -> int:
    """Number of rows with a NaN or an infinity among the model's outputs (`pred_*`, `p_*`)."""
    outputs = predictions[[c for c in predictions if str(c).startswith(("pred_", "p_"))]]
    return int((~np.isfinite(outputs.to_numpy(dtype=np.float64))).any(axis=1).sum()) if outputs.shape[1] else 0


def _score_classes(predictions: pd.DataFrame, task: Task, groups: Groups) -> Iterator[Row]:
    gold, predicted = class_indices(predictions, "gold", task), class_indices(predictions, "predicted", task)
    for (trial, subset), rows in groups.items():
        for name, metric in CLASSIFICATION.items():
            value = metric(gold[rows], predicted[rows], len(task.labels))
            yield trial, subset, task.targets[0], name, value, len(rows)


def _score_values(predictions: pd.DataFrame, task: Task, groups: Groups) -> Iterator[Row]:
    gold = {t: predictions[f"gold_{t}"].to_numpy(dtype=np.float64) for t in task.targets}
    predicted = {t: predictions[f"pred_{t}"].to_numpy(dtype=np.float64) for t in task.targets}
    for (trial, subset), rows in groups.items():
        counts = {t: int((~np.isnan(gold[t][rows])).sum()) for t in task.targets}
        values = {
            (t, name): metric(gold[t][rows], predicted[t][rows])
            for t in task.targets
            for name, metric in REGRESSION.items()
        }
        for (target, name), value in values.items():
            yield trial, subset, target, name, value, counts[target]
        if len(task.targets) > 1:
            for name in REGRESSION:
                mean = float(np.mean([values[t, name] for t in task.targets]))
                yield trial, subset, MEAN, name, mean, min(counts.values())


def class_indices(predictions: pd.DataFrame, column: str, task: Task) -> npt.NDArray[np.int64]:
    """Class indices of a column that holds class names or class indices."""
    values = predictions[column]
    if pd.api.types.is_integer_dtype(values.dtype):
        return values.to_numpy(dtype=np.int64)
    codes = pd.Index(list(task.labels), dtype=object).get_indexer(pd.Index(values, dtype=object))
    if (codes < 0).any():
        wrong, known = values[codes < 0].iloc[0], ", ".join(task.labels)
        raise SerbenchError(f"the column {column!r} holds {wrong!r}. Expected a class of {task.name!r}: {known}.")
    return np.asarray(codes, dtype=np.int64)


def _groups(predictions: pd.DataFrame) -> Groups:
    """Row numbers of each (trial, subset), sorted by that key."""
    rows_of: dict[Any, Any] = predictions.groupby(["trial", "subset"], sort=True).indices
    return {(int(trial), int(subset)): np.asarray(rows) for (trial, subset), rows in sorted(rows_of.items())}


def _concatenate(labels: Labels, predictions: Labels) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Two lists of (frame, target) arrays as two (all frames, target) arrays."""
    shapes = [np.shape(a) for a in labels], [np.shape(a) for a in predictions]
    if shapes[0] != shapes[1] or not shapes[0]:
        wrong = next((i for i, (g, p) in enumerate(zip(*shapes, strict=False)) if g != p), None)
        where = (
            f"{len(shapes[0])} and {len(shapes[1])} recordings"
            if wrong is None
            else (f"{shapes[0][wrong]} and {shapes[1][wrong]} at recording {wrong}")
        )
        raise SerbenchError(f"dev labels and predictions don't fit: {where}. Expected one (frame, target) array each.")
    return np.concatenate([np.asarray(a) for a in labels]), np.concatenate([np.asarray(a) for a in predictions])


def _check_dev(gold: npt.NDArray[Any], predicted: npt.NDArray[Any], task: Task) -> None:
    if predicted.ndim != 2 or predicted.shape[1] != task.n_outputs or len(gold) != len(predicted):
        raise SerbenchError(
            f"dev labels have shape {gold.shape}, predictions {predicted.shape}. "
            f"Expected {len(gold)} rows of {task.n_outputs} for the task {task.name!r}."
        )
    if not len(gold):
        raise SerbenchError("there are no dev labels to select by. Choose a split that has a dev part, with --split.")
    if not np.isfinite(predicted).all():
        bad = int((~np.isfinite(predicted)).any(axis=1).sum())
        raise SerbenchError(f"{bad} of {len(predicted)} dev predictions are NaN or infinite: training diverged.")
