"""What a check is: a function that yields what is wrong with a component, in words; nothing when all is well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

Problems = Iterator[str]
Check = Callable[..., Problems]


class UncheckedError(Exception):
    """Raised by a check that can't be made here; the message says what it would take."""


@dataclass(frozen=True)
class Result:
    """What came of one check of one component: problems, or why it was not made."""

    kind: str
    component: str
    check: str
    problems: tuple[str, ...] = ()
    skipped: str = ""

    def line(self) -> str:
        """One line for people to read."""
        said = "; ".join(self.problems) or (f"not checked: {self.skipped}" if self.skipped else "ok")
        return f"{self.kind:<8} {self.component:<20} {self.check:<52} {said}"


def carried_out(kind: str, component: str, check: Check, *arguments: Any, called: str = "") -> Result:
    """Make a check; an exception of the component is a problem like any other."""
    title = (called or check.__name__).replace("_", " ").strip()
    try:
        return Result(kind, component, title, tuple(check(*arguments)))
    except UncheckedError as reason:
        return Result(kind, component, title, skipped=str(reason))
    except Exception as error:
        return Result(kind, component, title, (f"{type(error).__name__}: {error}",))


def differs(what: str, given: Any, expected: Any, tolerance: float = 0.0) -> Problems:
    """A problem where two arrays are not the same up to an absolute tolerance."""
    given, expected = np.asarray(given), np.asarray(expected)
    if given.shape != expected.shape:
        yield f"{what}: the shape is {given.shape}, expected {expected.shape}"
    elif not np.allclose(given, expected, rtol=0, atol=tolerance, equal_nan=True):
        yield f"{what}: up to {float(np.nanmax(np.abs(given - expected))):.3g} apart"
