"""Tables of the report: one set of cells, written as HTML, CSV, Markdown and LaTeX (booktabs).

A `Table` holds cells of (what is read, what is sorted by and stored). All text is escaped for where it goes.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ...datasets.core.files import write_text
from ..record.storage import write_csv
from ..tables.display import markdown_table

LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "†": r"\dag{}",
    "±": r"\(\pm\)",
    "×": r"\(\times\)",
}
SHORT = 28
"""Cells of at most so many characters are not broken into lines."""
Value = str | float | int


@dataclass(frozen=True)
class Cell:
    """A cell: `text` is read; `value` is sorted by (default: the text); `hint` is a longer text on hover."""

    text: str
    value: Value | None = None
    hint: str = ""


Cells = Mapping[str, Cell | str]


@dataclass(frozen=True)
class Table:
    """A table of the report.

    Attributes
    ----------
    name : file name without suffix, unique in the report
    title, note : above and below the table
    rows : header -> cell; every row has the same headers
    frame : what the CSV holds, in full precision
    styles : a class name per row ("" = none); a row of the class "chance" is greyed
    sortable : whether a click on a header sorts
    kind : what the page's script knows it by, such as "leaderboard"
    """

    name: str
    title: str
    rows: Sequence[Cells]
    frame: pd.DataFrame
    note: str = ""
    styles: Sequence[str] = field(default_factory=tuple)
    sortable: bool = True
    kind: str = ""


def to_html(table: Table, folder: str = "") -> str:
    """The table as HTML, with links to its files in `folder` (relative) when one is given."""
    if not table.rows:
        return ""
    numeric = {header: all(_is_number(row[header]) for row in table.rows) for header in table.rows[0]}
    head = "".join(_header(name, is_number, table.sortable) for name, is_number in numeric.items())
    styles = [*table.styles, *[""] * (len(table.rows) - len(table.styles))]
    body = "\n".join(_row(row, style, numeric) for row, style in zip(table.rows, styles, strict=True))
    kind = "sortable" if table.sortable else "plain"
    note = f'<p class="note">{html.escape(table.note)}</p>' if table.note else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(table.title)}">'
        f'<table class="{kind}" data-kind="{html.escape(table.kind)}" id="{html.escape(table.name)}">'
        f"<caption>{html.escape(table.title)}</caption>"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>{note}{_files(table, folder)}"
    )


def to_markdown(table: Table) -> str:
    """The table as Markdown, its title above and its note below."""
    rows = [{header: _text(cell) for header, cell in row.items()} for row in table.rows]
    parts = [f"### {table.title}", markdown_table(rows) if rows else "(no rows)", table.note]
    return "\n\n".join(part for part in parts if part) + "\n"


def to_latex(table: Table) -> str:
    """The table for papers; needs the package booktabs."""
    headers = list(table.rows[0]) if table.rows else []
    columns = "".join("r" if all(_is_number(row[h]) for row in table.rows) else "l" for h in headers)
    lines = [" & ".join(latex(_text(cell)) for cell in row.values()) + r" \\" for row in table.rows]
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{latex(table.title)}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join(map(latex, headers)) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            *([rf"\par\footnotesize {latex(table.note)}"] if table.note else []),
            r"\end{table}",
            "",
        ]
    )


def latex(text: str) -> str:
    """Text with the characters that LaTeX reads as commands escaped."""
    return "".join(LATEX.get(character, character) for character in text)


def write_table(table: Table, folder: Path) -> list[Path]:
    """Write NAME.csv (full precision), NAME.md and NAME.tex; returns their paths."""
    stem = folder / table.name
    write_csv(stem.with_name(f"{table.name}.csv"), table.frame)
    write_text(stem.with_name(f"{table.name}.md"), to_markdown(table))
    write_text(stem.with_name(f"{table.name}.tex"), to_latex(table))
    return [stem.with_name(f"{table.name}.{suffix}") for suffix in ("csv", "md", "tex")]


def _header(name: str, is_number: bool, sortable: bool) -> str:
    kind = ' class="number"' if is_number else ""
    text = html.escape(name)
    inner = f'<button type="button" aria-label="sort by {text}">{text}</button>' if sortable and name else text
    return f'<th scope="col"{kind}>{inner}</th>'


def _row(row: Cells, style: str, numeric: Mapping[str, bool]) -> str:
    cells = []
    for header, cell in row.items():
        value = cell.value if isinstance(cell, Cell) and cell.value is not None else _text(cell)
        stored = "" if isinstance(value, float) and math.isnan(value) else str(value)
        hint = f' title="{html.escape(cell.hint)}"' if isinstance(cell, Cell) and cell.hint else ""
        kind = ' class="number"' if numeric[header] else ' class="short"' if len(_text(cell)) <= SHORT else ""
        cells.append(f'<td{kind} data-v="{html.escape(stored)}"{hint}>{html.escape(_text(cell))}</td>')
    kind = f' class="{html.escape(style)}"' if style else ""
    return f"<tr{kind}>{''.join(cells)}</tr>"


def _files(table: Table, folder: str) -> str:
    if not folder:
        return ""
    links = (f'<a href="{html.escape(folder)}/{html.escape(table.name)}.{s}">{s}</a>' for s in ("csv", "md", "tex"))
    return f'<p class="files">This table: {", ".join(links)}</p>'


def _text(cell: Cell | str) -> str:
    return cell.text if isinstance(cell, Cell) else cell


def _is_number(cell: Any) -> bool:
    return isinstance(cell, Cell) and isinstance(cell.value, int | float)
