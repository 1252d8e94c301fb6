"""A miniature TESS with synthetic voices: files such as `OAF_angry/OAF_back_angry.wav`.

With `traps`: a speaker `OA`, folders spelt in several ways, upper case, an AppleDouble stub.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .. import tess
from ..reading.acted import one_release
from ..schema.labels import VOCABULARIES
from ._common import share, speak, write_stub

EMOTIONS = VOCABULARIES["tess"]
RATE = 24414
VOCABULARY = "back bar bath bone cab cause chat deep dog door fail far fit gap goal half hire home jail join"


def write(
    folder: Path, *, release: str | None = None, utterances: int = 112, traps: bool = False, seed: int = 0
) -> None:
    """Write about `utterances` files into `folder` (made if need be)."""
    one_release("tess", release)
    rng, words = np.random.default_rng((seed, 29)), VOCABULARY.split()
    counts = share(utterances, 2, len(words) * 7)
    for speaker, count in zip(tess.SPEAKERS, counts, strict=True):
        takes = [(word, emotion) for word in words for emotion in EMOTIONS][:count]
        for word, emotion in takes:
            place = {"ps": "pleasant_surprise", "sad": "Sad"}.get(emotion, emotion) if traps else emotion
            start = "OA" if traps and (speaker, word, emotion) == ("OAF", "back", "neutral") else speaker
            name = f"{start}_{word}_{emotion}.wav"
            name = name.upper().replace(".WAV", ".wav") if traps and word == "bar" else name
            path = folder / f"{speaker}_{place}" / name
            speak(path, EMOTIONS[emotion], "female", RATE, rng, 0.7)
    if traps:
        write_stub(folder / "YAF_angry/YAF_back_angry.wav")
