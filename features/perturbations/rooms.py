"""Reverberation of simulated rooms, by the image source method (Allen and Berkley 1979).

It is computed by pyroomacoustics (Scheibler, Bezzam and Dokmanic 2018, doi:10.1109/ICASSP.2018.8461310). Three
shoebox rooms, a speaker and a microphone in each; an utterance is heard in one of them. Walls absorb what
Sabine's formula asks for. Their impulse responses decay more slowly than the formula says, since shoeboxes
are no diffuse fields; so an attenuation along the way, exp(-k t), brings the decay from -5 to -35 dB of Schroeder's
integral to the RT60 that was asked for. The direct sound stays where it was in time, the utterance as loud as it was.

An impulse response takes up to several seconds and belongs to no file: it is kept in the cache.
"""

from __future__ import annotations

import importlib.metadata
import io
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ...datasets.core.files import cache_root, digest, sealed, unsealed, write_bytes
from ...datasets.core.libraries import library

Array = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Place = tuple[float, float, float]
VERSION = 1
ROOMS: tuple[tuple[Place, Place, Place], ...] = (
    ((6.3, 5.1, 2.9), (1.7, 1.6, 1.5), (3.6, 2.5, 1.2)),
    ((7.4, 5.8, 3.1), (2.1, 3.9, 1.6), (4.2, 2.4, 1.1)),
    ((9.2, 7.1, 3.7), (2.9, 2.6, 1.7), (6.0, 4.5, 1.3)),
)
"""Length, width, height; where the speaker's mouth is; where the microphone is [m]."""
LEAD = 40
"""Samples in front of the direct sound: half of the filter that puts it between two samples."""
PURPOSE = "reverberation (reverb)"


def reverb(signal: Array, rate: int, rt60: float, draw: np.random.Generator) -> Array:
    """A signal (samples,) as it is heard in a room of that RT60 in seconds."""
    from scipy.signal import oaconvolve

    response = impulse_response(int(draw.integers(len(ROOMS))), rt60, rate)
    heard = oaconvolve(signal.astype(np.float64), response)[LEAD : LEAD + len(signal)]
    before, after = (float(np.sqrt(np.mean(np.square(x, dtype=np.float64)))) for x in (signal, heard))
    return np.asarray(heard * (before / after if after else 1.0), dtype=np.float32)


def check() -> None:
    """Raise LibraryError where the library is missing."""
    library("pyroomacoustics", PURPOSE)


@lru_cache(maxsize=64)
def impulse_response(room: int, rt60: float, rate: int) -> Floats:
    """Impulse response (samples,) of one of `ROOMS`, its direct sound at `LEAD`; from the cache or made now."""
    version = importlib.metadata.version("pyroomacoustics")
    file = cache_root() / "rooms" / f"{digest([VERSION, version, ROOMS[room], rt60, rate])}.npy"
    try:
        kept: Floats = np.load(io.BytesIO(unsealed(file.read_bytes())), allow_pickle=False)
        return kept
    except (OSError, ValueError, EOFError):
        made = _simulated(*ROOMS[room], rt60, rate)
    stream = io.BytesIO()
    np.save(stream, made, allow_pickle=False)
    try:
        write_bytes(file, sealed(stream.getvalue()))
    except OSError:
        return made  # a cache that belongs to someone else
    return made


def decay_seconds(response: Floats, rate: int, low: float = -5.0, high: float = -35.0) -> float:
    """RT60 by Schroeder's integral: the line through the decay from `low` to `high` dB, carried on to 60 dB."""
    energy = np.cumsum(np.square(response)[::-1])[::-1]
    level = 10 * np.log10(np.maximum(energy / energy[0], 1e-30))
    first, last = int(np.argmax(level <= low)), int(np.argmax(level <= high))
    slope = np.polyfit(np.arange(first, last) / rate, level[first:last], 1)[0]
    return float(-60.0 / slope)


def _simulated(size: Place, mouth: Place, microphone: Place, rt60: float, rate: int) -> Floats:
    acoustics = library("pyroomacoustics", PURPOSE)
    absorption, order = acoustics.inverse_sabine(rt60, size)
    room = acoustics.ShoeBox(size, fs=rate, materials=acoustics.Material(absorption), max_order=order)
    room.add_source(mouth)
    room.add_microphone(microphone)
    room.compute_rir()
    response = np.asarray(room.rir[0][0], dtype=np.float64)
    response = response[int(np.argmax(np.abs(response))) - LEAD :]
    seconds = np.arange(len(response)) / rate
    for _ in range(4):  # each attenuation changes where the line is laid, by less each time
        excess = 3 * np.log(10) * (1 / rt60 - 1 / decay_seconds(response, rate))
        response = response * np.exp(-excess * seconds)
    return np.asarray(response)
