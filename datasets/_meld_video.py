"""Audio of video clips: decoded with PyAV, mixed to one channel by a stated rule, kept once as FLAC.

MELD (Poria et al. 2019) is published as mp4 clips with AAC sound at 48 kHz, nine tenths of them in 5.1 channels, the
rest in stereo. How six channels become one is not part of the corpus, and it matters: dialogue lies mostly in the
centre, music and the laugh track around it. So the rule is an argument, the corpus table carries it, and the decoded
file's bytes (hence every feature key) follow from it:

- `ffmpeg`: libswresample's own matrix, what `ffmpeg -ac 1` gives: for 5.1 the weights centre 0.293, front left and
  right 0.207 each, back (or side) left and right 0.146 each, low frequencies 0; for stereo 0.5 each;
- `mean`: the plain mean of all channels;
- `centre`: the centre channel alone where there is one, else the first channel.

Only channels are mixed here: the clip's rate stays, and resampling is left to the features. PyAV is the extra `video`.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from ._errors import SerbenchError, unknown
from ._files import atomic_write, cache_root, digest
from ._libraries import library

Array = npt.NDArray[np.float32]

DOWNMIX = ("ffmpeg", "mean", "centre")
"""The rules for making one channel of several; the first one is the default."""
VIDEO = (".mp4", ".avi", ".mkv", ".mov", ".flv")
VERSION = 1
"""Raised by hand when the decoded samples change; it is part of a decoded file's name."""


@dataclass(frozen=True)
class ClipAudio:
    """From a clip's path to the path of its decoded audio; use it as a `Corpus.audio_source`.

    Parameters
    ----------
    downmix : one of `DOWNMIX`
    folder : where the FLAC files are kept; None = `clips` under `cache_root()`
    """

    downmix: str = DOWNMIX[0]
    folder: Path | None = None

    def __post_init__(self) -> None:
        """Refuse an unknown rule."""
        if self.downmix not in DOWNMIX:
            raise unknown("downmix rule", self.downmix, DOWNMIX)

    def __call__(self, clip: Path) -> Path:
        """Path of the clip's audio, decoded now if it was not before; a file that is no video, or absent, is unchanged.

        Raises
        ------
        SerbenchError
            If PyAV is missing, or the clip can't be decoded (the reason is in the message).
        """
        if clip.suffix.lower() not in VIDEO or not clip.is_file():
            return clip
        target = self.target(clip)
        if not target.is_file():
            signal, rate = decode(clip, self.downmix)
            _write_flac(target, signal, rate)
        return target

    def target(self, clip: Path) -> Path:
        """Where the clip's audio is kept; the name follows the clip's size and date, so a new clip is decoded anew."""
        state = clip.stat()
        key = digest([clip.parent.name, clip.name, state.st_size, state.st_mtime_ns, VERSION], 8)
        folder = self.folder if self.folder is not None else cache_root() / "clips"
        return folder / self.downmix / clip.parent.name / f"{clip.stem}-{key}.flac"


def extract(clips: Iterable[Path], audio: ClipAudio, workers: int = 1) -> dict[Path, str]:
    """Decode many clips ahead of a run; what is there already is left alone.

    Returns
    -------
    clip -> reason, for those that could not be decoded (one bad clip never ends the work)

    Raises
    ------
    SerbenchError
        If PyAV is missing.
    """
    pyav()
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        results = pool.map(lambda clip: (clip, _reason(clip, audio)), clips)
        return {clip: reason for clip, reason in results if reason}


def decode(clip: Path, downmix: str = DOWNMIX[0]) -> tuple[Array, int]:
    """Decode the first sound track of a clip to one channel.

    Returns
    -------
    array, (sample,) float32 in [-1, 1], and its rate in Hz (the clip's own)

    Raises
    ------
    SerbenchError
        If PyAV is missing, or the clip has no sound or can't be decoded.
    """
    av = pyav()
    try:
        with av.open(str(clip)) as container:
            if not container.streams.audio:
                raise SerbenchError(f"the clip {str(clip)!r} has no sound track.")
            stream = container.streams.audio[0]
            return _mixed(av, container.decode(stream), downmix), int(stream.rate)
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise SerbenchError(f"the clip {str(clip)!r} can't be decoded: {error}.") from error


def mix(channels: Array, names: list[str], downmix: str) -> Array:
    """One channel of several by the rules `mean` and `centre`: (channel, sample) float32 -> (sample,) float32."""
    if downmix == "mean":
        return np.asarray(channels.mean(axis=0, dtype=np.float64), np.float32)
    if downmix == "centre":
        return np.asarray(channels[names.index("FC") if "FC" in names else 0])
    raise unknown("downmix rule", downmix, ("mean", "centre"))


def pyav() -> ModuleType:
    """The module `av`, or an error that names the extra to install."""
    return library("av", "video clips", " (or put wav or flac files of the same names in the place of the clips)")


def _mixed(av: ModuleType, frames: Iterable[Any], downmix: str) -> Array:
    """Planar or packed frames of one layout to (sample,) float32."""
    if downmix == "ffmpeg":
        whole = av.AudioResampler(format="s16", layout="mono")  # as `-ac 1` into 16 bit: the matrix is normalised
        blocks = [f.to_ndarray() for frame in frames for f in whole.resample(frame)]
        blocks += [f.to_ndarray() for f in whole.resample(None)] if blocks else []
        return np.asarray(_joined(blocks)[0] / 32768.0, np.float32)
    planar = av.AudioResampler(format="fltp")
    names: list[str] = []
    blocks = []
    for frame in frames:
        names = names or [channel.name for channel in frame.layout.channels]
        blocks += [f.to_ndarray() for f in planar.resample(frame)]
    blocks += [f.to_ndarray() for f in planar.resample(None)] if blocks else []
    return mix(_joined(blocks), names, downmix)


def _joined(blocks: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    if not blocks:
        raise ValueError("its sound track is empty")
    return np.concatenate(blocks, axis=1)


def _reason(clip: Path, audio: ClipAudio) -> str:
    if not clip.is_file():
        return "no such file"
    try:
        audio(clip)
    except SerbenchError as error:
        return str(error)
    return ""


def _write_flac(path: Path, signal: Array, rate: int) -> None:
    import soundfile

    pcm = np.clip(np.rint(signal * 32768.0), -32768, 32767).astype(np.int16)
    atomic_write(path, lambda stream: soundfile.write(stream, pcm, rate, format="FLAC", subtype="PCM_16"))
