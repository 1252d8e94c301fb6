"""Comparing runs: every pair and target with its difference, interval, tests and effect size.

Runs are compared only under one protocol digest, over the same trials, pairing by (trial, subset), on the utterances
that both have scored. One row per pair and target; the p-values of each test are Holm-adjusted over all rows.
A further test is one entry of `TESTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ...datasets.core.errors import SerbenchError, unknown
from ...datasets.core.stages import track
from ..display.numbers import interval, number, p_value
from ..display.table import on_screen, per_target, records
from ..record.folder import Run
from ..record.identity import UNTRAINED, short_names, signature
from ..record.pairing import Scored, load_scored, pair, protocol_conflicts
from ..record.storage import write_csv
from ..scores.scoring import scored_targets
from ..statistics.significance import holm, paired_over_trials, paired_t, wilcoxon

if TYPE_CHECKING:
    from rich.console import Group

TESTS: dict[str, Callable[[pd.DataFrame], float]] = {
    "p": lambda s: paired_t(s["a"], s["b"]).p,
    "p_trials": lambda s: paired_over_trials(s["a"], s["b"], s["trial"]).p,
    "p_wilcoxon": lambda s: wilcoxon(s["a"], s["b"]),
}
"""Column of the p-value -> test of a frame with the columns trial, subset, a, b; each gets a `_holm` column too."""
NOTE = (
    "p: two-tailed paired t-test over the n scores. The scores of one trial share a trained model and those of one "
    "subset its utterances, so they are not independent and p is too small. p trials: the same test over the trial "
    "means. p wilcoxon: signed-rank test over the scores. All p are adjusted by Holm over this table; d is Cohen's d "
    "for pairs."
)
REPEATED = (
    "* both models train deterministically, so their trials repeat one another: the n scores hold only as many "
    "different differences as there are subsets, p and d overstate the evidence, and p trials is undefined."
)
WITHOUT_TRAINING = (
    "Without training: {names}. Such a row is one set of weights, its trials repeat one another by construction: the "
    "tests hold for these weights, and over trials they know only how trainings of the other model differ."
)
ONE_TRIAL = (
    "Means of trials: {names}. Such a row is one trial, however many trainings are in it: its difference from another "
    "run is taken once per subset, from that run's mean over trials, so n counts subsets, p rests on n - 1 degrees of "
    "freedom and p trials is undefined. How another such mean would differ, no test knows."
)


def compare(runs: Sequence[Run], *, metric: str | None = None) -> pd.DataFrame:
    """Compare every pair of runs on every target.

    Parameters
    ----------
    runs : two or more runs of one protocol digest
    metric : name of the metric; default: the task's primary one

    Returns
    -------
    one row per pair and target: dataset, task, metric, target, a, b (short names), mean_a, mean_b, difference (a - b)
    with its 95 % interval low .. high, t, dz, p, p_trials, p_wilcoxon, each p with `_holm`, n (pairs of scores),
    trials, repeated_trials (whether the trials of both are identical), untrained (which of the two is weights scored
    without training: no, a, b or a+b), one_trial (which of the two is a mean of trials, likewise), left_out (utterances
    that only one of the two has scored), signature_a, signature_b, run_a, run_b

    Raises
    ------
    SerbenchError
        For fewer than two runs, different protocols (says which fields differ), or lacking trials (says what to run).
    """
    _check_runs(runs)
    names = short_names([run.spec for run in runs])
    scored = [load_scored(run) for run in track(runs, "scoring runs")]
    _check_trials(scored, names)
    metric = _metric(scored[0], metric)
    pairs = track(list(combinations(range(len(runs)), 2)), "comparing pairs")
    frame = pd.DataFrame([row for i, j in pairs for row in _rows(scored[i], scored[j], (names[i], names[j]), metric)])
    for test in TESTS:
        frame.insert(list(frame.columns).index(test) + 1, f"{test}_holm", holm(frame[test]))
    return frame


def write_compare(frame: pd.DataFrame, path: Path) -> Path:
    """Write a comparison as CSV, atomically and in full precision; returns the path."""
    return write_csv(path, frame)


def render_compare(frame: pd.DataFrame, path: Path | None = None) -> Group:
    """The comparison for the screen, one table per target, then the signatures; with `path` written as CSV too."""
    if path is not None:
        write_compare(frame, path)
    rows = records(frame)
    recipes = {row[side]: row[f"signature_{side}"] for row in rows for side in ("a", "b")}
    fixed = dict.fromkeys(row[side] for row in rows for side in row["untrained"].split("+") if side != "no")
    notes = [NOTE, *([REPEATED] if frame["repeated_trials"].any() else [])]
    notes += [WITHOUT_TRAINING.format(names=", ".join(fixed))] if fixed else []
    means = dict.fromkeys(row[side] for row in rows for side in row["one_trial"].split("+") if side != "no")
    notes += [ONE_TRIAL.format(names=", ".join(means))] if means else []
    notes += [f"{name}  {recipe}" for name, recipe in recipes.items()]
    alike = frame["n"].nunique() == 1
    title = "{metric}, {n} scores of {trials} trials" if alike else "{metric}, n scores"
    return on_screen(per_target(frame, title, partial(_cells, counts=not alike)), notes)


def _rows(a: Scored, b: Scored, names: tuple[str, str], metric: str) -> list[dict[str, Any]]:
    paired = pair(a, b, metric)
    rows = []
    for target in scored_targets(a.run.task):
        scores = paired.scores[paired.scores["target"].eq(target)]
        test = paired_t(scores["a"], scores["b"])
        rows.append(
            {
                "dataset": a.run.spec["dataset"]["name"],
                "task": a.run.task.name,
                "metric": metric,
                "target": target,
                "a": names[0],
                "b": names[1],
                "mean_a": scores["a"].mean(skipna=False),
                "mean_b": scores["b"].mean(skipna=False),
                "difference": test.difference,
                "low": test.low,
                "high": test.high,
                "t": test.t,
                "dz": test.dz,
                **{name: p(scores) for name, p in TESTS.items()},
                "n": test.n,
                "trials": scores["trial"].nunique(),
                "repeated_trials": _repeated(scores),
                "untrained": "+".join(side for s, side in ((a, "a"), (b, "b")) if _untrained(s.run)) or "no",
                "one_trial": "+".join(side for s, side in ((a, "a"), (b, "b")) if s.one_trial) or "no",
                "left_out": paired.left_out,
                "signature_a": signature(a.run.spec, metric),
                "signature_b": signature(b.run.spec, metric),
                "run_a": a.run.run_id,
                "run_b": b.run.run_id,
            }
        )
    return rows


def _repeated(scores: pd.DataFrame) -> bool:
    by_subset = scores.groupby("subset")[["a", "b"]]
    spread = by_subset.max() - by_subset.min()
    return bool(scores["trial"].nunique() > 1 and (spread.to_numpy() <= 1e-12).all())


def _untrained(run: Run) -> bool:
    return UNTRAINED in (run.spec.get("labels") or ())


def _check_runs(runs: Sequence[Run]) -> None:
    ids = [run.run_id for run in runs]
    if len(ids) < 2 or len(set(ids)) < len(ids):
        given = ", ".join(ids) or "none"
        raise SerbenchError(f"a comparison needs two or more different runs; given: {given}. Name each run once.")
    conflicts = protocol_conflicts(runs)
    if conflicts:
        raise SerbenchError(
            "runs of different protocols can't be compared:\n  " + "\n  ".join(conflicts) + "\nRun one of them again "
            "under the other's settings, or compare runs of one protocol digest."
        )


def _check_trials(scored: Sequence[Scored], names: Sequence[str]) -> None:
    """Raise unless all runs have the same complete trials; the message holds the lines that fill the gaps.

    A mean of trials has one, and pairs with any.
    """
    wanted = {trial for s in scored if not s.one_trial for trial in s.trials} or set(range(5))
    lines = []
    for s, name in zip(scored, names, strict=True):
        if trials := sorted({0} - s.trials if s.one_trial else wanted - s.trials):
            units = [u for u in s.run.units() if u["status"] == "failed" and u["trial"] in trials]
            reasons = "; ".join(sorted({str(u.get("error")) for u in units}))
            failed = f" (failed: {reasons})" if reasons else ""
            fill = s.run.fill_line(max(wanted) + 1)
            lines.append(f"{name} lacks trial(s) {', '.join(map(str, trials))}{failed}:\n  {fill}")
    if lines:
        raise SerbenchError("scores are paired by trial, and some are lacking. To fill them, type\n" + "\n".join(lines))


def _metric(scored: Scored, metric: str | None) -> str:
    known = sorted(scored.scores["metric"].unique())
    if metric is not None and metric not in known:
        raise unknown(f"metric of the task {scored.run.task.name!r}", metric, known)
    return metric or scored.run.task.metric


def _cells(row: dict[str, Any], *, counts: bool) -> dict[str, str]:
    """Header -> text of one row on the screen; the mean stands below the name, the interval below the difference.

    With `counts` the number of scores has a column, since rows differ in it.
    """
    lost = f"\n({row['left_out']} items left out)" if row["left_out"] else ""
    mark = "*" if row["repeated_trials"] else ""
    difference = f"{number(row['difference'], '+.3f')}{mark}\n{interval(row['low'], row['high'], '+.3f')}"
    return {
        "a": f"{row['a']}\n{number(row['mean_a'])}",
        "b": f"{row['b']}\n{number(row['mean_b'])}{lost}",
        "a - b\n95 % interval": difference,
        **({"n": str(row["n"])} if counts else {}),
        "d": number(row["dz"], "+.2f"),
        **{test.replace("_", "\n"): p_value(row[f"{test}_holm"]) for test in TESTS},
    }
