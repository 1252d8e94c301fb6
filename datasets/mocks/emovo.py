"""A miniature EMOVO: files such as `f1/dis-f1-b1.wav` of six synthetic voices.

Traps: the folder EMOVO above the speakers' ones, names in upper case, a foreign name, an AppleDouble stub.
"""

from __future__ import annotations

from pathlib import Path

from .. import emovo
from ..reading.acted import one_release
from ..schema.labels import VOCABULARIES
from ._common import act, write_stub

RATE = 48000


def write(
    folder: Path, *, release: str | None = None, utterances: int = 84, traps: bool = False, seed: int = 0
) -> None:
    """Write about `utterances` files, all emotions of a sentence before the next one."""
    one_release("emovo", release)
    above = "EMOVO/" if traps else ""
    takes = {
        speaker: [
            (f"{above}{speaker}/{_name(code, speaker, sentence, traps)}.wav", code)
            for sentence in emovo.SENTENCES
            for code in VOCABULARIES["emovo"]
        ]
        for speaker in ("f1", "f2", "f3", "m1", "m2", "m3")
    }
    genders = {speaker: "female" if speaker[0] == "f" else "male" for speaker in takes}
    written = act(folder, "emovo", takes, genders, utterances=utterances, sampling_rate=RATE, seed=seed)
    if traps:
        (folder / above / "f1/dis-f1-x9.wav").write_bytes((folder / written[0]).read_bytes())
        write_stub(folder / written[0])


def _name(code: str, speaker: str, sentence: str, traps: bool) -> str:
    name = f"{code}-{speaker}-{sentence}"
    return name.upper() if traps and speaker == "m3" else name
