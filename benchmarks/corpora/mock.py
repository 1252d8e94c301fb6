"""Miniature copies of corpora: the real on-disk layout with synthetic speech, to try everything without a licence."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...datasets import mocks
from ...datasets.core.errors import SerbenchError, unknown
from ...datasets.core.stages import stage


def writers() -> dict[str, Callable[..., None]]:
    """Corpus name -> function that writes its miniature copy.

    A module `datasets/mocks/NAME.py` has `write` (for the corpus NAME) or `WRITERS` (name -> function, for several).
    """
    found: dict[str, Callable[..., None]] = {}
    for name in (module.name for module in pkgutil.iter_modules(mocks.__path__)):
        if not name.startswith("_"):
            module = importlib.import_module(f"{mocks.__name__}.{name}")
            found |= getattr(module, "WRITERS", None) or {name.replace("_", "-"): module.write}
    return found


def write_mock(name: str, folder: Path, **arguments: Any) -> None:
    """Write the miniature copy of a corpus into a folder that is empty or not there yet.

    `arguments` are release, utterances, traps and seed; those that are None are left to the writer.
    """
    known = writers()
    if name not in known:
        raise unknown("corpus with a miniature copy", name, known)
    if folder.exists() and any(folder.iterdir()):
        raise SerbenchError(f"the folder {str(folder)!r} is not empty. Expected a new one; nothing is overwritten.")
    with stage(f"writing {name}, file"):
        known[name](folder, **{key: value for key, value in arguments.items() if value is not None})
