"""What a process prints: without commands for terminals, and kept in a file, as the output of a unit on a node."""

from __future__ import annotations

import faulthandler
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from ...datasets.core.errors import printable

COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")
LOG_BYTES = 64 << 10
"""The end of a unit's output that is brought home."""


class Harmless:
    """A stream of text that prints control characters as their escapes; on a terminal, colours alone are let through.

    Names of files come from other people, and a terminal takes what begins with an escape character for a command.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text without commands."""
        parts = COLOUR.split(text) if self._stream.isatty() else [text]
        self._stream.write("".join(p if COLOUR.fullmatch(p) else _without_commands(p) for p in parts))
        return len(text)


def _without_commands(text: str) -> str:
    return text if text.isprintable() else "\r".join(map(printable, text.split("\r")))


@contextmanager
def harmless_output() -> Iterator[None]:
    """Region in which standard output is `Harmless`."""
    before = sys.stdout
    sys.stdout = Harmless(before)  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.stdout = before


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
