"""Scoring trained weights on a labelled corpus without training: `serbench run --weights`, a row of the leaderboard.

Nothing depends on a seed, so the items of a fold are predicted once, and that prediction is the record of every trial:
the row pairs with trained ones by (trial, subset) as all rows do, and its signature says `no-training`. Predictions are
those of `serbench predict` on the same files, carried from the scale that the weights were trained on to the corpus's.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...datasets.core.config import from_dict
from ...datasets.schema.task import Task
from ...results.record.folder import Run
from ...sermodels import registry
from ...sermodels.core.context import widest
from ...sermodels.core.sermodel import Predictions
from ..core.machine import cpu_seconds, device_name, limit_threads, now, versions
from ..protocol.protocol import unit_seed
from ..protocol.request import Request
from ..protocol.setting import Corpora
from ..weights.predict import Applied
from ..weights.trained import Weights, described, features_of, labels, ordered, reopen, role_of
from .plan import Part, Plan, Unit, heard, seen, specification
from .source import Rows, Source, build_data, expect_items, needed_rows
from .tables import carry, prediction_table
from .trial import Outcome, Target, cost_of, reason


@dataclass(frozen=True)
class WeightsPlan(Plan):
    """Given weights that together predict the task of one request."""

    weights: tuple[Weights, ...]

    @property
    def uses_device(self) -> bool:
        """As the weights' models say."""
        return any(_model(one).uses_device for one in self.weights)

    def rows(self) -> list[Rows]:
        """The test items."""
        tested, asked = self.setting.tested, self.setting.asked
        context = widest(_model(one) for one in self.weights)
        return [(tested, needed_rows(tested, asked, self.setting.subsets, context=context), asked)]

    def units(self, lacking: Sequence[Sequence[tuple[int, str]]]) -> list[Unit]:
        """One for each fold that lacks a record, for all of the trials that lack it."""
        trials: dict[str, tuple[int, ...]] = {}
        for trial, fold in lacking[0]:
            trials[fold] = (*trials.get(fold, ()), trial)
        name = f"{self.request.model}, weights as they are"
        return [Unit(f"{name}, fold {fold}", fold, each, (0,)) for fold, each in trials.items()]

    def job(
        self, unit: Unit, runs: Sequence[Path], device: str, threads: int, *, save_models: bool = False
    ) -> PredictionJob:
        """The predictions of a fold; there is nothing to save."""
        ids = self.setting.division(0, unit.fold).test
        seeds = {trial: unit_seed(self.request.protocol, trial, unit.fold) for trial in unit.trials}
        target = Target(runs[0], ids, {i: self.setting.subsets[i] for i in ids})
        return PredictionJob(self.request.model, self.weights, unit.fold, target, seeds, device, threads)


def plan_weights(requests: Sequence[Request], corpora: Corpora) -> WeightsPlan:
    """The plan of weights that are scored as they are; its config is the description that the record holds.

    Raises
    ------
    SerbenchError
        For files that are gone or have changed, and weights that were trained on test items, unless that is allowed.
    """
    (request,) = requests
    setting = corpora.setting(request)
    weights = ordered(reopen(request.weights), setting.asked)
    said = labels(weights, setting, allow_leak=request.allow_leak)
    for one in weights:
        module = registry.load(one.head["model"])
        config = from_dict(module.Config, one.head["config"])
        said += [*module.Model.labels(config), *heard(module.Model, config, setting)]
        said += seen(module.Model, config, setting)
    features = features_of(weights)
    spec = specification(request, setting, described(weights), features, list(dict.fromkeys(said)))
    return WeightsPlan((Part(request, setting, spec),), features, weights)


@dataclass(frozen=True)
class PredictionJob:
    """One fold's predictions by given weights, as plain data: recorded once for each trial (trial -> its seed).

    `timed` is whether the cost of the model is measured too.
    """

    model: str
    weights: tuple[Weights, ...]
    fold: str
    target: Target
    seeds: Mapping[int, int]
    device: str
    threads: int
    timed: bool = True

    def run(self, sources: Sequence[Source], progress: Any = None) -> list[dict[str, Any]]:
        """Predict the items and record that for each trial; returns the facts as written.

        A `KeyboardInterrupt` passes through; any other exception becomes failed units with the reason.
        """
        applied = [Applied.load(Path(one.file.path), self.device, self.model) for one in self.weights]
        limit_threads(self.threads)
        facts, predictions = _outcome(self, applied, sources[0])
        facts |= {
            "threads": self.threads,
            "versions": versions(),
            "device": device_name(self.device),
            "finished": now(),
        }
        run, written = Run.open(self.target.run), list[dict[str, Any]]()
        for trial, seed in self.seeds.items():
            again = {"seconds": 0.0, "cpu_seconds": 0.0} if written else {}
            written.append(run.write_unit(trial, self.fold, {**facts, **again, "seed": seed}, predictions))
        return written


def _model(one: Weights) -> Any:
    return registry.load(one.head["model"]).Model


def _outcome(job: PredictionJob, applied: Sequence[Applied], source: Source) -> Outcome:
    """Facts of a fold's units, and the predictions of its items beside their gold labels."""
    begun, cpu = time.perf_counter(), cpu_seconds()
    facts: dict[str, Any] = {
        "error": None,
        "seconds": 0.0,
        "cpu_seconds": 0.0,
        "dev_score": None,
        "epochs": [],
        "best_epoch": None,
        "facts": {},
        "parameters": sum(one.model.parameters for one in applied),
    }
    try:
        excluded = {i: t.failed[i] for t in source.tables.values() for i in job.target.ids if i in t.failed}
        kept = [i for i in job.target.ids if i not in excluded]
        parts = []
        for one, weights in zip(applied, job.weights, strict=True):
            own = {role: source.tables[role_of(weights, role, job.weights)] for role in one.features}
            read = Source(source.corpus, one.model.task, own)
            data, _ = build_data(read.corpus, read.task, kept, own, labelled=False)
            expect_items(data, "test", job.fold)
            parts.append((one.model.task, one.predict(data)))
        facts |= {"seconds": round(time.perf_counter() - begun, 3), "cpu_seconds": round(cpu_seconds() - cpu, 3)}
        if job.timed and len(applied) == 1:  # several may share features, and their costs can't be added
            facts["cost"] = cost_of(applied[0].model, applied[0].features, read, kept)
        test, _ = build_data(source.corpus, source.task, kept, {}, labelled=True)
        subsets = {i: job.target.subsets[i] for i in kept}
        table = prediction_table(source.task, test, together(parts, source.task), test.labels, subsets)
    except Exception as error:
        return {**facts, "status": "failed", "error": reason(error)}, None
    counts = {"train": 0, "dev": 0, "test": len(test)}
    return {**facts, "status": "done", "counts": counts, "excluded": excluded}, table


def together(parts: Sequence[tuple[Task, Predictions]], asked: Task) -> Predictions:
    """Predictions of several models as those of one: classes and targets in the order of the asked task, on its scales.

    Parameters
    ----------
    parts : (task of a model, its predictions): (utterance, class or target), or one (frame, target) array per recording
    """
    columns: dict[str, list[npt.NDArray[np.floating[Any]]]] = {}
    listed = isinstance(parts[0][1], list)
    for task, predictions in parts:
        names = task.labels if task.kind == "classification" else task.targets
        scales = {t: asked.scales[t] for t in task.targets} if task.kind != "classification" else {}
        carried = carry(predictions, task, replace(task, scales=scales))
        arrays = carried if isinstance(carried, list) else [carried]
        columns |= {name: [array[:, k] for array in arrays] for k, name in enumerate(names)}
    order = asked.labels if asked.kind == "classification" else asked.targets
    joined = [np.stack(arrays, axis=1) for arrays in zip(*(columns[name] for name in order), strict=True)]
    return joined if listed else joined[0]
