"""Resolving a request: from what was typed to a corpus, folds, subsets, a configuration and an opened record.

Nothing is trained or extracted here. A `Request` is plain data and stands in the record; a `Plan` is a request met by
the corpus on disk and the registered model.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ..datasets._config import config_digest, override, to_dict
from ..datasets._corpus import Corpus
from ..datasets._errors import SerbenchError, unknown
from ..datasets._load import load_corpus
from ..datasets._task import Task
from ..features._extractor import FeatureExtractor, FeatureRequest, build
from ..results.records import Run
from ..sermodels import registry
from .protocol import Division, Protocol, assign_subsets, describe, divide, guard
from .trial import versions


@dataclass(frozen=True)
class Request:
    """One (model, dataset) of the grid, as plain data; the record holds it, and `--from-record` runs it again."""

    model: str
    dataset: str
    root: str | None = None
    release: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    task: str | None = None
    preset: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    protocol: Protocol = field(default_factory=Protocol)
    trials: int = 5
    allow_leak: bool = False

    def command(self) -> str:
        """The command line that runs this request."""
        parts = ["serbench", "run", "--model", self.model, "--dataset", self.dataset]
        named = {"root": self.root, "release": self.release, "task": self.task, "preset": self.preset}
        parts += [text for key, value in named.items() if value is not None for text in (f"--{key}", value)]
        default = Protocol()
        for key, value in asdict(self.protocol).items():
            if value != getattr(default, key):
                parts += [f"--{'protocol' if key == 'name' else key}", str(value)]
        parts += ["--trials", str(self.trials)] if self.trials != 5 else []
        parts += [text for key, value in self.settings.items() for text in ("--set", f"{key}={value}")]
        parts += [text for key, value in self.options.items() for text in ("--option", f"{key}={value}")]
        return shlex.join(parts + (["--allow-leak"] if self.allow_leak else []))


@dataclass(frozen=True)
class Plan:
    """A request resolved against the corpus and the registry, with its record opened."""

    request: Request
    corpus: Corpus
    task: Task
    config: Any
    features: Mapping[str, FeatureRequest]
    divisions: Sequence[Division]
    subsets: Mapping[str, int]
    run: Run

    def missing(self) -> list[tuple[int, str]]:
        """Units (trial, fold) without a finished record."""
        return self.run.finished(self.request.trials, [d.fold for d in self.divisions])


def open_corpus(request: Request) -> Corpus:
    """The corpus that a request names."""
    return load_corpus(request.dataset, request.root, request.release, request.options)


def prepare(request: Request, results: str | Path, corpus: Corpus | None = None, config: Any = None) -> Plan:
    """Resolve a request and open (or create) its record; nothing is trained or extracted."""
    corpus = corpus or open_corpus(request)
    task = corpus.task(request.task)
    module = registry.load(request.model)
    config = config if config is not None else configure(module, request)
    model = module.Model(config, task)
    settings = _settings(request, "feature.")
    features = dict(model.requests(config, task))
    if settings and "input" not in features:
        raise SerbenchError(f"the model {request.model!r} takes no features, so feature.* can't be set.")
    if settings:
        features["input"] = features["input"].with_settings(settings)
    divisions = divide(corpus, task, request.protocol)
    labels = [*guard(corpus, divisions, corpus.items(task), allow_leak=request.allow_leak), *model.labels(config)]
    spec = _specification(request, corpus, task, config, features, divisions, labels)
    subsets = assign_subsets(corpus, task, request.protocol, divisions)
    return Plan(request, corpus, task, config, features, divisions, subsets, Run.create(Path(results), spec))


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
    return config


def needed_rows(plan: Plan) -> pd.DataFrame:
    """Table rows of all items of all folds, and of the context turns and unlabelled pool that the model wants."""
    corpus, model = plan.corpus, registry.load(plan.request.model).Model
    ids = dict.fromkeys(i for d in plan.divisions for i in (*d.train, *d.dev, *d.test))
    table = corpus.recordings if plan.task.kind == "continuous" and corpus.recordings is not None else corpus.utterances
    if model.uses_context and table is corpus.utterances:
        context = corpus.utterances.loc[list(ids), ["previous", "interlocutor"]]
        ids |= dict.fromkeys(str(i) for column in context for i in context[column].dropna())
    rows = table.loc[list(ids)]
    if model.uses_unlabelled:
        pool = corpus.unlabelled()
        rows = pd.concat([rows, pool[~pool.index.isin(rows.index)]])
    return rows


def _specification(
    request: Request, corpus: Corpus, task: Task, config: Any, features: Mapping[str, FeatureRequest],
    divisions: Sequence[Division], labels: list[str],
) -> dict[str, Any]:  # fmt: skip
    extractors: dict[str, FeatureExtractor] = {role: build(wanted) for role, wanted in features.items()}
    return {
        "schema": 1,
        "model": {"name": request.model, "preset": request.preset or "default", "config": to_dict(config),
                  "config_digest": config_digest(config)},
        "features": {
            role: {"request": asdict(features[role]), "identity": e.identity(), "signature": e.signature()}
            for role, e in extractors.items()
        },
        "dataset": {"name": corpus.name, "release": corpus.release, "digest": corpus.digest(),
                    "licence": corpus.licence, "citation": corpus.citation},
        "task": task.to_dict(),
        "protocol": describe(corpus, task, request.protocol, divisions),
        "labels": labels,
        "arguments": {**asdict(request), "options": dict(request.options), "settings": dict(request.settings)},
        "command": request.command(),
        "serbench": versions()["serbench"],
    }  # fmt: skip


def _settings(request: Request, prefix: str) -> dict[str, str]:
    return {key.removeprefix(prefix): value for key, value in request.settings.items() if key.startswith(prefix)}
