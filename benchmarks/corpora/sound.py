"""One look at one sound file: what it is, what its samples are like, and what is wrong with it.

The file is decoded in blocks, so a long recording needs no more memory than a short one. Samples are taken as float32
in [-1, 1]; their SHA-256 (with rate and channels) is the same for a wav file and a lossless copy of it in another
format, and differs from that of an mp3 or ogg copy. Nothing here raises: whatever happens is the file's `state`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from ...datasets.core.errors import SerbenchError

BLOCK = 1 << 18
FULL_SCALE = 1.0 - 2.0**-15
"""Magnitude from which a sample counts as clipped: the largest positive value of 16-bit audio."""
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
OPEN_END = 0x7FFF0000
"""Sizes from here on in a wav header mean "unknown", as programs write them that stream."""


@dataclass(frozen=True)
class Sound:
    """`state` is "ok", "missing", "empty", "lfs-pointer" or "unreadable" (`reason`: why); the rest is of "ok" files.

    `peak` is the largest magnitude, `full_scale` the share of samples at or beyond full scale, over all channels;
    `truncated` the bytes of sound that the header promises and the file lacks.
    """

    state: str
    reason: str = ""
    rate: int = 0
    channels: int = 0
    seconds: float = 0.0
    peak: float = 0.0
    full_scale: float = 0.0
    finite: bool = True
    truncated: int = 0
    digest: str = ""


def look(path: Path, decode: Callable[[Path], Path] | None = None) -> Sound:
    """Describe a file; `decode` turns the file of the corpus into a readable one first (video clips)."""
    try:
        if not path.is_file():
            return Sound("missing")
        size = path.stat().st_size
        if size == 0:
            return Sound("empty")
        with path.open("rb") as stream:
            head = stream.read(len(LFS_POINTER))
        if head == LFS_POINTER:
            return Sound("lfs-pointer")
        return _samples(decode(path) if decode else path, truncated(path, size))
    except (OSError, SerbenchError, soundfile.SoundFileError) as error:
        return Sound("unreadable", str(error) or type(error).__name__)
    except Exception as error:  # one bad file never ends a check
        return Sound("unreadable", f"{type(error).__name__}: {error}")


def truncated(path: Path, size: int) -> int:
    """Bytes that a RIFF wav file's data chunk lacks; 0 for a whole file and for other formats."""
    with path.open("rb") as stream:
        head = stream.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return 0
        while len(chunk := stream.read(8)) == 8:
            length = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"data":
                return max(0, length - (size - stream.tell())) if length < OPEN_END else 0
            stream.seek(length + length % 2, 1)
    return 0


def _samples(path: Path, lacking: int) -> Sound:
    with soundfile.SoundFile(path) as file:
        rate, channels = int(file.samplerate), int(file.channels)
        content = hashlib.sha256(f"{rate} {channels} ".encode())
        frames = full = 0
        peak, finite = 0.0, True
        block: Any
        for block in file.blocks(BLOCK, dtype="float32", always_2d=True):
            magnitude = np.abs(block)
            finite = finite and bool(np.isfinite(block).all())
            peak = max(peak, float(np.fmax.reduce(magnitude, axis=None, initial=0.0)))
            full += int((magnitude >= FULL_SCALE).sum())
            frames += len(block)
            content.update(block.tobytes())
    if frames == 0:
        return Sound("unreadable", "it has a header but no samples")
    share = full / (frames * channels)
    return Sound("ok", "", rate, channels, frames / rate, peak, share, finite, lacking, content.hexdigest())
