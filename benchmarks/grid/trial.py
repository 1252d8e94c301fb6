"""One unit of work: train one model on one fold with one seed, predict test items, leave the records.

`TrainingJob` holds everything a unit needs as plain data, so that it can be sent to another process or machine. It may
serve several records: the fold's own test items, and those of other corpora. The unit reads features from the
cache, never sees a test label before its predictions are made, and ends with finished records, whatever happens: an
exception becomes a failed record with the reason.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...datasets.core.config import from_dict
from ...datasets.core.errors import SerbenchError
from ...datasets.core.libraries import raise_library_failure
from ...datasets.schema.corpus import Corpus
from ...datasets.schema.task import Task
from ...features.core.feature_extractor import FeatureRequest, build
from ...features.core.process import keep_freed_memory
from ...results.record.folder import Run
from ...results.scores.scoring import dev_score
from ...sermodels import registry
from ...sermodels.core.sermodel import Data, Predictions, Resources, SERModel
from ..core.machine import cpu_seconds, device_name, limit_threads, now, peak_mib, versions
from ..protocol.protocol import Division, unlabelled_ids
from ..protocol.request import AGREED
from .source import Source, build_data, expect_items
from .tables import carry, prediction_table

if TYPE_CHECKING:
    from ..tune.search import Tuned

LOG = logging.getLogger("serbench.trial")
"""Says where a failed unit failed, to who listens: a node of a cluster brings it home."""
Progress = Callable[[str, float], None] | None
EachEpoch = Callable[[Mapping[str, float]], None] | None
NOT_SPENT = ("seconds", "cpu_seconds", "seconds_fit", "seconds_predict")
"""What a copied unit took none of."""


@dataclass(frozen=True)
class Target:
    """A record that a unit adds to: the items to predict, their subsets, and their corpus's place among the sources."""

    run: Path
    ids: tuple[str, ...]
    subsets: Mapping[str, int]
    source: int = 0


@dataclass(frozen=True)
class TrainingJob:
    """What a unit needs: the model, the division, the seed, the device, and the records that take its predictions."""

    model: str
    config: Mapping[str, Any]
    division: Division
    targets: tuple[Target, ...]
    trial: int
    seed: int
    device: str
    threads: int
    save_model: bool = False
    search: Mapping[str, Any] | None = None
    refit: bool = False
    copies: Mapping[int, int] | None = None
    """Of a deterministic model: the other trials that this training stands for, each with its seed."""
    calibrate: str = ""
    labels: str = AGREED

    def run(
        self, sources: Sequence[Source], progress: Progress = None, each_epoch: EachEpoch = None
    ) -> list[dict[str, Any]]:
        """Train, predict and record the unit; returns the facts as written: per target, trial after trial.

        `each_epoch` is called with the log's row of each epoch while the model trains, but not in a search.
        A `KeyboardInterrupt` passes through and leaves no record; any other exception is recorded as a failed unit: of
        all targets if training fails, else of the one whose prediction fails.
        """
        started, cpu = time.perf_counter(), cpu_seconds()
        facts: dict[str, Any] = {
            "status": "failed",
            "error": None,
            "trial": self.trial,
            "fold": self.division.fold,
            "seed": self.seed,
            "threads": self.threads,
            "versions": versions(),
        }
        if len(self.targets) > 1:
            facts["trained_for"] = [target.run.name for target in self.targets]
        try:
            outcomes, dev = _train_and_predict(self, sources, facts, progress, each_epoch)
        except Exception as error:
            raise_library_failure(error)
            LOG.debug("trial %d, fold %s", self.trial, self.division.fold, exc_info=True)
            outcomes, dev = [({"error": reason(error)}, None)] * len(self.targets), None
        aside = facts.pop("aside", (0.0, 0.0))  # measuring the cost is no part of it
        facts["seconds"] = round(time.perf_counter() - started - aside[0], 3)
        facts["cpu_seconds"] = round(cpu_seconds() - cpu - aside[1], 3)
        facts["peak_mib"] = round(peak_mib())
        facts["finished"] = now()
        if self.copies is not None:
            facts["deterministic"] = True
        written = [
            Run.open(target.run).write_unit(self.trial, self.division.fold, facts | outcome, predictions, dev)
            for target, (outcome, predictions) in zip(self.targets, outcomes, strict=True)
        ]
        return written + [
            copied(Run.open(target.run), one, trial, seed)
            for trial, seed in (self.copies or {}).items()
            for target, one in zip(self.targets, written, strict=True)
        ]


Outcome = tuple[dict[str, Any], "pd.DataFrame | None"]
"""Facts of a record's unit, and its predictions."""


def _train_and_predict(
    job: TrainingJob, sources: Sequence[Source], facts: dict[str, Any], progress: Progress, each_epoch: EachEpoch
) -> tuple[list[Outcome], pd.DataFrame | None]:
    """Train once and predict for every target, and dev; what holds for all of them is added to `facts`."""
    module = registry.load(job.model)
    limit_threads(job.threads)
    keep_freed_memory()
    facts["device"] = device_name(job.device)
    checkpoint = job.targets[0].run / f".unfinished-{job.trial}-{job.division.fold}"
    config = from_dict(module.Config, job.config)
    resources = Resources(job.seed, job.device, progress, checkpoint)
    if job.search is None:
        watched = resources if each_epoch is None else replace(resources, each_epoch=each_epoch)
        model: SERModel = module.Model(config, sources[0].task, watched)
        trained, dev = _train(model, config, job, sources[0])
    else:
        from ..tune.search import Tuned

        tuned = Tuned(module, config, job.search, sources[0].task, resources)
        trained, dev = _train(tuned, config, job, sources[0])
        model = tuned.chosen
    if job.refit:
        trained |= _refit(model, job, sources[0], trained)
    outcomes = [_predict(model, job.division.fold, target, sources, trained) for target in job.targets]
    begun, cpu = time.perf_counter(), cpu_seconds()
    facts["cost"] = _cost(model, job, sources)
    facts["aside"] = (time.perf_counter() - begun, cpu_seconds() - cpu)
    if job.save_model:
        _save(model, job, sources[0].corpus, trained["facts"].get("temperature"))
    return outcomes, dev


def _save(model: SERModel, job: TrainingJob, corpus: Corpus, temperature: float | None) -> None:
    """Keep the weights beside the record, with the features and the fold that they were trained on."""
    from ...sermodels.core.persist import save_model

    for target in job.targets:
        run = Run.open(target.run)
        notes = {
            "trained_on": {
                "name": corpus.name,
                "release": corpus.release,
                "digest": corpus.digest(),
                "split": run.spec["protocol"].get("split"),
                "fold": job.division.fold,
            },
            "run": run.run_id,
            "trial": job.trial,
            "seed": job.seed,
            **({} if temperature is None else {"temperature": temperature}),
        }
        file = run.unit_files(job.trial, job.division.fold)[0].with_suffix(".safetensors")
        save_model(model, file, _requested(run), notes)


def _requested(run: Run) -> dict[str, FeatureRequest]:
    """Role -> request of the features that a run takes."""
    asked = {role: feature["request"] for role, feature in run.spec["features"].items()}
    return {role: FeatureRequest(r["name"], tuple((k, v) for k, v in r["settings"])) for role, r in asked.items()}


def _train(
    model: SERModel | Tuned, config: Any, job: TrainingJob, source: Source
) -> tuple[dict[str, Any], pd.DataFrame | None]:
    """Fit the model; returns the facts of the training, and what it predicts of dev."""
    corpus, task, tables, division = source.corpus, source.task, source.tables, job.division
    train, out_train = build_data(corpus, task, division.train, tables, labelled=True)
    train, out_perturbed = _with_copies(train, source)
    out_train |= out_perturbed
    dev, out_dev = build_data(corpus, task, division.dev, tables, labelled=True)
    for role, data in (("train", train), *((("dev", dev),) if division.dev else ())):
        expect_items(data, role, division.fold)
    counts = {"train": len(train), "dev": len(dev)}
    train = _labelled(train, job, source)
    unlabelled = None
    if model.uses_unlabelled:
        pool = model.pool(config, unlabelled_ids(corpus, division))
        unlabelled, out_pool = build_data(corpus, task, pool, tables, labelled=False)
        out_train |= out_pool
    score = dev_score(task)
    begun = time.perf_counter()
    if division.dev or not isinstance(model, SERModel):
        log = model.fit(train, dev, score, unlabelled)
    else:
        log = model.fit_nested(train, score)
    seconds, predicted = round(time.perf_counter() - begun, 3), model.predict(dev) if len(dev) else None
    facts = {**log.facts, **_temperature(job, predicted, dev)}
    trained = {
        "seconds_fit": seconds,
        "parameters": model.parameters,
        "dev_score": None if predicted is None else _number(score(dev.labels, predicted)),
        "epochs": [{k: _number(v) for k, v in row.items()} for row in log.epochs],
        "best_epoch": log.best_epoch,
        "facts": facts,
        "counts": counts,
        "excluded": out_train | out_dev,
    }
    return trained, _dev_table(task, dev, predicted, facts.get("temperature"))


def _dev_table(task: Task, dev: Data, predicted: Any, temperature: float | None) -> pd.DataFrame | None:
    """What is predicted of dev, as a record holds it; None without a dev part."""
    if predicted is None:
        return None
    return prediction_table(task, dev, _calibrated(predicted, temperature), dev.labels, dict.fromkeys(dev.ids, 0))


def _labelled(data: Data, job: TrainingJob, source: Source) -> Data:
    """The data with the labels that the job trains on."""
    if job.labels == AGREED:
        return data
    from .rater_labels import relabelled

    return relabelled(data, source.corpus, job.labels)


def _temperature(job: TrainingJob, predicted: Any, dev: Data) -> dict[str, float]:
    """The temperature that dev predictions ask for, as a fact, where scores are calibrated."""
    if not job.calibrate or predicted is None:
        return {}
    from ...sermodels.core.temperature import fit_temperature

    return {"temperature": fit_temperature(predicted, dev.labels)}


def _with_copies(data: Data, source: Source) -> tuple[Data, dict[str, str]]:
    """The data of a training with perturbed copies, where they are asked for, and why some have none."""
    if not source.perturbed:
        return data, {}
    from .augmentation import augmented

    return augmented(data, source.perturbed)


def _refit(model: SERModel, job: TrainingJob, source: Source, trained: Mapping[str, Any]) -> dict[str, Any]:
    """Fit once more on train and dev, in the order of the table; what changes in the facts of the training."""
    division = job.division
    both = set(division.train) | set(division.dev)
    ids = [str(i) for i in source.corpus.items(source.task).index if str(i) in both]
    data, _ = build_data(source.corpus, source.task, ids, source.tables, labelled=True)
    data = _labelled(data, job, source)
    data, _ = _with_copies(data, source)
    begun = time.perf_counter()
    facts = {**trained["facts"], **model.refit(data)}
    seconds = round(trained["seconds_fit"] + time.perf_counter() - begun, 3)
    return {"facts": facts, "seconds_fit": seconds, "parameters": model.parameters}


def _predict(
    model: SERModel, fold: str, target: Target, sources: Sequence[Source], trained: Mapping[str, Any]
) -> Outcome:
    """Predictions of a target's items beside their gold labels; a failure is this target's alone."""
    source, task = sources[target.source], sources[0].task
    try:
        test, out_test = build_data(source.corpus, task, target.ids, source.tables, labelled=False)
        expect_items(test, "test", fold)
        begun = time.perf_counter()
        predictions = carry(_calibrated(model.predict(test), trained["facts"].get("temperature")), task, source.task)
        seconds = round(time.perf_counter() - begun, 3)
        gold = build_data(source.corpus, source.task, test.ids, source.tables, labelled=True)[0].labels
        table = prediction_table(source.task, test, predictions, gold, target.subsets)
    except Exception as error:
        raise_library_failure(error)
        LOG.debug("prediction of fold %s", fold, exc_info=True)
        return {**trained, "error": reason(error)}, None
    counts, excluded = {**trained["counts"], "test": len(test)}, {**trained["excluded"], **out_test}
    return {**trained, "status": "done", "seconds_predict": seconds, "counts": counts, "excluded": excluded}, table


def _calibrated(predictions: Predictions, temperature: float | None) -> Predictions:
    """Class scores at the temperature that was fitted, where one was."""
    if temperature is None:
        return predictions
    from ...sermodels.core.temperature import scaled

    return scaled(predictions, temperature)


def _cost(model: SERModel, job: TrainingJob, sources: Sequence[Source]) -> dict[str, Any]:
    """What the model costs to run, measured once for each run in each process; the reason where it can't be."""
    target = job.targets[0]
    key = str(target.run.resolve())
    if key not in _COSTS:
        source, task = sources[target.source], sources[0].task
        asked = _requested(Run.open(target.run))
        _COSTS[key] = cost_of(model, asked, replace(source, task=task), target.ids)
    return _COSTS[key]


_COSTS: dict[str, dict[str, Any]] = {}


def cost_of(
    model: SERModel, features: Mapping[str, FeatureRequest], source: Source, ids: Sequence[str]
) -> dict[str, Any]:
    """What a model costs to run on some items; the reason where that can't be measured, which never spoils a result."""
    from .cost import running_cost

    try:
        data, _ = build_data(source.corpus, source.task, ids, source.tables, labelled=False)
        return running_cost(model, source.corpus, data, {role: build(r) for role, r in features.items()}).facts()
    except Exception as error:
        return {"error": reason(error)}


def reason(error: Exception) -> str:
    """Why a unit failed, as its record says it."""
    return str(error) if isinstance(error, SerbenchError) else f"{type(error).__name__}: {error}"


def copied(run: Run, facts: Mapping[str, Any], trial: int, seed: int) -> dict[str, Any]:
    """Leave a unit of a deterministic model as another trial too; returns the facts as written.

    A copy has the predictions (and weights) of the trained unit, its own seed, which decided nothing, no seconds, and
    `same_as`, the trial that it repeats: so the row pairs with other models' by (trial, subset), as all rows do.
    """
    source, own = run.unit_files(facts["trial"], facts["fold"])[0], run.unit_files(trial, facts["fold"])[0]
    done = facts["status"] == "done"
    again: dict[str, Any] = {key: 0.0 for key in NOT_SPENT if key in facts}
    again |= {"seed": seed, "deterministic": True, "same_as": facts.get("same_as", facts["trial"])}
    if done and (weights := source.with_suffix(".safetensors")).is_file():
        shutil.copyfile(weights, own.with_suffix(".safetensors"))
    predictions, dev = (run.unit_predictions(facts), run.dev_predictions(facts)) if done else (None, None)
    return run.write_unit(trial, facts["fold"], {**facts, **again}, predictions, dev)


def _number(value: Any) -> float | None:
    number = float(value)
    return number if np.isfinite(number) else None
