"""A miniature CaFE: files such as `CaFE_48k/Peur/Fort/06-P-2-5.wav` of twelve synthetic voices.

Traps: folders whose accents were unpacked wrongly, a foreign name, an AppleDouble stub.
"""

from __future__ import annotations

from pathlib import Path

from .. import cafe
from ..reading.acted import one_release
from ..schema.labels import VOCABULARIES
from ._common import act, write_stub

FOLDERS = {"C": "Colère", "D": "Dégoût", "J": "Joie", "N": "Neutre", "P": "Peur", "S": "Surprise", "T": "Tristesse"}
UNPACKED_WRONGLY = {"C": "ColŠre", "D": "D‚go–t"}
RATE = 48000


def write(
    folder: Path, *, release: str | None = None, utterances: int = 168, traps: bool = False, seed: int = 0
) -> None:
    """Write about `utterances` files, all emotions of an intensity and sentence before the next ones."""
    one_release("cafe", release)
    names = {**FOLDERS, **UNPACKED_WRONGLY} if traps else FOLDERS
    takes = {
        f"{actor:02d}": [
            (f"CaFE_48k/{_place(names[letter], letter, intensity)}/{actor:02d}-{letter}-{intensity}-{s}.wav", letter)
            for s in cafe.SENTENCES
            for intensity in cafe.INTENSITIES
            for letter in VOCABULARIES["cafe"]
            if letter != "N" or intensity == "1"
        ]
        for actor in range(1, 13)
    }
    genders = {actor: "male" if int(actor) % 2 else "female" for actor in takes}
    written = act(folder, "cafe", takes, genders, utterances=utterances, sampling_rate=RATE, seed=seed)
    if traps:
        (folder / "CaFE_48k/Neutre/13-N-1-1.wav").write_bytes((folder / written[0]).read_bytes())
        write_stub(folder / written[0])


def _place(name: str, letter: str, intensity: str) -> str:
    return name if letter == "N" else f"{name}/{'Faible' if intensity == '1' else 'Fort'}"
