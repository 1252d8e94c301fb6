"""The grid: every model on every corpus, unit by unit, skipping what is finished.

`run` is what `serbench run` does. For each (model, dataset) it makes a plan, extracts the missing features once, then
works through the units (trial, fold) that have no finished record, in this process or in several. Records are the only
state: a killed run is resumed by the same call.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ..datasets._config import from_dict, to_dict
from ..datasets._corpus import Corpus
from ..datasets._errors import SerbenchError, unknown
from ..datasets._load import load_corpus
from ..datasets._task import Task
from ..features._cache import FeatureCache
from ..features._extract import extract
from ..features._extractor import FeatureRequest, build
from ..features._store import FeatureTable
from ..results.records import Run
from ..sermodels import registry
from ._memo import recall, remember
from ._progress import Display, Silent
from .plan import Plan, Request, needed_rows, open_corpus, prepare
from .protocol import Protocol, divide, unit_seed
from .trial import Job, resolve_device, run_unit

CHANCE = (("chance", None), ("chance", "random"))
"""(model, preset) of the rows that every leaderboard holds, so that each score can be read against them."""


def run(
    model: str | Sequence[str],
    dataset: str | Sequence[str],
    *,
    root: str | Path | Mapping[str, str | Path] | None = None,
    release: str | None = None,
    task: str | None = None,
    preset: str | None = None,
    settings: Mapping[str, str] | None = None,
    protocol: Protocol | None = None,
    trials: int = 5,
    allow_leak: bool = False,
    options: Mapping[str, Any] | None = None,
    results: str | Path = "results",
    device: str = "auto",
    jobs: int = 1,
    threads: int | None = None,
    save_models: bool = False,
    display: Display | None = None,
) -> list[Run]:
    """Train and score models on corpora under one protocol; finished trials are skipped.

    Parameters
    ----------
    model, dataset : one registered name, or several; `MODEL:PRESET` names a preset of one model
    root : folder of the corpus, or dataset name -> folder
    preset, settings : for every model that is named; settings are `model.KEY`, `train.KEY` or `feature.KEY` -> text,
        as after `--set`
    results : folder that holds `runs/`
    jobs : processes that work on units at the same time
    threads : threads of each process; None = the machine's cores divided by `jobs`. Numbers are identical on one
        machine for the same number of threads, whatever `jobs` is

    The two chance rows that every leaderboard holds are run for each dataset and task too.

    Returns
    -------
    one `Run` per (model, dataset), in the order of the arguments

    Raises
    ------
    SerbenchError
        For bad input. A unit that fails is recorded as failed and does not end the grid.
    """
    names = _several(dataset)
    if trials < 1 or jobs < 1:
        raise SerbenchError(f"trials={trials}, jobs={jobs}: expected 1 or more of each.")
    asked = [(name, named or preset) for name, _, named in (m.partition(":") for m in _several(model))]
    added = [row for row in CHANCE if row not in asked]
    requests = [
        Request(
            model=name,
            dataset=where,
            root=_root_of(root, where, names),
            release=release,
            options=dict(options or {}),
            task=task,
            preset=chosen,
            settings=dict(settings or {}) if (name, chosen) not in CHANCE else {},
            protocol=protocol or Protocol(),
            trials=trials,
            allow_leak=allow_leak,
        )
        for where in names
        for name, chosen in (*asked, *added)
    ]
    done = run_requests(requests, results, device, jobs, threads, save_models, display)
    return [one for one, request in zip(done, requests, strict=True) if (request.model, request.preset) not in added]


def run_requests(
    requests: Iterable[Request],
    results: str | Path = "results",
    device: str = "auto",
    jobs: int = 1,
    threads: int | None = None,
    save_models: bool = False,
    display: Display | None = None,
    configs: Mapping[str, Any] | None = None,
) -> list[Run]:
    """Work through requests one after the other; `configs` (model name -> config) replaces preset and settings."""
    shown = display or Silent()
    runs = []
    for request in requests:
        corpus = open_corpus(request)
        finished = None if configs else recall(Path(results), request, corpus)
        if finished is None:
            plan = prepare(request, results, corpus, (configs or {}).get(request.model))
            execute(plan, device, jobs, threads, save_models, shown)
            if not plan.missing() and not configs:
                remember(Path(results), request, corpus, plan.run, [d.fold for d in plan.divisions])
            finished = plan.run
        shown.message(f"{finished.run_id}: {request.trials} trials are recorded")
        runs.append(finished)
    return runs


def from_record(
    path: str | Path,
    results: str | Path = "results",
    device: str = "auto",
    jobs: int = 1,
    threads: int | None = None,
    save_models: bool = False,
    display: Display | None = None,
) -> list[Run]:
    """Repeat the run of a record (a run folder or its run.json), with its complete configuration.

    The other arguments are those of `run`. Raises SerbenchError when the corpus on disk is not the recorded one.
    """
    folder = Path(path)
    folder = folder if folder.is_dir() else folder.parent
    spec = Run.open(folder).spec
    given = dict(spec["arguments"])
    request = Request(**{**given, "protocol": from_dict(Protocol, given["protocol"])})
    corpus = open_corpus(request)
    if corpus.digest() != spec["dataset"]["digest"]:
        raise SerbenchError(
            f"the corpus at {request.root!r} has the digest {corpus.digest()}, the record was made with "
            f"{spec['dataset']['digest']}. Expected the same release of {request.dataset}; "
            f"type serbench check {request.dataset} to see what it holds."
        )
    config = from_dict(registry.load(request.model).Config, spec["model"]["config"])
    return run_requests(
        [request], results, device, jobs, threads, save_models, display, configs={request.model: config}
    )


def execute(plan: Plan, device: str, jobs: int, threads: int | None, save_models: bool, display: Display) -> None:
    """Extract what is missing and work through the units that have no finished record."""
    missing = plan.missing()
    if not missing:
        return
    threads = threads or max(1, _cores() // jobs)
    uses_device = registry.load(plan.request.model).Model.uses_device
    where = resolve_device(device) if uses_device else "cpu"
    tables = extract_features(plan, jobs if jobs > 1 else _cores(), display)
    by_fold = {d.fold: d for d in plan.divisions}
    work = [
        Job(plan.run.path, plan.request.model, to_dict(plan.config), by_fold[fold], plan.subsets, trial,
            unit_seed(plan.request.protocol, trial, fold), where, threads, save_models)
        for trial, fold in missing
    ]  # fmt: skip
    with display.units(f"{plan.request.model} on {plan.request.dataset}", len(work)) as shown:
        if jobs == 1 or len(work) == 1:
            for job in work:
                shown.done(job, run_unit(job, plan.corpus, plan.task, tables, shown.step))
        else:
            _in_processes(plan, work, jobs, shown)


def extract_features(plan: Plan, jobs: int, display: Display) -> dict[str, FeatureTable]:
    """Feature tables by role for every item that the plan touches, from the cache or made now."""
    rows = needed_rows(plan)
    tables = {}
    for role, request in plan.features.items():
        with display.extraction(request.name, len(rows)) as progress:
            tables[role] = extract(rows, plan.corpus.root, build(request), FeatureCache(), jobs=jobs, progress=progress)
        if tables[role].failed:
            display.message(
                f"{len(tables[role].failed)} files are left out of {request.name}: {_first(tables[role].failed)}"
            )
    return tables


def _in_processes(plan: Plan, work: Sequence[Job], jobs: int, shown: Any) -> None:
    arguments = (plan.request, plan.task.to_dict(), dict(plan.features))
    with ProcessPoolExecutor(min(jobs, len(work)), mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(_work, job, *arguments): job for job in work}
        try:
            while waiting:
                ready, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in ready:
                    shown.done(waiting.pop(future), future.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _work(
    job: Job, request: Request, task: Mapping[str, Any], features: Mapping[str, FeatureRequest]
) -> dict[str, Any]:
    """A unit in a process of its own: the corpus and the (by now cached) features are opened once per process."""
    key = (request.dataset, request.root, request.release, tuple(request.options.items()))
    corpus = _process_corpus(key)
    the_task = Task.from_dict(task)
    plan = Plan(
        request, corpus, the_task, None, features, divide(corpus, the_task, request.protocol), {}, Run.open(job.run)
    )
    tables = extract_features(plan, 1, Silent())
    return run_unit(job, corpus, the_task, tables)


@lru_cache(maxsize=4)
def _process_corpus(key: tuple[str, str | None, str | None, tuple[tuple[str, Any], ...]]) -> Corpus:
    return load_corpus(key[0], key[1], key[2], dict(key[3]))


def _several(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _root_of(root: str | Path | Mapping[str, str | Path] | None, name: str, names: Sequence[str]) -> str | None:
    if isinstance(root, Mapping):
        wrong = [key for key in root if key not in names]
        if wrong:
            raise unknown("dataset of --root", wrong[0], names)
        return None if root.get(name) is None else str(root[name])
    return None if root is None else str(root)


def _first(failed: Mapping[str, str]) -> str:
    item = next(iter(failed))
    return f"{item} ({failed[item]})" + (" and others" if len(failed) > 1 else "")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
