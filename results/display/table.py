"""A table once: one set of cells, shown on the screen or written as CSV, Markdown and LaTeX (booktabs).

A `Table` holds cells of (what is read, what is sorted by and stored); a page shows the same cells as HTML by the
template `report/templates/table.html.jinja`. All text is escaped for where it goes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ...datasets.core.files import write_text
from ..record.storage import write_csv
from .recording import keep_table

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table as ScreenTable

NAMES = frozenset({"model", "a", "b", "measure", "what", "what is said to help"})
"""Headers of columns that hold names: aligned to the left, folded when the screen is narrow. Numbers are never cut."""
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
    "↓": r"\(\downarrow\)",
    "↑": r"\(\uparrow\)",
}
SHORT = 28
"""Cells of at most so many characters are not broken into lines."""


@dataclass(frozen=True)
class Cell:
    """A cell: `text` is read; `value` is sorted by (default: the text); `hint` is a longer text on hover; on a page,
    `link` is the address that the text leads to, and `shade` (0 .. 10) how dark its ground is."""

    text: str
    value: str | float | int | None = None
    hint: str = ""
    link: str = ""
    shade: int = 0

    @property
    def is_number(self) -> bool:
        """Whether it is sorted as a number."""
        return isinstance(self.value, int | float)

    @property
    def is_short(self) -> bool:
        """Whether it stays on one line."""
        return len(self.text) <= SHORT

    @property
    def stored(self) -> str:
        """What it is sorted by, as text; empty where a number is undefined."""
        value = self.text if self.value is None else self.value
        return "" if isinstance(value, float) and math.isnan(value) else str(value)


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes
    ----------
    title, note : above and below the table
    rows : header -> cell; every row has the same headers
    styles : a class name per row ("" = none); a row of any class is greyed on the screen
    name : file name without suffix, unique in the report
    frame : what the CSV holds, in full precision
    kind : what the page's script knows it by, such as "leaderboard"
    """

    title: str
    rows: Sequence[Mapping[str, Cell | str]]
    note: str = ""
    styles: Sequence[str] = ()
    name: str = ""
    frame: pd.DataFrame = field(default_factory=pd.DataFrame)
    kind: str = ""

    @property
    def headers(self) -> list[str]:
        """Names of the columns."""
        return list(self.rows[0]) if self.rows else []

    @property
    def cells(self) -> list[list[Cell]]:
        """All rows."""
        return [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row.values()] for row in self.rows]

    @property
    def numeric(self) -> list[bool]:
        """Which columns hold numbers alone."""
        return [all(cell.is_number for cell in column) for column in zip(*self.cells, strict=True)]


def to_screen(table: Table) -> ScreenTable:
    """The table for the screen, empty where it is kept as data; fits 80 columns unless names are long."""
    from rich import box
    from rich.table import Table as ScreenTable
    from rich.text import Text

    values = [[cell.value if cell.is_number else cell.text for cell in row] for row in table.cells]
    if keep_table(table.title, table.headers, values, table.note):
        return ScreenTable()
    shown = ScreenTable(
        title=Text(table.title), caption=Text(table.note), box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False
    )
    for header in table.headers:
        if header in NAMES:
            shown.add_column(Text(header), overflow="fold")
        else:
            shown.add_column(Text(header), justify="right", no_wrap=True)
    for i, row in enumerate(table.cells):
        shown.add_row(*(Text(cell.text) for cell in row), style="dim" if any(table.styles[i : i + 1]) else None)
    return shown


def on_screen(tables: Iterable[Table], notes: Iterable[str] = ()) -> Group:
    """Tables for the screen, one below the other, then notes in grey."""
    from rich.console import Group
    from rich.text import Text

    return Group(*map(to_screen, tables), *(Text(line, style="dim") for line in notes))


def to_markdown(table: Table, heading: str = "###") -> str:
    """The table as Markdown, its title above and its note below, as far as it has them."""
    title = f"{heading} {table.title}" if table.title else ""
    return "\n\n".join(part for part in (title, _markdown_rows(table), table.note) if part)


def to_latex(table: Table) -> str:
    """The table for papers; needs the package booktabs."""
    columns = "".join("r" if is_number else "l" for is_number in table.numeric)
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex(table.title)}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(map(latex, table.headers)) + r" \\",
        r"\midrule",
        *(" & ".join(latex(cell.text) for cell in row) + r" \\" for row in table.cells),
        r"\bottomrule",
        r"\end{tabular}",
        *([rf"\par\footnotesize {latex(table.note)}"] if table.note else []),
        r"\end{table}",
    ]
    return "\n".join([*lines, ""])


def latex(text: str) -> str:
    """Text with the characters that LaTeX reads as commands escaped."""
    return "".join(LATEX.get(character, character) for character in text)


def write_table(table: Table, folder: Path) -> list[Path]:
    """Write NAME.csv (full precision), NAME.md and NAME.tex; returns their paths."""
    csv, markdown, tex = (folder / f"{table.name}.{suffix}" for suffix in ("csv", "md", "tex"))
    write_csv(csv, table.frame)
    write_text(markdown, to_markdown(table) + "\n")
    write_text(tex, to_latex(table))
    return [csv, markdown, tex]


def show(tables: Sequence[Table], folder: Path, notes: Iterable[str] = ()) -> Iterator[Path]:
    """Print tables, then notes, and write the tables into a folder; yields the paths."""
    from rich.console import Console

    Console().print(on_screen(tables, notes))
    for table in tables:
        yield from write_table(table, folder)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Column -> value of each row."""
    return [{str(column): value for column, value in row.items()} for row in frame.to_dict("records")]


def task_and_target(task: object, target: object) -> str:
    """What a table of one target is about: the task, and the target where it has a name of its own."""
    return str(task) if target == task else f"{task}, {target}"


def per_target(frame: pd.DataFrame, title: str, cells: Callable[[dict[str, Any]], dict[str, str]]) -> list[Table]:
    """A table of each target of one task.

    Parameters
    ----------
    frame : rows with the columns dataset, task, target and what the title and cells need
    title : what the table is about, with the names of columns in braces; the dataset, task and target come first
    cells : header -> text of a row
    """
    tables = []
    for target, group in frame.groupby("target", sort=False):
        rows = records(group)
        about = f"{rows[0]['dataset']}, {task_and_target(rows[0]['task'], target)}: {title.format_map(rows[0])}"
        tables.append(Table(about, [cells(row) for row in rows]))
    return tables


def _markdown_rows(table: Table) -> str:
    """The bare table; a bar in a cell is escaped."""
    if not table.rows:
        return "(no rows)"
    rules = ["---" if header in NAMES else "---:" for header in table.headers]
    lines = [table.headers, rules, *([cell.text for cell in row] for row in table.cells)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
