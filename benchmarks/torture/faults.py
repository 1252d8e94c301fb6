"""A fault point in front of everything that changes a disk: counted in one run, struck at in the next.

Serbench writes its files in `datasets/core/files.py` (a temporary file, then its name) and its cache in
`features/cache/pack.py` (appending to a pack), both through the functions of `os` and through streams. In a child those
functions are replaced: each call is a point with a number. At the chosen one the process is killed, or the write fails
or is cut short; half of what was to be written is on the disk then.
"""

from __future__ import annotations

import errno
import io
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

KILL, SHORT = "SIGKILL", "short write"
ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO}
CHANGES = ("replace", "unlink", "mkdir", "rmdir", "ftruncate")
"""Functions of `os` that change a disk and write nothing."""
_real = {name: getattr(os, name) for name in (*CHANGES, "open", "write", "writev")}
_open = Path.open


class Faults:
    """The points of one child.

    Parameters
    ----------
    place : folder that holds everything; what is changed elsewhere is no point
    kind : `KILL`, `SHORT` or a name of `ERRORS`
    at : number of the point, from 1; 0 = none is struck at
    lasting : whether every write from there on fails too, as on a full disk
    """

    def __init__(self, place: Path, kind: str = KILL, at: int = 0, *, lasting: bool = False) -> None:
        self.place, self.kind, self.at, self.lasting = str(place), kind, at, lasting
        self.count = 0

    def install(self) -> None:
        """Put the points into this process."""
        for name in CHANGES:
            setattr(os, name, self._changing(_real[name]))
        os.open, os.write, os.writev = self._opening, self._writing, self._gathering  # type: ignore[assignment]
        Path.open = self._stream()  # type: ignore[method-assign]

    def strike(self, writes: bool = True) -> bool:
        """Count a point; kill here if it is the chosen one, and say whether a write fails or is cut."""
        if writes or self.kind == KILL:
            self.count += 1
        here = 0 < self.at == self.count or (self.lasting and 0 < self.at <= self.count)
        if here and self.kind == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        return here and writes

    def _inside(self, path: Any) -> bool:
        return str(os.path.abspath(os.fspath(path))).startswith(self.place)

    def _hit(self, half: Callable[[], Any]) -> Any:
        """Write the half; then die, fail, or say that this was all."""
        if self.kind == KILL and self.at == self.count + 1:
            half()
        if not self.strike():
            return None
        done = half()
        if self.kind == SHORT:
            return done
        raise OSError(ERRORS[self.kind], os.strerror(ERRORS[self.kind]))

    def _changing(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def change(*given: Any, **more: Any) -> Any:
            if isinstance(given[0], int) or self._inside(given[0]):
                self.strike(writes=False)
            return real(*given, **more)

        return change

    def _opening(self, path: Any, flags: int, *given: Any, **more: Any) -> int:
        if flags & os.O_CREAT and self._inside(path):
            self.strike(writes=False)
        return int(_real["open"](path, flags, *given, **more))

    def _writing(self, handle: int, data: Any) -> int:
        if handle <= 2:
            return int(_real["write"](handle, data))
        done = self._hit(lambda: _real["write"](handle, data[: (len(data) + 1) // 2]))
        return int(_real["write"](handle, data) if done is None else done)

    def _gathering(self, handle: int, parts: Any) -> int:
        data = b"".join(parts)
        done = self._hit(lambda: _real["write"](handle, data[: (len(data) + 1) // 2]))
        return int(_real["write"](handle, data) if done is None else done)

    def _stream(self) -> Callable[..., Any]:
        faults = self

        class Stream(io.FileIO):
            def write(self, data: Any) -> int:
                real, data = super().write, bytes(data)
                done = faults._hit(lambda: real(data[: (len(data) + 1) // 2]))
                return int(real(data) if done is None else done)

        def opened(path: Path, mode: str = "r", *given: Any, **more: Any) -> Any:
            if mode == "wb" and self._inside(path):
                return io.BufferedWriter(Stream(path, "w"))
            return _open(path, mode, *given, **more)

        return opened
