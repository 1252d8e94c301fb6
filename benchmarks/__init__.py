"""Protocols, trials, the grid and the command line."""

if __name__ != "serbench.benchmarks":
    raise ImportError(
        f"this folder is the package serbench.benchmarks, but it was imported as {__name__!r}: "
        "the checkout is on sys.path. Install it with 'pip install -e .', then "
        "'from serbench import benchmarks'; run Python with PYTHONSAFEPATH=1 (or -P) inside the checkout."
    )

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .grid.grid import from_record, run

__all__ = ["from_record", "run"]


def __getattr__(name: str) -> Any:
    """`run` and `from_record`, imported when they are asked for, so that the command line starts quickly."""
    if name in __all__:
        from importlib import import_module

        return getattr(import_module(".grid.grid", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
