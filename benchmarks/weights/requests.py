"""What a grid of given weights asks for: a request for each row that they make, beside the chance rows of its task."""

from __future__ import annotations

from dataclasses import replace

from ...datasets.core.errors import SerbenchError
from ..core.progress import Display
from ..protocol.request import CHANCE, Grid, Request
from ..protocol.setting import Corpora
from .trained import open_weights, rows


def requests_of(grid: Grid, corpora: Corpora, display: Display, *, save_models: bool) -> list[Request]:
    """One request for each row that the weights of a grid make on its corpora, then those of the chance rows.

    Raises
    ------
    SerbenchError
        For files that are no weights, of another model, given twice, or for a task that a corpus has no labels of, and
        for options that a training alone knows.
    """
    _without_training(grid, save_models=save_models)
    model = next((name for name, _ in grid.models), None)
    asked, beside = [], []
    for (place,) in grid.trained():
        base = grid.request((place,))
        task = grid.tasks[0] if grid.tasks else None
        made = [
            replace(
                base,
                model=str(row.weights[0].head["model"]),
                task=row.task,
                classes=row.classes,
                weights=tuple(one.file for one in row.weights),
            )
            for row in rows(open_weights(grid.weights, model), corpora.get(place), task, base.classes)
        ]
        asked += made
        for name, kept in dict.fromkeys((one.task, one.classes) for one in made):
            beside += [replace(grid.request((place,), None, *row), task=name, classes=kept) for row in CHANCE]
    return asked + [request for request in beside if _trains(request, corpora, display)]


def _without_training(grid: Grid, *, save_models: bool) -> None:
    """Refuse what a training alone knows, several corpora together, and none."""
    given = {
        "--set": grid.settings,
        "--preset": grid.preset,
        "--test-dataset": grid.test_dataset,
        "--test-root": grid.test_root,
        "--test-release": grid.test_release,
        "--test-split": grid.test_split,
        "--refit": grid.refit,
        "--calibrate": grid.calibrate,
        "--train-with": grid.train_with,
        "--save-models": save_models,
        "two --model": grid.models[1:],
    }
    for flag in (flag for flag, value in given.items() if value):
        raise SerbenchError(f"--weights are scored as they are, nothing is trained: leave {flag} out.")
    if not grid.dataset:
        raise SerbenchError("expected --dataset: a labelled corpus to score --weights on. 'serbench list' shows them.")
    for joined in (group for group in grid.trained() if len(group) > 1):
        name = "+".join(place.name for place in joined)
        raise SerbenchError(f"--dataset {name}: weights are scored on one corpus at a time. Repeat --dataset.")


def _trains(request: Request, corpora: Corpora, display: Display) -> bool:
    """Whether a chance row can be made; a corpus of test items alone has nothing to learn chance from."""
    try:
        corpora.setting(request)
    except SerbenchError as error:
        display.message(f"no chance row: {error}")
        return False
    return True
