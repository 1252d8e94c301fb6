"""A miniature of Tones: the same layout with fewer utterances. With `traps`: an AppleDouble stub."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from serbench.datasets.core.files import atomic_write, write_text
from serbench.datasets.reading.acted import one_release
from serbench.datasets.voice.synthesis import babble

SPEAKERS = {"train": "abcd", "dev": "ef", "test": "ghij"}
AROUSAL = {"A": 0.8, "N": 0.0, "S": -0.8}


def write(
    folder: Path, *, release: str | None = None, utterances: int = 30, traps: bool = False, seed: int = 0
) -> None:
    """Write `utterances` files and tones.csv; the louder, the more aroused."""
    one_release("tones", release)
    speakers = [(partition, speaker) for partition, names in SPEAKERS.items() for speaker in names]
    rows = []
    for k in range(utterances):
        (partition, speaker), emotion = speakers[k % len(speakers)], "ANS"[(k + k // 10) % 3]
        gender, arousal = ("female", "male")[k % 2], AROUSAL[emotion]
        sound = babble(0.6 + k % 3 * 0.1, seed * 1000 + k, gender=gender, arousal=arousal) * 10 ** (arousal / 2)
        wav = np.clip(0.2 * sound, -1, 1)
        atomic_write(folder / f"t{k:02}.wav", lambda out, wav=wav: soundfile.write(out, wav, 16000, format="WAV"))
        text = {"A": "stop it", "N": "the bus is late", "S": "nobody came"}[emotion]
        rows.append((f"t{k:02}.wav", speaker, gender, partition, emotion, 3 + 2 * arousal, text))
    columns = ["file", "speaker", "gender", "partition", "emotion", "arousal", "text"]
    write_text(folder / "tones.csv", pd.DataFrame(rows, columns=columns).to_csv(index=False))
    if traps:
        (folder / "._t00.wav").write_bytes(b"\x00" * 212)
