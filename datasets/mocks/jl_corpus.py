"""A miniature JL-Corpus: `female1_angry_10a_1.wav` with a text file beside it, in its two folders, synthetic voices.

Traps: a text that is missing, a foreign name, an AppleDouble stub.
"""

from __future__ import annotations

from pathlib import Path

from ..core.files import write_text
from ..reading.acted import one_release
from ..schema.labels import VOCABULARIES
from ._common import act, write_stub

SPEAKERS = ("female1", "female2", "male1", "male2")
PLACE = "Raw JL corpus (unchecked and unannotated)/JL(wav+txt)"
RATE = 44100


def write(
    folder: Path, *, release: str | None = None, utterances: int = 80, traps: bool = False, seed: int = 0
) -> None:
    """Write about `utterances` files, all emotions of a sentence before the next one."""
    one_release("jl-corpus", release)
    takes = {
        speaker: [
            (f"{PLACE}/{speaker}_{emotion}_{sentence}{letter}_{session}.wav", emotion)
            for session in (1, 2)
            for letter in "ab"
            for sentence in range(1, 16)
            for emotion in VOCABULARIES["jl-corpus"]
        ]
        for speaker in SPEAKERS
    }
    genders = {speaker: speaker[:-1] for speaker in SPEAKERS}
    written = act(folder, "jl-corpus", takes, genders, utterances=utterances, sampling_rate=RATE, seed=seed)
    for path in written[traps:]:
        write_text((folder / path).with_suffix(".txt"), f"Sentence {Path(path).stem.split('_')[2][:-1]}.\n")
    if traps:
        (folder / PLACE / "female3_angry_1a_1.wav").write_bytes((folder / written[0]).read_bytes())
        write_stub(folder / written[0])
