"""The tables of a paper, by kind: scores with their marks, planned comparisons, corpora, models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...results.display.numbers import count, duration, interval, number, p_value
from ...results.display.table import latex, records
from ...results.record.folder import run_row
from ...results.scores.scoring import scored_targets
from ...results.tables.beside_human import human_mark, human_note, knows_human
from .latex import Sheet, column_of, crossing, measured
from .plan import Display, PaperPlan
from .work import Block

MOST_COLUMNS = 6
"""Columns of scores that one table has; more blocks make further tables."""
BESIDE_CHANCE = {"no": r"\dag", "untested": "?"}
Compared = Mapping[str, pd.DataFrame]
"""Comparison -> its rows."""
Row = dict[str, Any]


def sheets(plan: PaperPlan, display: Display, blocks: Sequence[Block], compared: Compared) -> list[Sheet]:
    """The table that a plan asks for; of scores in many columns several."""
    shown = [block for block in blocks if set(plan.shown(display)) & block.rows.keys()]
    make: Callable[[PaperPlan, Display, Sequence[Block], Compared], Sheet] = {
        "scores": scores,
        "comparisons": comparisons,
        "corpora": corpora,
        "models": models,
    }[display.kind]
    if display.kind != "scores":
        return [make(plan, display, shown, compared)]
    parts = list(_parts(shown))
    names = [display.name] if len(parts) == 1 else [f"{display.name}-{k + 1}" for k in range(len(parts))]
    each = (Display(name, "scores", display.caption, display.models, display.comparison) for name in names)
    return [make(plan, one, part, compared) for one, part in zip(each, parts, strict=True)]


def scores(plan: PaperPlan, display: Display, blocks: Sequence[Block], compared: Compared) -> Sheet:
    """Mean scores, a row for each model and the better chance row, a column for each block and target."""
    places = [(block, target) for block in blocks for target in scored_targets(block.first.task)]
    rows = [name for name in plan.shown(display) if any(name in block.rows for block in blocks)]
    columns = [_column(block, target, rows, _marks(display, block, target, compared)) for block, target in places]
    groups = [("", 1), *_headings(blocks)]
    body = [[latex(name), *(column[name][0] for column in columns)] for name in rows]
    below = ["chance", *(["(human)"] if any("(human)" in column for column in columns) else [])]
    body += [[name, *(column.get(name, ("{--}", 0.0, 0.0))[0] for column in columns)] for name in below]
    specifications = [column_of([values[1:] for values in column.values()]) for column in columns]
    headers = ["model", *(_header(block, target) for block, target in places)]
    note = " ".join(_score_notes(plan, display, blocks))
    caption = latex(display.caption or f"{', '.join(dict.fromkeys(b.first.task.metric for b in blocks))} of all models")
    return Sheet(display.name, caption, ["l", *specifications], headers, body, groups, note, [len(rows)])


def comparisons(plan: PaperPlan, display: Display, blocks: Sequence[Block], compared: Compared) -> Sheet:
    """A planned comparison: differences with intervals, both tests, effect size, verdict; a part for each place."""
    comparison, chosen = plan.comparison(display.comparison), plan.shown(display)
    frame = compared[comparison.name]
    parts: dict[str, list[Row]] = {}
    for row in records(frame[frame["rival"].isin(chosen)]):
        parts.setdefault(_where(row), []).append(row)
    headers = ["against", "difference", r"95\,\% interval", r"\(p\)", r"\(p\), paired", r"\(d\)", "verdict"]
    body, rules = list[list[str]](), list[int]()
    for place, rows in parts.items():
        rules += [len(body)] if body else []
        body += [[rf"\multicolumn{{{len(headers)}}}{{l}}{{\emph{{{place}}}}}"]] if len(parts) > 1 else []
        body += [_difference(row) for row in rows]
    note = (
        f"Differences of {latex(comparison.system)} less the other. \\(p\\): t-test with trials and subsets as crossed "
        "random samples, which decides the verdict at 5\\,\\%; \\(p\\), paired: t-test over all scores, which takes "
        f"them for independent; both adjusted by Holm over {len(frame)} rows. \\(d\\): Cohen's d for pairs."
    )
    caption = latex(display.caption or f"{comparison.system} against other models")
    return Sheet(display.name, caption, ["l", "S[table-format=+1.3]", *"rrrr", "l"], headers, body, (), note, rules)


def _difference(row: Row) -> list[str]:
    """The cells of a comparison."""
    bounds = interval(row["low"], row["high"], "+.3f").replace("..", r"\) to \(")
    return [
        latex(row["rival"]),
        number(row["difference"], "+.3f") if not np.isnan(row["difference"]) else "{--}",
        rf"{{\({bounds}\)}}" if bounds != "-" else "{--}",
        f"{{{latex(p_value(row['p_crossed_holm']))}}}",
        f"{{{latex(p_value(row['p_holm']))}}}",
        rf"{{\({number(row['dz'], '+.2f')}\)}}",
        row["verdict"],
    ]


def corpora(plan: PaperPlan, display: Display, blocks: Sequence[Block], compared: Compared) -> Sheet:
    """Sizes of what was trained on and tested, a row for each block."""
    body = []
    for block in blocks:
        spec, task = block.first.spec, block.first.task
        sizes = np.array(list((spec["protocol"].get("sizes") or {"": (0, 0, 0)}).values()))
        items = block.first.items()
        people = "--" if items is None or "speaker" not in items else str(items["speaker"].nunique())
        lows, highs = sizes.min(axis=0), sizes.max(axis=0)
        spans = [f"{low}" if low == high else f"{low} to {high}" for low, high in zip(lows, highs, strict=True)]
        what = str(len(task.labels)) if task.kind == "classification" else f"{len(task.targets)} ({task.kind})"
        release = latex(str(spec["dataset"].get("release") or "--"))
        about = [crossing(spec["dataset"]["name"]), release, latex(task.name), what]
        body.append([*about, str(len(sizes)), *spans, people])
    headers = ["corpus", "release", "task", "classes", "folds", "train", "dev", "test", "test speakers"]
    note = "Utterances (of time-continuous tasks recordings) of a fold; of attributes, their number stands for classes."
    return Sheet(display.name, latex(display.caption or "Corpora"), [*"lllrrrrrr"], headers, body, (), note)


def models(plan: PaperPlan, display: Display, blocks: Sequence[Block], compared: Compared) -> Sheet:
    """What the rows are: model, features, settings beside the preset, parameters, time of a trial."""
    body = []
    for name in plan.shown(display):
        run = next((block.rows[name] for block in blocks if name in block.rows), None)
        if run is None:
            continue
        row, asked = run_row(run), run.spec["arguments"].get("settings") or {}
        settings = ", ".join(f"{key.partition('.')[2]}={Path(value).name}" for key, value in asked.items())
        features = ", ".join(dict.fromkeys(one["identity"]["name"] for one in run.spec["features"].values()))
        size = count(float("nan") if row["parameters"] is None else row["parameters"])
        each = duration(row["seconds"] / max(row["trials"], 1))
        preset = "" if row["preset"] == "default" else f":{row['preset']}"
        body.append([latex(t) for t in (name, f"{row['model']}{preset}", features or "none", settings, size, each)])
    headers = ["row", "model", "features", "settings", "parameters", "time"]
    note = "Settings are those that differ from the preset. Time is that of one trial of the first experiment."
    columns = ["l", "l", "l", r"p{0.3\linewidth}", "r", "r"]
    return Sheet(display.name, latex(display.caption or "Models"), columns, headers, body, (), note)


def _parts(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """Blocks in groups that fit into one table."""
    part: list[Block] = []
    for block in blocks:
        if part and sum(len(scored_targets(one.first.task)) for one in [*part, block]) > MOST_COLUMNS:
            yield part
            part = []
        part.append(block)
    if part:
        yield part


def _column(
    block: Block, target: str, rows: Sequence[str], marks: Mapping[str, str]
) -> dict[str, tuple[str, float, float]]:
    """Row -> (cell, mean, standard deviation) of a block and target; "chance" is the better chance row."""
    board = [row for row in records(block.board) if row["target"] == target]
    known = {row["row"]: row for row in board if row["row"] in rows}
    best = max((row["mean"] for row in known.values() if not np.isnan(row["mean"])), default=np.nan)
    cells = dict.fromkeys(rows, ("{--}", np.nan, np.nan))
    for name, row in known.items():
        marked = BESIDE_CHANCE.get(row["beats_chance"], "") + marks.get(name, "") + latex(human_mark(row).strip())
        cells[name] = measured(row["mean"], row["sd"], best=row["mean"] == best, marks=marked), row["mean"], row["sd"]
    floor = [row for row in board if row["chance"] and not np.isnan(row["mean"])]
    for chance in sorted(floor, key=lambda row: float(row["mean"]))[-1:]:
        cells["chance"] = measured(chance["mean"], chance["sd"]), chance["mean"], chance["sd"]
    if knows_human(board):
        cells["(human)"] = measured(board[0]["human"], np.nan), board[0]["human"], np.nan
    return cells


def _marks(display: Display, block: Block, target: str, compared: Compared) -> dict[str, str]:
    """Row -> mark of its planned comparison with the system."""
    if not display.comparison:
        return {}
    about = block.first.spec["dataset"]["name"], block.first.task.name, target
    rows = [r for r in records(compared[display.comparison]) if (r["dataset"], r["task"], r["target"]) == about]
    return {row["rival"]: {"better": r"\(<\)", "worse": r"\(>\)"}.get(row["verdict"], "") for row in rows}


def _score_notes(plan: PaperPlan, display: Display, blocks: Sequence[Block]) -> Iterator[str]:
    protocol, numbers = blocks[0].first.spec["protocol"], {int(n) for block in blocks for n in block.board["n"]}
    n = "/".join(map(str, sorted(numbers)))
    metrics = ", ".join(dict.fromkeys(block.first.task.metric for block in blocks))
    yield (
        f"{metrics}: mean \\(\\pm\\) standard deviation over {n} scores ({protocol.get('subsets') or 1} subsets "
        f"\\(\\times\\) {plan.protocol.trials} trials). Bold: best of a column. Chance: the better of the most "
        "frequent answer and random ones. \\textsuperscript{\\dag}: not significantly better than chance (crossed "
        "t-test, Holm-adjusted)."
    )
    if any(block.board["beats_chance"].eq("untested").any() for block in blocks):
        yield "\\textsuperscript{?}: too few scores to test against chance."
    if display.comparison:
        system = latex(plan.comparison(display.comparison).system)
        yield (
            f"\\textsuperscript{{\\(<\\)}}, \\textsuperscript{{\\(>\\)}}: significantly below, above {system} (crossed "
            "t-test, Holm-adjusted over the planned comparisons)."
        )
    yield from dict.fromkeys(latex(t) for block in blocks for t in human_note(records(block.board)))


def _headings(blocks: Sequence[Block]) -> list[tuple[str, int]]:
    """Corpora with the columns below them; a task of several targets stands beside its corpus."""
    found: list[tuple[str, int]] = []
    for block in blocks:
        name, task = crossing(block.first.spec["dataset"]["name"]), block.first.task
        width = len(scored_targets(task))
        name = f"{name}, {latex(task.name)}" if width > 1 else name
        if found and found[-1][0] == name:
            width += found.pop()[1]
        found.append((name, width))
    return found


def _header(block: Block, target: str) -> str:
    """The task of one target by its own name, else the target."""
    return latex(target if len(block.first.task.targets) > 1 else block.first.task.name)


def _where(row: Row) -> str:
    """Corpus, task and target of a comparison."""
    single = row["target"] == row["task"] or row["metric"] == "UAR"
    about = row["task"] if single else f"{row['task']}, {row['target']}"
    return f"{crossing(row['dataset'])}: {latex(about)}"
