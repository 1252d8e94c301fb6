"""Mutations of files: what disks, editors, spreadsheets and mischief do to bytes and to lines of text; all seeded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

WILD = ("", " ", "nan", "inf", "-1", "1e999", "99999999999999999999", "0x10", "None", "NULL", "é", "🙂", "a" * 3000)
WILD_TEXT = (*WILD, "../..", "/etc/passwd", "=1+1", "<b>", "\x1b[31m", '"', "'", ";", "\t", "\0", "%s", "{}", "$HOME")
SEPARATORS = (",", ";", "\t", " ", ":")


def _flip(data: bytes, rng: Random) -> bytes:
    """Up to eight bytes become others."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _cut(data: bytes, rng: Random) -> bytes:
    """The file ends early."""
    return data[: rng.randrange(len(data) + 1)]


def _hole(data: bytes, rng: Random) -> bytes:
    """A stretch is missing."""
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at + rng.randint(1, 64) :]


def _twice(data: bytes, rng: Random) -> bytes:
    """A stretch is there twice."""
    at = rng.randrange(len(data) + 1)
    stop = at + rng.randint(1, 64)
    return data[:stop] + data[at:stop] + data[stop:]


def _junk(data: bytes, rng: Random) -> bytes:
    """Something else stands in it."""
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(rng.randint(1, 32)) + data[at:]


def _zeros(data: bytes, rng: Random) -> bytes:
    """A stretch is zero, as after a crash of a file system."""
    at = rng.randrange(len(data) + 1)
    length = min(rng.randint(1, 512), len(data) - at)
    return data[:at] + bytes(length) + data[at + length :]


def _cell(data: bytes, rng: Random) -> bytes:
    """A cell of a text becomes something wild."""
    text = data.decode("latin-1")
    parts = text.split(separator := rng.choice([s for s in SEPARATORS if s in text] or [" "]))
    parts[rng.randrange(len(parts))] = rng.choice(WILD_TEXT)
    return separator.join(parts).encode("utf-8", "surrogateescape")


def _lines(data: bytes, rng: Random) -> bytes:
    """A line is there twice, or two have changed places."""
    lines = data.splitlines(keepends=True) or [b""]
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    if rng.random() < 0.5:
        return b"".join([*lines[:one], lines[other], *lines[one:]])
    lines[one], lines[other] = lines[other], lines[one]
    return b"".join(lines)


def _other_encoding(data: bytes, rng: Random) -> bytes:
    """The text as another system keeps it."""
    text = data.decode("utf-8", "replace")
    how = rng.choice(("utf-16", "utf-8-sig", "latin-1", "crlf"))
    return text.replace("\n", "\r\n").encode() if how == "crlf" else text.encode(how, "replace")


Mutation = Callable[[bytes, Random], bytes]
BYTES: tuple[Mutation, ...] = (_flip, _cut, _hole, _twice, _junk, _zeros)
LINES: tuple[Mutation, ...] = (*BYTES, _cell, _cell, _cell, _lines, _other_encoding)


def mutated(data: bytes, rng: Random, *, text: bool) -> tuple[bytes, str]:
    """A changed file and what was done to it; of text, cells and lines too."""
    how = rng.choice(LINES if text else BYTES)
    return how(data, rng), how.__name__.strip("_")


def renamed(file: Path, rng: Random) -> tuple[Path, str]:
    """Another name for a file in its folder, none that hides it, and what was done to it."""
    data, how = mutated(file.stem.encode(), rng, text=True)
    stem = data.decode("utf-8", "replace").translate({0: None, ord("/"): None}).lstrip(".")[:60] or "x"
    other = file.with_name(stem + file.suffix)
    return other if not other.exists() else file.with_name(f"{stem}_{file.suffix}"), how
