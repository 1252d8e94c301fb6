"""The kinds of perturbation: name, unit, the levels that are gone through by default, mildest first, and what it does.

Each works on the decoded signal (samples,) at the file's own rate, before anything is resampled for a feature, so all
models hear the same samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from . import channel, codecs, noise, rooms

Array = npt.NDArray[np.float32]
Change = Callable[[Array, int, float, np.random.Generator], Array]
"""(signal, rate in Hz, level, randomness) -> the changed signal."""


@dataclass(frozen=True)
class Kind:
    """A kind of perturbation.

    Attributes
    ----------
    says : what it does, in a few words
    unit : what its levels are in
    levels : the default ones
    low, high : bounds of a level
    clean : the level that changes nothing; None = there is none
    falling : whether it is harder the lower the level is
    change : what it does; None = it needs the voices of a corpus
    group : a name that stands for several kinds
    libraries : distributions whose versions decide its samples
    check : raises SerbenchError where this machine can't do it
    keeps_time : whether what was said at a moment is heard at the same moment
    """

    says: str
    unit: str
    levels: tuple[float, ...]
    low: float
    high: float
    clean: float | None
    change: Change | None
    falling: bool = False
    group: str = ""
    libraries: tuple[str, ...] = ()
    check: Callable[[], None] | None = None
    keeps_time: bool = True


NOISE_LEVELS = (20.0, 10.0, 5.0, 0.0)
KINDS: dict[str, Kind] = {
    "white": Kind("white noise", "dB SNR", NOISE_LEVELS, -40, 100, math.inf, noise.with_white, True, "noise"),
    "pink": Kind("pink noise", "dB SNR", NOISE_LEVELS, -40, 100, math.inf, noise.with_pink, True, "noise"),
    "babble": Kind("other speakers of the corpus", "dB SNR", NOISE_LEVELS, -40, 100, math.inf, None, True),
    "reverb": Kind(
        "simulated rooms",
        "s RT60",
        (0.3, 0.6, 0.9, 1.2),
        0.15,
        3,
        0,
        rooms.reverb,
        libraries=("pyroomacoustics", "scipy"),
        check=rooms.check,
    ),
    "mp3": Kind(
        "MP3 at 16 kHz",
        "kbit/s",
        (64, 32, 24, 16),
        16,
        160,
        None,
        codecs.mp3,
        True,
        "codec",
        check=partial(codecs.check, "MP3", "MPEG_LAYER_III"),
    ),
    "opus": Kind(
        "Opus at 16 kHz",
        "kbit/s",
        (32, 16, 10, 6),
        6,
        256,
        None,
        codecs.opus,
        True,
        "codec",
        check=partial(codecs.check, "OGG", "OPUS"),
    ),
    "gsm": Kind(
        "GSM 6.10, one coding after the other",
        "times",
        (1, 2, 3, 4),
        0,
        20,
        0,
        codecs.gsm,
        group="codec",
        check=partial(codecs.check, "WAV", "GSM610"),
    ),
    "mulaw": Kind(
        "mu-law of 8 bits at lower rates",
        "Hz",
        (16000, 11025, 8000, 6000),
        2000,
        48000,
        None,
        codecs.mulaw,
        True,
        "codec",
        check=partial(codecs.check, "WAV", "ULAW"),
    ),
    "telephone": Kind(
        "the band from 300 Hz",
        "Hz",
        (4000, 3400, 2700, 2000),
        600,
        24000,
        None,
        channel.telephone,
        True,
        libraries=("scipy",),
    ),
    "gain": Kind("another level", "dB", (-10, -20, -30, -40), -100, 60, 0, channel.gain, True),
    "clipping": Kind("the loudest samples cut off", "%", (1, 5, 10, 20), 0, 90, 0, channel.clipping),
    "silence": Kind("both ends cut away to silence", "s", (0.1, 0.2, 0.3, 0.5), 0, 60, 0, channel.silence),
    "speed": Kind(
        "faster and higher, or slower and lower",
        "times",
        (0.8, 0.9, 1.1, 1.2),
        0.25,
        4,
        1,
        channel.speed,
        libraries=("soxr",),
        keeps_time=False,
    ),
    "pitch": Kind(
        "higher or lower", "semitones", (-4, -2, 2, 4), -24, 24, 0, channel.pitch, libraries=("librosa", "soxr")
    ),
}
VERSION = 1
"""Raised by hand whenever a kind gives other samples."""


def groups() -> dict[str, tuple[str, ...]]:
    """Name that stands for several kinds -> those."""
    names = dict.fromkeys(kind.group for kind in KINDS.values() if kind.group)
    return {name: tuple(key for key, kind in KINDS.items() if kind.group == name) for name in names}
