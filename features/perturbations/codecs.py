"""Speech as it comes back from a codec: MP3, Opus, GSM 6.10 and G.711's mu-law, as libsndfile encodes and decodes them.

Speech is brought to the rate that the codec is run at (16 kHz for MP3 and Opus, 8 kHz for GSM), encoded, decoded and
brought back. libsndfile takes a compression level instead of a bit rate: for Opus it is (1 - level) 250 + 6 kbit/s, for
MP3 at 16 kHz (1 - level) 152 + 8, then the next rate that the format has. An MP3 file of a low rate has no room for the
note of how much silence the encoder put in front: that is taken off here.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ...datasets.core.errors import SerbenchError
from ..core.audio import resample

Array = npt.NDArray[np.float32]
WIDE_HZ, NARROW_HZ = 16000, 8000
MP3_DELAY = 1105
"""Samples that encoder (576) and decoder (529) put before the sound."""


def mp3(signal: Array, rate: int, kilobits: float, draw: np.random.Generator) -> Array:
    """After MP3 of a constant rate in kbit/s, at 16 kHz."""

    def coded(wide: Array) -> Array:
        level = 1 - (kilobits - 8) / 152
        out = _through(wide, WIDE_HZ, "MP3", "MPEG_LAYER_III", compression_level=level, bitrate_mode="CONSTANT")
        return out[MP3_DELAY:] if len(out) > len(wide) else out

    return _at(signal, rate, WIDE_HZ, coded)


def opus(signal: Array, rate: int, kilobits: float, draw: np.random.Generator) -> Array:
    """After Opus of a rate in kbit/s, at 16 kHz."""
    level = 1 - (kilobits - 6) / 250
    return _at(signal, rate, WIDE_HZ, lambda wide: _through(wide, WIDE_HZ, "OGG", "OPUS", compression_level=level))


def gsm(signal: Array, rate: int, times: float, draw: np.random.Generator) -> Array:
    """After GSM 6.10 (13 kbit/s, 8 kHz), coded so many times one after the other, as between networks."""

    def coded(narrow: Array) -> Array:
        for _ in range(int(times)):
            narrow = _through(narrow, NARROW_HZ, "WAV", "GSM610")[: len(narrow)]
        return narrow

    return _at(signal, rate, NARROW_HZ, coded)


def mulaw(signal: Array, rate: int, hertz: float, draw: np.random.Generator) -> Array:
    """In eight bits by G.711's mu-law, at a sampling rate in Hz."""
    return _at(signal, rate, int(hertz), lambda low: _through(low, int(hertz), "WAV", "ULAW"))


def check(container: str, subtype: str) -> None:
    """Raise SerbenchError where this machine's libsndfile does not write a codec."""
    import soundfile

    if container not in soundfile.available_formats() or subtype not in soundfile.available_subtypes(container):
        raise SerbenchError(
            f"libsndfile {soundfile.__libsndfile_version__} of this machine does not write {subtype} in {container}. "
            "Expected 1.1 or newer with all codecs: type pip install --upgrade soundfile, or leave this codec out of "
            "--with."
        )


def _at(signal: Array, rate: int, coded_hz: int, coded: Callable[[Array], Array]) -> Array:
    """The signal through a codec at another rate, back at its own rate and length."""
    low = signal if rate == coded_hz else resample(signal, rate, coded_hz)
    out = coded(np.clip(low, -1, np.float32(32767 / 32768)))
    back = out if rate == coded_hz else resample(np.ascontiguousarray(out), coded_hz, rate)
    return np.pad(back, (0, max(0, len(signal) - len(back))))[: len(signal)]


def _through(signal: Array, rate: int, container: str, subtype: str, **settings: float | str) -> Array:
    """Encoded into memory and decoded again, (samples,)."""
    import soundfile

    stream = io.BytesIO()
    soundfile.write(stream, signal, rate, format=container, subtype=subtype, **settings)
    stream.seek(0)
    return np.asarray(soundfile.read(stream, dtype="float32")[0], dtype=np.float32)
