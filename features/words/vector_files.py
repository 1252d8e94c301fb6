"""Reading and writing files of word vectors; their forms stand in `words/vectors.py`.

Words are UTF-8; bytes that are none (word2vec's own program cuts long words anywhere) become U+FFFD.
"""

from __future__ import annotations

import gzip
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import atomic_write

Array = npt.NDArray[np.float32]
Table = tuple[list[str], Array]
FASTTEXT_MODEL = b"\xba\x16\x4f\x2f"
_SNIFFED = 1 << 16
_LONGEST_WORD = 4096
_HEADER = re.compile(rb"\s*(\d+)\s+(\d+)\s*")
_REMEDY = "Expected word2vec text or binary, fastText .vec or GloVe text; copy or download the file again."


def read_table(path: Path | str, limit: int | None = None) -> Table:
    """Words (doubled ones included) and their vectors (word, dim) float32 of a file; `limit` is the most to read.

    Raises
    ------
    SerbenchError
        If the file is missing, of another form, broken, or shorter or longer than its first line says.
    """
    file = Path(path).expanduser()
    try:
        with _open(file) as stream:
            head = stream.read(_SNIFFED)
            if not head.strip():
                raise SerbenchError(f"{str(file)!r} is empty. {_REMEDY}")
            if head.startswith(FASTTEXT_MODEL):
                raise SerbenchError(f"{str(file)!r} is a fastText model, no table of vectors. Expected its .vec file.")
            stream.seek(0)
            first = stream.readline()
            size = _HEADER.fullmatch(first)
            if size is None:
                return _text(file, itertools.chain([first], stream), None, limit, 1)
            count, dim = int(size[1]), int(size[2])
            if not count or not dim:
                raise SerbenchError(f"{str(file)!r} says in its first line that it is {count} x {dim}. {_REMEDY}")
            if _is_binary(file, head[len(first) :]):
                return _binary(file, stream, count, dim, limit)
            return _text(file, iter(stream), (count, dim), limit, 2)
    except FileNotFoundError as error:
        raise SerbenchError(f"there is no file {str(file)!r}. Expected a file of word vectors.") from error
    except (OSError, EOFError) as error:
        raise SerbenchError(f"{str(file)!r} can't be read: {error}. {_REMEDY}") from error


def write_table(path: Path | str, words: list[str], matrix: Array) -> None:
    """Write word2vec's binary form if the name ends in `.bin`, else its text form, exact in float32."""
    bad = next((word for word in words if not word or word.split() != [word]), None)
    if bad is not None:
        raise SerbenchError(f"the word {bad!r} can't be written. Expected words without white space.")
    file = Path(path)
    atomic_write(file, lambda stream: _write(stream, words, matrix, binary=file.suffix == ".bin"))


def _write(stream: IO[bytes], words: list[str], matrix: Array, *, binary: bool) -> None:
    stream.write(b"%d %d\n" % matrix.shape)
    numbers = " ".join(["%.9g"] * matrix.shape[1])
    for word, row in zip(words, matrix, strict=True):
        tail = row.astype("<f4").tobytes() if binary else (numbers % tuple(row.tolist())).encode()
        stream.write(word.encode() + b" " + tail + b"\n")


def _open(file: Path) -> IO[bytes]:
    return gzip.open(file) if file.suffix == ".gz" else file.open("rb")  # type: ignore[return-value]


def _is_binary(file: Path, body: bytes) -> bool:
    """Whether what follows the first line is binary: named so, or with bytes that no line of text has."""
    if Path(file.name.removesuffix(".gz")).suffix == ".bin":
        return True
    line = body.split(b"\n", 1)[0]
    numbers = line.split()[1:]
    return any(byte < 9 for byte in line) or (bool(numbers) and not _are_numbers(numbers[-1:]) and not line.isascii())


def _are_numbers(cells: list[bytes]) -> bool:
    try:
        [float(cell) for cell in cells]
    except ValueError:
        return False
    return True


def _text(file: Path, lines: Iterator[bytes], size: tuple[int, int] | None, limit: int | None, number: int) -> Table:
    """Vectors of lines of text, `number` being the line number of the first; without a `size` it sets the length."""
    words: list[str] = []
    rows: list[Array] = []
    dim = size[1] if size else 0
    for at, raw in enumerate(lines, number):
        if limit is not None and len(words) >= limit:
            break
        line = raw.decode("utf-8", "replace").rstrip(" \t\r\n")
        if not line:
            continue
        dim = dim or len(line.split(" ")) - 1
        word, row = _line(file, at, line, dim)
        words.append(word)
        rows.append(row)
    if size and limit is None and len(words) != size[0]:
        raise SerbenchError(
            f"{str(file)!r} says in its first line that it holds {size[0]} vectors, but it holds "
            f"{len(words)}. {_REMEDY}"
        )
    if not words:
        raise SerbenchError(f"{str(file)!r} holds no vectors. {_REMEDY}")
    return words, np.stack(rows)


def _line(file: Path, number: int, line: str, dim: int) -> tuple[str, Array]:
    cells = line.split(" ")  # a word may be of other white space, such as the no-break space
    if len(cells) != dim + 1 or "" in cells:
        cells = line.rsplit(None, dim)
    try:
        row = np.array(cells[1:], np.float32)
    except ValueError:
        row = np.full(dim, np.nan, np.float32)
    if dim < 1 or len(cells) != dim + 1 or not cells[0] or not np.isfinite(row).all():
        shown = line if len(line) <= 60 else f"{line[:57]}..."
        raise SerbenchError(f"line {number} of {str(file)!r} is {shown!r}. Expected a word and {max(dim, 1)} numbers.")
    return cells[0], row


def _binary(file: Path, stream: IO[bytes], count: int, dim: int, limit: int | None) -> Table:
    wanted = count if limit is None else min(limit, count)
    matrix = np.empty((wanted, dim), np.float32)
    words: list[str] = []
    for row in range(wanted):
        word = _binary_word(stream)
        numbers = stream.read(4 * dim)
        if not word or len(numbers) != 4 * dim:
            raise SerbenchError(f"{str(file)!r} breaks off at vector {row + 1} of {count} x {dim}. {_REMEDY}")
        matrix[row] = np.frombuffer(numbers, "<f4")
        words.append(word.decode("utf-8", "replace"))
    if limit is None and stream.read().strip():
        raise SerbenchError(f"{str(file)!r} goes on behind the {count} vectors that its first line names. {_REMEDY}")
    if not np.isfinite(matrix).all():
        bad = int(np.flatnonzero(~np.isfinite(matrix).all(axis=1))[0])
        raise SerbenchError(f"vector {bad + 1} of {str(file)!r} ({words[bad]!r}) is not finite. {_REMEDY}")
    return words, matrix


def _binary_word(stream: IO[bytes]) -> bytes:
    """The bytes up to the next blank, without a line break before them; empty where there is no blank."""
    word = bytearray()
    while (byte := stream.read(1)) != b" ":
        if not byte or len(word) > _LONGEST_WORD:
            return b""
        if byte != b"\n" or word:
            word += byte
    return bytes(word)
