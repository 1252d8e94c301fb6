"""The plan of a training: a registered model on the corpora on disk, with its configuration, features and labels.

Requests that differ in the corpus that is tested alone share one training. Leaks are refused or labelled here.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...datasets.core.config import config_digest, from_dict, override, to_dict
from ...datasets.core.errors import SerbenchError, unknown
from ...features.core.feature_extractor import FeatureRequest
from ...sermodels import registry
from ...sermodels.core.sermodel import SERModel
from ..core.progress import Display
from ..protocol.guards import Side, guard, guard_pool, sides
from ..protocol.protocol import Division, unit_seed, unlabelled_ids
from ..protocol.request import AGREED, LABELS, Request
from ..protocol.setting import Corpora, Setting
from .plan import Part, Plan, Unit, heard, seen, specification
from .source import Rows, Source, needed_rows
from .trial import Target, TrainingJob


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

    def config_as_dict(self) -> Mapping[str, Any]:
        """The model's."""
        return to_dict(self.config)

    def pool(self, division: Division) -> list[str]:
        """As the model chooses among the fold's unlabelled sentences."""
        return self.model.pool(self.config, unlabelled_ids(self.setting.corpus, division))

    def rows(self) -> list[Rows]:
        """What is trained on (and tested by its own folds), then what the parts test beside it."""
        setting, context = self.setting, self.model.uses_context
        own = [i for d in setting.divisions for i in (*d.train, *d.dev)]
        own += [i for part in self.parts if not part.setting.crosses for i in part.setting.subsets]
        pool = list(dict.fromkeys(i for d in setting.divisions for i in self.pool(d)))
        first = needed_rows(setting.corpus, setting.task, own, context=context, pool=pool)
        crossing = [part.setting for part in self.parts if part.setting.crosses]
        return [
            (setting.corpus, first, setting.task),
            *((s.tested, needed_rows(s.tested, s.asked, s.subsets, context=context), s.asked) for s in crossing),
        ]

    def sources(self, jobs: int, display: Display) -> list[Source]:
        """The corpora with features; of what is trained on, perturbed ones too where they are asked for."""
        first, *others = super().sources(jobs, display)
        if not self.request.train_with:
            return [first, *others]
        from .augmentation import perturbed_tables

        whole = perturbed_tables(first, self.request, self.setting.divisions, self.features, jobs, display)
        return [whole, *others]

    @property
    def repeats(self) -> bool:
        """Where the model takes no part of the seed, nothing is drawn by a search, and every trial has all folds."""
        return self.request.search is None and not self.setting.rotates and self.model.deterministic(self.config)

    def units(self, lacking: Sequence[Sequence[tuple[int, str]]]) -> list[Unit]:
        """One for each (trial, fold) that some of the parts lacks."""
        folds = self.setting.folds
        if self.repeats:
            return self._units_of_all_trials(lacking)
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

    def _units_of_all_trials(self, lacking: Sequence[Sequence[tuple[int, str]]]) -> list[Unit]:
        """One for each fold of which some part lacks all trials; single ones are copied by the grid, not trained."""
        every = tuple(range(self.request.trials))
        lacks = [[fold for fold in self.setting.folds if {(t, fold) for t in every} <= set(one)] for one in lacking]
        return [
            Unit(f"{self.request.model}, fold {fold}", fold, every, parts)
            for fold in self.setting.folds
            if (parts := tuple(i for i, folds in enumerate(lacks) if fold in folds))
        ]

    def job(
        self, unit: Unit, runs: Sequence[Path], device: str, threads: int, *, save_models: bool = False
    ) -> TrainingJob:
        """One training, and the predictions of each part that lacks it."""
        trial, *same = unit.trials
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
            self.request.refit,
            {t: unit_seed(self.request.protocol, t, unit.fold) for t in same} if self.repeats else None,
            self.request.calibrate,
            training_labels(self.request),
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
    reads_text, own = module.Model.reads_text(config), setting.own_split
    if module.Model.needs_text(config):
        _expect_text(request, setting)
    labels = guard(_pairs(setting), texts=reads_text, allow_leak=request.allow_leak, own_split=own)
    labels += _pool_labels(module.Model, config, setting, request.allow_leak)
    labels += [*module.Model.labels(config), *heard(module.Model, config, setting)]
    labels += seen(module.Model, config, setting)
    model: dict[str, Any] = {
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
    if request.protocol.nested and (request.search is not None or not module.Model.nests):
        what = "a search" if request.search is not None else f"the model {request.model!r}"
        raise SerbenchError(f"{what} chooses on a dev part, and --dev nested has none. Expected a share: --dev 0.2.")
    if request.protocol.share:
        labels.append(f"share:{float(request.protocol.share):g}")
    _calibrated(request, setting, model, labels)
    _training_labels(request, setting, model, labels)
    if request.refit:
        if not module.Model.refits:
            able = (
                "'serbench run --refit' is for models that choose settings on dev, such as a strength of regularisation"
            )
            raise SerbenchError(f"the model {request.model!r} can't be fitted again on train + dev: {able}.")
        model["refit"] = True
        labels.append("refit:train+dev")
    if request.train_with:
        from .augmentation import check_perturbed

        check_perturbed(request, setting)
        model["train_with"] = list(request.train_with)
        labels += [f"train-with:{name}" for name in request.train_with]
    return Part(request, setting, specification(request, setting, model, features, labels))


def _expect_text(request: Request, setting: Setting) -> None:
    """Refuse corpora without transcripts."""
    for corpus, task in ((setting.corpus, setting.task), (setting.tested, setting.asked)):
        texts = corpus.items(task)["text"]
        if not (texts.notna() & texts.astype("string").str.strip().ne("")).any():
            root = f" --root {shlex.quote(request.root)}" if request.root else ""
            raise SerbenchError(
                f"the model {request.model!r} reads transcripts, and none of {len(texts)} items of {corpus.name} has "
                "one. Let a recogniser hear them, and name its texts:\n"
                f"  serbench words transcribe {corpus.name}{root} --model WHISPER_FOLDER --out words.csv\n"
                f"  {request.command()} --set model.texts=words.texts.csv"
            )


def _calibrated(request: Request, setting: Setting, model: dict[str, Any], labels: list[str]) -> None:
    """Write calibration down, where it is asked for and can be fitted."""
    if not request.calibrate:
        return
    if request.calibrate != "temperature":
        raise unknown("value of --calibrate", request.calibrate, ["temperature"])
    if setting.task.kind != "classification":
        raise SerbenchError(f"--calibrate is of class scores; {setting.task.name!r} is of kind {setting.task.kind}.")
    if request.protocol.nested:
        raise SerbenchError(
            "--calibrate fits a temperature on the dev part, and --dev nested has none. Type --dev 0.2."
        )
    model["calibrate"] = request.calibrate
    labels.append(f"calibrated:{request.calibrate}")


def _training_labels(request: Request, setting: Setting, model: dict[str, Any], labels: list[str]) -> None:
    """Write down training labels that are not the agreed ones."""
    if (rule := training_labels(request)) != AGREED:
        from .rater_labels import check_rule

        copied = bool(request.train_with)
        check_rule(rule, setting.corpus, setting.task, nested=request.protocol.nested, copied=copied)
        model["labels"] = rule
        labels.append(f"labels:{rule}")


def training_labels(request: Request) -> str:
    """The rule of the training labels: agreed, soft or raters."""
    return str(request.settings.get(LABELS, AGREED))


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


def _pool_labels(model: type[SERModel], config: Any, setting: Setting, allow_leak: bool) -> list[str]:
    """Labels about the unlabelled pools, each once; one that holds test audio is refused."""
    if not model.uses_unlabelled:
        return []
    corpus, items = setting.corpus, setting.corpus.items(setting.task)
    tested = setting.tested.items(setting.asked)
    sharing: dict[tuple[str, ...], list[Division]] = {}
    for division in setting.divisions:
        pool = tuple(model.pool(config, unlabelled_ids(corpus, division)))
        sharing.setdefault(pool, []).append(division)
    labels: list[str] = []
    for pool, folds in sharing.items():
        if pool:
            dev = list(dict.fromkeys(i for division in folds for i in division.dev))
            ids = list(setting.subsets) if setting.crosses else [i for division in folds for i in division.test]
            heard, chosen = Side(corpus, corpus.utterances.loc[list(pool)]), Side(corpus, items.loc[dev])
            labels += guard_pool(heard, chosen, Side(setting.tested, tested.loc[ids]), allow_leak=allow_leak)
    return list(dict.fromkeys(labels))


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


def _settings(request: Request, prefix: str) -> dict[str, str]:
    given = {key: value for key, value in request.settings.items() if key != LABELS}
    return {key.removeprefix(prefix): value for key, value in given.items() if key.startswith(prefix)}
