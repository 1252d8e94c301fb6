"""The report: every ranking of a results folder on one HTML page, with its figures and tables as files beside it.

`write_report` reads the runs, and writes `OUT.html` (nothing in it is loaded from anywhere) and a folder `OUT_files`
with each figure as PNG and SVG and each table as CSV, Markdown and LaTeX. The same records give the same files.
Damaged runs and whatever can't be shown stand on the page with their reason.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import atomic_write, write_text
from ...datasets.core.stages import track
from ..record.folder import Run, Runs
from ..tables.ranking import across_datasets, critical_difference_diagram, rank_models
from . import figures
from .data import GROUPS, Ranking, breakdown, excluded, failed, gather
from .page import details, facts, page, problem
from .parts import Drawing, bad_file_table, cost_table, drawings, leaderboard_table, pair_table, reference_table
from .tables import Table, to_html, write_table

RESAMPLES = 10_000


@dataclass
class Report:
    """What was written: the page, the files beside it, and the number of rankings, runs and damaged folders."""

    path: Path
    files: list[Path] = field(default_factory=list)
    rankings: int = 0
    runs: int = 0
    problems: dict[str, str] = field(default_factory=dict)


def write_report(runs: Runs, out: Path, bootstrap: int = RESAMPLES) -> Report:
    """Write the report of these runs.

    Parameters
    ----------
    runs : as `load_runs` gives them, damaged folders in `.problems`
    out : the page; its name ends in .html
    bootstrap : resamples of each interval; 0 = intervals over the scores

    Raises
    ------
    SerbenchError
        Without any run, or when `out` is not an HTML file's name.
    """
    out = Path(out)
    if out.suffix.lower() not in (".html", ".htm") or out.is_dir():
        raise SerbenchError(f"--out {str(out)!r}: expected the name of an HTML file, such as report.html.")
    problems = {path.name: reason for path, reason in runs.problems.items()}
    if not runs:
        found = "".join(f"\n  {name}: {reason}" for name, reason in problems.items())
        raise SerbenchError(f"there are no runs to report. Type: serbench run --dataset demo --model linear{found}")
    report = Report(out, runs=len(runs), problems=problems)
    folder = out.with_name(f"{out.stem}_files")
    writer = _Writer(folder, report)
    rankings = gather(runs, bootstrap)
    report.rankings = len(rankings)
    sections = _sections(rankings, writer)
    write_text(out, page("serbench report", _intro(rankings, problems), sections))
    return report


class _Writer:
    """Writes figures and tables beside the page and gives the HTML that shows them."""

    def __init__(self, folder: Path, report: Report) -> None:
        self.folder, self.report = folder, report
        self.link = quote(folder.name)

    def table(self, table: Table | None) -> str:
        if table is None or not table.rows:
            return ""
        self.report.files += write_table(table, self.folder)
        return to_html(table, self.link)

    def data(self, name: str, frame: pd.DataFrame) -> str:
        """A table that is a file only; returns the link."""
        from ..record.storage import write_csv

        self.report.files.append(write_csv(self.folder / f"{name}.csv", frame))
        return f'<p class="files">Data: <a href="{self.link}/{quote(name)}.csv">{html.escape(name)}.csv</a></p>'

    def figure(self, drawing: Drawing, stem: str) -> str:
        name = slug(f"{stem}-{drawing.name}")
        vector = figures.svg(drawing.figure)
        self._bytes(f"{name}.svg", vector)
        self._bytes(f"{name}.png", figures.png(drawing.figure))
        links = ", ".join(f'<a href="{self.link}/{quote(name)}.{s}">{s}</a>' for s in ("png", "svg"))
        drawn = figures.inline(vector, name).replace(
            "<svg ", f'<svg role="img" aria-label="{html.escape(drawing.title)}" ', 1
        )
        return (
            f"<figure><h3>{html.escape(drawing.title)}</h3>{drawn}<figcaption>{html.escape(drawing.caption)} "
            f'<span class="files">This figure: {links}</span></figcaption></figure>'
        )

    def _bytes(self, name: str, content: bytes) -> None:
        atomic_write(self.folder / name, lambda stream: stream.write(content))
        self.report.files.append(self.folder / name)


def slug(text: str) -> str:
    """A text as a file name and id: letters, digits, dots and dashes."""
    return re.sub(r"[^\w.+-]+", "-", text).strip("-") or "x"


def _sections(rankings: Sequence[Ranking], writer: _Writer) -> list[tuple[str, str, str]]:
    several = [ranking.title for ranking in rankings]
    found = []
    for ranking in track(rankings, "drawing rankings"):
        double = several.count(ranking.title) > 1
        title = f"{ranking.title} ({ranking.digest[:8]})" if double else ranking.title
        stem = slug(f"{ranking.dataset}-{ranking.task.name}" + (f"-{ranking.digest[:8]}" if double else ""))
        found.append((stem, title, _section(ranking, stem, writer)))
    return [*found, ("across-datasets", "Across datasets", _across(rankings, writer))]


def _section(ranking: Ranking, stem: str, writer: _Writer) -> str:
    targets = ranking.targets if len(ranking.frame) else ()
    boards = [writer.table(leaderboard_table(ranking, target, stem)) for target in targets]
    drawn = [(drawing, writer.figure(drawing, stem)) for drawing in drawings(ranking)]

    def those(*kinds: str) -> str:
        found = "".join(text for drawing, text in drawn if drawing.name.split("-")[0] in kinds)
        return f'<div class="figures">{found}</div>' if found else ""

    groups = "".join(writer.data(f"{stem}-by-{by}", table) for by in GROUPS if len(table := breakdown(ranking, by)[0]))
    costs = cost_table(ranking)
    parts = [
        *(problem(note) for note in dict.fromkeys(ranking.notes)),
        boards[0] if boards else "",
        details("Leaderboards of the single targets", "".join(boards[1:])),
        details("Published results", writer.table(reference_table(ranking, stem)), is_open=True),
        details("Differences between models", those("forest") + writer.table(pair_table(ranking, stem)), is_open=True),
        details("Confusion matrices", those("confusion"), is_open=True),
        details("Prediction against gold", those("scatter"), is_open=True),
        details("Score by speaker, gender, duration", those("by") + groups, is_open=True),
        details("Learning curves", those("curves"), is_open=True),
        details(
            "Accuracy against cost",
            those("cost") + (writer.data(f"{stem}-cost", costs) if len(costs) else ""),
            is_open=True,
        ),
        details("Protocol card", facts(_card(ranking)), is_open=True),
        details(
            f"Left out: {_bad_count(ranking)}",
            writer.table(bad_file_table(ranking, stem)) or "<p>No file was left out and no unit failed.</p>",
        ),
        details("Signatures, and how to repeat each row", _recipes(ranking, stem, writer)),
    ]
    return "\n".join(part for part in parts if part)


def _across(rankings: Sequence[Ranking], writer: _Writer) -> str:
    """The critical-difference diagram, or why there is none."""
    frames = [ranking.frame for ranking in rankings if len(ranking.frame)]
    try:
        if not frames:
            raise SerbenchError("no run has a complete trial.")
        scores, left_out = across_datasets(pd.concat(frames, ignore_index=True))
        ranking = rank_models(scores)
    except SerbenchError as error:
        return problem(f"There is no critical-difference diagram: {error}")
    caption = (
        "Mean ranks over datasets, 1 is best; a bar joins models that Nemenyi's test does not tell apart (Demsar 2006)."
    )
    drawing = Drawing(
        "critical-difference", "Critical-difference diagram", caption, critical_difference_diagram(ranking)
    )
    return "".join(problem(line) for line in left_out) + writer.figure(drawing, "across-datasets")


def _intro(rankings: Sequence[Ranking], problems: dict[str, str]) -> str:
    runs = sum(len(ranking.runs) for ranking in rankings)
    versions = sorted({name for r in rankings for run in r.runs for name in _versions(run)})
    lines = [
        f"<p>Runs: {runs}; rankings: {len(rankings)}; made by serbench {html.escape(', '.join(versions))}. "
        f"Click a column's head to sort by it.</p>"
    ]
    if len(versions) > 1:
        lines.append(problem("The runs were made by different versions of serbench; each run's recipe names its own."))
    lines += [problem(f"Left out, {name}: {reason}") for name, reason in problems.items()]
    return "\n".join(lines)


def _card(ranking: Ranking) -> list[tuple[str, str]]:
    """The facts of the protocol card that stand in the record."""
    spec = ranking.runs[0].spec
    dataset, protocol, task = spec["dataset"], spec["protocol"], ranking.task
    sizes: dict[str, Any] = protocol.get("sizes") or {}
    folds = "; ".join(f"{fold}: train {n[0]}, dev {n[1]}, test {n[2]}" for fold, n in sizes.items())
    merges = ", ".join(f"{raw} = {label}" for raw, label in task.mapping.items() if raw != label)
    transfer = spec.get("transfer") or {}
    return [
        ("dataset", f"{dataset['name']} {dataset.get('release') or ''}".strip()),
        ("table", str(dataset["digest"])),
        ("task", f"{task.name} ({task.kind})"),
        ("classes", ", ".join(task.labels)),
        ("mapping", merges),
        ("only rows with", "; ".join(f"{k} in {', '.join(map(str, v))}" for k, v in task.where.items())),
        ("scales", ", ".join(f"{t}: {lo:g} to {hi:g}" for t, (lo, hi) in task.scales.items())),
        ("label frame", f"{task.frame_seconds:g} s" if task.frame_seconds else ""),
        (
            "metric",
            task.metric
            + (" (unweighted average recall)" if task.metric == "UAR" else " (concordance correlation coefficient)"),
        ),
        ("protocol", f"{protocol.get('name', 'unnamed')}, digest {ranking.digest}"),
        ("split", str(protocol.get("split") or "")),
        ("test subsets", f"{protocol.get('subsets') or 1}, uncut group: {protocol.get('group') or 'none'}"),
        ("seed", str(protocol.get("seed", ""))),
        ("folds", folds or ", ".join(ranking.runs[0].folds)),
        ("carried over", "; ".join(map(str, transfer.get("notes") or ()))),
        ("licence", str(dataset.get("licence") or "")),
        ("cite", str(dataset.get("citation") or "")),
    ]


def _recipes(ranking: Ranking, stem: str, writer: _Writer) -> str:
    rows = [
        {
            "model": ranking.names.get(run.run_id, run.name),
            "run": run.run_id,
            "signature": run.signature,
            "made by": str(run.spec.get("command") or ""),
            "serbench": ", ".join(sorted(_versions(run))),
            "device": ", ".join(_devices(run)),
            "repeat": f"serbench run --from-record {run.path / 'run.json'}",
        }
        for run in ranking.runs
    ]
    title = f"{ranking.title}: recipe of each run"
    return writer.table(Table(f"{stem}-recipes", title, rows, pd.DataFrame(rows)))


def _versions(run: Run) -> set[str]:
    """Versions of serbench that worked on the run: the one that began it, and those of its units."""
    units = {str((u.get("versions") or {}).get("serbench") or "") for u in run.units()}
    return {str(run.spec.get("serbench") or "unknown"), *units} - {""}


def _devices(run: Run) -> list[str]:
    return sorted({str(u["device"]) for u in run.units() if u.get("device")})


def _bad_count(ranking: Ranking) -> str:
    files = {item for run in ranking.runs for item in excluded(run)}
    units = sum(len(failed(run)) for run in ranking.runs)
    return f"{len(files)} files, {units} failed units"
