"""Items as rows of a matrix, for models that see one vector at a time, and back from rows to items.

An utterance becomes one row: its functionals, or the mean and standard deviation over its frames. A recording becomes
one row per label frame: mean and standard deviation of the feature frames in a centred window. Axis order: (row, dim).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...datasets.core.errors import SerbenchError
from ...features.core.feature_table import FeatureTable
from .sermodel import Data, Predictions

Matrix = npt.NDArray[np.float64]


def utterance_matrix(data: Data, role: str = "input") -> Matrix:
    """One row per utterance, (utterance, dim) float64, or (utterance, 2 dim) where the feature has frames.

    A feature without a hop (functionals) is taken as it is. Of a feature with frames the mean and the population
    standard deviation over the frames are taken, also where an utterance happens to have a single frame. Values that
    are not finite stay so: only the column they stand in is lost for that utterance.
    """
    return table_matrix(data.features[role], data.ids)


def table_matrix(table: FeatureTable, ids: Sequence[str]) -> Matrix:
    """`utterance_matrix` of some ids of a table."""
    summarise = table.hop_seconds is not None
    rows = np.empty((len(ids), table.dim * (2 if summarise else 1)))
    for i, item in enumerate(ids):
        frames = table[item].astype(np.float64)
        rows[i] = _mean_and_sd(frames) if summarise else _single(frames, item)
    return rows


def window_matrix(
    frames: Matrix, hop_seconds: float, count: int, frame_seconds: float, window_seconds: float
) -> Matrix:
    """Mean and population standard deviation of the feature frames around each label frame.

    Parameters
    ----------
    frames : (frame, dim); frame j stands for the time j * hop_seconds
    count : number of label frames; label frame k stands for the time k * frame_seconds
    window_seconds : width of the window, centred on the label frame and cut off at both ends of the recording; a window
        without any feature frame takes the nearest one

    Returns
    -------
    array, (count, 2 dim) float64: means, then standard deviations, over the finite values of each column; NaN where a
    column has none in the window
    """
    if not len(frames):
        return np.full((count, 2 * frames.shape[1]), np.nan)
    finite = np.isfinite(frames)
    n = _running(finite.astype(np.float64))
    centre = np.where(finite, frames, 0.0).sum(axis=0) / np.maximum(n[-1], 1.0)
    centred = np.where(finite, frames - centre, 0.0)
    low, high = _window_bounds(len(frames), hop_seconds, count, frame_seconds, window_seconds)
    n, total, squares = (_between(sums, low, high) for sums in (n, _running(centred), _running(centred**2)))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / n
        variance = squares / n - mean**2
    noise = 1e-10 * centred.var(axis=0) + (1e-12 * centre) ** 2  # what the running sums leave of a constant stretch
    variance = np.where(variance <= noise, 0.0, variance)
    return np.hstack([mean + centre, np.sqrt(variance)])


def frame_counts(data: Data) -> list[int]:
    """Number of label frames of each recording, from `data.frames` or, where that is silent, from the labels."""
    if data.labels is None:
        missing = [item for item in data.ids if item not in data.frames]
        if missing:
            raise SerbenchError(
                f"the number of label frames of {missing[0]!r} is not known. Expected Data.frames to hold it for every "
                "recording whose labels are withheld."
            )
        return [int(data.frames[item]) for item in data.ids]
    return [int(data.frames.get(item, len(trace))) for item, trace in zip(data.ids, data.labels, strict=True)]


def recording_matrix(data: Data, window_seconds: float, role: str = "input") -> Matrix:
    """The rows of `window_matrix` of all recordings, one under the other: (label frame, 2 dim)."""
    table = data.features[role]
    if table.hop_seconds is None or data.task.frame_seconds is None:
        raise SerbenchError(
            f"the task {data.task.name!r} is continuous, but the feature has one row per recording. Expected a feature "
            "with frames: --set model.frame_feature=opensmile:eGeMAPSv02:lld, or mel."
        )
    blocks = [np.empty((0, 2 * table.dim))]
    for item, count in zip(data.ids, frame_counts(data), strict=True):
        frames = table[item].astype(np.float64)
        blocks.append(window_matrix(frames, table.hop_seconds, count, data.task.frame_seconds, window_seconds))
    return np.concatenate(blocks)


def shape_rows(rows: Matrix, data: Data) -> Predictions:
    """Predicted rows in the shape that the task wants: as they are, or one (frame, target) array per recording."""
    if data.task.kind != "continuous":
        return rows
    return [np.asarray(block) for block in np.split(rows, np.cumsum(frame_counts(data))[:-1])] if len(data) else []


def label_rows(data: Data) -> Matrix:
    """Labels of a regression or continuous task one under the other: (row, target) float64, NaN where there is none."""
    labels: Any = np.concatenate(data.labels) if isinstance(data.labels, list) else data.labels
    return np.asarray(labels, dtype=np.float64).reshape(-1, len(data.task.targets))


def _single(frames: Matrix, item: str) -> Matrix:
    if len(frames) != 1:
        raise SerbenchError(
            f"the features of {item!r} have {len(frames)} rows. Expected one row, since the feature has no hop."
        )
    return np.asarray(frames[0])


def _mean_and_sd(frames: Matrix) -> Matrix:
    if not len(frames):
        return np.full(2 * frames.shape[1], np.nan)
    with np.errstate(invalid="ignore"):
        return np.concatenate([frames.mean(axis=0), frames.std(axis=0)])


def _running(values: Matrix) -> Matrix:
    """Sums of the first 0, 1, 2 ... rows, (frame + 1, dim)."""
    return np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])


def _between(sums: Matrix, low: npt.NDArray[np.int64], high: npt.NDArray[np.int64]) -> Matrix:
    return np.asarray(sums[high] - sums[low])


def _window_bounds(
    n_frames: int, hop_seconds: float, count: int, frame_seconds: float, window_seconds: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First feature frame of each label frame's window, and the one after its last; never an empty window."""
    time = np.arange(count) * frame_seconds
    slack = 1e-9  # a frame on the edge belongs to the window, whatever the division rounds to
    low = np.ceil((time - window_seconds / 2) / hop_seconds - slack).astype(np.int64)
    high = np.floor((time + window_seconds / 2) / hop_seconds + slack).astype(np.int64) + 1
    nearest = np.clip(np.rint(time / hop_seconds).astype(np.int64), 0, n_frames - 1)
    low, high = np.clip(low, 0, n_frames), np.clip(high, 0, n_frames)
    return np.where(low < high, low, nearest), np.where(low < high, high, nearest + 1)
