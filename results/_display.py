"""Numbers as people read them in tables; files keep full precision."""

from __future__ import annotations

import math


def number(value: float, form: str = ".4f") -> str:
    """A number in a format, "-" where it is undefined."""
    return "-" if math.isnan(value) else format(value, form)


def p_value(p: float) -> str:
    """A p-value with four decimals, "<.0001" below them, "-" where it is undefined."""
    return "<.0001" if p < 0.0001 else number(p)


def interval(low: float, high: float, form: str = ".4f") -> str:
    """Two bounds with dots between, "-" where they are undefined."""
    return "-" if math.isnan(low) else f"{format(low, form)} .. {format(high, form)}"
