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
from ...results.tables.matrix import matrix
from ..grid.execution import Execution
from ..grid.grid import run_requests
from ..protocol.request import Grid, Place
from ..protocol.setting import Corpora
from ..protocol.shared_tasks import shared_classes

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
