"""The ladder: how far settings of the evaluation alone move a score on functionals, step by step, with paired tests.

Steps of one model on one corpus: its own split; leave-one-speaker-out; fitted again on train + dev, or chosen by inner
folds and fitted on all of it; functionals normalised by speaker before that. Beside them, a foreign split against the
own one with the same rule for dev, so that models and sizes are the same and only who is tested differs. All steps test
the same items, cut into the same subsets, so they are paired although their protocols differ, which `compare` refuses
for good reasons: the differences here are of protocols, not of models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ...datasets.core.files import write_text
from ...results.display.numbers import interval, number, p_value
from ...results.display.table import Table, records, to_markdown
from ...results.record.folder import Run
from ...results.record.pairing import align, load_scored, pair
from ...results.record.storage import write_csv
from ...results.scores.scoring import scored_targets
from ...results.statistics.bootstrap import bootstrap_difference
from ...results.statistics.randomisation import approximate_randomisation
from ...results.statistics.significance import holm
from ...results.tables.pair_tests import run_clusters
from ..grid.execution import Execution
from ..grid.grid import run_grid
from ..protocol.dev_part import NESTED
from ..protocol.protocol import SHORT
from ..protocol.request import Grid

DEV = "0.2:utterance"
"""How dev is drawn where a foreign split, which has none, stands against the own one."""
RESAMPLES = 10_000
NOTE = (
    "Gain: over the step that is named, on the same test items. Interval: bootstrap over {cluster}s ({clusters}); p: "
    "approximate randomisation of the predictions by {cluster}, two-tailed; p Holm: adjusted over all models and steps."
)


@dataclass(frozen=True)
class Step:
    """One step: its label, the label of the step that it is compared with ("" = none), and what it asks for."""

    label: str
    against: str
    split: str | None = None
    dev: str = ""
    refit: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)


def steps(foreign: str | None) -> list[Step]:
    """The steps; with a foreign split (as of `--split`) that one too, and what it is compared with."""
    own, loso, refit = "own split", "leave one speaker out", "refit on train + dev"
    normalised = {"model.normalise": "speaker"}
    ladder = [
        Step(own, ""),
        Step(loso, own, SHORT["loso"]),
        Step(refit, loso, SHORT["loso"], refit=True),
        Step("nested choice", loso, SHORT["loso"], NESTED),
        Step("normalised by speaker", refit, SHORT["loso"], refit=True, settings=normalised),
    ]
    drawn = f"own split, dev {DEV}"
    if foreign is not None:
        ladder += [Step(drawn, own, dev=DEV), Step(f"foreign split, dev {DEV}", drawn, foreign, DEV)]
    return ladder


def ladder(grid: Grid, how: Execution) -> pd.DataFrame:
    """Run the steps of every model of a grid, and test each against the one before.

    The grid's split is the foreign one; its other settings hold for all steps.

    Returns
    -------
    one row per model, step and target: metric, score, against, gain, low, high, p, p_holm, cluster, clusters, split,
    dev, labels, run, command
    """
    rows: list[dict[str, Any]] = []
    ladder_steps = steps(grid.protocol.split)
    runs = {step.label: run_grid(_asked(grid, step), how) for step in ladder_steps}
    for number_, (name, _) in enumerate(grid.models):
        for step in ladder_steps:
            before = runs[step.against][number_] if step.against else None
            rows += _rows(name, step, runs[step.label][number_], before)
    frame = pd.DataFrame(rows)
    frame.insert(list(frame).index("p") + 1, "p_holm", holm(frame["p"]))
    return frame


def _asked(grid: Grid, step: Step) -> Grid:
    protocol = replace(grid.protocol, split=step.split, dev=step.dev)
    return replace(grid, protocol=protocol, refit=step.refit, settings={**grid.settings, **step.settings})


def _rows(name: str, step: Step, run: Run, before: Run | None) -> list[dict[str, Any]]:
    scored, task = load_scored(run), run.task
    metric = task.metric
    clusters = run_clusters([run], scored.predictions)
    tests: dict[str, dict[str, Any]] = {target: {} for target in scored_targets(task)}
    if before is not None:
        one, other = scored, load_scored(before)
        sides, scores = align(one, other), pair(one, other, metric).scores
        given = (sides.a, sides.b, task, metric, clusters.of)
        p_values = approximate_randomisation(*given, swaps=RESAMPLES)
        for target, resampled in bootstrap_difference(*given, resamples=RESAMPLES).items():
            part = scores[scores["target"].eq(target)]
            gain = float((part["a"] - part["b"]).mean())
            tests[target] = {"gain": gain, "low": resampled.low, "high": resampled.high, "p": p_values[target]}
    own = scored.scores[scored.scores["metric"].eq(metric)].groupby("target")["value"].mean()
    empty = dict.fromkeys(("gain", "low", "high", "p"), float("nan"))
    return [
        {
            "model": name,
            "step": step.label,
            "target": target,
            "metric": metric,
            "score": float(own[target]),
            "against": step.against,
            **empty,
            **test,
            "cluster": clusters.name,
            "clusters": scored.predictions["id"].nunique() if clusters.of is None else clusters.of.nunique(),
            "split": run.spec["protocol"]["split"],
            "dev": run.spec["protocol"].get("dev", "the split's own"),
            "labels": "; ".join(run.spec["labels"]),
            "run": run.run_id,
            "command": run.spec["command"],
        }
        for target, test in tests.items()
    ]


def markdown(frame: pd.DataFrame) -> str:
    """The ladder as a Markdown table for each model and target, with the note and the commands."""
    parts = []
    for (model, target), group in frame.groupby(["model", "target"], sort=False):
        parts += [f"## {model}, {target}", "", to_markdown(Table("", [_cells(row) for row in records(group)])), ""]
    first = frame.iloc[0]
    lines = dict.fromkeys(f"- {row['model']}, {row['step']}: `{row['command']}`" for row in records(frame))
    note = NOTE.format(cluster=first["cluster"], clusters=first["clusters"])
    return "\n".join(["# Ladder", "", *parts, note, "", *lines, ""])


def write(frame: pd.DataFrame, folder: Path) -> Sequence[Path]:
    """Write `ladder.csv` and `ladder.md`; returns their paths."""
    write_text(folder / "ladder.md", markdown(frame))
    return write_csv(folder / "ladder.csv", frame), folder / "ladder.md"


def _cells(row: Mapping[str, Any]) -> dict[str, str]:
    tested = bool(row["against"])
    return {
        "step": str(row["step"]),
        "split": str(row["split"]),
        "dev": str(row["dev"]),
        str(row["metric"]): number(row["score"]),
        "gain": number(row["gain"], "+.3f") if tested else "",
        "over": str(row["against"]),
        "95 % interval": interval(row["low"], row["high"], "+.3f") if tested else "",
        "p": p_value(row["p"]) if tested else "",
        "p Holm": p_value(row["p_holm"]) if tested else "",
        "labels": str(row["labels"]),
    }
