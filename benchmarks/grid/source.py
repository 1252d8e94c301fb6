"""What a unit reads: a corpus, its task, and the features of its items; and the data that are made of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.schema.corpus import Corpus
from ...datasets.schema.task import Task
from ...features.core.feature_extractor import FeatureRequest, build
from ...features.core.feature_table import FeatureTable
from ...sermodels.core.sermodel import TURN_COLUMNS, Data
from ..core.progress import Display

Rows = tuple[Corpus, pd.DataFrame, Task]
"""A corpus, those of its rows that features are needed of, and its task."""


@dataclass(frozen=True)
class Source:
    """A corpus, its task, and features by role. The first source of a unit is trained on.

    `perturbed` is the features of training items under perturbations: name -> role -> table.
    """

    corpus: Corpus
    task: Task
    tables: Mapping[str, FeatureTable]
    perturbed: Mapping[str, Mapping[str, FeatureTable]] = field(default_factory=dict)


def item_rows(corpus: Corpus, task: Task) -> pd.DataFrame:
    """The table whose rows are the task's items: recordings of a time-continuous task, else utterances."""
    return corpus.recordings if task.kind == "continuous" and corpus.recordings is not None else corpus.utterances


def needed_rows(
    corpus: Corpus, task: Task, ids: Iterable[str], *, context: bool | str, pool: Sequence[str] = ()
) -> pd.DataFrame:
    """Table rows of some items, of the turns that a model wants beside them (its `uses_context`), and of a pool of
    ids."""
    wanted = dict.fromkeys(ids)
    table = item_rows(corpus, task)
    if context and table is corpus.utterances:
        from ...sermodels.core.context import context_turns

        wanted |= dict.fromkeys(context_turns(corpus, list(wanted), context))
    rows = table.loc[list(wanted)]
    more = corpus.utterances.loc[[i for i in pool if i not in rows.index]]
    return pd.concat([rows, more]) if len(more) else rows


def extract_features(
    corpus: Corpus, rows: pd.DataFrame, features: Mapping[str, FeatureRequest], jobs: int, display: Display
) -> dict[str, FeatureTable]:
    """Feature tables by role for some rows of a corpus, from the cache or made now."""
    from ...features.extraction.extract import extract_from

    tables = {}
    for role, request in features.items():
        with display.extraction(request.name, len(rows)) as progress:
            tables[role] = extract_from(corpus, rows, build(request), jobs=jobs, progress=progress)
        if failed := tables[role].failed:
            item, others = next(iter(failed)), " and others" if len(failed) > 1 else ""
            display.message(f"{len(failed)} files are left out of {request.name}: {item} ({failed[item]}){others}")
    return tables


def build_data(
    corpus: Corpus, task: Task, ids: Sequence[str], tables: Mapping[str, FeatureTable], *, labelled: bool
) -> tuple[Data, dict[str, str]]:
    """The data of some items, and the items left out because a feature could not be made (id -> reason)."""
    excluded = {i: t.failed[i] for t in tables.values() for i in ids if i in t.failed}
    kept = [i for i in ids if i not in excluded]
    items = item_rows(corpus, task).loc[kept]
    frames: dict[str, int] = {}
    labels: Any = None
    if task.kind == "continuous":
        traces = {i: corpus.trace(i) for i in kept}
        frames = {i: len(t) for i, t in traces.items()}
        labels = [traces[i][list(task.targets)].to_numpy(dtype=np.float64) for i in kept] if labelled else None
    elif labelled:
        labels = task.encode(items)
    turns = corpus.utterances[list(TURN_COLUMNS)]
    return Data(task, items, dict(tables), labels, corpus.words, frames, turns), excluded


def expect_items(data: Data, role: str, fold: str) -> None:
    """Raise SerbenchError where no item is left."""
    if not len(data):
        raise SerbenchError(f"no usable {role} item is left in fold {fold!r}: every audio file failed.")
