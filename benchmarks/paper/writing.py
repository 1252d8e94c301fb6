"""The folder of a paper: tables, figures, methods, references, script, numbers in full precision, one document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ...datasets.core.files import write_bytes, write_text
from ...results.record.storage import write_csv
from ...results.report.figures import pdf, svg
from .commands import SCRIPT, script
from .comparisons import compared
from .figures import figures
from .latex import document
from .methods import methods
from .plan import PaperPlan
from .references import Bibliography
from .tables import sheets
from .work import Block


@dataclass(frozen=True)
class Written:
    """What was written: the document, all files, and components that no reference is known of."""

    document: Path
    files: tuple[Path, ...]
    lacking: tuple[str, ...]


def write_paper(plan: PaperPlan, source: Path, blocks: Sequence[Block], folder: Path) -> Written:
    """Write everything that the plan asks for; `source` is the plan's file, which is copied."""
    found = {one.name: compared(plan.comparison(one.name), blocks) for one in plan.comparisons}
    cited = Bibliography()
    words = methods(plan, blocks, found, cited)
    cited.cite(plan.cite)
    files = list(_numbers(blocks, found, folder))
    made = [sheet for one in plan.tables for sheet in sheets(plan, one, blocks, found)]
    files += [_text(folder / "tables" / f"{sheet.name}.tex", sheet.text()) for sheet in made]
    drawn = [part for one in plan.figures for part in figures(plan, one, blocks, found)]
    for name, _, figure in drawn:
        for suffix, data in (("svg", svg(figure)), ("pdf", pdf(figure))):
            write_bytes(folder / "figures" / f"{name}.{suffix}", data)
            files.append(folder / "figures" / f"{name}.{suffix}")
    files.append(_text(folder / "methods.tex", words))
    files.append(_text(folder / "references.bib", cited.text()))
    files.append(_text(folder / "plan.toml", source.read_text(encoding="utf-8")))
    files.append(_text(folder / SCRIPT, script(plan, blocks)))
    (folder / SCRIPT).chmod(0o755)
    tables = [sheet.name for sheet in made]
    pictures = [(name, caption) for name, caption, _ in drawn]
    page = document(plan.title, plan.about, r"\input{methods}", tables, pictures)
    files.append(_text(folder / "paper.tex", page))
    return Written(folder / "paper.tex", tuple(files), tuple(dict.fromkeys(cited.lacking)))


def _numbers(blocks: Sequence[Block], found: Mapping[str, pd.DataFrame], folder: Path) -> Iterator[Path]:
    """leaderboard.csv, scores.csv (every score), comparisons.csv."""
    yield write_csv(folder / "leaderboard.csv", pd.concat([block.board for block in blocks], ignore_index=True))
    parts = []
    for block in blocks:
        names = {run.run_id: row for row, run in block.rows.items()}
        for run_id, scored in block.scored.items():
            about = {"dataset": scored.run.spec["dataset"]["name"], "task": scored.run.task.name, "run_id": run_id}
            parts.append(scored.scores.assign(row=names.get(run_id, ""), **about))
    yield write_csv(folder / "scores.csv", pd.concat(parts, ignore_index=True))
    if found:
        yield write_csv(folder / "comparisons.csv", pd.concat(found.values(), ignore_index=True))


def _text(path: Path, text: str) -> Path:
    write_text(path, text)
    return path
