"""`serbench curve`: the same folds with shares of the training set, speaker by speaker (`protocol/train_share.py`).

Runs with less than the whole training set follow another protocol, so they lie in a results folder of their own,
RESULTS/curve; those with all of it are ordinary runs in RESULTS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...datasets.core.errors import SerbenchError
from ...datasets.core.stages import stage
from ...results.curves.table import Curve, Point, learning_curve
from ...results.record.folder import Run
from ...results.record.identity import short_names
from ..grid.execution import Execution
from ..grid.grid import run_requests
from ..protocol.protocol import Division
from ..protocol.request import Grid, Request
from ..protocol.setting import Corpora
from ..protocol.train_share import share_of_train

FOLDER = "curve"


def shares_of(text: str) -> list[float]:
    """Shares in a text such as 0.1,0.2,0.5,1, the smallest first.

    Raises
    ------
    SerbenchError
        For fewer than two different shares, or one that is none.
    """
    shares = sorted({share_of_train(part.strip() or "none") for part in text.split(",")})
    if len(shares) < 2:
        raise SerbenchError(f"--shares {text}: a curve takes two or more shares, such as 0.1,0.2,0.5,1.")
    return shares


def curve(grid: Grid, shares: Sequence[float], how: Execution) -> Curve:
    """Train every model of a grid with each share, and score.

    Raises
    ------
    SerbenchError
        For a grid of several corpora or tasks, or tests on other corpora; for a share without an item of a class.
    """
    _check(grid)
    points: list[Point] = []
    grids = {share: replace(grid, protocol=replace(grid.protocol, share=_text(share))) for share in shares}
    corpora = Corpora()
    divided = {share: _divisions(one, corpora) for share, one in grids.items()}  # what is refused, is refused now
    with stage("shares", len(shares)) as at:
        for k, (share, one) in enumerate(grids.items()):
            at(k)
            folder = how.folder if share == 1 else how.folder / FOLDER
            runs = run_requests([r for r in one.requests() if one.names(r)], replace(how, results=folder), corpora)
            items, speakers = divided[share]
            points += [Point(run, name, share, items, speakers) for run, name in zip(runs, _names(runs), strict=True)]
    lacking = [point for point in points if not point.run.complete_trials()]
    if lacking:
        raise SerbenchError(f"{lacking[0].run.path}: no trial is complete. Look into its unit files for the reason.")
    return learning_curve(sorted(points, key=lambda point: point.model))


def _check(grid: Grid) -> None:
    if len(grid.trained()) != 1 or grid.test_dataset or len(grid.trained()[0]) != 1 or len(grid.tasks) > 1:
        raise SerbenchError("serbench curve is of one --dataset and one --task, tested by its own folds.")
    if grid.protocol.share:
        raise SerbenchError("--share is of one run; a curve has --shares. Leave --share out.")


def _text(share: float) -> str:
    return "" if share == 1 else f"{share:g}"


def _names(runs: Sequence[Run]) -> list[str]:
    return short_names([run.spec for run in runs])


def _divisions(grid: Grid, corpora: Corpora) -> tuple[float, float]:
    """Training items and speakers of the folds, on average."""
    (trained,) = grid.trained()
    request: Request = grid.request(trained, None, *grid.models[0])
    setting = corpora.setting(request)
    speakers = setting.corpus.items(setting.task)["speaker"].astype("string")
    divisions: Sequence[Division] = setting.divisions
    heard = [speakers.loc[list(d.train)].nunique() for d in divisions]
    return float(np.mean([len(d.train) for d in divisions])), float(np.mean(heard))
