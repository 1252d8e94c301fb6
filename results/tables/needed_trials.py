"""Planning from stored runs: what each pair of models can find, and how many trials a wanted difference needs
(`power`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pandas as pd

from ...datasets.core.errors import SerbenchError
from ..display.numbers import number
from ..display.table import on_screen, per_target
from ..record.folder import Run
from ..record.identity import short_names
from ..record.pairing import load_scored, pair, protocol_conflicts
from ..scores.scoring import scored_targets
from ..statistics import power
from ..statistics.dependence import components

if TYPE_CHECKING:
    from rich.console import Group

NOTE = (
    "sd: of one score's difference, between trials, between subsets, and the rest. found here: smallest difference "
    "that the test over trial means finds on these test items with the wanted power; elsewhere: on other items of the "
    "same kind; floor: what elsewhere can't go below with ever more trials on a test set of this size. trials: needed "
    "for the difference asked for, here / elsewhere; '-' where no number of trials (up to 1000) is enough: a larger "
    "test set is."
)


def power_table(
    runs: Sequence[Run],
    difference: float,
    *,
    metric: str | None = None,
    wanted: float = power.POWER,
    alpha: float = power.ALPHA,
) -> pd.DataFrame:
    """What each pair of runs can find, and what a wanted difference needs, one row per pair and target.

    Returns
    -------
    columns dataset, task, metric, target, a, b (run ids), name_a, name_b, trials, subsets, difference (observed),
    sd_trial, sd_subset, sd_rest (components on the metric's scale), and the fields of `power.Plan`; planned (the
    difference asked for)
    """
    if conflicts := protocol_conflicts(runs):
        raise SerbenchError("runs of different protocols can't be paired:\n  " + "\n  ".join(conflicts))
    scored, names = [load_scored(run) for run in runs], short_names([run.spec for run in runs])
    rows: list[dict[str, Any]] = []
    for (a, name_a), (b, name_b) in combinations(zip(scored, names, strict=True), 2):
        if len(a.trials & b.trials) < 2:
            raise SerbenchError(
                f"{name_a} and {name_b} share {len(a.trials & b.trials)} complete trials. Expected two or more to plan "
                f"from. Type:\n  {a.run.fill_line(5)}\n  {b.run.fill_line(5)}"
            )
        name = metric or a.run.task.metric
        table = pair(a, b, name).scores
        for target in scored_targets(a.run.task):
            part = table[table["target"].eq(target)]
            parts = components(part["a"], part["b"], part["trial"], part["subset"])
            rows.append(
                {
                    "dataset": a.run.spec["dataset"]["name"],
                    "task": a.run.task.name,
                    "metric": name,
                    "target": target,
                    "a": a.run.run_id,
                    "b": b.run.run_id,
                    "name_a": name_a,
                    "name_b": name_b,
                    "trials": parts.trials,
                    "subsets": parts.subsets,
                    "difference": parts.mean,
                    "sd_trial": parts.trial**0.5,
                    "sd_subset": parts.subset**0.5,
                    "sd_rest": parts.rest**0.5,
                    "planned": difference,
                    **asdict(power.plan(parts, difference, wanted, alpha)),
                }
            )
    return pd.DataFrame(rows)


def render_power(table: pd.DataFrame) -> Group:
    """The table for the screen, one per target."""
    return on_screen(per_target(table, "to find a {metric} difference of {planned:g}", _cells), [NOTE])


def _cells(row: dict[str, Any]) -> dict[str, str]:
    needed = [row["needed"], row["needed_elsewhere"]]
    repeated = row["sd_trial"] == 0 and row["sd_rest"] == 0
    spread = "\n".join(number(row[f"sd_{part}"]) for part in ("trial", "subset", "rest"))
    return {
        "a": f"{row['name_a']}\n{row['name_b']}",
        "a - b": number(row["difference"], "+.3f"),
        "sd trial\nsubset\nrest": "trials\nrepeat" if repeated else spread,
        "found\nhere": "-" if repeated else number(row["detectable"]),
        "found\nelsewhere": number(row["detectable_elsewhere"]),
        "floor": number(row["floor"]),
        "power": "-" if repeated else number(row["power"], ".2f"),
        "trials": "-" if repeated else " / ".join("-" if pd.isna(n) else str(int(n)) for n in needed),
    }
