"""The sounds of the demo's invented language: what a vocal tract does for each phone.

Formant centres are rounded textbook values for an adult male tract (Peterson and Barney, JASA 1952, for the vowels;
Klatt, JASA 1980, for the consonants' loci); `voice/synthesis.py` scales them by the speaker's vocal-tract length. A
phone is one or two *parts* (a plosive is a closure and a release), each with a share of the phone's duration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

PAUSE = "_"


@dataclass(frozen=True)
class Part:
    """A stretch of constant targets.

    Attributes
    ----------
    share : of the phone's duration
    voice, breath, noise : linear amplitudes of voicing, of aspiration and of frication
    """

    share: float
    voice: float
    breath: float
    noise: float


@dataclass(frozen=True)
class Phone:
    """Targets of one phone: formants F1 to F4 in Hz (male), duration [s], parts, bandwidth factor, noise spectrum."""

    formants: tuple[float, float, float, float]
    seconds: float
    parts: tuple[Part, ...]
    vowel: bool = False
    damping: float = 1.0
    spectrum: str = "flat"


_VOICED_PLOSIVE = (Part(0.72, 0.16, 0.0, 0.0), Part(0.28, 0.45, 0.0, 0.22))
_VOICELESS_PLOSIVE = (Part(0.55, 0.0, 0.0, 0.0), Part(0.2, 0.0, 0.1, 0.45), Part(0.25, 0.1, 0.35, 0.05))
"""Closure and release; closure, burst and the breath before the voice sets in."""


def _vowel(f1: float, f2: float, f3: float, seconds: float = 0.1, voice: float = 1.0) -> Phone:
    return Phone((f1, f2, f3, 3450.0), seconds, (Part(1.0, voice, 0.0, 0.0),), vowel=True)


def _glide(f1: float, f2: float, f3: float, voice: float, seconds: float = 0.06, damping: float = 1.4) -> Phone:
    return Phone((f1, f2, f3, 3400.0), seconds, (Part(1.0, voice, 0.0, 0.0),), damping=damping)


def _fricative(f2: float, f3: float, noise: float, spectrum: str, voice: float = 0.0, seconds: float = 0.1) -> Phone:
    return Phone((320.0, f2, f3, 3400.0), seconds, (Part(1.0, voice, 0.0, noise),), damping=1.5, spectrum=spectrum)


def _plosive(f2: float, f3: float, spectrum: str, voiced: bool) -> Phone:
    parts = _VOICED_PLOSIVE if voiced else _VOICELESS_PLOSIVE
    return Phone((260.0, f2, f3, 3400.0), 0.075 if voiced else 0.1, parts, damping=1.3, spectrum=spectrum)


PHONES: dict[str, Phone] = {
    "a": _vowel(730, 1220, 2500, 0.11),
    "e": _vowel(470, 1920, 2560, 0.1, 1.1),
    "i": _vowel(290, 2250, 2950, 0.09, 1.25),
    "o": _vowel(500, 900, 2430, 0.1, 1.1),
    "u": _vowel(320, 820, 2280, 0.09, 1.25),
    "y": _vowel(300, 1750, 2150, 0.09, 1.25),
    "@": _vowel(500, 1480, 2480, 0.055, 0.75),
    "m": _glide(250, 1050, 2200, 0.6, 0.07, 2.6),
    "n": _glide(260, 1600, 2550, 0.6, 0.065, 2.6),
    "l": _glide(360, 1080, 2650, 0.7),
    "r": _glide(390, 1280, 1750, 0.6, 0.055),
    "w": _glide(300, 680, 2200, 0.7),
    "j": _glide(280, 2150, 2900, 0.8),
    "s": _fricative(1650, 2600, 0.5, "s"),
    "x": _fricative(1850, 2500, 0.5, "x"),
    "f": _fricative(1150, 2150, 0.22, "flat"),
    "v": _fricative(1150, 2150, 0.07, "flat", 0.4, 0.065),
    "z": _fricative(1650, 2600, 0.2, "s", 0.35, 0.075),
    "h": Phone((500.0, 1500.0, 2500.0, 3450.0), 0.06, (Part(1.0, 0.12, 0.55, 0.0),), damping=1.5),
    "p": _plosive(900, 2150, "p", voiced=False),
    "t": _plosive(1750, 2650, "t", voiced=False),
    "k": _plosive(1950, 2350, "k", voiced=False),
    "b": _plosive(950, 2200, "p", voiced=True),
    "d": _plosive(1700, 2600, "t", voiced=True),
    "g": _plosive(1900, 2350, "k", voiced=True),
    PAUSE: Phone((500.0, 1500.0, 2500.0, 3450.0), 0.12, (Part(1.0, 0.0, 0.0, 0.0),)),
}
"""One letter, one phone: `x` is the consonant of "she", `y` a rounded front vowel, `@` a schwa, `_` silence."""

_NOISE = {  # centre, width [Hz], gain of up to two bands of frication; "flat" has none
    "s": ((5600.0, 1100.0, 1.0), (7200.0, 900.0, 0.6)),
    "x": ((2900.0, 600.0, 1.0), (4600.0, 1100.0, 0.5)),
    "p": ((700.0, 700.0, 0.9), (2200.0, 1800.0, 0.2)),
    "t": ((4200.0, 1200.0, 1.0), (6500.0, 1500.0, 0.5)),
    "k": ((2100.0, 450.0, 1.0), (4300.0, 900.0, 0.3)),
    "flat": (),
}
SPECTRA = tuple(_NOISE)


def noise_spectra(frequencies: npt.NDArray[np.float64], tract: float) -> npt.NDArray[np.float32]:
    """Magnitude of each frication spectrum in the order of `SPECTRA`, (spectrum, frequency), for a tract scale."""
    out = np.full((len(SPECTRA), len(frequencies)), 0.05)
    for row, name in zip(out, SPECTRA, strict=True):
        for centre, width, gain in _NOISE[name]:
            row += gain * np.exp(-0.5 * ((frequencies - centre * tract) / (width * tract)) ** 2)
        if name == "flat":
            row += 0.35
    out *= np.clip(frequencies / 400.0, 0.0, 1.0)
    return out.astype(np.float32)
