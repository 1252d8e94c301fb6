"""Numbers as people read them; files keep full precision."""

from __future__ import annotations

import math


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
