"""Working through the units of runs that share their training, in this process or in several.

The features that are missing are extracted first, once for all units. Then each unit (trial, fold) that some of the
runs lacks is trained, and predicts the items of every run that lacks it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd

from ...datasets.core.config import to_dict
from ...datasets.core.files import canonical_json, digest
from ...datasets.schema.corpus import Corpus
from ...datasets.schema.task import Task
from ...features.cache.cache import FeatureCache
from ...features.core.feature_extractor import FeatureExtractor, build
from ...features.core.feature_table import FeatureTable
from ...features.extraction.extract import extract
from ...results.record.storage import plain
from ...sermodels import registry
from ..core.machine import resolve_device
from ..core.progress import Display, Silent
from ..protocol.protocol import unit_seed
from ..protocol.request import Request
from ..protocol.setting import Corpora
from .plan import Plan, needed_rows, rebuild
from .trial import Job, Source, Target, run_unit


def execute(
    plans: Sequence[Plan], device: str, jobs: int, threads: int | None, save_models: bool, display: Display
) -> None:
    """Extract what is missing and work through the units that some of the plans has no finished record of.

    The plans share their training: one fit serves every plan that lacks its unit.
    """
    lacking = lacking_units(plans)
    if not lacking:
        return
    request, setting = plans[0].request, plans[0].setting
    threads = threads or max(1, cores() // jobs)
    if request.weights:
        from .untrained import score

        score(plans[0], device, jobs, threads, display)
        return
    where = resolve_device(device) if registry.load(request.model).Model.uses_device else "cpu"
    sources = open_sources(plans, jobs if jobs > 1 else cores(), display)
    work = [job_of(plans, lacked, *unit, where, threads, save_models) for unit, lacked in lacking.items()]
    with display.units(f"{request.model} on {setting.corpus.name}", len(work)) as shown:
        if jobs == 1 or len(work) == 1:
            for job in work:
                shown.done(job, _worst(run_unit(job, sources, shown.step)))
        else:
            _in_processes(plans, work, jobs, shown)


def lacking_units(plans: Sequence[Plan]) -> dict[tuple[int, str], list[Plan]]:
    """(trial, fold) -> the plans that have no finished record of it, in the order in which units are worked through."""
    lacking: dict[tuple[int, str], list[Plan]] = {}
    for plan in plans:
        for unit in plan.missing():
            lacking.setdefault(unit, []).append(plan)
    folds = plans[0].setting.folds if plans else []
    return {unit: lacking[unit] for unit in sorted(lacking, key=lambda unit: (unit[0], folds.index(unit[1])))}


def job_of(
    plans: Sequence[Plan], lacked: Sequence[Plan], trial: int, fold: str, device: str, threads: int, save_models: bool
) -> Job:
    """The unit (trial, fold) of plans that share their training, for the records of those that lack it."""
    request, tested = plans[0].request, _sources_of(plans)
    return Job(
        request.model,
        to_dict(plans[0].config),
        plans[0].setting.division(trial, fold),
        tuple(_target(plan, trial, fold, tested) for plan in lacked),
        trial,
        unit_seed(request.protocol, trial, fold),
        device,
        threads,
        save_models,
        request.search,
    )


def wanted_rows(plans: Sequence[Plan]) -> list[tuple[Corpus, pd.DataFrame, Task]]:
    """(corpus, rows that features are needed of, task): what the plans train on, then what they test on."""
    setting, model = plans[0].setting, registry.load(plans[0].request.model).Model
    pool: list[str] = []
    if model.uses_unlabelled:
        pool = model.pool(plans[0].config, [str(i) for i in setting.corpus.unlabelled().index])
    own = [i for d in setting.divisions for i in (*d.train, *d.dev)]
    own += [i for plan in plans if not plan.setting.crosses for i in plan.setting.subsets]
    wanted = [(setting.corpus, needed_rows(setting.corpus, setting.task, own, model, pool), setting.task)]
    for tested in (plan.setting for plan in plans if plan.setting.crosses):
        rows = needed_rows(tested.tested, tested.asked, tested.subsets, model)
        wanted.append((tested.tested, rows, tested.asked))
    return wanted


def cached_features(plan: Plan) -> Iterator[tuple[str, FeatureExtractor]]:
    """Role and extractor of the features of a plan that are cached; those of words are made where they are used."""
    made = ((role, build(request)) for role, request in plan.features.items())
    return ((role, extractor) for role, extractor in made if not extractor.needs_words)


def extraction_key(extractor: FeatureExtractor, corpus: Corpus, rows: pd.DataFrame) -> str:
    """A text that two extractions have in common if they make the same arrays."""
    return digest([extractor.digest(), corpus.digest(), sorted(map(str, rows.index))])


def open_sources(plans: Sequence[Plan], jobs: int, display: Display) -> list[Source]:
    """The corpus that the plans train on, then those that they test on, with features from the cache or made now."""
    return [
        Source(corpus, task, extract_features(corpus, rows, plans[0], jobs, display))
        for corpus, rows, task in wanted_rows(plans)
    ]


def extract_features(
    corpus: Corpus, rows: pd.DataFrame, plan: Plan, jobs: int, display: Display
) -> dict[str, FeatureTable]:
    """Feature tables by role for some rows of a corpus."""
    tables = {}
    for role, request in plan.features.items():
        with display.extraction(request.name, len(rows)) as progress:
            tables[role] = extract(
                rows,
                corpus.root,
                build(request),
                FeatureCache(),
                jobs=jobs,
                progress=progress,
                source=corpus.audio_source,
                words=corpus.words,
            )
        if tables[role].failed:
            display.message(
                f"{len(tables[role].failed)} files are left out of {request.name}: {_first(tables[role].failed)}"
            )
    return tables


def _sources_of(plans: Sequence[Plan]) -> dict[Path, int]:
    """Run folder -> place among the sources of the corpus that the run tests."""
    crossing = [plan.run.path for plan in plans if plan.setting.crosses]
    return {plan.run.path: crossing.index(plan.run.path) + 1 if plan.setting.crosses else 0 for plan in plans}


def _target(plan: Plan, trial: int, fold: str, tested: Mapping[Path, int]) -> Target:
    ids = plan.setting.division(trial, fold).test
    return Target(plan.run.path, ids, {i: plan.setting.subsets[i] for i in ids}, tested[plan.run.path])


def _worst(facts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the line of a unit shows: its first failure, if there is one."""
    return next((f for f in facts if f["status"] != "done"), facts[0])


def _in_processes(plans: Sequence[Plan], work: Sequence[Job], jobs: int, shown: Any) -> None:
    described = canonical_json(plain([[asdict(plan.request), plan.run.path] for plan in plans]))
    with ProcessPoolExecutor(min(jobs, len(work)), mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(_work, job, described): job for job in work}
        try:
            while waiting:
                ready, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in ready:
                    shown.done(waiting.pop(future), _worst(future.result()))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _work(job: Job, described: str) -> list[dict[str, Any]]:
    """A unit in a process of its own: corpora and the (by now cached) features are opened once per process."""
    return run_unit(job, _process_sources(described, canonical_json(plain(job.config))))


@lru_cache(maxsize=2)
def _process_sources(described: str, config: str) -> list[Source]:
    corpora = Corpora()
    plans = [
        rebuild(Request.from_dict(request), Path(path), json.loads(config), corpora)
        for request, path in json.loads(described)
    ]
    return open_sources(plans, 1, Silent())


def _first(failed: Mapping[str, str]) -> str:
    item = next(iter(failed))
    return f"{item} ({failed[item]})" + (" and others" if len(failed) > 1 else "")


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
