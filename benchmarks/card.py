"""The protocol card: everything that must be said beside a score, on one page of text.

Classes and what is merged or dropped, utterances per partition and fold, speakers, how the test items are cut, which
metric is printed and how it is defined, known problems, licence, and how to cite.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from ..datasets._corpus import Corpus
from ..datasets._labels import mapping_report
from ..datasets._task import Task
from .guards import NAMES, leaks, sides
from .protocol import Division, Protocol, assign_subsets, describe, divide

METRICS = {
    "classification": (
        "UAR: mean over the classes that occur of the share of their items that is recognised (also WA, macro F1, "
        "weighted F1)"
    ),
    "regression": (
        "CCC: 2 cov / (var_gold + var_predicted + (mean_gold - mean_predicted)^2), moments over all items of a subset, "
        "divided by n (Lin 1989; also PCC, RMSE)"
    ),
    "continuous": (
        "CCC over the concatenated frames of a subset's recordings, moments divided by n (Lin 1989; also PCC, RMSE)"
    ),
}


def lines(corpus: Corpus, task: Task, protocol: Protocol) -> Iterator[str]:
    """The card's lines."""
    divisions = divide(corpus, task, protocol)
    items = corpus.items(task)
    facts = describe(corpus, task, protocol, divisions)
    yield f"{corpus.name}{f' {corpus.release}' if corpus.release else ''} (table {corpus.digest()}), task {task.name}"
    yield f"what: {task.doc or task.kind}"
    yield from _labels(corpus, task, items)
    yield f"protocol {protocol.name}: split {facts['split']!r}, {protocol.subsets} test subsets, seed {protocol.seed}"
    yield from _cut(corpus, task, protocol, divisions)
    yield from _folds(items, divisions)
    yield f"metric: {METRICS[task.kind]}"
    shared = leaks(sides(corpus, divisions, items), texts=True)
    problems = [f"{found.count} {NAMES[kind]} stand in training and in test" for kind, found in shared.items()]
    problems += [*corpus.notes, *(f"unusable: {i}" for i in sorted(corpus.known_unusable))]
    if not corpus.has_dialogues:
        problems.append("no dialogue context: models that use it see the current turn alone")
    yield "known problems:" if problems else "known problems: none"
    yield from (f"  - {text}" for text in problems)
    yield f"licence: {corpus.licence}"
    yield f"cite: {corpus.citation}"
    yield f"homepage: {corpus.homepage}"


def _labels(corpus: Corpus, task: Task, items: pd.DataFrame) -> Iterator[str]:
    if task.kind == "classification":
        classes = pd.Series(task.encode(items)).map(dict(enumerate(task.labels))).value_counts()
        yield "classes: " + ", ".join(f"{label} {classes.get(label, 0)}" for label in task.labels)
        told = (text for text in mapping_report(task, corpus.utterances) if "=" in text or text.startswith("dropped"))
        yield from (f"  - {text}" for text in told)
        return
    yield "targets: " + ", ".join(f"{t} on {task.scales[t][0]:g} .. {task.scales[t][1]:g}" for t in task.targets)
    dropped = task.dropped(corpus.utterances) if task.kind == "regression" else {}
    yield from (f"  - left out: {count} with {label}" for label, count in dropped.items())


def _cut(corpus: Corpus, task: Task, protocol: Protocol, divisions: Sequence[Division]) -> Iterator[str]:
    sizes = pd.Series(assign_subsets(corpus, task, protocol, divisions)).value_counts().sort_index()
    yield f"  test items per subset: {', '.join(map(str, sizes))}"


def _folds(items: pd.DataFrame, divisions: Sequence[Division]) -> Iterator[str]:
    for division in divisions:
        parts = []
        for role, ids in (("train", division.train), ("dev", division.dev), ("test", division.test)):
            speakers = items.loc[list(ids), "speaker"].nunique()
            parts.append(f"{role} {len(ids)} ({speakers} speakers)" if speakers else f"{role} {len(ids)}")
        yield f"  fold {division.fold}: {', '.join(parts)}"
