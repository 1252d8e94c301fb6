"""Resolving a request: from what was typed to a corpus, folds, subsets, a configuration and an opened record.

Nothing is trained or extracted here. A `Request` is plain data and stands in the record; a `Plan` is a request met by
the corpora on disk and the registered model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ...datasets.core.config import config_digest, from_dict, override, to_dict
from ...datasets.core.errors import SerbenchError, unknown
from ...datasets.schema.corpus import Corpus
from ...datasets.schema.task import Task
from ...features.core.feature_extractor import FeatureExtractor, FeatureRequest, build
from ...results.record.folder import Run
from ...sermodels import registry
from ...sermodels.core.sermodel import SERModel
from ..core.machine import versions
from ..protocol.guards import Side, guard, guard_pool, sides
from ..protocol.request import Request as Request
from ..protocol.setting import Corpora, Setting, resolve
from ..tune.space import check
from ..weights.trained import described, features_of as weights_features, labels, ordered, reopen


@dataclass(frozen=True)
class Plan:
    """A request resolved against the corpora and the registry, with its record opened."""

    request: Request
    setting: Setting
    config: Any
    features: Mapping[str, FeatureRequest]
    run: Run

    def missing(self) -> list[tuple[int, str]]:
        """Units (trial, fold) without a finished record."""
        return self.run.finished(self.request.trials, self.setting.folds)


def prepare(request: Request, results: str | Path, corpora: Corpora | None = None, config: Any = None) -> Plan:
    """Resolve a request and open (or create) its record; nothing is trained or extracted."""
    setting = resolve(request, corpora)
    if request.weights:
        return _untrained(request, setting, results)
    module = registry.load(request.model)
    config = config if config is not None else configure(module, request)
    features = features_of(request, setting, config)
    found = guard(_pairs(setting), texts=module.Model.reads_text(config), allow_leak=request.allow_leak)
    found += _pool_labels(module.Model, config, setting, request.allow_leak)
    said = [*module.Model.labels(config), *_seen(module.Model, config, setting)]
    model = {
        "name": request.model,
        "preset": request.preset or "default",
        "config": to_dict(config),
        "config_digest": config_digest(config),
    }
    if request.search is not None:
        check(module, config, setting.task, request.search)
        model["search"] = dict(request.search)
        said.append(f"search:{request.search['sampler']}-{request.search['budget']}")
    spec = _specification(request, setting, model, features, [*found, *said])
    return Plan(request, setting, config, features, Run.create(Path(results), spec))


def _untrained(request: Request, setting: Setting, results: str | Path) -> Plan:
    """The plan of weights that are scored as they are; its config is the description that the record holds."""
    found = ordered(reopen(request.weights), setting.asked)
    said = labels(found, setting, allow_leak=request.allow_leak)
    for one in found:
        module = registry.load(one.head["model"])
        config = from_dict(module.Config, one.head["config"])
        said += [*module.Model.labels(config), *_seen(module.Model, config, setting)]
    model, features = described(found), weights_features(found)
    spec = _specification(request, setting, model, features, list(dict.fromkeys(said)))
    return Plan(request, setting, model["config"], features, Run.create(Path(results), spec))


def rebuild(request: Request, run: Path, config: Mapping[str, Any], corpora: Corpora) -> Plan:
    """The plan of a record that is there, in another process."""
    setting = resolve(request, corpora)
    chosen = from_dict(registry.load(request.model).Config, config)
    return Plan(request, setting, chosen, features_of(request, setting, chosen), Run.open(run))


def features_of(request: Request, setting: Setting, config: Any) -> dict[str, FeatureRequest]:
    """The features that the model takes, by role, with the request's `feature.KEY` settings."""
    model = registry.load(request.model).Model(config, setting.task)
    settings, features = _settings(request, "feature."), dict(model.requests(config, setting.task))
    if settings and "input" not in features:
        raise SerbenchError(f"the model {request.model!r} takes no features, so feature.* can't be set.")
    if settings:
        features["input"] = features["input"].with_settings(settings)
    return features


def _pairs(setting: Setting) -> list[tuple[Side, Side]]:
    """The sides that nothing may cross between: of every fold, or of all of them where corpora differ."""
    divisions, items = setting.divisions, setting.corpus.items(setting.task)
    if not setting.crosses:
        return sides(setting.corpus, divisions, items)
    trained = list(dict.fromkeys(i for d in divisions for i in (*d.train, *d.dev)))
    tested = setting.tested.items(setting.asked).loc[list(setting.subsets)]
    return [(Side(setting.corpus, items.loc[trained]), Side(setting.tested, tested))]


def pool_of(model: type[SERModel], config: Any, corpus: Corpus) -> list[str]:
    """Ids of the unlabelled pool that a training uses."""
    return model.pool(config, [str(i) for i in corpus.unlabelled().index]) if model.uses_unlabelled else []


def _pool_labels(model: type[SERModel], config: Any, setting: Setting, allow_leak: bool) -> list[str]:
    """Labels about the unlabelled pool; one that holds test audio is refused."""
    corpus = setting.corpus
    if not (pool := pool_of(model, config, corpus)):
        return []
    dev = list(dict.fromkeys(i for division in setting.divisions for i in division.dev))
    return guard_pool(
        Side(corpus, corpus.utterances.loc[pool]),
        Side(corpus, corpus.items(setting.task).loc[dev]),
        Side(setting.tested, setting.tested.items(setting.asked).loc[list(setting.subsets)]),
        allow_leak=allow_leak,
    )


def _seen(model: type[SERModel], config: Any, setting: Setting) -> list[str]:
    """Labels of the corpora of this setting that a pre-trained part of the model is known to be trained on."""
    names = {part for corpus in (setting.corpus, setting.tested) for part in corpus.name.split("+")}
    return [f"encoder-saw:{name}" for name in sorted(names & model.seen(config))]


def configure(module: Any, request: Request) -> Any:
    """The model's config: preset, then `model.KEY` and `train.KEY` settings."""
    name = request.preset or "default"
    if name not in module.PRESETS:
        raise unknown(f"preset of {request.model}", name, module.PRESETS)
    config = override(module.PRESETS[name], _settings(request, "model."), "model.")
    training = _settings(request, "train.")
    if training:
        if not hasattr(config, "train"):
            raise SerbenchError(f"the model {request.model!r} has no training loop, so train.* can't be set.")
        config = replace(config, train=override(config.train, training, "train."))
    for key in request.settings:
        if key.split(".")[0] not in ("model", "train", "feature") or "." not in key:
            raise SerbenchError(f"--set {key}=...: expected model.KEY, train.KEY or feature.KEY.")
    return module.Model.resolved(config)


def needed_rows(
    corpus: Corpus, task: Task, ids: Iterable[str], model: type[SERModel], pool: Sequence[str] = ()
) -> pd.DataFrame:
    """Table rows of some items, of the context turns that the model wants beside them, and of a pool of ids."""
    wanted = dict.fromkeys(ids)
    table = corpus.recordings if task.kind == "continuous" and corpus.recordings is not None else corpus.utterances
    if model.uses_context and table is corpus.utterances:
        context = corpus.utterances.loc[list(wanted), ["previous", "interlocutor"]]
        wanted |= dict.fromkeys(str(i) for column in context for i in context[column].dropna())
    rows = table.loc[list(wanted)]
    more = corpus.utterances.loc[[i for i in pool if i not in rows.index]]
    return pd.concat([rows, more]) if len(more) else rows


def _specification(
    request: Request,
    setting: Setting,
    model: Mapping[str, Any],
    features: Mapping[str, FeatureRequest],
    labels: list[str],
) -> dict[str, Any]:
    transfer = setting.transfer()
    extractors: dict[str, FeatureExtractor] = {role: build(wanted) for role, wanted in features.items()}
    return {
        "schema": 1,
        "model": dict(model),
        "features": {
            role: {"request": asdict(features[role]), "identity": e.identity(), "signature": e.signature()}
            for role, e in extractors.items()
        },
        "dataset": setting.dataset(),
        "task": setting.asked.to_dict(),
        "protocol": setting.describe(request.protocol, request.test.split if request.test else None),
        **({} if transfer is None else {"transfer": transfer}),
        "labels": labels,
        "arguments": {**asdict(request), "options": dict(request.options), "settings": dict(request.settings)},
        "command": request.command(),
        "serbench": versions()["serbench"],
    }


def _settings(request: Request, prefix: str) -> dict[str, str]:
    return {key.removeprefix(prefix): value for key, value in request.settings.items() if key.startswith(prefix)}
