"""A miniature SAVEE with synthetic voices: files such as `AudioData/DC/a01.wav`.

With `traps`: the flat layout `DC_a01.wav`, an `Info.txt`, an AppleDouble stub.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .. import savee
from ..reading.acted import one_release
from ..schema.labels import VOCABULARIES
from ._common import share, speak, write_lines, write_stub

EMOTIONS = VOCABULARIES["savee"]
RATE = 44100


def write(
    folder: Path, *, release: str | None = None, utterances: int = 112, traps: bool = False, seed: int = 0
) -> None:
    """Write about `utterances` files into `folder` (made if need be)."""
    one_release("savee", release)
    rng = np.random.default_rng((seed, 31))
    takes = sorted(
        [(code, number) for code in EMOTIONS for number in range(1, 31 if code == "n" else 16)],
        key=lambda take: (take[1], take[0]),
    )
    counts = share(utterances, 4, len(takes))
    for speaker, count in zip(savee.SPEAKERS, counts, strict=True):
        for code, number in takes[:count]:
            place = f"{speaker}_{code}{number:02d}" if traps else f"AudioData/{speaker}/{code}{number:02d}"
            speak(folder / f"{place}.wav", EMOTIONS[code], "male", RATE, rng)
    if traps:
        write_lines(folder / "Info.txt", ["a miniature"])
        write_stub(folder / "DC_a01.wav")
