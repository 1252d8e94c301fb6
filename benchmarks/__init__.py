"""Protocols, trials, the grid and the command line."""

if __name__ != "serbench.benchmarks":
    raise ImportError(
        f"this folder is the package serbench.benchmarks, but it was imported as {__name__!r}: "
        "the checkout is on sys.path. Install it with 'pip install -e .', then "
        "'from serbench import benchmarks'; run Python with PYTHONSAFEPATH=1 (or -P) inside the checkout."
    )

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .grid.execution import Execution
    from .grid.grid import from_record, run, run_grid
    from .protocol.request import Grid
    from .studies.reproduce import Places, reproduce, reproducible
    from .weights.push import pull, push

__all__ = ["Execution", "Grid", "Places", "from_record", "pull", "push", "reproduce", "reproducible", "run", "run_grid"]
_ROOMS = {
    "Grid": ".protocol.request",
    "Execution": ".grid.execution",
    **dict.fromkeys(("pull", "push"), ".weights.push"),
    **dict.fromkeys(("Places", "reproduce", "reproducible"), ".studies.reproduce"),
}


def __getattr__(name: str) -> Any:
    """What this floor offers to Python, imported when it is asked for, so that the command line starts quickly."""
    if name in __all__:
        return getattr(import_module(_ROOMS.get(name, ".grid.grid"), __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
