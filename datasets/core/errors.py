"""The one exception, and the one warning, that a user is meant to read.

Every message states what was given, what was expected and what to type. The command line prints it without a
traceback and exits with status 2; Python callers catch it like any other exception.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SerbenchError(Exception):
    """Bad input or a missing part; the message says what was given, what was expected and what to type."""


class StorageError(SerbenchError, OSError):
    """A file can't be written. It ends the work, and is never taken for the fault of one file or one trial."""

    def __str__(self) -> str:
        """The message alone; `errno` and `strerror` are those of the operating system, where it said any."""
        return str(self.args[0])


class SerbenchWarning(UserWarning):
    """What does not stop the work, but a user has to know of; the command line prints the message alone."""


def unknown(kind: str, given: str, known: Iterable[str]) -> SerbenchError:
    """Build the error for an unknown name: the closest known one first, then the whole list."""
    names = sorted(known)
    close = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return SerbenchError(f"unknown {kind} {given!r}.{hint} There are: {', '.join(names) or 'none'}.")


def printable(text: str) -> str:
    """The text with each control character but line breaks and tabs as its escape: a name can't command a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
