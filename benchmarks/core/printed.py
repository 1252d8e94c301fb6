"""What a process prints, kept in a file, as the output of a unit on a node."""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOG_BYTES = 64 << 10
"""The end of a unit's output that is brought home."""


@contextmanager
def printed_into(file: Path) -> Iterator[None]:
    """Whatever this process and its libraries print goes to a file meanwhile, the trace of a crash too."""
    file.parent.mkdir(parents=True, exist_ok=True)
    _flush()
    before = os.dup(1), os.dup(2)
    with file.open("ab", buffering=0) as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        traced = faulthandler.is_enabled()
        faulthandler.enable(stream)
        told, logger = logging.StreamHandler(os.fdopen(os.dup(2), "w")), logging.getLogger("serbench")
        logger.addHandler(told)
        logger.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            logger.removeHandler(told)
            told.stream.close()
            _flush()
            faulthandler.disable()
            for number, kept in zip((1, 2), before, strict=True):
                os.dup2(kept, number)
                os.close(kept)
            if traced:
                faulthandler.enable(2)


def tail(file: Path) -> str:
    """The end of a text file; empty if there is none."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - LOG_BYTES))
            return stream.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
