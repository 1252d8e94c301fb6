"""Numbers and tables as people read them; files keep full precision."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

NAMES = frozenset({"model", "a", "b"})
"""Headers of columns that hold names: aligned to the left, folded when the screen is narrow. Numbers are never cut."""


def number(value: float, form: str = ".3f") -> str:
    """A number in a format, "-" where it is undefined."""
    return "-" if math.isnan(value) else format(value, form)


def p_value(p: float) -> str:
    """A p-value with four decimals, "<.0001" below them, "-" where it is undefined."""
    return "<.0001" if p < 0.0001 else number(p, ".4f")


def interval(low: float, high: float, form: str = ".3f") -> str:
    """Two bounds with dots between, "-" where they are undefined."""
    return "-" if math.isnan(low) else f"{format(low, form)}..{format(high, form)}"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    for limit, unit in ((100, "s"), (6000, "min")):
        if seconds < limit:
            return f"{seconds if unit == 's' else seconds / 60:.1f} {unit}"
    return f"{seconds / 3600:.1f} h"


def count(value: float) -> str:
    """A whole number in at most five characters, such as 950, 12.3k or 1.2M; "-" where it is undefined."""
    if math.isnan(value):
        return "-"
    for unit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.1f}{suffix}"
    return str(int(value))


def screen_table(title: str, note: str, rows: Sequence[Mapping[str, str]], dim: Iterable[bool]) -> Table:
    """A table for the screen from rows of header -> text; fits 80 columns unless names are long. `dim` greys rows."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), caption=Text(note), box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for header in rows[0]:
        if header in NAMES:
            table.add_column(Text(header), overflow="fold")
        else:
            table.add_column(Text(header), justify="right", no_wrap=True)
    for row, grey in zip(rows, dim, strict=True):
        table.add_row(*map(Text, row.values()), style="dim" if grey else None)
    return table


def markdown_table(rows: Sequence[Mapping[str, str]]) -> str:
    """A Markdown table from rows of header -> text."""
    lines = [list(rows[0]), ["---" if header in NAMES else "---:" for header in rows[0]], *(r.values() for r in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
