"""A miniature ShEMO: `female/F03S02.wav`, `male/...` and `transcript/final text/*.ort`, with synthetic voices.

Traps: a transcript without its sound file, direction marks in a transcript, a foreign name, an AppleDouble stub.
"""

from __future__ import annotations

from pathlib import Path

from ..core.files import write_text
from ..reading.acted import one_release
from ..schema.labels import VOCABULARIES
from ._common import act, write_stub

SPEAKERS = (*(f"F{i:02d}" for i in range(1, 6)), *(f"M{i:02d}" for i in range(1, 9)))
RATE = 44100


def write(
    folder: Path, *, release: str | None = None, utterances: int = 156, traps: bool = False, seed: int = 0
) -> None:
    """Write about `utterances` files of 13 speakers, the emotions in turn."""
    one_release("shemo", release)
    place = {"F": "female", "M": "male"}
    takes = {
        speaker: [
            (f"{place[speaker[0]]}/{speaker}{letter}{number:02d}.wav", letter)
            for number in range(1, 100)
            for letter in VOCABULARIES["shemo"]
        ]
        for speaker in SPEAKERS
    }
    genders = {speaker: place[speaker[0]] for speaker in SPEAKERS}
    written = act(folder, "shemo", takes, genders, utterances=utterances, sampling_rate=RATE, seed=seed)
    for number, path in enumerate(written):
        text = f"\ufeff\u200fمتن {number}" if traps and number == 0 else f"متن {number}"
        write_text(folder / f"transcript/final text/{Path(path).stem}.ort", f"{text}.\r")
    if traps:
        write_text(folder / "transcript/final text/M47N14.ort", "متن\r")
        (folder / "female/F1A1 (copy).wav").write_bytes((folder / written[0]).read_bytes())
        write_stub(folder / written[0])
