"""What a command shows, kept as data beside: tables as they are shown, and named rows in full precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Shown:
    """What was shown: tables (title, columns, rows, note) and data by name."""

    tables: list[dict[str, Any]] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)


_SHOWN: ContextVar[Shown | None] = ContextVar("shown", default=None)


@contextmanager
def recording() -> Iterator[Shown]:
    """Keep what is shown in this region."""
    token = _SHOWN.set(shown := Shown())
    try:
        yield shown
    finally:
        _SHOWN.reset(token)


def keep_table(title: str, columns: list[str], rows: list[list[Any]], note: str) -> bool:
    """Keep a table, where anything is kept; whether it was."""
    if (shown := _SHOWN.get()) is not None:
        shown.tables.append({"title": title, "columns": columns, "rows": rows, "note": note})
    return shown is not None


def keep(name: str, value: Any) -> None:
    """Keep data under a name, where anything is kept: a table of pandas as its rows, else as JSON holds it."""
    if (shown := _SHOWN.get()) is not None:
        shown.data[name] = value.to_dict("records") if hasattr(value, "to_dict") else value
