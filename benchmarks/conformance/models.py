"""What every model must do. A module may offer `TINY: Config`, small enough to be trained here in a few seconds."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import numpy as np

from ...datasets.core.config import describe, from_dict, to_dict, validate
from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import canonical_json
from ...features.core.feature_request import FeatureRequest
from ...sermodels import registry
from ...sermodels.core.persist import load_model, save_model
from ...sermodels.core.sermodel import Resources, SERModel
from .check import Problems, differs
from .material import N_ITEMS, N_TRAIN, TASKS, fit, flat, score, taken, tiny, trained, whole, withheld

LEARNT = {"classification": 1.0, "regression": 0.8, "continuous": 0.8}
"""What eight utterances have to be learnt to: share of right classes, or CCC."""


def offers_what_a_model_needs(name: str) -> Problems:
    """`Model`, `Config` with documented fields, `PRESETS` with "default", a docstring."""
    module = registry.load(name)
    if not issubclass(module.Model, SERModel):
        yield "Model is no SERModel"
    if module.Model.name != name:
        yield f"Model.name is {module.Model.name!r}, expected {name!r}"
    if not taken(name) or taken(name) - set(TASKS):
        yield f"Model.kinds is {sorted(taken(name))}, expected some of {', '.join(TASKS)}"
    if "default" not in module.PRESETS:
        yield "PRESETS has no 'default'"
    yield from config_problems(module.Config, [*module.PRESETS.values(), tiny(name)])
    if not registry.summary(name):
        yield "the module has no docstring"


def config_problems(cls: type, configs: list[object]) -> Problems:
    """What is wrong with a `Config` class and some configurations of it."""
    if not cls.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        yield "Config is no frozen dataclass"
    yield from (
        f"{row['name']} of Config has no doc; declare it with option()" for row in describe(cls) if not row.get("doc")
    )
    yield from (f"from_dict(to_dict(c)) is not c for {c}" for c in configs if from_dict(cls, to_dict(validate(c))) != c)


def refuses_other_kinds_of_task_in_words(name: str) -> Problems:
    """A task of a kind that is not taken is a `SerbenchError` that names model, task and kind."""
    for kind in sorted(set(TASKS) - taken(name)):
        try:
            registry.load(name).Model(tiny(name), TASKS[kind])
        except SerbenchError as error:
            yield from (
                f"{kind}: the error has no {w!r}" for w in (name, TASKS[kind].name, kind) if w not in str(error)
            )
        else:
            yield f"{kind}: not refused"


def requests_known_features(name: str, kind: str) -> Problems:
    """Requests are `FeatureRequest`s of registered features, and the role "input" is among them."""
    requests = registry.load(name).Model.requests(tiny(name), TASKS[kind])
    yield from (f"{role!r} is no FeatureRequest" for role, r in requests.items() if not isinstance(r, FeatureRequest))
    if requests and "input" not in requests:
        yield f"the roles are {', '.join(requests)}; expected 'input' among them, which --set feature.KEY= reaches"


def shapes(name: str, kind: str) -> Problems:
    """Finite floating point predictions in the documented shapes; parameters, and a log that a record can hold."""
    model, log = trained(name, kind)
    data = withheld(whole(name, kind))
    predictions = model.predict(data)
    if kind == "continuous":
        yield from () if isinstance(predictions, list) else ("expected a list of arrays",)
        given, expected = [p.shape for p in predictions], [(data.frames[item], 2) for item in data.ids]
    else:
        given, expected = [flat(predictions).shape], [(N_ITEMS, TASKS[kind].n_outputs)]
    if given != expected:
        yield f"shapes are {given}, expected {expected}"
    if not np.isfinite(flat(predictions)).all():
        yield "predictions are not finite"
    if not np.issubdtype(flat(predictions).dtype, np.floating):
        yield f"predictions are {flat(predictions).dtype}, expected floating point numbers"
    if model.parameters <= 0:
        yield f"parameters is {model.parameters}, expected the number of trained scalars"
    canonical_json(log.facts)  # raises on what a record can't hold, NaN included


def class_scores_sum_to_one(name: str, kind: str = "classification") -> Problems:
    """Class scores of an utterance are none of them negative, and sum to 1."""
    if kind == "classification":
        scores = flat(trained(name, kind)[0].predict(withheld(whole(name, kind))))
        if (scores < 0).any():
            yield f"the lowest score is {scores.min():.3g}"
        yield from differs("sums of class scores", scores.sum(axis=1), np.ones(len(scores)), 1e-6)


def one_seed_gives_one_model(name: str, kind: str) -> Problems:
    """Two trainings with one seed predict the same, and leave their data as they were."""
    data = whole(name, kind)
    before = [np.array(data.features[role][item]) for role in data.features for item in data.ids]
    again = fit(name, kind)[0].predict(withheld(data))
    yield from differs("a second training", flat(again), flat(trained(name, kind)[0].predict(withheld(data))))
    after = [data.features[role][item] for role in data.features for item in data.ids]
    if not all(np.array_equal(a, b) for a, b in zip(before, after, strict=True)):
        yield "training changes the features that it is given"


def a_model_that_is_deterministic_takes_no_seed(name: str, kind: str) -> Problems:
    """A preset that declares itself `deterministic` predicts the same whatever the seed: it is trained once, not five
    times."""
    module, data = registry.load(name), withheld(whole(name, kind))
    for preset, config in {"TINY": tiny(name), **module.PRESETS}.items():
        if module.Model.deterministic(config):
            one, other = (fit(name, kind, seed, config)[0].predict(data) for seed in (5, 6))
            yield from differs(f"{preset} trained with another seed", flat(other), flat(one))


def saved_and_loaded_it_predicts_the_same(name: str, kind: str) -> Problems:
    """The file holds all that the predictions need: weights, task, configuration."""
    model, data = trained(name, kind)[0], withheld(whole(name, kind))
    with tempfile.TemporaryDirectory() as folder:
        if save_model(model, Path(folder) / "kept").name != "model.safetensors":
            yield "the file is not called model.safetensors"
        loaded = load_model(Path(folder) / "kept", Resources(seed=99))
    yield from differs("a loaded model", flat(loaded.predict(data)), flat(model.predict(data)))
    for what in ("__class__", "parameters", "task", "config"):
        if getattr(loaded, what) != getattr(model, what):
            yield f"{what} of the loaded model is {getattr(loaded, what)}, was {getattr(model, what)}"


def order_and_company_change_no_prediction(name: str, kind: str) -> Problems:
    """An item is predicted the same wherever it stands in a batch and however long the others are."""
    model, data = trained(name, kind)[0], withheld(whole(name, kind))
    together = model.predict(data)
    for positions in (np.random.default_rng(4).permutation(N_ITEMS), [7], [0, 13, 5]):
        apart = model.predict(data.take(positions))
        for prediction, position in zip(apart, positions, strict=True):
            yield from differs(f"{data.ids[position]} among {len(positions)}", prediction, together[position], 1e-5)


def labels_of_predicted_data_decide_nothing(name: str, kind: str) -> Problems:
    """Predictions are the same with labels, with other labels and without."""
    model, data = trained(name, kind)[0], whole(name, kind)
    other = [trace * 0 + 1 for trace in data.labels] if kind == "continuous" else np.zeros_like(data.labels)
    for labelled in (data, dataclasses.replace(data, labels=other)):
        yield from differs("with labels", flat(model.predict(labelled)), flat(model.predict(withheld(data))))


def eight_utterances_are_learnt_by_heart(name: str, kind: str) -> Problems:
    """`TINY` fits its training data; a model that asks for no features and reads no text has nothing to learn from."""
    train = whole(name, kind).take(range(N_TRAIN))
    if train.features or train.words or registry.load(name).Model.reads_text(tiny(name)):
        reached = score(train.labels, trained(name, kind)[0].predict(withheld(train)))
        if not reached >= LEARNT[kind]:  # NaN too
            yield f"{'UAR' if kind == 'classification' else 'CCC'} {reached:.3f} on the training data"


OF_A_MODEL = (offers_what_a_model_needs, refuses_other_kinds_of_task_in_words)
OF_A_KIND = (
    requests_known_features,
    shapes,
    class_scores_sum_to_one,
    one_seed_gives_one_model,
    a_model_that_is_deterministic_takes_no_seed,
    saved_and_loaded_it_predicts_the_same,
    order_and_company_change_no_prediction,
    labels_of_predicted_data_decide_nothing,
    eight_utterances_are_learnt_by_heart,
)
"""Checks of a model on one kind of task."""
