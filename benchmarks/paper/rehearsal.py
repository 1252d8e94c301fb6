"""A rehearsal of a plan: everything that it does, on miniature copies of its corpora, small, in minutes.

Each corpus that has a miniature (`serbench mock`) is replaced by it; what `[rehearsal]` and the rows set makes
trainings short. Rows whose files are not named are left out, and so are tables without rows. The numbers mean nothing.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...datasets import miniatures
from ...sermodels import registry as models
from ..corpora.mock import write_mock
from ..studies.study import fitting
from .checks import files_of
from .plan import CorpusEntry, ModelEntry, PaperPlan, texts

MOCKS = "miniatures"


def rehearsed(plan: PaperPlan, folder: Path) -> tuple[PaperPlan, list[str]]:
    """The plan on miniature corpora under `folder`, which are written where they lack, and what was left out."""
    rows = tuple(_small(row, plan) for row in plan.models if not _lacking(row, plan))
    out = [f"{row.name}: no --file {' '.join(_lacking(row, plan))}" for row in plan.models if _lacking(row, plan)]
    small = replace(
        plan,
        title=f"Rehearsal: {plan.title}",
        protocol=replace(plan.protocol, trials=plan.rehearsal.trials),
        corpora=tuple(_miniature(one, plan, folder / MOCKS) for one in plan.corpora),
        models=rows,
    )
    return _without_gone(small), out


def _lacking(row: ModelEntry, plan: PaperPlan) -> list[str]:
    named = {one.name for one in plan.files if one.path}
    return [name for name in files_of(plan, [row.name]) if name not in named]


def _small(row: ModelEntry, plan: PaperPlan) -> ModelEntry:
    """A row with the preset and settings of a rehearsal, as far as its model has them."""
    name, preset = row.model.split(":")[0], plan.rehearsal.preset
    model = f"{name}:{preset}" if preset in models.declared(name, "PRESETS") else row.model
    everywhere = fitting(name, texts(plan.rehearsal.settings, "[rehearsal]"))
    settings = texts(row.settings, row.name) | everywhere | texts(row.rehearsal, row.name)
    return replace(row, model=model, settings=tuple(f"{key}={value}" for key, value in settings.items()))


def _miniature(corpus: CorpusEntry, plan: PaperPlan, folder: Path) -> CorpusEntry:
    if corpus.name not in miniatures.names():
        return corpus
    place, part = folder / corpus.name, folder / f"{corpus.name}.part"
    if not place.exists():
        shutil.rmtree(part, ignore_errors=True)  # what a killed process has left
        write_mock(corpus.name, part, release=corpus.release, utterances=plan.rehearsal.utterances)
        part.rename(place)
    return replace(corpus, root=str(place), release=None)


def _without_gone(plan: PaperPlan) -> PaperPlan:
    """The plan without what names rows that are left out."""
    there = {row.name for row in plan.models}

    left = [replace(one, rivals=tuple(n for n in one.rivals if n in there)) for one in plan.comparisons]
    pairs = zip(left, plan.comparisons, strict=True)
    comparisons = tuple(new for new, old in pairs if new.system in there and (new.rivals or not old.rivals))
    known = {"", *(one.name for one in comparisons)}

    def kept(entries: tuple[Any, ...]) -> tuple[Any, ...]:
        fewer = [replace(one, models=tuple(n for n in one.models if n in there)) for one in entries]
        pairs = zip(entries, fewer, strict=True)
        return tuple(
            new for old, new in pairs if (new.models or not old.models) and getattr(new, "comparison", "") in known
        )

    return replace(
        plan,
        comparisons=comparisons,
        experiments=kept(plan.experiments),
        tables=kept(plan.tables),
        figures=kept(plan.figures),
    )
