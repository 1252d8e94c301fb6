"""A miniature SUBESCO: files such as `F_02_MONIKA_S_1_NEUTRAL_5.wav` of twenty synthetic voices.

Traps: the published name with a bracket, a foreign name, an AppleDouble stub.
"""

from __future__ import annotations

from pathlib import Path

from ..reading.acted import one_release
from ..schema.labels import VOCABULARIES
from ._common import act, write_stub

NAMES = ("ALPHA", "BETA", "GAMMA", "DELTA", "EPSILON", "ZETA", "ETA", "THETA", "IOTA", "KAPPA")
RATE = 44100


def write(
    folder: Path, *, release: str | None = None, utterances: int = 140, traps: bool = False, seed: int = 0
) -> None:
    """Write about `utterances` files, all emotions of a sentence before the next one."""
    one_release("subesco", release)
    takes = {
        f"{gender}_{number:02d}": [
            (f"{gender}_{number:02d}_{name}_S_{sentence}_{emotion}_{take}.wav", emotion)
            for take in range(1, 6)
            for sentence in range(1, 11)
            for emotion in VOCABULARIES["subesco"]
        ]
        for gender in "FM"
        for number, name in enumerate(NAMES, 1)
    }
    genders = {speaker: "female" if speaker[0] == "F" else "male" for speaker in takes}
    written = act(folder, "subesco", takes, genders, utterances=utterances, sampling_rate=RATE, seed=seed)
    if traps:
        (folder / written[0]).rename(folder / written[0].replace(".wav", "].wav"))
        (folder / "M_01_ALPHA.wav").write_bytes((folder / written[1]).read_bytes())
        write_stub(folder / written[1])
