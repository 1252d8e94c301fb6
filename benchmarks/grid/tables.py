"""The tables of a record: predictions on the scale of the tested corpus, beside gold labels; and its test items.

Of an item a record keeps speaker, dialogue and duration; no labels, no text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import inside
from ...datasets.schema.corpus import Corpus
from ...datasets.schema.labels import Scale, rescale
from ...datasets.schema.ratings import answers, rated
from ...datasets.schema.task import Task
from ...results.record.test_items import COLUMNS, Ratings
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


def item_table(corpus: Corpus, task: Task, ids: Sequence[str]) -> pd.DataFrame:
    """One row per item: id, those of `test_items.COLUMNS` that the corpus has, and its duration in seconds."""
    rows = corpus.items(task).loc[list(ids)]
    table = pd.DataFrame({"id": [str(i) for i in rows.index]})
    for column in COLUMNS:
        if column in rows:
            table[column] = rows[column].to_numpy()
    return table.assign(duration_seconds=durations(corpus, rows))


def rating_table(corpus: Corpus, task: Task, ids: Sequence[str]) -> Ratings | None:
    """What single raters said of some items; None where the corpus keeps nothing of it."""
    table = answers(corpus, task, ids) if rated(corpus, task) else None
    if table is None or table.empty:
        return None
    return Ratings(table, task.kind == "classification" and task.column in corpus.intended)


def durations(corpus: Corpus, rows: pd.DataFrame) -> list[float]:
    """Seconds of each row: from its segment, its place in the dialogue, or its file's header; NaN where unknown.

    No audio is decoded: of clips that the corpus converts first (`audio_source`) no header is read.
    """
    known = (rows["end"] - rows["start"]).fillna(rows["dialogue_end"] - rows["dialogue_start"])
    return [
        float(seconds) if seconds == seconds else _header_seconds(corpus, str(path))
        for path, seconds in zip(rows["path"], known, strict=True)
    ]


def _header_seconds(corpus: Corpus, path: str) -> float:
    if corpus.audio_source is not None:
        return float("nan")
    import soundfile

    try:
        return float(soundfile.info(inside(corpus.root, path)).duration)
    except (OSError, RuntimeError, SerbenchError):
        return float("nan")
