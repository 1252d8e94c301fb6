"""`serbench run --weights`: rows of trained weights on labelled corpora, beside the two chance rows of each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...datasets.core.errors import SerbenchError
from ...results.record.folder import Run
from ..core.progress import Display, Silent
from ..protocol.protocol import Protocol
from ..protocol.request import Request
from ..protocol.setting import Corpora, resolve
from .combinations import CHANCE, Given, places, request_of
from .grid import run_requests
from .untrained import requests


def run_weights(
    weights: Sequence[str | Path],
    dataset: str | Sequence[str],
    *,
    model: str | None = None,
    root: Given = None,
    release: Given = None,
    task: str | None = None,
    classes: Sequence[str] = (),
    protocol: Protocol | None = None,
    trials: int = 5,
    allow_leak: bool = False,
    options: Mapping[str, Any] | None = None,
    results: str | Path = "results",
    device: str = "auto",
    jobs: int = 1,
    threads: int | None = None,
    display: Display | None = None,
) -> list[Run]:
    """Score trained weights on corpora without training.

    Parameters
    ----------
    weights : files (or folders) that `serbench import` or `serbench run --save-models` wrote
    model : the model that they are expected to be of; None = any
    task : None = each file is a row of the task that it predicts; with a joint task, files for its targets make one row
    trials : equal ones; so many are recorded, so that the row pairs with those of trained models

    The other parameters are those of `grid.run`.

    Returns
    -------
    one `Run` per dataset and row, in the order of the arguments

    Raises
    ------
    SerbenchError
        For files that are no weights, of another model, or for a task that a corpus has no labels of, and for weights
        that were trained on test items, unless `allow_leak` is given.
    """
    if trials < 1 or jobs < 1:
        raise SerbenchError(f"trials={trials}, jobs={jobs}: expected 1 or more of each.")
    names = [dataset] if isinstance(dataset, str) else list(dataset)
    if not names:
        raise SerbenchError("expected --dataset: a labelled corpus to score --weights on. 'serbench list' shows them.")
    if joined := [name for name in names if "+" in name]:
        raise SerbenchError(f"--dataset {joined[0]}: weights are scored on one corpus at a time. Repeat --dataset.")
    shown, corpora = display or Silent(), Corpora()
    base = Request(
        "", "", task=task, classes=tuple(classes), protocol=protocol or Protocol(), trials=trials, allow_leak=allow_leak
    )
    asked, beside = [], []
    for (place,) in places(names, root, release, options):
        own = requests(weights, model, place, base, corpora)
        asked += own
        tasks = dict.fromkeys((one.task, one.classes) for one in own)
        beside += [
            request_of(replace(base, task=name, classes=kept), chance, preset, {}, (place,), None)
            for name, kept in tasks
            for chance, preset in CHANCE
        ]
    rows = asked + [one for one in beside if _trains(one, corpora, shown)]
    return run_requests(rows, results, device, jobs, threads, False, shown, corpora=corpora)[: len(asked)]


def _trains(request: Request, corpora: Corpora, shown: Display) -> bool:
    """Whether a chance row can be made; a corpus of test items alone has nothing to learn chance from."""
    try:
        resolve(request, corpora)
    except SerbenchError as error:
        shown.message(f"no chance row: {error}")
        return False
    return True
