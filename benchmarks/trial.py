"""One unit of work: train one model on one fold with one seed, predict the fold's test items, leave the record.

`Job` holds everything a unit needs as plain data, so that it can be sent to another process or machine. The unit
reads features from the cache, never sees a test label before its predictions are made, and ends with a finished
record, whatever happens: an exception becomes a failed record with the reason.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..datasets._config import from_dict
from ..datasets._corpus import Corpus
from ..datasets._errors import SerbenchError
from ..datasets._task import Task
from ..features._store import FeatureTable
from ..results.records import Run
from ..results.scoring import dev_score
from ..sermodels import registry
from ..sermodels._model import Data, Predictions, Resources, SERModel
from .protocol import Division

VERSIONS = ("serbench", "torch", "numpy", "scipy", "pandas", "scikit-learn", "opensmile", "librosa", "transformers")


@dataclass(frozen=True)
class Job:
    """What a unit needs: the model, the task, the division, the subsets, the seed, the device and where to write."""

    run: Path
    model: str
    config: Mapping[str, Any]
    division: Division
    subsets: Mapping[str, int]
    trial: int
    seed: int
    device: str
    threads: int
    save_model: bool = False


def run_unit(
    job: Job,
    corpus: Corpus,
    task: Task,
    tables: Mapping[str, FeatureTable],
    progress: Callable[[str, float], None] | None = None,
) -> dict[str, Any]:
    """Train, predict and record one unit; returns the unit's facts as written.

    A `KeyboardInterrupt` passes through and leaves no record; any other exception is recorded as a failed unit.
    """
    run = Run.open(job.run)
    started, cpu = time.perf_counter(), cpu_seconds()
    facts: dict[str, Any] = {"status": "failed", "error": None, "trial": job.trial, "fold": job.division.fold,
                             "seed": job.seed, "threads": job.threads, "versions": versions()}  # fmt: skip
    predictions: pd.DataFrame | None = None
    try:
        module = registry.load(job.model)
        limit_threads(job.threads)
        facts["device"] = device_name(job.device)
        checkpoint = job.run / f".unfinished-{job.trial}-{job.division.fold}"
        resources = Resources(job.seed, job.device, progress, checkpoint)
        model = module.Model(from_dict(module.Config, job.config), task, resources)
        predictions, outcome = _train_and_predict(model, job, corpus, task, tables)
        facts |= outcome | {"status": "done"}
        if job.save_model:
            from ..sermodels._persist import save_model

            save_model(model, job.run / f"unit-{job.trial}-{job.division.fold}.safetensors")
    except Exception as error:
        facts["error"] = str(error) if isinstance(error, SerbenchError) else f"{type(error).__name__}: {error}"
    facts["seconds"] = round(time.perf_counter() - started, 3)
    facts["cpu_seconds"] = round(cpu_seconds() - cpu, 3)
    return run.write_unit(job.trial, job.division.fold, facts, predictions)


def build_data(
    corpus: Corpus, task: Task, ids: Sequence[str], tables: Mapping[str, FeatureTable], *, labelled: bool
) -> tuple[Data, dict[str, str]]:
    """The data of some items, and the items left out because a feature could not be made (id -> reason)."""
    table = corpus.recordings if task.kind == "continuous" and corpus.recordings is not None else corpus.utterances
    excluded = {i: t.failed[i] for t in tables.values() for i in ids if i in t.failed}
    kept = [i for i in ids if i not in excluded]
    items = table.loc[kept]
    frames: dict[str, int] = {}
    labels: Any = None
    if task.kind == "continuous":
        traces = {i: corpus.trace(i) for i in kept}
        frames = {i: len(t) for i, t in traces.items()}
        labels = [traces[i][list(task.targets)].to_numpy(dtype=np.float64) for i in kept] if labelled else None
    elif labelled:
        labels = task.encode(items)
    turns = corpus.utterances[["speaker", "gender"]]
    return Data(task, items, dict(tables), labels, corpus.words, frames, turns), excluded


def prediction_table(
    task: Task, data: Data, predictions: Predictions, gold: Any, subsets: Mapping[str, int]
) -> pd.DataFrame:
    """Predictions beside gold labels, one row per utterance or label frame, in the columns that records state."""
    if task.kind == "continuous":
        return _frame_table(task, data, predictions, gold, subsets)
    array = np.asarray(predictions, dtype=np.float64)
    expected = (len(data), task.n_outputs)
    if array.shape != expected:
        raise SerbenchError(f"the model predicted an array of shape {array.shape}; expected {expected}.")
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).any(axis=1).sum())
        raise SerbenchError(f"{bad} of {len(data)} predictions are not finite numbers. Try a lower learning rate.")
    columns: dict[str, Any] = {"id": data.ids, "subset": [subsets[i] for i in data.ids]}
    if task.kind == "classification":
        columns["gold"] = [task.labels[int(k)] for k in gold]
        columns["predicted"] = [task.labels[int(k)] for k in array.argmax(axis=1)]
        return pd.DataFrame(columns | {f"p_{label}": array[:, k] for k, label in enumerate(task.labels)})
    for k, target in enumerate(task.targets):
        columns |= {f"gold_{target}": np.asarray(gold)[:, k], f"pred_{target}": array[:, k]}
    return pd.DataFrame(columns)


def cpu_seconds() -> float:
    """CPU time of this process and its ended children, in seconds."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that can change a number."""
    found = {"python": platform.python_version()}
    for name in VERSIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def resolve_device(device: str) -> str:
    """Turn "auto" into "cuda", "mps" or "cpu"; refuse a device that is not there."""
    if device == "cpu":
        return device
    import torch

    there = [
        "cpu",
        *(["cuda"] if torch.cuda.is_available() else []),
        *(["mps"] if torch.backends.mps.is_available() else []),
    ]
    if device == "auto":
        return next((d for d in ("cuda", "mps") if d in there), "cpu")
    if device.split(":")[0] not in there:
        raise SerbenchError(
            f"--device {device}: there is no such device here. Expected auto or one of: {', '.join(there)}."
        )
    return device


def device_name(device: str) -> str:
    """The device as records name it: "cpu" with the machine's architecture, or the graphics card's name."""
    if not device.startswith("cuda"):
        return f"{device} ({platform.machine()})"
    import torch

    return f"{device} ({torch.cuda.get_device_name(device)})"


def limit_threads(threads: int) -> None:
    """Fix this process's threads, so that jobs don't fight over cores and sums are made in one order.

    Call it after the model's module was imported: libraries that are loaded later take the environment's setting.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(threads)
    if "numpy" in sys.modules:
        import threadpoolctl

        threadpoolctl.threadpool_limits(threads)


def _train_and_predict(
    model: SERModel, job: Job, corpus: Corpus, task: Task, tables: Mapping[str, FeatureTable]
) -> tuple[pd.DataFrame, dict[str, Any]]:
    train, out_train = build_data(corpus, task, job.division.train, tables, labelled=True)
    dev, out_dev = build_data(corpus, task, job.division.dev, tables, labelled=True)
    test, out_test = build_data(corpus, task, job.division.test, tables, labelled=False)
    for role, data in (("train", train), ("dev", dev), ("test", test)):
        if not len(data):
            raise SerbenchError(
                f"no usable {role} item is left in fold {job.division.fold!r}: every audio file failed."
            )
    unlabelled = None
    if model.uses_unlabelled:
        pool = [str(i) for i in corpus.unlabelled().index]
        unlabelled, out_pool = build_data(corpus, task, pool, tables, labelled=False)
        out_train |= out_pool
    score = dev_score(task)
    begun = time.perf_counter()
    log = model.fit(train, dev, score, unlabelled)
    fitted = time.perf_counter()
    predictions = model.predict(test)
    predicted = time.perf_counter()
    gold = build_data(corpus, task, test.ids, tables, labelled=True)[0].labels
    outcome = {
        "seconds_fit": round(fitted - begun, 3), "seconds_predict": round(predicted - fitted, 3),
        "parameters": model.parameters, "dev_score": _number(score(dev.labels, model.predict(dev))),
        "epochs": [{k: _number(v) for k, v in row.items()} for row in log.epochs], "best_epoch": log.best_epoch,
        "facts": log.facts, "counts": {"train": len(train), "dev": len(dev), "test": len(test)},
        "excluded": out_train | out_dev | out_test,
    }  # fmt: skip
    return prediction_table(task, test, predictions, gold, job.subsets), outcome


def _frame_table(
    task: Task, data: Data, predictions: Predictions, gold: Sequence[npt.NDArray[Any]], subsets: Mapping[str, int]
) -> pd.DataFrame:
    parts = []
    for item, predicted, truth in zip(data.ids, predictions, gold, strict=True):
        if predicted.shape != truth.shape:
            raise SerbenchError(
                f"the model predicted {predicted.shape} for {item!r}; expected {truth.shape} (frame, target)."
            )
        columns: dict[str, Any] = {"id": item, "subset": subsets[item], "frame": np.arange(len(truth))}
        for k, target in enumerate(task.targets):
            columns |= {f"gold_{target}": truth[:, k], f"pred_{target}": np.asarray(predicted, dtype=np.float64)[:, k]}
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def _number(value: Any) -> float | None:
    number = float(value)
    return number if np.isfinite(number) else None
