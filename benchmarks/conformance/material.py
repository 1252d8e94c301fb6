"""Small synthetic data in which the label can be read from the features: what models are checked on.

Twenty items in two-party dialogues of four turns; a model is trained on the first eight. Features are positive, noisy,
of different lengths and driven by the label; a waveform has one tone per output whose loudness is the label. Each item
has another text.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...datasets.schema.corpus import make_table
from ...datasets.schema.task import Task
from ...features.core.feature_extractor import FeatureRequest, build
from ...features.core.feature_table import FeatureTable
from ...sermodels import registry
from ...sermodels.core.sermodel import TURN_COLUMNS, Data, FitLog, Resources, SERModel

Array = npt.NDArray[Any]
LABELS = ("anger", "neutral", "sadness")
SCALES = {"arousal": (1.0, 7.0), "valence": (1.0, 7.0)}
TASKS = {
    "classification": Task("emotion", "classification", ("emotion",), labels=LABELS),
    "regression": Task("attributes", "regression", ("arousal", "valence"), scales=SCALES),
    "continuous": Task("trace", "continuous", ("arousal", "valence"), scales=SCALES, frame_seconds=0.1),
}
N_TRAIN = 8
N_ITEMS = 20
IDS = tuple(f"u{i:02d}" for i in range(N_ITEMS))


@functools.cache
def taken(name: str) -> frozenset[str]:
    """The kinds of task that a model takes."""
    kinds: frozenset[str] = registry.load(name).Model.kinds
    return kinds


def tiny(name: str) -> Any:
    """A configuration that learns eight utterances by heart in a few seconds: the model's `TINY`, else its default."""
    module = registry.load(name)
    return getattr(module, "TINY", module.PRESETS["default"])


def items() -> pd.DataFrame:
    """Dialogues of four turns by two speakers, with the ids of the context turns."""
    rows = []
    for i, item in enumerate(IDS):
        start, turn = i - i % 4, i % 4
        rows.append(
            {
                "id": item,
                "path": f"{item}.wav",
                "speaker": f"s{i % 4 % 2 + 2 * (i // 4)}",
                "dialogue": f"d{i // 4}",
                "gender": ("female", "male")[i % 2],
                "language": "en",
                "turn": turn,
                "text": f"ba di {'gu' * (i // 4)} {'ne' * (i % 4)}",
                "previous": f"u{i - 2:02d}" if i - 2 >= start else None,
                "interlocutor": f"u{i - 1:02d}" if i - 1 >= start else None,
            }
        )
    return make_table(rows)


def seconds(kind: str) -> list[float]:
    """Durations in the order of the items, all different; long enough for a few chunks of a second."""
    low, high = (6.0, 9.0) if kind == "continuous" else (1.2, 3.0)
    return [float(s) for s in np.random.default_rng(1).permutation(np.linspace(low, high, N_ITEMS))]


def labels(kind: str) -> Any:
    """Labels of all items in row order, in the form of `Data.labels`."""
    generator = np.random.default_rng(2)
    if kind == "classification":
        return np.arange(N_ITEMS, dtype=np.int64) * 2 % len(LABELS)
    if kind == "regression":
        return generator.uniform(1.5, 6.5, size=(N_ITEMS, 2))
    traces = []
    for length in seconds(kind):
        time, phase = np.arange(int(length / 0.1)) * 0.1, generator.uniform(0, 2 * np.pi, size=2)
        trace = 4 + 2 * np.sin(2 * np.pi * time[:, None] / 12.0 + phase)
        trace[3:5] = np.nan  # frames that nobody rated
        traces.append(trace)
    return traces


def drive(kind: str, position: int, time: Array) -> Array:
    """What the signal shows of the label at each time, (time, output) in about -1..1."""
    label = labels(kind)[position]
    if kind == "classification":
        return np.tile(np.eye(len(LABELS))[label], (len(time), 1))
    if kind == "regression":
        return np.tile((label - 4) / 3, (len(time), 1))
    known = np.isfinite(label[:, 0])
    at = np.arange(len(label))[known] * 0.1
    return np.stack([np.interp(time, at, (column[known] - 4) / 3) for column in label.T], axis=1)


@functools.cache
def table(kind: str, request: FeatureRequest) -> FeatureTable:
    """Features of all items as the extractor of a request lays them out."""
    extractor = build(request)
    dim, hop = extractor.dim, extractor.hop_seconds
    generator = np.random.default_rng(3)
    patterns = generator.choice([-1.0, 1.0], size=(TASKS[kind].n_outputs, dim))
    arrays = {}
    for i, length in enumerate(seconds(kind)):
        time = np.zeros(1) if hop is None else np.arange(int(length / hop)) * hop
        shown = drive(kind, i, time)
        if dim == 1:
            tones = np.sin(2 * np.pi * time[:, None] * (200.0 * 2 ** np.arange(shown.shape[1])))
            rows = ((1 + shown) * tones).sum(axis=1, keepdims=True) * 0.1
            made = rows + generator.normal(size=rows.shape) * 0.01
        else:
            made = np.exp(0.5 * shown @ patterns + 0.2 * generator.normal(size=(len(time), dim)))
        arrays[IDS[i]] = made.astype(np.float32)
    return FeatureTable.from_arrays(arrays, hop, extractor.sampling_rate)


def words(item: str) -> pd.DataFrame:
    """Three words in the first second of each item."""
    return pd.DataFrame({"word": ["ba", "di", "gu"], "start": [0.1, 0.4, 0.7], "end": [0.3, 0.6, 0.9]})


def whole(name: str, kind: str) -> Data:
    """All items with their labels, as a model asks for them."""
    model = registry.load(name).Model
    features = {role: table(kind, r) for role, r in model.requests(tiny(name), TASKS[kind]).items()}
    targets = labels(kind)
    frames = {item: len(t) for item, t in zip(IDS, targets, strict=True)} if kind == "continuous" else {}
    rows = items()
    turns = rows[list(TURN_COLUMNS)]
    return Data(TASKS[kind], rows, features, targets, words if model.uses_words else None, frames, turns)


def withheld(data: Data) -> Data:
    """The data without labels."""
    return dataclasses.replace(data, labels=None)


def score(gold: Any, predicted: Any) -> float:
    """Share of right classes, or the CCC (Lin 1989) averaged over targets, frames concatenated."""
    if isinstance(gold, list):
        gold, predicted = np.concatenate(gold), np.concatenate(predicted)
    if gold.ndim == 1:
        return float((predicted.argmax(axis=1) == gold).mean())
    known = np.isfinite(gold).all(axis=1)
    g, p = gold[known], predicted[known]
    covariance = ((g - g.mean(0)) * (p - p.mean(0))).mean(0)
    return float((2 * covariance / (g.var(0) + p.var(0) + (g.mean(0) - p.mean(0)) ** 2)).mean())


def fit(name: str, kind: str, seed: int = 5, config: Any = None) -> tuple[SERModel, FitLog]:
    """A model trained on the first eight items; selection on the same eight, since it is to learn them by heart."""
    data, cls = whole(name, kind), registry.load(name).Model
    model: SERModel = cls(config or tiny(name), TASKS[kind], Resources(seed=seed))
    train = data.take(range(N_TRAIN))
    pool = withheld(data.take(range(12, 16))) if cls.uses_unlabelled else None
    return model, model.fit(train, train, score, pool)


@functools.cache
def trained(name: str, kind: str) -> tuple[SERModel, FitLog]:
    """`fit`, once in a process."""
    return fit(name, kind)


def flat(predictions: Any) -> Array:
    """Predictions as one array: the frames of all recordings end to end."""
    return np.concatenate(predictions) if isinstance(predictions, list) else np.asarray(predictions)
