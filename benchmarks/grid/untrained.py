"""Scoring trained weights on a labelled corpus without training: `serbench run --weights`, a row of the leaderboard.

Nothing depends on a seed, so the items of a fold are predicted once, and that prediction is the record of every trial:
the row pairs with trained ones by (trial, subset) as all rows do, and its signature says `no-training`. Predictions are
those of `serbench predict` on the same files, carried from the scale that the weights were trained on to the corpus's.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...datasets.schema.corpus import Corpus
from ...datasets.schema.task import Task
from ...features.core.feature_extractor import build
from ...features.core.feature_table import FeatureTable
from ...sermodels.core.sermodel import Data, Predictions
from ..core.machine import cpu_seconds, device_name, limit_threads, resolve_device, versions
from ..core.progress import Display
from ..protocol.protocol import unit_seed
from ..protocol.request import Place, Request
from ..protocol.setting import Corpora
from ..weights.predict import Applied, feature_tables
from ..weights.trained import open_weights, rows
from .plan import Plan
from .prediction_table import carry, prediction_table
from .trial import Outcome, build_data, expect_items, reason


def requests(
    weights: Sequence[str | Path], model: str | None, place: Place, base: Request, corpora: Corpora
) -> list[Request]:
    """One request for each row that the weights make on a corpus; `base` has task, classes, protocol and trials.

    Raises
    ------
    SerbenchError
        For files that are no weights, of another model or task, or given twice.
    """
    found = rows(open_weights(weights, model), corpora.get(place), base.task, base.classes)
    return [
        replace(
            base,
            model=str(row.weights[0].head["model"]),
            dataset=place.name,
            root=place.root,
            release=place.release,
            options=dict(place.options),
            task=row.task,
            classes=row.classes,
            weights=tuple(one.file for one in row.weights),
        )
        for row in found
    ]


def score(plan: Plan, device: str, jobs: int, threads: int, display: Display) -> None:
    """Predict the test items of every fold that lacks a record, once, and record that for each trial that lacks it.

    A `KeyboardInterrupt` passes through; any other exception becomes failed units with the reason.
    """
    lacking: dict[str, list[int]] = {}
    for trial, fold in plan.missing():
        lacking.setdefault(fold, []).append(trial)
    setting, request = plan.setting, plan.request
    applied = [Applied.load(Path(file.path), device, request.model) for file in request.weights]
    limit_threads(threads)
    needed = [i for fold in lacking for i in setting.division(0, fold).test]
    table = _item_table(setting.tested, setting.asked)
    tables = feature_tables(setting.tested, table.loc[needed], applied, max(jobs, threads), display)
    where = resolve_device(device) if any(one.model.uses_device for one in applied) else "cpu"
    for fold, trials in lacking.items():
        facts, predictions = _outcome(plan, applied, tables, fold, setting.division(0, fold).test)
        facts |= {"threads": threads, "versions": versions(), "device": device_name(where)}
        for trial in trials:
            cost = {} if trial == trials[0] else {"seconds": 0.0, "cpu_seconds": 0.0}
            seed = unit_seed(request.protocol, trial, fold)
            plan.run.write_unit(trial, fold, {**facts, **cost, "seed": seed}, predictions)
        said = f"FAILED: {facts['error']}" if facts["status"] != "done" else f"{facts['seconds']:.1f} s"
        display.message(f"{request.model}, weights as they are, fold {fold}: {said}")


def _item_table(corpus: Corpus, task: Task) -> Any:
    continuous = task.kind == "continuous" and corpus.recordings is not None
    return corpus.recordings if continuous else corpus.utterances


def _outcome(
    plan: Plan, applied: Sequence[Applied], tables: Mapping[str, FeatureTable], fold: str, ids: Sequence[str]
) -> Outcome:
    """Facts of a fold's units, and the predictions of its items beside their gold labels."""
    setting, begun, cpu = plan.setting, time.perf_counter(), cpu_seconds()
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
        excluded = {i: t.failed[i] for t in tables.values() for i in ids if i in t.failed}
        kept = [i for i in ids if i not in excluded]
        parts = []
        for one in applied:
            own = {role: tables[build(request).digest()] for role, request in one.features.items()}
            data, _ = build_data(setting.tested, one.model.task, kept, own, labelled=False)
            expect_items(data, "test", fold)
            parts.append((one.model.task, one.model.predict(data)))
        facts |= {"seconds": round(time.perf_counter() - begun, 3), "cpu_seconds": round(cpu_seconds() - cpu, 3)}
        if len(applied) == 1:  # several may share features, and their costs can't be added
            facts["cost"] = _cost(applied[0], setting.tested, data)
        test, _ = build_data(setting.tested, setting.asked, kept, {}, labelled=True)
        subsets = {i: setting.subsets[i] for i in kept}
        table = prediction_table(setting.asked, test, together(parts, setting.asked), test.labels, subsets)
    except Exception as error:
        return {**facts, "status": "failed", "error": reason(error)}, None
    counts = {"train": 0, "dev": 0, "test": len(test)}
    return {**facts, "status": "done", "counts": counts, "excluded": excluded}, table


def _cost(one: Applied, corpus: Corpus, data: Data) -> dict[str, Any]:
    """What the model costs to run, or why that can't be measured."""
    from .cost import running_cost

    try:
        return running_cost(one.model, corpus, data, {role: build(r) for role, r in one.features.items()}).facts()
    except Exception as error:  # a cost that can't be measured never spoils a result
        return {"error": reason(error)}


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
