"""Predictions as records hold them: on the scale of the corpus that is tested, beside its gold labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.schema.labels import Scale, rescale
from ...datasets.schema.task import Task
from ...sermodels.core.sermodel import Data, Predictions


def prediction_table(
    task: Task, data: Data, predictions: Predictions, gold: Any, subsets: Mapping[str, int]
) -> pd.DataFrame:
    """Predictions beside gold labels, one row per utterance or label frame, in the columns that records state."""
    if task.kind == "continuous":
        return _frame_table(task, data, predictions, gold, subsets)
    array = np.asarray(predictions, dtype=np.float64)
    expected = (len(data), task.n_outputs)
    if array.shape != expected:
        raise SerbenchError(f"the model predicted an array of shape {array.shape}; expected {expected}.")
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).any(axis=1).sum())
        raise SerbenchError(f"{bad} of {len(data)} predictions are not finite numbers. Try a lower learning rate.")
    columns: dict[str, Any] = {"id": data.ids, "subset": [subsets[i] for i in data.ids]}
    if task.kind == "classification":
        columns["gold"] = [task.labels[int(k)] for k in gold]
        columns["predicted"] = [task.labels[int(k)] for k in array.argmax(axis=1)]
        return pd.DataFrame(columns | {f"p_{label}": array[:, k] for k, label in enumerate(task.labels)})
    for k, target in enumerate(task.targets):
        columns |= {f"gold_{target}": np.asarray(gold)[:, k], f"pred_{target}": array[:, k]}
    return pd.DataFrame(columns)


def _frame_table(
    task: Task, data: Data, predictions: Predictions, gold: Sequence[npt.NDArray[Any]], subsets: Mapping[str, int]
) -> pd.DataFrame:
    parts = []
    for item, predicted, truth in zip(data.ids, predictions, gold, strict=True):
        if predicted.shape != truth.shape:
            raise SerbenchError(
                f"the model predicted {predicted.shape} for {item!r}; expected {truth.shape} (frame, target)."
            )
        columns: dict[str, Any] = {"id": item, "subset": subsets[item], "frame": np.arange(len(truth))}
        for k, target in enumerate(task.targets):
            columns |= {f"gold_{target}": truth[:, k], f"pred_{target}": np.asarray(predicted, dtype=np.float64)[:, k]}
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def carry(predictions: Predictions, trained: Task, asked: Task) -> Predictions:
    """Predicted attributes carried from the scales of the trained task to those of the asked one; classes stay."""
    if trained.kind == "classification" or trained.scales == asked.scales:
        return predictions
    pairs = [(trained.scales[target], asked.scales[target]) for target in trained.targets]
    if isinstance(predictions, list):
        return [_carry(frames, pairs) for frames in predictions]
    return _carry(predictions, pairs)


def _carry(values: npt.NDArray[Any], pairs: Sequence[tuple[Scale, Scale]]) -> npt.NDArray[np.float64]:
    """(row, target) values, each column from one scale to another."""
    columns = np.asarray(values, dtype=np.float64)
    return np.stack([rescale(columns[:, k], *pair) for k, pair in enumerate(pairs)], axis=1)
