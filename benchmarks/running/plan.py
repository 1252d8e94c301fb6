"""A plan: requests that share their training, met by the corpora on disk and the registered model. Nothing is written.

A plan knows the rows that it reads, the features of them, the record that each request would have, its units and its
jobs. `TrainingPlan` trains a model; scoring given weights is another kind of plan (`untrained`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol as Interface

from ...datasets.core.config import config_digest, from_dict, override, to_dict
from ...datasets.core.errors import SerbenchError, unknown
from ...datasets.core.files import canonical_json, digest
from ...datasets.schema.corpus import Corpus
from ...features.core.feature_extractor import FeatureExtractor, FeatureRequest, build
from ...results.record.folder import Run
from ...results.record.identity import run_id
from ...results.record.storage import plain
from ...sermodels import registry
from ...sermodels.core.sermodel import SERModel
from ..core.machine import versions
from ..core.progress import Display
from ..protocol.guards import Side, guard, guard_pool, sides
from ..protocol.protocol import unit_seed
from ..protocol.request import Request
from ..protocol.setting import Corpora, Setting
from .source import Rows, Source, extract_features, needed_rows
from .trial import Target, TrainingJob


@dataclass(frozen=True)
class Part:
    """One request of a plan, resolved, and the specification of its record."""

    request: Request
    setting: Setting
    spec: Mapping[str, Any]

    def record(self, results: Path) -> Run | None:
        """Its record, if there is one."""
        folder = results / "runs" / run_id(plain(self.spec))
        return Run.open(folder) if (folder / "run.json").exists() else None

    def lacking(self, run: Run | None) -> list[tuple[int, str]]:
        """(trial, fold) of which a record, or none, has no finished unit."""
        trials, folds = self.request.trials, self.setting.folds
        return [(t, fold) for t in range(trials) for fold in folds] if run is None else run.finished(trials, folds)


@dataclass(frozen=True)
class Unit:
    """What is worked through at once: a fold, and the trials and parts (by number) that take what comes of it."""

    name: str
    fold: str
    trials: Sequence[int]
    parts: Sequence[int]

    def records(self) -> list[tuple[int, int]]:
        """(trial, part) of what it leaves, in the order of its job's facts."""
        return [(trial, part) for trial in self.trials for part in self.parts]


class Job(Interface):
    """A unit as plain data, which can be sent to another process or machine."""

    def run(self, sources: Sequence[Source], progress: Any = None) -> list[dict[str, Any]]:
        """Work through it; returns the facts of each record, as written."""


@dataclass(frozen=True)
class Plan(ABC):
    """Requests that are worked through together.

    Attributes
    ----------
    parts : one for each request
    features : role -> request of the features that are read
    """

    parts: tuple[Part, ...]
    features: Mapping[str, FeatureRequest]

    @property
    def request(self) -> Request:
        """The first request: what all parts have in common."""
        return self.parts[0].request

    @property
    def setting(self) -> Setting:
        """The setting of the first request."""
        return self.parts[0].setting

    @property
    @abstractmethod
    def uses_device(self) -> bool:
        """Whether a graphics card is of use."""

    @property
    @abstractmethod
    def trains(self) -> bool:
        """Whether a pilot can tell what a unit takes."""

    @abstractmethod
    def rows(self) -> list[Rows]:
        """(corpus, rows that features are needed of, task) of each source, in their order."""

    @abstractmethod
    def units(self, lacking: Sequence[Sequence[tuple[int, str]]]) -> list[Unit]:
        """The units that fill what is lacking: for each part, (trial, fold) without a finished record."""

    @abstractmethod
    def job(self, unit: Unit, runs: Sequence[Path], device: str, threads: int, *, save_models: bool = False) -> Job:
        """A unit for the records of the parts that lack it; `runs` are the folders of all parts."""

    def text(self) -> str:
        """The plan as text, which `make` in another process or machine reads again (`requests_and_config`)."""
        return canonical_json(plain([[asdict(part.request) for part in self.parts], self.config_as_dict()]))

    def config_as_dict(self) -> Mapping[str, Any] | None:
        """The complete configuration of what is trained; None where nothing is."""
        return None

    def sources(self, jobs: int, display: Display) -> list[Source]:
        """The corpora with features, from the cache or made now."""
        return [
            Source(corpus, task, extract_features(corpus, rows, self.features, jobs, display))
            for corpus, rows, task in self.rows()
        ]

    def cached_features(self) -> Iterator[tuple[str, FeatureExtractor]]:
        """Role and extractor of the features that are cached; those of words are made where they are used."""
        made = ((role, build(request)) for role, request in self.features.items())
        return ((role, extractor) for role, extractor in made if not extractor.needs_words)

    def extractions(self) -> Iterator[tuple[int, str, FeatureExtractor, Rows, str]]:
        """(number of the source, role, extractor, rows, key); two with one key make the same arrays."""
        for number, rows in enumerate(self.rows()):
            corpus, table, _ = rows
            for role, extractor in self.cached_features():
                key = digest([extractor.digest(), corpus.digest(), sorted(map(str, table.index))])
                yield number, role, extractor, rows, key


@dataclass(frozen=True)
class TrainingPlan(Plan):
    """A model that is trained once for all parts, which differ in the corpus that is tested alone."""

    config: Any

    @property
    def model(self) -> type[SERModel]:
        """The class that is trained."""
        model: type[SERModel] = registry.load(self.request.model).Model
        return model

    @property
    def uses_device(self) -> bool:
        """As the model says."""
        return self.model.uses_device

    @property
    def trains(self) -> bool:
        """It does."""
        return True

    def config_as_dict(self) -> Mapping[str, Any]:
        """The model's."""
        return to_dict(self.config)

    def rows(self) -> list[Rows]:
        """What is trained on (and tested by its own folds), then what the parts test beside it."""
        setting, context = self.setting, self.model.uses_context
        own = [i for d in setting.divisions for i in (*d.train, *d.dev)]
        own += [i for part in self.parts if not part.setting.crosses for i in part.setting.subsets]
        pool = pool_of(self.model, self.config, setting.corpus)
        first = needed_rows(setting.corpus, setting.task, own, context=context, pool=pool)
        crossing = [part.setting for part in self.parts if part.setting.crosses]
        return [
            (setting.corpus, first, setting.task),
            *((s.tested, needed_rows(s.tested, s.asked, s.subsets, context=context), s.asked) for s in crossing),
        ]

    def units(self, lacking: Sequence[Sequence[tuple[int, str]]]) -> list[Unit]:
        """One for each (trial, fold) that some of the parts lacks."""
        folds = self.setting.folds
        wanted = sorted({unit for one in lacking for unit in one}, key=lambda unit: (unit[0], folds.index(unit[1])))
        return [
            Unit(
                f"{self.request.model} trial {trial + 1}, fold {fold}",
                fold,
                (trial,),
                tuple(i for i, one in enumerate(lacking) if (trial, fold) in one),
            )
            for trial, fold in wanted
        ]

    def job(
        self, unit: Unit, runs: Sequence[Path], device: str, threads: int, *, save_models: bool = False
    ) -> TrainingJob:
        """One training, and the predictions of each part that lacks it."""
        (trial,) = unit.trials
        crossing = [i for i, part in enumerate(self.parts) if part.setting.crosses]

        def target(i: int) -> Target:
            setting = self.parts[i].setting
            ids = setting.division(trial, unit.fold).test
            return Target(
                runs[i], ids, {k: setting.subsets[k] for k in ids}, crossing.index(i) + 1 if i in crossing else 0
            )

        return TrainingJob(
            self.request.model,
            to_dict(self.config),
            self.setting.division(trial, unit.fold),
            tuple(target(i) for i in unit.parts),
            trial,
            unit_seed(self.request.protocol, trial, unit.fold),
            device,
            threads,
            save_models,
            self.request.search,
        )


def plan_training(
    requests: Sequence[Request], corpora: Corpora, config: Mapping[str, Any] | None = None
) -> TrainingPlan:
    """The plan of requests that differ in the corpus that is tested alone.

    Parameters
    ----------
    config : the model's complete configuration, in place of preset and settings

    Raises
    ------
    SerbenchError
        For whatever is not there or does not go together, and for leaks that are not allowed.
    """
    settings = [corpora.setting(request) for request in requests]
    module = registry.load(requests[0].model)
    chosen = configure(module, requests[0]) if config is None else from_dict(module.Config, config)
    features = features_of(requests[0], settings[0], chosen)
    parts = [_part(r, s, module, chosen, features) for r, s in zip(requests, settings, strict=True)]
    return TrainingPlan(tuple(parts), features, chosen)


def _part(request: Request, setting: Setting, module: Any, config: Any, features: Mapping[str, FeatureRequest]) -> Part:
    """A request with the record that it would have; leaks are refused or labelled."""
    labels = guard(_pairs(setting), texts=module.Model.reads_text(config), allow_leak=request.allow_leak)
    labels += _pool_labels(module.Model, config, setting, request.allow_leak)
    labels += [*module.Model.labels(config), *seen(module.Model, config, setting)]
    model = {
        "name": request.model,
        "preset": request.preset or "default",
        "config": to_dict(config),
        "config_digest": config_digest(config),
    }
    if request.search is not None:
        from ..tune.space import check

        check(module, config, setting.task, request.search)
        model["search"] = dict(request.search)
        labels.append(f"search:{request.search['sampler']}-{request.search['budget']}")
    return Part(request, setting, specification(request, setting, model, features, labels))


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


def seen(model: type[SERModel], config: Any, setting: Setting) -> list[str]:
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


def specification(
    request: Request,
    setting: Setting,
    model: Mapping[str, Any],
    features: Mapping[str, FeatureRequest],
    labels: Sequence[str],
) -> dict[str, Any]:
    """What the record of a request will say of it."""
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
        "labels": list(labels),
        "arguments": {**asdict(request), "options": dict(request.options), "settings": dict(request.settings)},
        "command": request.command(),
        "serbench": versions()["serbench"],
    }


def _settings(request: Request, prefix: str) -> dict[str, str]:
    return {key.removeprefix(prefix): value for key, value in request.settings.items() if key.startswith(prefix)}
