"""A paper's claims as planned comparisons: the whole system, a study's first row, against every other row.

Fewer comparisons than all pairs, so less is lost to adjusting: Holm's method runs over the claims alone. A claim is
supported if the system is significantly better by the t-test over the scores and by that over the trial means (whose
scores share a model), hinted at if by the first alone, contradicted if it is significantly worse by the first. Where
all differences are equal (of two scores, say) there is no spread to test against: too few to judge.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from ...results.display.numbers import interval, number, p_value
from ...results.display.table import Table, on_screen, records, to_markdown as table_markdown
from ...results.statistics.significance import holm
from .study import LEVEL, Findings

if TYPE_CHECKING:
    from rich.console import Group

UNSURE = ("not shown", "too few to judge")
COLUMNS = (
    "claim",
    "tested on",
    "target",
    "metric",
    "with",
    "without",
    "difference",
    "low",
    "high",
    "p",
    "p_holm",
    "p_trials",
    "p_trials_holm",
    "dz",
    "n",
    "verdict",
)


@dataclass(frozen=True)
class Tested:
    """Findings on one tested corpus; `name` is "A", or "A>B" for a training on A and a test on B."""

    name: str
    findings: Findings


def judge(tested: Sequence[Tested], names: Mapping[str, str], system: str) -> pd.DataFrame:
    """One row per claim, tested corpus and target, in the columns of `COLUMNS`.

    `with` and `without` are mean scores, `difference` is the first less the second with its 95 % interval; `p` is the
    paired t-test over the scores, `p_trials` the one over the trial means, both adjusted by Holm over the whole table.

    Parameters
    ----------
    names : label of a row -> what the system has that it lacks
    system : name of the system, for rows that have no such name
    """
    frame = pd.DataFrame([row for one in tested for row in _claims(one, names, system)])
    for test in ("p", "p_trials"):
        frame[f"{test}_holm"] = holm(frame[test])
    frame["verdict"] = [_verdict(row) for row in records(frame)]
    return frame[list(COLUMNS)]


def to_markdown(frame: pd.DataFrame, title: str, notes: Sequence[str] = ()) -> str:
    """The claims as a page."""
    rows = [
        {
            "what is said to help": r["claim"],
            "tested on": r["tested on"],
            "target": f"{r['target']} ({r['metric']})",
            "with": number(r["with"]),
            "without": number(r["without"]),
            "difference": number(r["difference"], "+.3f"),
            "95 % interval": interval(r["low"], r["high"], "+.3f"),
            "p Holm": p_value(r["p_holm"]),
            "p trials Holm": p_value(r["p_trials_holm"]),
            "d": number(r["dz"], "+.2f"),
            "verdict": r["verdict"],
        }
        for r in frame.to_dict("records")
    ]
    return "\n".join(
        [
            f"# {title}",
            "",
            table_markdown(Table("", rows)),
            "",
            "p: two-tailed paired t-test over the scores of trials and subsets; p trials: over the trial means, since "
            "the scores of one trial share a model; both adjusted by Holm over this table. supported: significantly "
            "better by both; hinted at: by the first alone; contradicted: significantly worse by the first; too few to "
            "judge: all differences are equal, or there is but one.",
            *notes,
            "",
        ]
    )


def render(frame: pd.DataFrame, title: str) -> Group:
    """The claims for the screen, one narrow table per corpus and target."""
    tables = []
    for (corpus, target), part in frame.groupby(["tested on", "target"], sort=False):
        rows = [
            {
                "what is said to help": str(r["claim"]),
                "with": number(r["with"]),
                "without": number(r["without"]),
                "difference": number(r["difference"], "+.3f"),
                "p Holm": p_value(r["p_holm"]),
                "verdict": r["verdict"],
            }
            for r in part.to_dict("records")
        ]
        heading = f"{title}: {corpus}, {target} ({part['metric'].iloc[0]})"
        tables.append(Table(heading, rows, styles=["grey" if row["verdict"] in UNSURE else "" for row in rows]))
    return on_screen(tables)


def _claims(one: Tested, names: Mapping[str, str], system: str) -> Iterator[dict[str, Any]]:
    tests, full = one.findings.tests, one.findings.study.rows[0].label
    for row in tests[tests["a"].eq(full)].to_dict("records"):
        label = str(row["b"])
        yield {
            "claim": names.get(label, f"{system} instead of {label}"),
            "tested on": one.name,
            "target": row["target"],
            "metric": row["metric"],
            "with": row["mean_a"],
            "without": row["mean_b"],
            **{key: row[key] for key in ("difference", "low", "high", "dz", "n")},
            **{key: row[key] or math.nan for key in ("p", "p_trials")},  # exactly 0: no spread to test against
        }


def _verdict(row: Mapping[str, Any]) -> str:
    """What the tests say of a claim; where the scores give no p there are too few."""
    if math.isnan(row["p_holm"]):
        return "too few to judge"
    if not row["p_holm"] < LEVEL:
        return "not shown"
    if row["difference"] < 0:
        return "contradicted"
    return "supported" if row["p_trials_holm"] < LEVEL else "hinted at"
