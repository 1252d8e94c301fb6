"""Cross-corpus runs: train on each corpus, test on each, and train on all but one.

Every (model, trained corpus) is trained once per trial and fold, whatever the number of tested corpora. All cells have
one task: a label set that corpora share, or an attribute. Classes that some corpus has no training or no test item of
are left out everywhere, so that all cells of a matrix have the same classes; what is left out is said. The matrix
itself, with its intervals and tests, is made from the records (`serbench.results.tables.matrix`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.schema.corpus import Corpus
from ...datasets.schema.labels import SETS
from ...datasets.schema.task import Task
from ...results.tables.matrix import matrix
from ..core.progress import Display
from ..protocol.asked import Grid
from ..protocol.protocol import Protocol, divide
from ..protocol.request import Place
from ..protocol.setting import Corpora
from ..protocol.shared_tasks import task_of
from ..running.execution import Execution
from ..running.grid import run_requests

TASK = "emotion-4"


def cross(grid: Grid, how: Execution, *, leave_one_out: bool = False) -> pd.DataFrame:
    """Train each model on each corpus and test it on each; finished trials are skipped.

    Parameters
    ----------
    grid : two or more corpora; the task is a label set that corpora share (`datasets.schema.labels.SETS`) or one that
        all of them have, such as "arousal"; of `classes` none = all that every corpus has
    leave_one_out : also train on all corpora but one together, and test on that one (three corpora or more)

    Returns
    -------
    table of `serbench.results.tables.matrix.matrix`

    Raises
    ------
    SerbenchError
        For fewer than two corpora (three to leave one out), or corpora that share no task or fewer than two classes.
    """
    known = list({place.name: place for (place,) in grid.trained()}.values())
    if len(known) < (3 if leave_one_out else 2):
        least = "three or more to leave one out" if leave_one_out else "two or more"
        raise SerbenchError(f"--datasets {' '.join(place.name for place in known)}: expected {least}.")
    corpora, task = Corpora(), grid.tasks[0] if grid.tasks else TASK
    kept = shared_classes([corpora.get(place) for place in known], task, grid.classes, how.display)
    grid = replace(grid, task=task, classes=kept)
    cells = pairs(known, leave_one_out=leave_one_out)
    requests = [grid.request(*cell, *row) for row, cell in product(grid.rows, list(cells))]
    return matrix(run_requests(requests, how, corpora))


def pairs(known: Sequence[Place], *, leave_one_out: bool) -> Iterator[tuple[tuple[Place, ...], Place]]:
    """(trained on, tested on) of every cell, those that share their training one after the other."""
    yield from (((trained,), test) for trained in known for test in known)
    if leave_one_out:
        yield from ((tuple(place for place in known if place is not test), test) for test in known)


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
