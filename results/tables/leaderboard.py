"""The leaderboard: one row per run and target, with its spread, its recipe, its cost and its test against chance.

A *ranking* is one dataset and task. It never mixes protocol digests, holds the rows of the model `chance` among the
others, and marks every model that does not beat the best of them significantly (two-tailed crossed t-test over the
common scores, Holm-adjusted over the ranking's models and targets; the paired t-test's p is shown beside it). The best
mean comes first, an undefined one last.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.core.stages import track
from ..display.numbers import count, duration, interval, number, p_value
from ..display.table import Table, on_screen, records, task_and_target, to_markdown as table_markdown
from ..record.folder import COSTS, Run, Runs, run_row
from ..record.identity import short_names
from ..record.pairing import Scored, load_scored, pair, protocol_conflicts
from ..record.storage import write_csv
from ..scores.scoring import scored_targets
from ..statistics.dependence import crossed_t
from ..statistics.significance import holm, mean_interval, paired_t
from .beside_human import HUMAN, NOBODY, add_human, human_mark, human_note, with_human
from .pair_tests import Resampling, score_intervals

if TYPE_CHECKING:
    from rich.console import Group

CHANCE = "chance"
ALPHA = 0.05
COLUMNS = (
    "dataset",
    "release",
    "task",
    "target",
    "metric",
    "rank",
    "name",
    "model",
    "preset",
    "search_budget",
    "mean",
    "sd",
    "low",
    "high",
    "n",
    "trials",
    "undefined",
    "chance",
    "chance_row",
    "p_chance",
    "p_chance_holm",
    "p_chance_crossed",
    "beats_chance",
    *HUMAN,
    "seconds",
    "cpu_seconds",
    "parameters",
    *COSTS,
    "left_out",
    "failed_trials",
    "labels",
    "protocol",
    "protocol_digest",
    "serbench",
    "signature",
    "command",
    "run_id",
)
CHANCE_TESTS = ("p_chance", "p_chance_holm", "p_chance_crossed")
Row = dict[str, Any]


def leaderboard(
    runs: Iterable[Run], *, protocol_digest: str | Collection[str] | None = None, kept: dict[str, Scored] | None = None
) -> pd.DataFrame:
    """Rank runs by the primary metric of their task.

    Parameters
    ----------
    runs : any runs; rankings are made per dataset and task
    protocol_digest : digest(s), or their first digits, that choose between runs of different protocols in one ranking
    kept : is given run id -> predictions and scores of every ranked run, which are read only once then

    Returns
    -------
    one row per run and target, in the columns of `COLUMNS`: mean, sd and the 95 % interval low .. high over the n
    scores; `undefined` of them are NaN (and then so is the mean); `p_chance` is that of the paired t-test,
    `p_chance_holm` the same adjusted over the ranking, `p_chance_crossed` that of the crossed t-test, adjusted too: it
    knows that scores of one trial or subset belong together, and decides `beats_chance`: "yes", "no", "untested", or
    empty for a chance row; `HUMAN` are those of `beside_human`; seconds are those of all trials; `parameters` are
    trained ones, `feature_parameters` those of frozen networks behind the features; multiply-accumulates and computing
    time are those for a second of audio (empty where they were not measured); `left_out` files could not be used;
    `command` makes the row again.
    `attrs["problems"]` names the runs that could not be ranked, damaged folders among them (run id -> reason)

    Raises
    ------
    SerbenchError
        Without any run, and when a ranking would mix protocol digests (says which fields differ).
    """
    problems = {path.name: reason for path, reason in runs.problems.items()} if isinstance(runs, Runs) else {}
    runs = list(runs)
    if not runs:
        damaged = "".join(f"\n  {name}: {reason}" for name, reason in problems.items())
        raise SerbenchError(f"there are no runs to rank. Type: serbench run --dataset demo --model linear{damaged}")
    rankings: dict[tuple[str, str], list[Run]] = {}
    for run in _choose(runs, protocol_digest):
        rankings.setdefault(_ranking(run), []).append(run)
    for key, group in rankings.items():
        _check_protocols(key, group)
    rows = [row for key in sorted(rankings) for row in _rank(rankings[key], problems, kept)]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame.attrs["problems"] = problems
    return frame


def with_intervals(frame: pd.DataFrame, runs: Iterable[Run], options: Resampling) -> pd.DataFrame:
    """The leaderboard with bootstrap intervals over speakers (or what `options.cluster` says) and trials.

    Further columns: boot_low, boot_high, boot_cluster, boot_clusters (their number), boot_resamples, boot_asked (the
    `cluster` of the options). Screen and Markdown then show this interval in place of the one over the n scores.
    """
    by_id = {run.run_id: run for run in runs}
    wanted = track(frame["run_id"].unique().tolist(), "intervals of runs")
    intervals = {run_id: score_intervals(by_id[run_id], options=options) for run_id in wanted}
    rows = []
    for run_id, target in zip(frame["run_id"], frame["target"], strict=True):
        one, name = intervals[run_id][0][target], intervals[run_id][1].name
        rows.append((one.low, one.high, name, one.clusters, one.resamples, options.cluster))
    columns = ["boot_low", "boot_high", "boot_cluster", "boot_clusters", "boot_resamples", "boot_asked"]
    whole = pd.concat([frame, pd.DataFrame(rows, columns=columns, index=frame.index)], axis=1)
    whole.attrs = dict(frame.attrs)
    return whole


def write_leaderboard(frame: pd.DataFrame, results: Path) -> Path:
    """Write `results`/leaderboard.csv atomically and in full precision; returns its path."""
    return write_csv(Path(results) / "leaderboard.csv", frame)


def to_markdown(frame: pd.DataFrame) -> str:
    """The rankings as Markdown tables, then the signature of each run."""
    parts = [table_markdown(table) for table in _tables(frame)]
    recipes = [f"- {row['dataset']}, {row['task']}, {row['name']}: `{row['signature']}`" for row in _recipes(frame)]
    return "\n\n".join([*parts, "\n".join(recipes), *_unranked(frame)]) + "\n"


def to_rich(frame: pd.DataFrame) -> Group:
    """The rankings as tables for the screen, then the signature of each run."""
    from rich.console import Group
    from rich.text import Text

    recipes = [f"{row['name']}  {row['signature']}" for row in _recipes(frame)]
    return Group(on_screen(_tables(frame), recipes), *map(Text, _unranked(frame)))


def _ranking(run: Run) -> tuple[str, str]:
    return str(run.spec["dataset"]["name"]), run.task.name


def _choose(runs: Sequence[Run], wanted: str | Collection[str] | None) -> list[Run]:
    """Keep the runs of the wanted digests in the rankings that hold one of them; other rankings stay whole."""
    digests = (wanted,) if isinstance(wanted, str) else tuple(wanted or ())
    for prefix in digests:
        if not any(run.protocol_digest.startswith(prefix) for run in runs):
            there = ", ".join(sorted({run.protocol_digest for run in runs}))
            raise SerbenchError(f"no run has the protocol digest {prefix!r}. There are: {there}.")
    touched = {_ranking(run) for run in runs if run.protocol_digest.startswith(digests)}
    return [run for run in runs if run.protocol_digest.startswith(digests) or _ranking(run) not in touched]


def _check_protocols(key: tuple[str, str], group: Sequence[Run]) -> None:
    if conflicts := protocol_conflicts(group):
        digests = ", ".join(sorted({run.protocol_digest for run in group}))
        raise SerbenchError(
            f"the runs on {key[0]}, {key[1]} follow different protocols and can't share a ranking:\n  "
            + "\n  ".join(conflicts)
            + f"\nChoose one of {digests} with --digest, or keep them in different --results folders."
        )


def _rank(group: Sequence[Run], problems: dict[str, str], kept: dict[str, Scored] | None) -> list[Row]:
    """All rows of one dataset and task: targets in the task's order (the mean first), best mean first."""
    scored: dict[str, Scored] = {}
    for run in track(group, "scoring runs"):
        try:
            one = load_scored(run)
        except SerbenchError as error:
            problems[run.run_id] = str(error)
            continue
        if one.trials:
            scored[run.run_id] = one
        else:
            problems[run.run_id] = f"no trial is complete. Type: {run.fill_line(5)}"
    names = short_names([s.run.spec for s in scored.values()])
    rows = [row for s, name in zip(scored.values(), names, strict=True) for row in _summary(s, name)]
    _test_against_chance(rows, scored)
    add_human(rows, scored, problems, ALPHA)
    targets = scored_targets(group[0].task)
    rows.sort(key=lambda r: (targets.index(r["target"]), np.isnan(r["mean"]), -np.nan_to_num(r["mean"]), r["name"]))
    seen: dict[str, int] = {}
    for row in rows:
        row["rank"] = seen[row["target"]] = seen.get(row["target"], 0) + 1
    if kept is not None:
        kept.update(scored)
    return rows


def _summary(scored: Scored, name: str) -> list[Row]:
    """One row per target of a run, without rank and tests."""
    facts, metric = run_row(scored.run), scored.run.task.metric
    rows = []
    for target, scores in scored.scores[scored.scores["metric"].eq(metric)].groupby("target", sort=False):
        values = scores["value"].to_numpy(dtype=np.float64)
        low, high = mean_interval(values)
        rows.append(
            {
                **facts,
                "target": str(target),
                "metric": metric,
                "name": name,
                "mean": float(np.mean(values)),
                "sd": float(np.std(values, ddof=1)) if len(values) > 1 else float("nan"),
                "low": low,
                "high": high,
                "n": len(values),
                "undefined": int(np.isnan(values).sum()),
                "chance": facts["model"] == CHANCE,
                "chance_row": "",
                **dict.fromkeys(CHANCE_TESTS, float("nan")),
                "beats_chance": "",
                **NOBODY,
            }
        )
    return rows


def _test_against_chance(rows: list[Row], scored: dict[str, Scored]) -> None:
    """Fill chance_row, `CHANCE_TESTS` and beats_chance of every row that is not a chance row."""
    defined = [row for row in rows if row["chance"] and not np.isnan(row["mean"])]
    best = {row["target"]: row for row in sorted(defined, key=lambda row: row["mean"])}
    others = [row for row in rows if not row["chance"]]
    pairs: dict[tuple[str, str], pd.DataFrame] = {}
    gains, sure = [float("nan")] * len(others), [float("nan")] * len(others)
    for i, row in enumerate(others):
        if chance := best.get(row["target"]):
            key = (row["run_id"], chance["run_id"])
            if key not in pairs:
                pairs[key] = pair(scored[key[0]], scored[key[1]], row["metric"]).scores
            paired = pairs[key][pairs[key]["target"].eq(row["target"])]
            test = paired_t(paired["a"], paired["b"])
            gains[i] = test.difference
            sure[i] = crossed_t(paired["a"], paired["b"], paired["trial"], paired["subset"]).p
            row.update(chance_row=chance["name"], p_chance=test.p)
    adjusted = zip(holm([row["p_chance"] for row in others]), holm(sure), strict=True)
    for row, gain, (plain, crossed) in zip(others, gains, adjusted, strict=True):
        beats = "untested" if np.isnan(crossed) else "yes" if crossed < ALPHA and gain > 0 else "no"
        row.update(p_chance_holm=float(plain), p_chance_crossed=float(crossed), beats_chance=beats)


def mixed_versions(rows: Iterable[Mapping[str, Any]]) -> str:
    """A note when rows with a field "serbench" (versions, by commas) were made by more than one; else empty."""
    versions = sorted({version for row in rows for version in str(row["serbench"]).split(",") if version})
    made = f"{', '.join(versions[:-1])} and {versions[-1]}" if len(versions) > 1 else ""
    return f"The scores were made by serbench {made}: numbers may differ between versions." if made else ""


def _tables(frame: pd.DataFrame) -> list[Table]:
    """A ranking of each dataset, task and target; then, where it was measured, what the runs cost, and robustness."""
    from ..stress.table import board_tables

    tables = []
    for (dataset, task, target), group in frame.groupby(["dataset", "task", "target"], sort=False):
        rows = records(group)
        protocol = f"(protocol {rows[0]['protocol']}+{rows[0]['protocol_digest']})"
        title = f"{dataset}, {task_and_target(task, target)}: {rows[0]['metric']} {protocol}"
        cells, styles = with_human(rows, [_cells(row) for row in rows], _styles(rows))
        tables.append(Table(title, cells, _note(rows), styles))
    for (dataset, task), group in frame.drop_duplicates("run_id").groupby(["dataset", "task"], sort=False):
        if group["real_time_factor"].notna().any():
            rows = records(group)
            tables.append(
                Table(f"{dataset}, {task}: cost", [_cost_cells(row) for row in rows], COST_NOTE, _styles(rows))
            )
    return [*tables, *board_tables(frame)]


def _styles(rows: Sequence[Row]) -> list[str]:
    return ["chance" if row["chance"] else "" for row in rows]


def _cells(row: Row) -> dict[str, str]:
    """Header -> text of one row on screen and in Markdown."""
    mark = {"no": " †", "untested": " ?"}.get(row["beats_chance"], "")
    failed = f" ({row['failed_trials']} failed)" if row["failed_trials"] else ""
    bounds = (row["boot_low"], row["boot_high"]) if "boot_low" in row else (row["low"], row["high"])
    return {
        "#": str(row["rank"]),
        "model": f"{row['name']}{mark}{human_mark(row)}{failed}",
        "mean": number(row["mean"]),
        "sd": number(row["sd"]),
        "95 % interval": interval(*bounds),
        "n": str(row["n"]),
        "p": "" if row["chance"] else p_value(row["p_chance_holm"]),
        "time": duration(row["seconds"]),
        "size": count(float("nan") if pd.isna(row["parameters"]) else row["parameters"]),
        "out": str(row["left_out"]),
    }


def _cost_cells(row: Row) -> dict[str, str]:
    cost = {key: float("nan") if pd.isna(row[key]) else float(row[key]) for key in ("parameters", *COSTS)}
    return {
        "model": row["name"],
        "trained": count(cost["parameters"]),
        "frozen": count(cost["feature_parameters"]),
        "MAC/s": count(cost["macs_per_second"]),
        "x real time": number(cost["real_time_factor"], ".3g"),
        "time": duration(row["seconds"]),
    }


COST_NOTE = (
    "Parameters: trained, and frozen ones behind the features. MAC/s: multiply-accumulates of networks for a second of "
    "audio. x real time: computing time from file to prediction for a second of audio. time: of all trials."
)


def _recipes(frame: pd.DataFrame) -> list[Row]:
    """One row per run."""
    return records(frame.drop_duplicates("run_id"))


def _unranked(frame: pd.DataFrame) -> list[str]:
    return [f"Not ranked: {run}: {reason}" for run, reason in frame.attrs.get("problems", {}).items()]


def _note(rows: Sequence[Row]) -> str:
    """What the columns and marks of a ranking mean, as far as they occur in it."""
    marks = {row["beats_chance"] for row in rows}
    chance = next((row["chance_row"] for row in rows if row["chance_row"]), "")
    parts = ["Over n scores (trial x subset). time: of all trials; size: parameters; out: files left out."]
    if mixed := mixed_versions(rows):
        parts.append(mixed)
    if drawn := {f"{row['boot_clusters']} {row['boot_cluster']}s" for row in rows if "boot_low" in row}:
        parts.append(f"Intervals: bootstrap over {' or '.join(sorted(drawn))} and the trials.")
    if chance:
        parts.append(f"p: paired t-test against {chance}, Holm-adjusted.")
    if "no" in marks:
        parts.append("† not significantly better than chance (crossed t-test, Holm-adjusted).")
    parts += human_note(rows)
    if "untested" in marks:
        parts.append("? not tested against chance: run the model chance on this task too.")
    return " ".join(parts)
