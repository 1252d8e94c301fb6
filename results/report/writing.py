"""The report: every ranking of a results folder on one HTML page, with its figures and tables as files beside it.

`write_report` reads the runs, and writes `OUT.html` (nothing in it is loaded from anywhere) and a folder `OUT_files`
with each figure as PNG and SVG and each table as CSV, Markdown and LaTeX. The same records give the same files.
Damaged runs and whatever can't be shown stand on the page with their reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import write_bytes, write_text
from ..curves.table import tables as curve_tables
from ..display.table import Table, write_table
from ..record.folder import Run, Runs
from ..record.storage import write_csv
from ..tables.mean_ranks import across_datasets, critical_difference_diagram, rank_models
from . import beyond, figures
from .board import leaderboard_table, pair_table, reference_table
from .contents import contents_table
from .data import COMPARED, GROUPS, Ranking, breakdown, gather, warned
from .facts import excluded, failed
from .page import Drawing, Part, Picture, Section, page, slug
from .parts import bad_file_table, cost_table, drawings
from .protocol_card import protocol_card

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
        damaged = "".join(f"\n  {name}: {reason}" for name, reason in problems.items())
        raise SerbenchError(f"there are no runs to report. Type: serbench run --dataset demo --model linear{damaged}")
    report = Report(out, runs=len(runs), problems=problems)
    files = _Files(out.with_name(f"{out.stem}_files"), report)
    rankings = gather(runs, bootstrap, COMPARED)
    report.rankings = len(rankings)
    sections = [*_sections(rankings, files), _across(rankings, files)]
    texts, notes = _intro(rankings)
    notes += [f"Left out, {name}: {reason}" for name, reason in problems.items()]
    write_text(out, page("serbench report", sections, texts, notes, quote(files.folder.name)))
    return report


class _Files:
    """Writes figures and tables beside the page and gives what stands on it."""

    def __init__(self, folder: Path, report: Report) -> None:
        self.folder, self.report = folder, report

    def tables(self, *tables: Table | None) -> list[Table]:
        """Those that have rows."""
        shown = [table for table in tables if table is not None and table.rows]
        for table in shown:
            self.report.files += write_table(table, self.folder)
        return shown

    def data(self, name: str, frame: pd.DataFrame) -> list[str]:
        """The name of a table that is a file only, unless it is empty."""
        if not len(frame):
            return []
        self.report.files.append(write_csv(self.folder / f"{name}.csv", frame))
        return [name]

    def picture(self, drawing: Drawing, stem: str) -> Picture:
        """A figure, as SVG and PNG."""
        name = slug(f"{stem}-{drawing.name}")
        vector = figures.svg(drawing.figure)
        self._write(f"{name}.svg", vector)
        self._write(f"{name}.png", figures.png(drawing.figure))
        return Picture(name, drawing.title, drawing.caption, figures.inline(vector, name, drawing.title))

    def _write(self, name: str, content: bytes) -> None:
        write_bytes(self.folder / name, content)
        self.report.files.append(self.folder / name)


def _sections(rankings: Sequence[Ranking], files: _Files) -> Iterator[Section]:
    titles = [ranking.title for ranking in rankings]
    for ranking in rankings:
        digest = ranking.digest[:8] if titles.count(ranking.title) > 1 else ""
        title = f"{ranking.title} ({digest})" if digest else ranking.title
        stem = slug("-".join([ranking.dataset, ranking.task.name, *([digest] if digest else [])]))
        yield _section(ranking, stem, title, files)


def _section(ranking: Ranking, stem: str, title: str, files: _Files) -> Section:
    targets = ranking.targets if len(ranking.frame) else ()
    boards = files.tables(*(leaderboard_table(ranking, target, stem) for target in targets))
    pictures: dict[str, list[Picture]] = {}
    for drawing in drawings(ranking):
        pictures.setdefault(drawing.name.split("-")[0], []).append(files.picture(drawing, stem))

    def drawn(kind: str) -> list[Picture]:
        return pictures.get(kind, [])

    groups = [name for by in GROUPS for name in files.data(f"{stem}-by-{by}", breakdown(ranking, by)[0])]
    left_out, published = files.tables(bad_file_table(ranking, stem)), reference_table(ranking, stem)
    calibrated, shares = beyond.calibrations(ranking), list(beyond.curves(ranking))
    robust = beyond.robust(ranking)
    parts = [
        Part("Leaderboards of the single targets", tables=boards[1:], is_open=False),
        Part("Published results", tables=files.tables(published), is_open=_ranked(published)),
        Part("Differences between models", figures=drawn("forest"), tables=files.tables(pair_table(ranking, stem))),
        Part("Confusion matrices", figures=drawn("confusion")),
        Part("Prediction against gold", figures=drawn("scatter")),
        Part("Score by speaker, gender, duration", figures=drawn("by"), data=groups),
        Part("Gaps between groups", tables=files.tables(*beyond.gap_tables(ranking))),
        Part(
            "Calibration and abstention",
            figures=[files.picture(one, stem) for one in beyond.calibration_drawings(calibrated)],
            tables=files.tables(*beyond.calibration_tables(calibrated)),
        ),
        Part("Models and raters", tables=files.tables(*beyond.rater_tables(ranking))),
        Part(
            "Score by amount of training data",
            figures=[files.picture(one, stem) for one in beyond.curve_drawings(shares)],
            tables=files.tables(*(table for one in shares for table in curve_tables(one))),
        ),
        Part(
            "Perturbed test audio",
            figures=[files.picture(one, stem) for one in beyond.robustness_drawings(ranking, robust)],
            tables=files.tables(*beyond.robustness_tables(ranking, robust, stem)),
        ),
        Part("Learning curves", figures=drawn("curves")),
        Part("What trainings warn of", texts=warned(ranking)),
        Part("What clusters hold", tables=files.tables(contents_table(ranking, stem))),
        Part("Accuracy against cost", figures=drawn("cost"), data=files.data(f"{stem}-cost", cost_table(ranking))),
        Part("Protocol card", facts=protocol_card(ranking)),
        Part(
            f"Left out: {_bad_count(ranking)}",
            texts=[] if left_out else ["No file was left out and no unit failed."],
            tables=left_out,
            is_open=False,
        ),
        Part("Signatures, and how to repeat each row", tables=files.tables(_recipes(ranking, stem)), is_open=False),
    ]
    return Section(stem, title, list(dict.fromkeys(ranking.notes)), tables=boards[:1], parts=parts)


def _ranked(published: Table | None) -> bool:
    """Whether a published row has a place among ours; a list of those that have none stays folded."""
    return published is not None and bool(published.frame["distance"].eq("same").any())


def _across(rankings: Sequence[Ranking], files: _Files) -> Section:
    """The critical-difference diagram, or why there is none."""
    place = "across-datasets", "Across datasets"
    frames = [ranking.frame for ranking in rankings if len(ranking.frame)]
    try:
        if not frames:
            raise SerbenchError("no run has a complete trial.")
        scores, left_out = across_datasets(pd.concat(frames, ignore_index=True))
        ranks = rank_models(scores)
    except SerbenchError as error:
        return Section(*place, [f"There is no critical-difference diagram: {error}"])
    caption = (
        "Mean ranks over datasets, 1 is best; a bar joins models that Nemenyi's test does not tell apart (Demsar 2006)."
    )
    diagram = critical_difference_diagram(ranks)
    drawing = Drawing("critical-difference", "Critical-difference diagram", caption, diagram)
    return Section(*place, left_out, [files.picture(drawing, place[0])])


def _intro(rankings: Sequence[Ranking]) -> tuple[list[str], list[str]]:
    """What stands below the title: a line of facts, and a note where versions are mixed."""
    runs = [run for ranking in rankings for run in ranking.runs]
    versions = sorted({version for run in runs for version in _versions(run)})
    facts = f"Runs: {len(runs)}; rankings: {len(rankings)}; made by serbench {', '.join(versions)}."
    mixed = "The runs were made by different versions of serbench; each run's recipe names its own."
    return [f"{facts} Click a column's head to sort by it."], [mixed] if len(versions) > 1 else []


def _recipes(ranking: Ranking, stem: str) -> Table:
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
    return Table(title, rows, name=f"{stem}-recipes", frame=pd.DataFrame(rows))


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
