"""A short trial of a plan in a process of its own: what its features and its training take on a few items.

The same training is made on a few items and on some more, after one that is not timed, so that what grows with the
items can be told from what does not. A model that learns from an unlabelled pool has one here too, with as many
sentences for each training item as in the plan, up to `POOL`. Features are made in a cache that is thrown away.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import soundfile

from ...datasets.core.errors import SerbenchError
from ...datasets.schema.corpus import Corpus
from ...datasets.schema.task import Task
from ...features.cache.cache import FeatureCache
from ...features.core.feature_extractor import FeatureExtractor, build
from ...features.core.feature_table import FeatureTable
from ...features.extraction.extract import extract_from
from ...features.extraction.file_tasks import FileTask, tasks_of
from ...features.extraction.processes import in_processes
from ...results.record.folder import Run
from ...results.record.storage import record_files
from ..core.machine import cpu_seconds, limit_threads, peak_mib, resolve_device
from ..grid.execution import read_plan
from ..grid.plan import Unit
from ..grid.source import Source, needed_rows
from ..grid.training import TrainingPlan
from ..grid.trial import Target
from ..protocol.protocol import Division
from ..protocol.setting import Corpora

SIZES = {"classification": (24, 72), "regression": (24, 72), "continuous": (1, 3)}
"""Training items of the two trainings that are timed, by the kind of task."""
POOL = 4
"""Unlabelled sentences of a pilot for each of its `SIZES`, at most."""
LENGTHS = 200
"""Audio files whose headers are read to estimate the length of all."""
WARM_FILES = 2
"""Files that are made before time is taken: models are loaded with the first."""


@dataclass(frozen=True)
class Timed:
    """One training of the pilot: its items and unlabelled sentences, and what it took (`bytes`: of its record)."""

    items: int
    seconds: float
    cpu_seconds: float
    bytes: int
    unlabelled: int = 0


@dataclass(frozen=True)
class Pilot:
    """What a pilot found.

    Attributes
    ----------
    trainings : the two that were timed, of one epoch where the model trains in epochs
    features : role -> (CPU-seconds, bytes) for each second of audio
    problem : why there is less; empty if nothing went wrong
    """

    trainings: tuple[Timed, ...] = ()
    peak_mib: float | None = None
    parameters: float = 0.0
    features: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    problem: str = ""


def pilot(plan: TrainingPlan, device: str, threads: int) -> Pilot:
    """Try a plan on a few items; whatever goes wrong is the pilot's `problem`."""
    function = partial(_pilot, device=device, threads=threads)
    try:
        (found,) = in_processes([plan.text()], function, 1, _died, batch=1, share_cores=False)
        return found
    except SerbenchError as error:
        return Pilot(problem=str(error))
    except Exception as error:  # a pilot never ends the planning
        return Pilot(problem=f"{type(error).__name__}: {error}")


def _died(text: str) -> Pilot:
    return Pilot(problem="the pilot's process died: too little memory?")


def some(ids: Sequence[str], count: int) -> tuple[str, ...]:
    """So many ids from the whole length of a sequence."""
    return tuple(ids[len(ids) * k // count] for k in range(count)) if len(ids) > count else tuple(ids)


def one_epoch(config: Any) -> Any:
    """The configuration with a single epoch, if it has epochs at all."""
    return replace(config, train=replace(config.train, epochs=1, patience=0)) if hasattr(config, "train") else config


def audio_seconds(tasks: Sequence[FileTask]) -> float:
    """Seconds of all segments; open ends are estimated from the headers of some of the files."""
    bounded = [s.end - (s.start or 0.0) for t in tasks for s in t.segments if s.end is not None]
    open_ended = [t.path for t in tasks for s in t.segments if s.end is None]
    lengths = []
    for path in some(open_ended, LENGTHS):
        try:
            lengths.append(float(soundfile.info(path).duration))
        except (RuntimeError, OSError):
            continue  # the run will list it
    return sum(bounded) + len(open_ended) * (statistics.mean(lengths) if lengths else 0.0)


def _pilot(text: str, device: str, threads: int) -> Pilot:
    limit_threads(threads)
    plan = read_plan(text, Corpora())
    assert isinstance(plan, TrainingPlan)
    with tempfile.TemporaryDirectory() as name:
        run = Run.create(Path(name), plan.parts[0].spec)
        where = resolve_device(device) if plan.uses_device else "cpu"
        divisions = [part_of(plan, size) for size in SIZES[plan.setting.task.kind]]
        sources, prices = _sources(plan, divisions[-1], FeatureCache(Path(name) / "features"))
        timed: list[Timed] = []
        facts: dict[str, Any] = {}
        for division in (divisions[0], *divisions):
            ids, pool = division.test, division.unlabelled
            target = Target(run.path, ids, {i: plan.setting.subsets[i] for i in ids}, len(sources) - 1)
            short = replace(plan, config=plan.model.with_pool(one_epoch(plan.config), len(pool)))
            job = short.job(Unit("pilot", division.fold, (0,), (0,)), [run.path], where, threads)
            seen = [replace(sources[0], corpus=_with_pool(sources[0].corpus, pool)), *sources[1:]]
            (facts,) = replace(job, division=division, targets=(target,), search=None).run(seen)
            if facts["status"] != "done":
                return Pilot(features=prices, problem=str(facts["error"]))
            size = sum(path.stat().st_size for path in record_files(run.unit_files(0, division.fold)[0]))
            timed.append(Timed(len(division.train), facts["seconds"], facts["cpu_seconds"], size, len(pool)))
        return Pilot(tuple(timed[1:]), peak_mib(), float(facts["parameters"] or 0), prices)


def part_of(plan: TrainingPlan, size: int) -> Division:
    """A part of the plan's first fold, with `size` training items and an unlabelled pool in proportion.

    A pool of many sentences for each training item takes of these instead, down to a quarter, and has at most `POOL`
    sentences for each of `size`.
    """
    division, rest = plan.setting.divisions[0], max(1, size // 3)
    pool = plan.pool(division)
    ratio = len(pool) / max(len(division.train), 1)
    train = some(division.train, size if ratio < POOL else max(size // 4, round(size * (1 + POOL) / (1 + ratio))))
    return replace(
        division,
        train=train,
        dev=some(division.dev, rest),
        test=some(division.test, rest),
        unlabelled=tuple(pool[: min(round(len(train) * ratio), POOL * size)]),
    )


def _with_pool(corpus: Corpus, pool: Sequence[str]) -> Corpus:
    """The corpus without the sentences of its unlabelled pool that are not named."""
    others = corpus.unlabelled().index.difference(list(pool))
    return replace(corpus, utterances=corpus.utterances.drop(index=others)) if len(others) else corpus


def _sources(
    plan: TrainingPlan, division: Division, cache: FeatureCache
) -> tuple[list[Source], dict[str, tuple[float, float]]]:
    """The corpora of the pilot with features of its items, and what those took by role."""
    setting = plan.setting
    parts: list[tuple[Corpus, Task, list[str]]] = [(setting.corpus, setting.task, [*division.train, *division.dev])]
    if setting.crosses:
        parts.append((setting.tested, setting.asked, list(division.test)))
    else:
        parts[0][2].extend(division.test)
    prices: dict[str, tuple[float, float]] = {}
    sources: list[Source] = []
    for corpus, task, ids in parts:
        pool = () if sources else division.unlabelled
        rows, tables = needed_rows(corpus, task, ids, context=plan.model.uses_context, pool=pool), {}
        for role, wanted in plan.features.items():
            tables[role], price = _priced(corpus, rows, build(wanted), cache)
            prices.setdefault(role, price)
        sources.append(Source(corpus, task, tables))
    return sources, prices


def _priced(
    corpus: Corpus, rows: Any, extractor: FeatureExtractor, cache: FeatureCache
) -> tuple[FeatureTable, tuple[float, float]]:
    """The features of some rows, and their (CPU-seconds, bytes) for each second of audio; words cost neither."""
    if extractor.needs_words:
        return extract_from(corpus, rows, extractor), (0.0, 0.0)
    heard = [0.0]

    def note(done: int, total: int, audio_seconds: float) -> None:
        heard[0] = audio_seconds

    extract_from(corpus, rows.head(WARM_FILES), extractor, cache, progress=note)
    before, warm = cpu_seconds(), heard[0]
    table = extract_from(corpus, rows, extractor, cache, progress=note)
    spent, size = cpu_seconds() - before, sum(4 * frames * dim for frames, dim in table.shapes.values())
    whole = audio_seconds(tasks_of(rows, corpus.root)[0]) if corpus.audio_source is None else warm + heard[0]
    return table, (spent / max(heard[0], 1e-3), size / max(whole, 1e-3))
