"""The protocol card: everything that must be said beside a score, on one page of text.

Classes and what is merged or dropped, utterances, speakers and classes of each partition and fold, how the test items
are cut, which metric is printed and how it is defined, known problems, licence, and how to cite.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from ...datasets.schema.corpus import Corpus
from ...datasets.schema.labels import mapping_report
from ...datasets.schema.task import Task
from ..protocol.guards import NAMES, leaks, sides
from ..protocol.protocol import ROLES, Division, Protocol, assign_subsets, describe, divide
from .findings import counts

PARTITIONS = ("train", "dev", "test", "unlabelled")
"""In this order; "test1" and so on stand with "test"."""
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
    yield from _partitions(corpus, task, items)
    yield f"protocol {protocol.name}: split {facts['split']!r}, {protocol.subsets} test subsets, seed {protocol.seed}"
    yield from _cut(corpus, task, protocol, divisions)
    yield from _folds(task, items, divisions)
    yield f"metric: {METRICS[task.kind]}"
    problems = list(_problems(corpus, items, divisions))
    yield "known problems:" if problems else "known problems: none"
    yield from (f"  - {text}" for text in problems)
    yield f"licence: {corpus.licence}"
    yield f"cite: {corpus.citation}"
    yield f"homepage: {corpus.homepage}"


def data(corpus: Corpus, task: Task, protocol: Protocol) -> dict[str, Any]:
    """The card in full: corpus, task, protocol, a row for each fold and role and for each partition, problems."""
    divisions, items = divide(corpus, task, protocol), corpus.items(task)
    roles = [(d.fold, role, ids) for d in divisions for role, ids in zip(ROLES, (d.train, d.dev, d.test), strict=True)]
    parts = items.groupby("partition").groups if items["partition"].notna().any() else {}
    return {
        "dataset": {"name": corpus.name, "release": corpus.release, "digest": corpus.digest()},
        "task": task.to_dict(),
        "metric": task.metric,
        "protocol": describe(corpus, task, protocol, divisions),
        "folds": [{"fold": fold, "role": role, **_counted(task, items.loc[list(ids)])} for fold, role, ids in roles],
        "partitions": [{"partition": str(name), **_counted(task, items.loc[ids])} for name, ids in parts.items()],
        "problems": list(_problems(corpus, items, divisions)),
        **{key: getattr(corpus, key) for key in ("licence", "citation", "homepage")},
    }


def _counted(task: Task, part: pd.DataFrame) -> dict[str, Any]:
    """Items, speakers and, of classes, how often each occurs."""
    known = {"items": len(part), "speakers": int(part["speaker"].nunique())}
    if task.kind != "classification":
        return known
    met = pd.Series(task.encode(part)).value_counts()
    return {**known, "classes": {label: int(met.get(i, 0)) for i, label in enumerate(task.labels)}}


def _problems(corpus: Corpus, items: pd.DataFrame, divisions: Sequence[Division]) -> Iterator[str]:
    shared = leaks(sides(corpus, divisions, items), texts=True)
    yield from (f"{crossing.count} {NAMES[kind]} stand in training and in test" for kind, crossing in shared.items())
    yield from (*_uncounted(corpus), *corpus.notes, *(f"unusable: {i}" for i in sorted(corpus.known_unusable)))
    if not corpus.has_dialogues:
        yield "no dialogue context: models that use it see the current turn alone"


def _labels(corpus: Corpus, task: Task, items: pd.DataFrame) -> Iterator[str]:
    labelled = corpus.utterances[corpus.utterances["partition"].ne("unlabelled").fillna(True)]
    if task.kind == "classification":
        yield f"classes: {_classes(task, items)}"
        told = (text for text in mapping_report(task, labelled) if "=" in text or text.startswith("dropped"))
        yield from (f"  - {text}" for text in told)
        return
    yield "targets: " + ", ".join(f"{t} on {task.scales[t][0]:g} .. {task.scales[t][1]:g}" for t in task.targets)
    dropped = task.dropped(labelled) if task.kind == "regression" else {}
    yield from (f"  - left out: {count} with {label}" for label, count in dropped.items())


def _cut(corpus: Corpus, task: Task, protocol: Protocol, divisions: Sequence[Division]) -> Iterator[str]:
    sizes = pd.Series(assign_subsets(corpus, task, protocol, divisions)).value_counts().sort_index()
    yield f"  test items per subset: {', '.join(map(str, sizes))}"


def _folds(task: Task, items: pd.DataFrame, divisions: Sequence[Division]) -> Iterator[str]:
    for division in divisions:
        roles = {"train": division.train, "dev": division.dev, "test": division.test}
        rows = {role: items.loc[list(ids)] for role, ids in roles.items()}
        sizes = (f"{role} {len(part)}{_speakers(part)}" for role, part in rows.items())
        yield f"  fold {division.fold}: {', '.join(sizes)}"
        if task.kind == "classification":
            yield from (f"    {role}: {_classes(task, part)}" for role, part in rows.items())


def _partitions(corpus: Corpus, task: Task, items: pd.DataFrame) -> Iterator[str]:
    """What each partition of the corpus holds, and how much of it the task takes; nothing for a corpus without any."""
    whole, unit = corpus.utterances, "utterances"
    if task.kind == "continuous" and corpus.recordings is not None:
        whole, unit = corpus.recordings, "recordings"
    sizes = whole["partition"].value_counts()
    for name in sorted(map(str, sizes.index), key=_order):
        part = items[items["partition"].eq(name).fillna(False)]
        classes = f": {_classes(task, part)}" if task.kind == "classification" and len(part) else ""
        yield f"  partition {name}: {sizes[name]} {unit}, {len(part)} in the task{_speakers(part)}{classes}"


def _order(partition: str) -> tuple[bool, int, str]:
    kind = partition.rstrip("0123456789")
    return (kind not in PARTITIONS, PARTITIONS.index(kind) if kind in PARTITIONS else 0, partition)


def _classes(task: Task, part: pd.DataFrame) -> str:
    met = pd.Series(task.encode(part)).value_counts()
    return ", ".join(f"{label} {met.get(i, 0)}" for i, label in enumerate(task.labels))


def _speakers(part: pd.DataFrame) -> str:
    speakers = part["speaker"].nunique()
    return f" ({speakers} speakers)" if speakers else ""


def _uncounted(corpus: Corpus) -> list[str]:
    """One line about published counts that this copy does not meet."""
    off = [finding.detail for finding in counts(corpus)]
    if not off:
        return []
    return [f"{len(off)} of {len(corpus.expected)} published counts are not met ({off[0]}): serbench check lists them"]
