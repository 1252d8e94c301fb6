"""Audio decoding in one place: samples of a file or of a segment, and the digest of a file's content.

What is stated once, here, for every feature:

- wav, flac, ogg, mp3 and whatever else libsndfile reads; samples are float32, integers divided by full scale;
- mono is the mean of the channels;
- resampling is soxr's HQ recipe, to ceil(samples x ratio) samples, as librosa's `load` does it;
- a segment [start, end) in seconds is cut at the file's own rate, before resampling, from sample round(start x rate)
  to round(end x rate); only that part is decoded. An end up to `OVERSHOOT` seconds behind the file's end is taken
  as the file's end, since label files round; further behind it is an error.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import os
import stat
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import cache_root, canonical_json, digest, sealed, unsealed, write_bytes

Array = npt.NDArray[np.float32]
Signature = tuple[int, int, int, int, int]
"""(size, mtime_ns, ctime_ns, inode, device) of a file: differs whenever its content may differ."""

VERSION = 1
"""Raised by hand whenever `read_audio` gives other samples."""
MOST_PER_BYTE = 8192
"""Samples of a channel in a byte; silence in flac has about 4,700."""
OVERSHOOT = 0.5
_FULL_SCALE = np.float32(1 / 32768)
_PLAIN_WAV = struct.Struct("<4s4x8sIHHI4xHH4sI")
"""Header of a wav file that holds a format and samples and nothing else."""
_LFS = b"version https://git-lfs.github.com/spec/"
_RACY_SECONDS = 2.0


def read_audio(
    path: Path | str,
    sampling_rate: int | None = None,
    start: float | None = None,
    end: float | None = None,
    *,
    content: bytes | None = None,
) -> tuple[Array, int]:
    """Decode a file, or the segment from `start` to `end` in seconds, as one mono signal.

    Parameters
    ----------
    path : audio file
    sampling_rate : rate in Hz to resample to; None keeps the file's own
    start, end : bounds of the segment in seconds; None means the file's beginning and end
    content : the file's bytes, where they are in memory already; it saves time for 16-bit wav files

    Returns
    -------
    signal : (samples,) float32
    sampling_rate : its rate in Hz

    Raises
    ------
    SerbenchError
        With the reason: missing, empty, a Git-LFS pointer, undecodable, an empty segment, samples that are not finite.
    """
    try:
        if content is None:
            signature(path)
        signal, rate = _decode(path, start, end, content)
    except (RuntimeError, OSError, TypeError, ValueError) as error:
        raise SerbenchError(why_unreadable(Path(path), error)) from error
    if not len(signal):
        raise SerbenchError(f"{path} holds no samples. Expected speech; replace the file or take its row out.")
    if not np.isfinite(signal).all():
        bad = int((~np.isfinite(signal)).sum())
        raise SerbenchError(f"{path} holds {bad} samples that are not finite. Expected sound; convert the file again.")
    if sampling_rate is None or sampling_rate == rate:
        return signal, rate
    return resample(signal, rate, sampling_rate), sampling_rate


def resample(signal: Array, rate: int, target: int) -> Array:
    """Change the rate of a signal (samples,) from `rate` to `target` Hz, to ceil(samples x target / rate) samples."""
    import soxr

    length = math.ceil(len(signal) * target / rate)
    out = np.asarray(soxr.resample(signal, rate, target, quality="HQ"), dtype=np.float32)
    return out[:length] if len(out) >= length else np.pad(out, (0, length - len(out)))


def decoding_identity() -> dict[str, Any]:
    """What decides the samples that `read_audio` gives; a part of the cache's key beside the extractor's identity."""
    return {
        "version": VERSION,
        "libsndfile": soundfile.__libsndfile_version__,
        "soxr": importlib.metadata.version("soxr"),
    }


def signature(path: Path | str) -> Signature:
    """What the file system says about a file's content; raises FileNotFoundError (OSError) as `os.stat` does.

    A device or a pipe, which a link in a corpus may lead to, is refused (SerbenchError): reading it may never end.
    """
    s = os.stat(path)
    if not (stat.S_ISREG(s.st_mode) or stat.S_ISDIR(s.st_mode)):
        raise SerbenchError(
            f"{path} is a device or a pipe. Expected an audio file; correct the label file or the link."
        )
    return s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino, s.st_dev


def audio_sha256(path: Path | str, hashes: AudioHashes | None = None, *, content: bytes | None = None) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits.

    With `hashes`, an unchanged file is not read again; `content` is the file's bytes, if they have been read already.

    Raises
    ------
    SerbenchError
        With the reason, when the file can't be read.
    """
    if content is not None:
        return hashlib.sha256(content).hexdigest()
    try:
        if hashes is not None:
            return hashes.sha256(path)
        with open(path, "rb", buffering=0) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise SerbenchError(why_unreadable(Path(path), error)) from error


class AudioHashes:
    """Digests of audio files, remembered by their `signature`, so that a warm run reads no audio.

    One JSON file per folder of audio lies in the cache. A digest is remembered only if the file had rested for two
    seconds before it was read: a file that is changed twice within one tick of the file system's clock looks
    unchanged. `ctime` can't be set back by a program, so a changed file whose size and mtime were restored is noticed.
    Writers may overwrite each other's memory; what is lost or damaged is read again.

    Parameters
    ----------
    folder : where the memory is kept; by default in `cache_root()`
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = cache_root() / "audio" if folder is None else folder
        self._known: dict[str, dict[str, list[Any]]] = {}
        self._fresh: dict[str, dict[str, list[Any]]] = {}

    def sha256(self, path: Path | str) -> str:
        """The digest, from memory where the file is unchanged."""
        before = signature(path)
        if held := self.known(path, before):
            return held
        at = time.time()
        sha = audio_sha256(path)
        self.learn(path, before, sha, at)
        return sha

    def known(self, path: Path | str, seen: Signature) -> str | None:
        """The remembered digest of a file that has this signature now."""
        parent, name = os.path.split(os.path.abspath(path))
        if parent not in self._known:
            self._known[parent] = self._load(parent)
        row = self._known[parent].get(name)
        return str(row[5]) if row is not None and tuple(row[:5]) == seen else None

    def learn(self, path: Path | str, seen: Signature, sha: str, at: float) -> None:
        """Remember the digest of a file that had the signature `seen` when, at the time `at` [s], reading began."""
        if at - max(seen[1], seen[2]) / 1e9 < _RACY_SECONDS:
            return
        parent, name = os.path.split(os.path.abspath(path))
        row = [*seen, sha]
        self._known.setdefault(parent, {})[name] = row
        self._fresh.setdefault(parent, {})[name] = row

    def save(self) -> None:
        """Write what was learned, merged with what other processes have written; nothing, if that is not allowed."""
        try:
            for parent, rows in self._fresh.items():
                whole = {"folder": parent, "files": {**self._load(parent), **rows}}
                write_bytes(self._file(parent), sealed(canonical_json(whole).encode()))
        except OSError:
            return
        self._fresh.clear()

    def _file(self, parent: str) -> Path:
        return self.folder / f"{digest(parent)}.json"

    def _load(self, parent: str) -> dict[str, list[Any]]:
        try:
            rows = json.loads(unsealed(self._file(parent).read_bytes()))["files"]
            return {name: row for name, row in rows.items() if len(row) == 6}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return {}


def _bounds(path: Path | str, start: float | None, end: float | None, rate: int, frames: int) -> tuple[int, int]:
    """First and one-past-last sample of a segment, checked against the file's length."""
    first = 0 if start is None else round(start * rate)
    stop = frames if end is None else round(end * rate)
    if first < 0 or (frames and first >= frames) or stop - frames > OVERSHOOT * rate:
        raise SerbenchError(
            f"the segment {_seconds(start, 0)} .. {_seconds(end, frames / rate)} leaves {path}, which lasts "
            f"{frames / rate:.3f} s. Expected 0 <= start < end <= its length; correct the label file."
        )
    if frames and stop <= first:
        raise SerbenchError(
            f"the segment {_seconds(start, 0)} .. {_seconds(end, frames / rate)} of {path} is empty. "
            "Expected start < end, in seconds; correct the label file."
        )
    return first, min(stop, frames)


def _seconds(given: float | None, default: float) -> str:
    return f"{default if given is None else given:.3f} s"


def _decode(path: Path | str, start: float | None, end: float | None, content: bytes | None) -> tuple[Array, int]:
    """The samples of a segment at the file's own rate, channels averaged.

    16-bit samples are read as integers and scaled here, which gives the same numbers as libsndfile's own conversion
    in half the time.
    """
    if content is not None and (decoded := _pcm16(content)) is not None:
        data, rate = decoded
        first, stop = _bounds(path, start, end, rate, len(data))
        return _mono(data[first:stop] * _FULL_SCALE), rate
    with soundfile.SoundFile(path) as sound:
        rate = int(sound.samplerate)
        _refuse_claim(path, int(sound.frames))
        first, stop = _bounds(path, start, end, rate, int(sound.frames))
        if first:
            sound.seek(first)
        count = stop - first if first or stop < sound.frames else -1
        if sound.subtype == "PCM_16":
            return _mono(sound.read(count, dtype="int16") * _FULL_SCALE), rate
        return _mono(sound.read(count, dtype="float32")), rate


def _refuse_claim(path: Path | str, frames: int) -> None:
    """Refuse a header that claims more samples than any coding puts into so many bytes, before memory is taken."""
    size = os.stat(path).st_size
    if frames > MOST_PER_BYTE * size:
        raise SerbenchError(
            f"{path} has {size} bytes, and its header claims {frames} samples. Expected sound; copy or convert the "
            "file again."
        )


def _mono(data: Array) -> Array:
    return data if data.ndim == 1 else data.mean(axis=1, dtype=np.float32)


def _pcm16(content: bytes) -> tuple[npt.NDArray[np.int16], int] | None:
    """Samples (frames,) or (frames, channels) and rate of a 16-bit wav file without extras; None if it is another."""
    if len(content) < _PLAIN_WAV.size:
        return None
    *ids, code, channels, rate, block, bits, data, size = _PLAIN_WAV.unpack_from(content)
    if (*ids, code, bits, data) != (b"RIFF", b"WAVEfmt ", 16, 1, 16, b"data"):
        return None
    if not (rate and channels and size) or block != 2 * channels or size % block:
        return None
    if _PLAIN_WAV.size + size > len(content):
        return None
    samples = np.frombuffer(content, "<i2", size // 2, _PLAIN_WAV.size)
    return (samples if channels == 1 else samples.reshape(-1, channels)), rate


def why_unreadable(path: Path, error: Exception) -> str:
    """The reason that a file can't be used, with the remedy."""
    try:
        size = path.stat().st_size
        head = b"" if path.is_dir() or not size else path.open("rb").read(len(_LFS))
    except FileNotFoundError:
        return f"there is no file {path}. Expected audio; check --root and the paths of the label file."
    except OSError as problem:
        return f"{path} can't be read: {problem.strerror}. Expected a readable file; check its permissions."
    if path.is_dir():
        return f"{path} is a folder. Expected an audio file; correct the label file."
    if not size:
        return f"{path} is empty (0 bytes). Expected audio; copy or download the file again."
    if head == _LFS:
        return f"{path} is a Git-LFS pointer, not audio. Type 'git lfs pull' in the folder of the corpus."
    reason = str(error).rstrip(".")
    return f"{path} can't be decoded: {reason}. Expected wav, flac, ogg or mp3; convert the file or copy it again."
