"""Training on perturbed audio, `--train-with noise:10`: each training utterance clean, and once more under each.

The perturbations are those of `serbench stress`, in the same feature path and cache. A copy has its utterance's labels,
speaker and context; dev and test stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...features.core.feature_extractor import FeatureRequest, build
from ...features.core.feature_table import Array, FeatureTable
from ...features.extraction.extract import extract_from
from ...features.perturbations import perturbation
from ...features.perturbations.change import perturbed
from ...sermodels.core.sermodel import Data
from ..core.progress import Display
from ..protocol.protocol import Division
from ..protocol.request import Request
from ..protocol.setting import Setting
from .source import Source, needed_rows

Tables = Mapping[str, FeatureTable]


def check_perturbed(request: Request, setting: Setting) -> None:
    """Refuse what can't be learnt from perturbed audio.

    Raises
    ------
    SerbenchError
        For a perturbation that can't be made here, one that moves the labels of frames, and inner folds, between which
        an utterance and its copies would be divided.
    """
    listed = perturbation.parsed(request.train_with)
    perturbation.check(listed)
    if request.protocol.nested:
        raise SerbenchError("--dev nested would divide utterances from their perturbed copies. Type --dev 0.2.")
    for one in listed:
        if setting.task.kind == "continuous" and not one.of.keeps_time:
            raise SerbenchError(f"{one.kind} moves what was said in time, and the labels of this task are frames.")


def perturbed_tables(
    source: Source,
    request: Request,
    divisions: Sequence[Division],
    features: Mapping[str, FeatureRequest],
    jobs: int,
    display: Display,
) -> Source:
    """The source with the features of the training items of all divisions under each perturbation of a request."""
    ids = [i for d in divisions for i in (*d.train, *(d.dev if request.refit else ()))]
    rows = needed_rows(source.corpus, source.task, ids, context=False)
    made: dict[str, Tables] = {}
    for one in perturbation.parsed(request.train_with):
        changes, extract = perturbed(source.corpus, one), partial(extract_from, source.corpus, rows, jobs=jobs)
        tables: dict[str, FeatureTable] = {}
        for role, feature in features.items():
            with display.extraction(f"{feature.name}, {one.name}", len(rows)) as progress:
                tables[role] = extract(build(feature), progress=progress, changes=changes)
        made[one.name] = tables
    return replace(source, perturbed=made)


def augmented(data: Data, under: Mapping[str, Tables]) -> tuple[Data, dict[str, str]]:
    """Data with a copy of each item under each perturbation, and why some have none (name of the copy -> reason)."""
    origins: dict[str, tuple[str, str]] = {}
    failed: dict[str, str] = {}
    for name, tables in under.items():
        for item in data.ids:
            lost = next((t.failed.get(item, "it has no features") for t in tables.values() if item not in t), None)
            if lost is None:
                origins[f"{item} under {name}"] = (item, name)
            else:
                failed[f"{item} under {name}"] = lost
    place = {item: k for k, item in enumerate(data.ids)}
    taken = [*range(len(data)), *(place[item] for item, _ in origins.values())]
    names = [*data.ids, *origins]
    whole = data.take(taken)
    copies = data.items.loc[[item for item, _ in origins.values()]].set_axis(list(origins))
    turns = data.turns
    if turns is not None:
        spoken = {copy: item for copy, (item, _) in origins.items() if item in turns.index}
        again = turns.loc[list(spoken.values())].set_axis(list(spoken))
        turns = pd.concat([turns, again.assign(dialogue=pd.array([pd.NA] * len(again), dtype="string"))])  # said once
    return (
        replace(
            whole,
            items=pd.concat([data.items, copies]).loc[names],
            features={role: _joined(table, role, origins, under) for role, table in data.features.items()},
            words=None if data.words is None else _words(data.words, origins),
            frames={**data.frames, **{c: data.frames[i] for c, (i, _) in origins.items() if i in data.frames}},
            turns=turns,
        ),
        failed,
    )


def _words(words: Callable[[str], pd.DataFrame], origins: Mapping[str, tuple[str, str]]) -> Any:
    return lambda item: words(origins[item][0] if item in origins else item)


def _joined(
    table: FeatureTable, role: str, origins: Mapping[str, tuple[str, str]], under: Mapping[str, Tables]
) -> FeatureTable:
    """A table that holds the copies too."""
    others = {copy: (under[name][role], item) for copy, (item, name) in origins.items()}
    shapes = {**table.shapes, **{copy: other.shapes[item] for copy, (other, item) in others.items()}}
    return replace(table, loaders=_Loaders(table, others), shapes=shapes)


@dataclass(frozen=True)
class _Loaders(Mapping[str, Callable[[], Array]]):
    """Loaders of a table, and of copies: name -> (table, item in it)."""

    table: FeatureTable
    others: Mapping[str, tuple[FeatureTable, str]]

    def __getitem__(self, item: str) -> Callable[[], Array]:
        table, name = self.others.get(item, (self.table, item))
        return table.loaders[name]

    def __iter__(self) -> Iterator[str]:
        yield from self.table
        yield from self.others

    def __len__(self) -> int:
        return len(self.table) + len(self.others)

    def part(self, item: str, first: int, stop: int) -> Array:
        """Frames `first` .. `stop` - 1 of an array."""
        table, name = self.others.get(item, (self.table, item))
        return np.asarray(table.part(name, first, stop))
