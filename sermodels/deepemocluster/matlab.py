"""A matrix of numbers out of a MATLAB file of version 5, without trusting a length that it states.

scipy's reader crashes the process on some damaged files; the released normalisation constants are all that is needed
here: real numeric arrays, compressed or not, as "MAT-File Format" (The MathWorks, chapter 1) describes them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

HEADER = 128
MATRIX, COMPRESSED = 14, 15
TYPES = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
"""Number of a data type -> numpy's name for it."""
LARGEST = 1 << 24
"""Bytes that a compressed matrix may unpack to."""


def read_numbers(file: Path, name: str) -> npt.NDArray[Any]:
    """The numbers (count,) of a variable, in the order of the file.

    Raises
    ------
    OSError, ValueError
        For a file that can't be read, is no such file, or has no such variable.
    """
    data = file.read_bytes()
    if len(data) < HEADER or data[126:HEADER] != b"IM":
        raise ValueError("it is no MATLAB file of version 5")
    for kind, body in elements(data[HEADER:]):
        if kind == COMPRESSED:
            kind, body = _unpacked(body)
        if kind == MATRIX:
            parts = list(elements(body))
            if len(parts) >= 4 and parts[2][1] == name.encode() and parts[3][0] in TYPES:
                return np.frombuffer(parts[3][1], TYPES[parts[3][0]])
    raise ValueError(f"it has no numbers called {name!r}")


def elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and content of each data element; of a short one, both words of the tag are in the first."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<II", data, at)
        short = kind >> 16
        start, size, kind = (at + 4, short, kind & 0xFFFF) if short else (at + 8, size, kind)
        if start + size > len(data) or short > 4:
            raise ValueError("it ends within an element")
        yield kind, data[start : start + size]
        at = at + 8 if short else start + size + (0 if kind == COMPRESSED else -size % 8)


def _unpacked(body: bytes) -> tuple[int, bytes]:
    try:
        return next(elements(zlib.decompressobj().decompress(body, LARGEST)))
    except (zlib.error, StopIteration) as error:
        raise ValueError(f"what is compressed in it is damaged: {error}") from None
