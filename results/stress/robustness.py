"""Who is more robust: the drops of two models under the same perturbation, paired, with intervals and tests.

The difference is that of the mean drops over the levels that both were tested at: below 0, the first loses less.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.core.stages import track
from ..groups.gaps import Resamples
from ..record.folder import Run
from ..record.identity import short_names
from ..record.pairing import protocol_conflicts
from ..scores.scoring import scored_targets
from ..statistics.bootstrap import summarise
from ..statistics.significance import NAN, holm, paired_t
from .curves import Curve, crossed_p, curves
from .records import CLEAN, Series, series_of

COLUMNS = ("dataset", "task", "target", "kind", "levels", "a", "b", "drop_a", "drop_b", "difference", "low", "high")
TESTS = ("p", "p_crossed", "p_bootstrap")


def between(runs: Sequence[Run], how: Resamples | None = None, kinds: Sequence[str] = ()) -> pd.DataFrame:
    """Every pair of runs under every kind of perturbation that both were tested with.

    Returns
    -------
    one row per kind, target and pair: `COLUMNS`, the p-values `TESTS` (paired t, crossed t, bootstrap over speakers and
    trials) and each Holm-adjusted over the rows of a target (`p_holm` ...), left_out, run_a, run_b; empty for fewer
    than two runs

    Raises
    ------
    SerbenchError
        For runs of different protocols.
    """
    if conflicts := protocol_conflicts(runs):
        raise SerbenchError("runs of different protocols can't be compared:\n  " + "\n  ".join(conflicts))
    chosen, names = how or Resamples(), short_names([run.spec for run in runs])
    held = [{one.kind: one for one in series_of(run) if not kinds or one.kind in kinds} for run in runs]
    rows: list[dict[str, Any]] = []
    for i, j in track(list(combinations(range(len(runs)), 2)), "comparing drops"):
        for kind in (kind for kind in held[i] if kind in held[j]):
            rows += _rows(held[i][kind], held[j][kind], (names[i], names[j]), chosen)
    frame = pd.DataFrame(rows, columns=None if rows else [*COLUMNS, *TESTS])
    for test in TESTS:
        frame[f"{test}_holm"] = frame.groupby("target")[test].transform(lambda p: pd.Series(holm(p), p.index))
    return frame


def _rows(a: Series, b: Series, names: tuple[str, str], how: Resamples) -> list[dict[str, Any]]:
    shared = set(a.levels) & set(b.levels)
    if shared == {CLEAN}:
        return []
    first, second = curves([one.only(shared) for one in (a, b)], how)
    return [_row(first, second, target, names, how) for target in scored_targets(a.run.task)]


def _row(a: Curve, b: Curve, target: str, names: tuple[str, str], how: Resamples) -> dict[str, Any]:
    first, second = (_mean_drop(one.cells[target]) for one in (a, b))
    means = [float(drop.mean(skipna=False)) for drop in (first, second)]
    test = paired_t(first, second)
    row = {
        "dataset": a.series.run.spec["dataset"]["name"],
        "task": a.series.run.task.name,
        "target": target,
        "kind": a.series.kind,
        "levels": " ".join(level for level in a.series.levels if level != CLEAN),
        "a": names[0],
        "b": names[1],
        "drop_a": means[0],
        "drop_b": means[1],
        "difference": means[0] - means[1],
        "low": test.low,
        "high": test.high,
        "p": test.p,
        "p_crossed": crossed_p(first, second),
        "p_bootstrap": NAN,
        "left_out": a.left_out,
        "run_a": a.series.run.run_id,
        "run_b": b.series.run.run_id,
    }
    if target in a.draws:
        drawn = _drawn(a, target) - _drawn(b, target)
        shown = summarise(drawn, means[0] - means[1], 0, 0, how.level)
        row |= {"low": shown.low, "high": shown.high, "p_bootstrap": shown.p}
    return row


def _mean_drop(cells: pd.DataFrame) -> pd.Series[float]:
    """Drop of each (trial, subset), the mean over the levels."""
    return cells[CLEAN] - cells.drop(columns=CLEAN).mean(axis=1, skipna=False)


def _drawn(one: Curve, target: str) -> Any:
    """Resampled mean drops, (resample,)."""
    clean, others = one.series.levels.index(CLEAN), [k for k, x in enumerate(one.series.levels) if x != CLEAN]
    return one.draws[target][clean] - one.draws[target][others].mean(axis=0)
