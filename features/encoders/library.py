"""The transformers library, loaded so that a companion which can't be loaded is invisible to it.

transformers imports torchaudio and torchvision wherever they are installed, and fails where they do not fit the
installed torch, although nothing of them is needed here. Such a companion is tried first, and hidden from every later
import of this process if it fails.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from ...datasets.core.errors import SerbenchError
from ...datasets.core.libraries import library, raise_library_failure

COMPANIONS = ("torchaudio", "torchvision")


@lru_cache(maxsize=1)
def transformers() -> ModuleType:
    """The library.

    Raises
    ------
    LibraryError
        When it is missing or can't be loaded.
    """
    hide_broken(COMPANIONS)
    return library("transformers", "pre-trained encoders")


@contextmanager
def reading(folder: Path, expected: str) -> Iterator[dict[str, Any]]:
    """Region that reads a checkpoint from a local folder with the arguments that it is given; nothing is downloaded.

    Raises
    ------
    SerbenchError
        Where the folder holds no such checkpoint: what the library said, and what was `expected`.
    """
    try:
        yield {"local_files_only": True, "trust_remote_code": False}
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError) as error:
        raise_library_failure(error)
        raise SerbenchError(
            f"the checkpoint {str(folder)!r} can't be used: {str(error).splitlines()[0]} Expected {expected}."
        ) from error


def hide_broken(names: tuple[str, ...]) -> list[str]:
    """Make those libraries that are installed and can't be loaded look as if they were not installed; their names."""
    hidden = []
    for name in names:
        if sys.modules.get(name) is not None or importlib.util.find_spec(name) is None:
            continue
        try:
            importlib.import_module(name)
        except Exception:
            sys.modules[name] = None  # type: ignore[assignment]  # what Python's import system takes for "absent"
            hidden.append(name)
    return hidden
