"""Definition beside, speed behind: what is written plainly is computed by what gives the same numbers faster.

A network's own code is its definition. Where a `fast/` room has a quicker way to the same numbers, a line above the
definition names it, and it runs in its place wherever it can; `as_written` is for those who want the definition itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_AS_WRITTEN = ContextVar("as_written", default=False)


@contextmanager
def as_written() -> Iterator[None]:
    """Region in which networks are computed by their definitions."""
    token = _AS_WRITTEN.set(True)
    try:
        yield
    finally:
        _AS_WRITTEN.reset(token)


def computed_by(fast: Callable[..., Any], where: Callable[..., bool] = lambda *_: True) -> Callable[[F], F]:
    """Let `fast` stand in for the function below, for arguments that `where` says yes to; all three take the same."""

    def decorate(definition: F) -> F:
        @wraps(definition)
        def chosen(*arguments: Any) -> Any:
            plainly = _AS_WRITTEN.get() or not where(*arguments)
            return (definition if plainly else fast)(*arguments)

        return chosen  # type: ignore[return-value]

    return decorate
