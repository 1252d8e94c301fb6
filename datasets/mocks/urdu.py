"""A miniature URDU: files such as `Angry/SM1_F1_A01.wav` of synthetic voices, most of which have one emotion only.

Traps: another case of letters, a foreign name, an AppleDouble stub.
"""

from __future__ import annotations

from itertools import cycle, islice
from pathlib import Path

from ..reading.acted import one_release
from ._common import act, share, write_stub

SPEAKERS = {
    "SM1": "A",
    "SM2": "A",
    "SM4": "A",
    "SM5": "NH",
    "SM7": "H",
    "SF6": "H",
    "SM20": "N",
    "SF9": "N",
    "SM24": "S",
    "SM25": "S",
    "SF11": "S",
    "SM6": "HS",
}
"""Speaker -> the emotions that it has."""
FOLDERS = {"A": "Angry", "H": "Happy", "N": "Neutral", "S": "Sad"}
RATE = 44100


def write(
    folder: Path, *, release: str | None = None, utterances: int = 96, traps: bool = False, seed: int = 0
) -> None:
    """Write `utterances` files, dealt out among twelve speakers."""
    one_release("urdu", release)
    numbers = dict.fromkeys(FOLDERS, 0)
    takes: dict[str, list[tuple[str, str]]] = {}
    for (speaker, letters), count in zip(SPEAKERS.items(), share(utterances, len(SPEAKERS), utterances), strict=True):
        takes[speaker] = []
        for number, letter in enumerate(islice(cycle(letters), count), 1):
            numbers[letter] += 1
            name = f"{speaker}_F{number}_{letter}0{numbers[letter]}"
            name = name.lower() if traps and speaker == "SF9" else name
            takes[speaker].append((f"{FOLDERS[letter]}/{name}.wav", letter))
    genders = {speaker: "male" if speaker[1] == "M" else "female" for speaker in SPEAKERS}
    written = act(folder, "urdu", takes, genders, utterances=utterances, sampling_rate=RATE, seed=seed)
    if traps:
        (folder / "Sad/notes.wav").write_bytes((folder / written[0]).read_bytes())
        write_stub(folder / written[0])
