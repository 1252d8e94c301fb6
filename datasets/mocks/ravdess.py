"""A miniature RAVDESS: files such as `Actor_01/03-01-...wav` of 24 synthetic voices.

With `traps`: tracks of video, song, a foreign name, a stereo file, an AppleDouble stub.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..reading.acted import one_release
from ..schema.labels import VOCABULARIES
from ._common import share, speak, voice_of, write_stub, write_wav

EMOTIONS = VOCABULARIES["ravdess"]
RATE = 48000


def write(
    folder: Path, *, release: str | None = None, utterances: int = 192, traps: bool = False, seed: int = 0
) -> None:
    """Write about `utterances` files into `folder` (made if need be)."""
    one_release("ravdess", release)
    rng = np.random.default_rng((seed, 19))
    takes = []
    for emotion in EMOTIONS:
        for intensity in ("01", "02")[: 1 if emotion == "01" else 2]:
            takes += [(emotion, intensity, s, r) for s in ("01", "02") for r in ("01", "02")]
    order = sorted(takes, key=lambda t: (t[2], t[3], t[1], t[0]))  # all emotions first, then further takes
    per_actor = share(utterances, 24, len(order))
    for actor in range(1, 25):
        gender = "male" if actor % 2 else "female"
        for emotion, intensity, statement, repetition in order[: per_actor[actor - 1]]:
            name = f"03-01-{emotion}-{intensity}-{statement}-{repetition}-{actor:02d}"
            path = folder / f"Actor_{actor:02d}" / f"{name}.wav"
            speak(path, EMOTIONS[emotion], gender, RATE, rng)
    if traps:
        first = folder / "Actor_01"
        for name in ("01-01-03-01-01-01-01", "03-02-03-01-01-01-01", "notes of the session"):
            speak(first / f"{name}.wav", "happiness", "male", RATE, rng)
        mono = voice_of("neutral", 0.8, 1, "male", RATE)
        write_wav(first / "03-01-01-01-01-01-01.wav", np.stack([mono, mono], axis=1), RATE)
        write_stub(first / "03-01-01-01-01-01-01.wav")
