"""A miniature nEMO: `data.tsv` and `samples/`, with synthetic voices and invented sentences.

Traps: a sound file without a row, a row without its sound file, an AppleDouble stub.
"""

from __future__ import annotations

from pathlib import Path

from ..reading.acted import one_release
from ..schema.labels import VOCABULARIES
from ._common import act, write_lines, write_stub

PEOPLE = {
    "EB0": ("female", 27),
    "IC0": ("female", 28),
    "KD0": ("female", 28),
    "MK0": ("female", 23),
    "KS0": ("male", 23),
    "MP0": ("male", 24),
    "SM0": ("male", 24),
    "TP0": ("male", 26),
    "WR0": ("male", 23),
}
RATE = 24000
SENTENCES = 90
HEADER = "file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage"


def write(
    folder: Path, *, release: str | None = None, utterances: int = 108, traps: bool = False, seed: int = 0
) -> None:
    """Write about `utterances` files of the nine speakers, all emotions of a sentence before the next one."""
    one_release("nemo", release)
    codes = VOCABULARIES["nemo"]
    takes = {
        speaker: [(f"samples/{speaker}_{e}_{s}.wav", e) for s in range(1, SENTENCES + 1) for e in codes]
        for speaker in PEOPLE
    }
    genders = {speaker: gender for speaker, (gender, _) in PEOPLE.items()}
    written = act(folder, "nemo", takes, genders, utterances=utterances, sampling_rate=RATE, seed=seed)
    names = [Path(path).name for path in written]
    write_lines(folder / "data.tsv", [HEADER, *(_row(name) for name in reversed(names))])
    if traps:
        (folder / written[0]).rename(folder / "samples/EB0_anger_999.wav")
        write_stub(folder / written[1])


def _row(name: str) -> str:
    speaker, emotion, sentence = name.removesuffix(".wav").split("_")
    gender, age = PEOPLE[speaker]
    text = f"Zdanie numer {sentence}."
    return "\t".join([name, emotion, text, text.lower().rstrip("."), f"        {speaker}", gender, str(age)])
