"""Miniature copies of corpora: the real on-disk layout with synthetic speech, to try everything without a licence."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from ...datasets import miniatures
from ...datasets.core.errors import SerbenchError
from ...datasets.core.stages import stage


def write_mock(name: str, folder: Path, **arguments: Any) -> None:
    """Write the miniature copy of a corpus into a folder that is empty or not there yet.

    `arguments` are release, utterances, traps and seed; those that are None are left to the writer. Some corpora take
    `published` too: the size that they are published with.
    """
    writer = miniatures.load(name).write
    if arguments.get("published") and "published" not in inspect.signature(writer).parameters:
        raise SerbenchError(f"--published-size: {name} has no miniature of that size. Expected msp-podcast.")
    if folder.exists() and any(folder.iterdir()):
        raise SerbenchError(f"the folder {str(folder)!r} is not empty. Expected a new one; nothing is overwritten.")
    with stage(f"writing {name}, file"):
        writer(folder, **{key: value for key, value in arguments.items() if value is not None})
