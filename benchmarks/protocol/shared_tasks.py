"""Tasks across corpora: the one that is trained, with all or some of its classes, and the same put to another one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from ...datasets.core.errors import SerbenchError, unknown
from ...datasets.schema.corpus import Corpus
from ...datasets.schema.labels import SETS, emotion_task, transfer
from ...datasets.schema.task import Task
from ..core.progress import Display
from .protocol import Protocol, divide


def task_of(corpus: Corpus, name: str | None, classes: Sequence[str] = ()) -> Task:
    """The corpus's task of that name, else the label set of that name that corpora share, with `classes` alone.

    Raises
    ------
    SerbenchError
        For an unknown task or class.
    """
    own = [task.name for task in corpus.tasks]
    if name is None or name in own:
        return keep_classes(corpus.task(name), classes)
    if name not in SETS:
        raise unknown(f"task of {corpus.name}", name, list(dict.fromkeys([*own, *SETS])))
    return keep_classes(emotion_task(name, name), classes)


def keep_classes(task: Task, classes: Collection[str]) -> Task:
    """The task with some of its classes; its name says which. All classes, or none named, change nothing."""
    if not classes or set(classes) == set(task.labels):
        return task
    if task.kind != "classification":
        raise SerbenchError(f"the task {task.name!r} has no classes. Leave --classes out.")
    for name in classes:
        if name not in task.labels:
            raise unknown(f"class of {task.name}", name, task.labels)
    kept = tuple(label for label in task.labels if label in classes)
    mapping = {raw: label for raw, label in task.mapping.items() if label in kept}
    return replace(task, name=f"{task.name}:{'+'.join(kept)}", labels=kept, mapping=mapping)


def ask(task: Task, corpus: Corpus, classes: Collection[str]) -> Task:
    """The task as it is put to another corpus: that corpus's own one if it is the same, else transferred."""
    same = ("name", "kind", "labels", "targets", "frame_seconds")
    for one in corpus.tasks:
        own = keep_classes(one, classes) if set(classes) <= set(one.labels) else one
        if all(getattr(own, key) == getattr(task, key) for key in same):
            return own
    asked, _, _ = transfer(task, corpus)
    if task.kind == "continuous":
        hops = {t.frame_seconds for t in corpus.tasks if t.kind == "continuous"}
        if task.frame_seconds not in hops:
            raise SerbenchError(
                f"{corpus.name} has a label every {' or '.join(map(str, hops))} s, {task.name!r} one every "
                f"{task.frame_seconds} s: one model can't predict both."
            )
    own_scales = {target: corpus.scales[target] for target in task.targets if target in corpus.scales}
    return asked if task.kind == "classification" else replace(asked, scales=own_scales)


def shared_classes(corpora: Sequence[Corpus], name: str, classes: Sequence[str], shown: Display) -> tuple[str, ...]:
    """The classes of all cells: those asked for, else those that every corpus can train and test; () for attributes.

    Raises
    ------
    SerbenchError
        When a task means different things in the corpora, or fewer than two classes are left.
    """
    tasks = [task_of(corpus, name, classes) for corpus in corpora]
    for corpus, task in zip(corpora, tasks, strict=True):
        if (task.kind, task.targets, set(task.labels)) != (tasks[0].kind, tasks[0].targets, set(tasks[0].labels)):
            raise SerbenchError(
                f"the task {name!r} is {_meaning(tasks[0])} in {corpora[0].name}, {_meaning(task)} in {corpus.name}. "
                f"Expected a label set that corpora share ({', '.join(SETS)}), or an attribute that all of them have."
            )
    if tasks[0].kind != "classification" or classes:
        return tuple(classes)
    common = list(tasks[0].labels)
    for corpus, task in zip(corpora, tasks, strict=True):
        met = _met(corpus, task)
        if lost := [label for label in common if label not in met]:
            shown.message(f"left out everywhere: {', '.join(lost)}, which {corpus.name} can't train and test")
        common = [label for label in common if label in met]
    if len(common) < 2:
        names = ", ".join(corpus.name for corpus in corpora)
        raise SerbenchError(f"{names} share {len(common)} classes of {name!r}. Expected two or more.")
    return () if len(common) == len(tasks[0].labels) else tuple(common)


def _met(corpus: Corpus, task: Task) -> set[str]:
    """Classes with items both to train on and to test."""
    items, divisions = corpus.items(task), divide(corpus, task, Protocol())
    roles = [{i for d in divisions for i in getattr(d, role)} for role in ("train", "test")]
    trained, tested = ({task.labels[k] for k in task.encode(items[items.index.isin(ids)]).tolist()} for ids in roles)
    return trained & tested


def _meaning(task: Task) -> str:
    return ", ".join(task.labels or task.targets)
