"""What a study found as files: the table with its marks, every pair with its tests, all scores, and a plot."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...datasets.core.files import write_text
from ...results.display.numbers import interval, number, p_value
from ...results.display.table import Table, records, to_markdown
from ...results.record.storage import write_csv
from .figure import figure, save_figure
from .study import Findings

MARKS = (
    "`*`: significantly better than {rivals} (two-tailed paired t-test over the scores, p < 0.05, as in the paper). "
    "The scores of one trial share a trained model, so that test rejects too easily; `**`: so too by the t-test over "
    "the trial means, adjusted by Holm. Bold: the best of a column. ± is the standard deviation over the scores."
)


def markdown(findings: Findings) -> str:
    """The table with its marks, every pair with its tests, and the recipe of the scores."""
    study, summary = findings.study, findings.summary
    targets = list(dict.fromkeys(summary["target"]))
    best = summary.groupby("target")["mean"].transform("max").eq(summary["mean"])
    cells = {(r["row"], r["target"]): _cell(r, bool(top)) for r, top in zip(records(summary), best, strict=True)}
    metric = summary["metric"].iloc[0]
    table = [{"model": row.label, **{f"{t} ({metric})": cells[row.label, t] for t in targets}} for row in study.rows]
    rivals = "every other row" if study.rivals == "others" else f"the first row ({study.rows[0].label})"
    pairs = [
        {
            "a": r["a"],
            "b": r["b"],
            "target": str(r["target"]),
            "a - b": number(r["difference"], "+.3f"),
            "95 % interval": interval(r["low"], r["high"], "+.3f"),
            "p": p_value(r["p"]),
            "p Holm": p_value(r["p_holm"]),
            "p trials": p_value(r["p_trials_holm"]),
            "d": number(r["dz"], "+.2f"),
        }
        for r in findings.tests.to_dict("records")
    ]
    recipes = [f"- {run.signature}" for run in findings.runs]
    return "\n".join(
        [
            f"# {study.title}",
            "",
            to_markdown(Table("", table)),
            "",
            MARKS.format(rivals=rivals),
            *study.notes,
            "",
            "## Every pair",
            "",
            to_markdown(Table("", pairs)),
            "",
            "p: paired t-test over the scores; p Holm: the same, adjusted over the task's pairs; p trials: over the "
            "trial means, adjusted likewise; d: Cohen's d for pairs.",
            "",
            "## Recipes",
            "",
            *recipes,
            "",
        ]
    )


def write(findings: Findings, folder: Path, dataset: str) -> list[Path]:
    """Write NAME_DATASET.csv (summary), _scores.csv, _tests.csv, .md and .png; returns their paths."""
    stem = f"{findings.study.name}_{dataset}"
    parts = {"": findings.summary, "_scores": findings.scores, "_tests": findings.tests}
    paths = [write_csv(folder / f"{stem}{part}.csv", frame) for part, frame in parts.items()]
    write_text(folder / f"{stem}.md", markdown(findings))
    save_figure(figure(findings), folder / f"{stem}.png")
    return [*paths, folder / f"{stem}.md", folder / f"{stem}.png"]


def _cell(row: Mapping[str, Any], best: bool) -> str:
    mean = number(row["mean"])
    text = f"**{mean}**" if best and not math.isnan(row["mean"]) else mean
    return f"{text} ± {number(row['std'])}" + str(row["mark"]).replace("*", "\\*")
