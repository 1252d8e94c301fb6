"""What every registered model must do, on small synthetic data in which the label can be read from the features.

A model module may offer `TINY: Config`: small enough to be trained here in a few seconds, and still able to learn eight
utterances by heart. Without it the preset "default" is used.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from typing import Any

import numpy as np
import pandas as pd
import pytest

from serbench.datasets.core.config import describe, from_dict, to_dict, validate
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.core.files import canonical_json
from serbench.datasets.schema.corpus import make_table
from serbench.datasets.schema.task import Task
from serbench.features import registry as feature_registry
from serbench.features.core.feature_extractor import FeatureRequest, build
from serbench.features.core.feature_table import FeatureTable
from serbench.sermodels import registry
from serbench.sermodels.core.persist import load_model, save_model
from serbench.sermodels.core.sermodel import Data, FitLog, Resources, SERModel

KINDS = ("classification", "regression", "continuous")
LABELS = ("anger", "neutral", "sadness")
SCALES = {"arousal": (1.0, 7.0), "valence": (1.0, 7.0)}
TASKS = {
    "classification": Task("emotion", "classification", ("emotion",), labels=LABELS),
    "regression": Task("attributes", "regression", ("arousal", "valence"), scales=SCALES),
    "continuous": Task("trace", "continuous", ("arousal", "valence"), scales=SCALES, frame_seconds=0.1),
}
LAYOUTS = {"egemaps": (88, None, 16000), "opensmile": (25, 0.01, 16000), "mel": (128, 0.016, 16000),
           "waveform": (1, 1 / 16000, 16000)}  # fmt: skip
"""dim, hop in seconds and sampling rate, for extractors that can't be built here."""
N_TRAIN = 8
"""Training items; dev and test follow in the same table."""
N_ITEMS = 20
MODELS = registry.names()


def pairs() -> list[Any]:
    """(model, kind of task) for every kind; tests skip nothing, kinds not taken have a test of their own."""
    return [pytest.param(name, kind, id=f"{name}-{kind}") for name in MODELS for kind in KINDS if kind in taken(name)]


@functools.cache
def taken(name: str) -> frozenset[str]:
    kinds: frozenset[str] = registry.load(name).Model.kinds
    return kinds


def tiny(name: str) -> Any:
    module = registry.load(name)
    return getattr(module, "TINY", module.PRESETS["default"])


def ids() -> list[str]:
    return [f"u{i:02d}" for i in range(N_ITEMS)]


def items() -> pd.DataFrame:
    """Two-party dialogues of four turns; every third row names the speaker's previous turn and the other's last one."""
    rows = []
    for i, item in enumerate(ids()):
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
                "text": "ba di gu",
                "previous": f"u{i - 2:02d}" if i - 2 >= start else None,
                "interlocutor": f"u{i - 1:02d}" if i - 1 >= start else None,
            }
        )
    return make_table(rows)


def seconds(kind: str) -> dict[str, float]:
    """Durations, all different; long enough for a few chunks of a second."""
    low, high = (6.0, 9.0) if kind == "continuous" else (1.2, 3.0)
    lengths = np.random.default_rng(1).permutation(np.linspace(low, high, N_ITEMS))
    return dict(zip(ids(), lengths.tolist(), strict=True))


def labels(kind: str) -> Any:
    """Labels of all items in row order, in the form of `Data.labels`."""
    generator = np.random.default_rng(2)
    if kind == "classification":
        return np.arange(N_ITEMS, dtype=np.int64) * 2 % len(LABELS)
    if kind == "regression":
        return generator.uniform(1.5, 6.5, size=(N_ITEMS, 2))
    traces = []
    for length in seconds(kind).values():
        time, phase = np.arange(int(length / 0.1)) * 0.1, generator.uniform(0, 2 * np.pi, size=2)
        trace = 4 + 2 * np.sin(2 * np.pi * time[:, None] / 12.0 + phase)
        trace[3:5] = np.nan  # frames that nobody rated
        traces.append(trace)
    return traces


def drive(kind: str, position: int, time: np.ndarray) -> np.ndarray:
    """What the signal shows of the label at each time, (time, output) in about -1..1."""
    label = labels(kind)[position]
    if kind == "classification":
        return np.tile(np.eye(len(LABELS))[label], (len(time), 1))
    if kind == "regression":
        return np.tile((label - 4) / 3, (len(time), 1))
    known = np.isfinite(label[:, 0])
    at = np.arange(len(label))[known] * 0.1
    return np.stack([np.interp(time, at, (column[known] - 4) / 3) for column in label.T], axis=1)


def layout(request: FeatureRequest) -> tuple[int, float | None, int]:
    base = request.name.partition(":")[0]
    if base not in feature_registry.names():
        return LAYOUTS[base]
    extractor = build(request)
    return extractor.dim, extractor.hop_seconds, extractor.sampling_rate


@functools.cache
def table(kind: str, request: FeatureRequest) -> FeatureTable:
    """Features of all items: positive, noisy, of different lengths, driven by the label."""
    dim, hop, rate = layout(request)
    generator = np.random.default_rng(3)
    patterns = generator.choice([-1.0, 1.0], size=(TASKS[kind].n_outputs, dim))
    arrays = {}
    for i, (item, length) in enumerate(seconds(kind).items()):
        time = np.zeros(1) if hop is None else np.arange(int(length / hop)) * hop
        shown = drive(kind, i, time)
        if dim == 1:  # a waveform: one tone per output, its loudness is the label
            tones = np.sin(2 * np.pi * time[:, None] * (200.0 * 2 ** np.arange(shown.shape[1])))
            rows = ((1 + shown) * tones).sum(axis=1, keepdims=True) * 0.1
            arrays[item] = (rows + generator.normal(size=rows.shape) * 0.01).astype(np.float32)
        else:
            noise = generator.normal(size=(len(time), dim))
            arrays[item] = np.exp(0.5 * shown @ patterns + 0.2 * noise).astype(np.float32)
    return FeatureTable.from_arrays(arrays, hop, rate)


def words(item: str) -> pd.DataFrame:
    """Three words in the first second of each item."""
    return pd.DataFrame({"word": ["ba", "di", "gu"], "start": [0.1, 0.4, 0.7], "end": [0.3, 0.6, 0.9]})


def whole(name: str, kind: str) -> Data:
    """All items with their labels."""
    model = registry.load(name).Model
    features = {role: table(kind, r) for role, r in model.requests(tiny(name), TASKS[kind]).items()}
    targets = labels(kind)
    frames = {item: len(t) for item, t in zip(ids(), targets, strict=True)} if kind == "continuous" else {}
    return Data(TASKS[kind], items(), features, targets, words if model.uses_words else None, frames)


def withheld(data: Data) -> Data:
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


def fit(name: str, kind: str, seed: int = 5) -> tuple[SERModel, FitLog]:
    """A model trained on the first eight items; selection on the same eight, since it is to learn them by heart."""
    data, cls = whole(name, kind), registry.load(name).Model
    model = cls(tiny(name), TASKS[kind], Resources(seed=seed))
    train = data.take(range(N_TRAIN))
    pool = withheld(data.take(range(12, 16))) if cls.uses_unlabelled else None
    return model, model.fit(train, train, score, pool)


@functools.cache
def trained(name: str, kind: str) -> tuple[SERModel, FitLog]:
    return fit(name, kind)


def flat(predictions: Any) -> np.ndarray:
    return np.concatenate(predictions) if isinstance(predictions, list) else np.asarray(predictions)


@pytest.mark.parametrize("name", MODELS)
def test_module_offers_what_the_registry_needs(name: str) -> None:
    module = registry.load(name)
    assert isinstance(module, types.ModuleType)
    assert module.Model.name == name
    assert issubclass(module.Model, SERModel)
    assert taken(name)
    assert taken(name) <= set(KINDS)
    assert "default" in module.PRESETS
    assert module.Config.__dataclass_params__.frozen
    assert all(row["doc"] for row in describe(module.Config))
    for config in [*module.PRESETS.values(), tiny(name)]:
        assert from_dict(module.Config, to_dict(validate(config))) == config
    assert registry.summary(name)


@pytest.mark.parametrize(("name", "kind"), pairs())
def test_requests_name_known_features(name: str, kind: str) -> None:
    requests = registry.load(name).Model.requests(tiny(name), TASKS[kind])
    assert all(isinstance(request, FeatureRequest) for request in requests.values())
    assert "input" in requests or not requests, "`--set feature.KEY=` reaches the role 'input'"


@pytest.mark.parametrize("name", [name for name in MODELS if taken(name) != frozenset(KINDS)])
def test_a_kind_that_is_not_taken_is_refused_in_words(name: str) -> None:
    for kind in set(KINDS) - taken(name):
        with pytest.raises(SerbenchError, match=rf"{name}.*{TASKS[kind].name}.*{kind}"):
            registry.load(name).Model(tiny(name), TASKS[kind])


@pytest.mark.parametrize(("name", "kind"), pairs())
def test_shapes(name: str, kind: str) -> None:
    model, log = trained(name, kind)
    data = withheld(whole(name, kind))
    predictions = model.predict(data)
    if kind == "continuous":
        assert isinstance(predictions, list)
        assert [p.shape for p in predictions] == [(data.frames[item], 2) for item in data.ids]
    else:
        assert flat(predictions).shape == (N_ITEMS, TASKS[kind].n_outputs)
    assert np.isfinite(flat(predictions)).all()
    assert np.issubdtype(flat(predictions).dtype, np.floating)
    assert model.parameters > 0
    canonical_json(log.facts)  # raises on what a record can't hold, NaN included


@pytest.mark.parametrize("name", [name for name in MODELS if "classification" in taken(name)])
def test_class_scores_sum_to_one(name: str) -> None:
    scores = flat(trained(name, "classification")[0].predict(withheld(whole(name, "classification"))))
    assert (scores >= 0).all()
    np.testing.assert_allclose(scores.sum(axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize(("name", "kind"), pairs())
def test_one_seed_gives_one_model_and_the_data_stay_as_they_were(name: str, kind: str) -> None:
    data = whole(name, kind)
    before = [np.array(data.features[role][item]) for role in data.features for item in data.ids]
    again = fit(name, kind)[0].predict(withheld(data))
    np.testing.assert_array_equal(flat(again), flat(trained(name, kind)[0].predict(withheld(data))))
    after = [data.features[role][item] for role in data.features for item in data.ids]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize(("name", "kind"), pairs())
def test_saved_and_loaded_it_predicts_the_same(name: str, kind: str, tmp_path: Any) -> None:
    model, data = trained(name, kind)[0], withheld(whole(name, kind))
    path = save_model(model, tmp_path / "kept")
    assert path.name == "model.safetensors"
    loaded = load_model(tmp_path / "kept", Resources(seed=99))
    np.testing.assert_array_equal(flat(loaded.predict(data)), flat(model.predict(data)))
    assert type(loaded) is type(model)
    assert loaded.parameters == model.parameters
    assert loaded.task == model.task
    assert loaded.config == model.config


@pytest.mark.parametrize(("name", "kind"), pairs())
def test_order_and_company_change_no_prediction(name: str, kind: str) -> None:
    model, data = trained(name, kind)[0], withheld(whole(name, kind))
    together = model.predict(data)
    shuffled = np.random.default_rng(4).permutation(N_ITEMS)
    for positions in (shuffled, [7], [0, 13, 5]):
        apart = model.predict(data.take(positions))
        for prediction, position in zip(apart, positions, strict=True):
            np.testing.assert_allclose(prediction, together[position], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "kind"), pairs())
def test_labels_of_the_predicted_data_decide_nothing(name: str, kind: str) -> None:
    model, data = trained(name, kind)[0], whole(name, kind)
    other = [trace * 0 + 1 for trace in data.labels] if kind == "continuous" else np.zeros_like(data.labels)
    for labelled in (data, dataclasses.replace(data, labels=other)):
        np.testing.assert_array_equal(flat(model.predict(labelled)), flat(model.predict(withheld(data))))


@pytest.mark.parametrize(("name", "kind"), [p for p in pairs() if p.values[0] != "chance"])
def test_eight_utterances_are_learnt_by_heart(name: str, kind: str) -> None:
    train = whole(name, kind).take(range(N_TRAIN))
    reached = score(train.labels, trained(name, kind)[0].predict(withheld(train)))
    assert reached == 1.0 if kind == "classification" else reached > 0.8
