"""Planned comparisons: one row of the plan against others, in every block, with tests that know of the dependence.

`p_crossed` is the t-test with trials and subsets as crossed random samples, which decides; `p` is the paired t-test
over all scores, which takes them for independent. Both are adjusted by Holm over all rows of one comparison.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ...results.display.table import records
from ...results.record.pairing import pair
from ...results.scores.scoring import scored_targets
from ...results.statistics.dependence import crossed_t
from ...results.statistics.significance import holm, paired_t
from .plan import Comparison
from .work import Block

ALPHA = 0.05
COLUMNS = (
    "comparison",
    "dataset",
    "task",
    "target",
    "metric",
    "system",
    "rival",
    "mean_system",
    "mean_rival",
    "difference",
    "low",
    "high",
    "p",
    "p_holm",
    "p_crossed",
    "p_crossed_holm",
    "dz",
    "n",
    "left_out",
    "verdict",
)


def compared(comparison: Comparison, blocks: Sequence[Block]) -> pd.DataFrame:
    """One row per block, rival and target, in the columns of `COLUMNS`.

    `difference` is the system's mean score less the rival's, low .. high its 95 % interval by the crossed test; the
    verdict is "better", "worse", "no difference" (at 5 %), or "too few" where the test is undefined.
    """
    rows = [row for block in blocks for row in _rows(comparison, block)]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    for test in ("p", "p_crossed"):
        frame[f"{test}_holm"] = holm(frame[test].to_numpy(dtype=np.float64))
    frame["verdict"] = [_verdict(row) for row in records(frame)]
    return frame


def _rows(comparison: Comparison, block: Block) -> Iterator[dict[str, Any]]:
    system = block.rows.get(comparison.system)
    for name in comparison.rivals if system is not None else ():
        if (rival := block.rows.get(name)) is None or system is None:
            continue
        task = system.task
        paired = pair(block.scored[system.run_id], block.scored[rival.run_id], task.metric)
        for target in scored_targets(task):
            scores = paired.scores[paired.scores["target"].eq(target)]
            a, b = scores["a"], scores["b"]
            test, crossed = paired_t(a, b), crossed_t(a, b, scores["trial"], scores["subset"])
            yield {
                "comparison": comparison.name,
                "dataset": str(system.spec["dataset"]["name"]),
                "task": task.name,
                "target": target,
                "metric": task.metric,
                "system": comparison.system,
                "rival": name,
                "mean_system": float(a.mean(skipna=False)),
                "mean_rival": float(b.mean(skipna=False)),
                "difference": test.difference,
                "low": crossed.low,
                "high": crossed.high,
                "p": test.p,
                "p_crossed": crossed.p,
                "dz": test.dz,
                "n": test.n,
                "left_out": paired.left_out,
            }


def _verdict(row: dict[str, Any]) -> str:
    if np.isnan(row["p_crossed_holm"]):
        return "too few"
    if row["p_crossed_holm"] >= ALPHA:
        return "no difference"
    return "better" if row["difference"] > 0 else "worse"
