"""A miniature ESD: files such as `0012/Angry/0012_000351.wav` and transcripts, with twenty synthetic voices.

Traps: the folders train, evaluation and test, transcripts in other encodings and with a broken line, a foreign name, an
AppleDouble stub.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .. import esd
from ..core.files import write_bytes
from ..reading.acted import one_release
from ._common import act, write_stub

RATE = 16000


def write(
    folder: Path, *, release: str | None = None, utterances: int = 200, traps: bool = False, seed: int = 0
) -> None:
    """Write about `utterances` files, all emotions of a sentence before the next one."""
    one_release("esd", release)
    takes = {
        speaker: [
            (_path(speaker, place, sentence, traps), emotion)
            for sentence in range(1, 51)
            for place, emotion in enumerate(esd.ORDER)
        ]
        for speaker in esd.SPEAKERS
    }
    genders = {speaker: "female" if speaker in esd.WOMEN else "male" for speaker in esd.SPEAKERS}
    written = act(folder, "esd", takes, genders, utterances=utterances, sampling_rate=RATE, seed=seed)
    for speaker in esd.SPEAKERS:
        names = [Path(path).stem for path in written if Path(path).name.startswith(speaker)]
        _write_texts(folder / f"{speaker}/{speaker}.txt", names, traps)
    if traps:
        (folder / "0001/Angry/train/a copy.wav").write_bytes((folder / written[1]).read_bytes())
        write_stub(folder / written[0])


def _path(speaker: str, place: int, sentence: int, traps: bool) -> str:
    part = f"/{('train', 'evaluation', 'test')[sentence % 3 - 1]}" if traps else ""
    return f"{speaker}/{esd.ORDER[place]}{part}/{speaker}_{place * esd.EACH + sentence:06d}.wav"


def _write_texts(path: Path, names: Sequence[str], traps: bool) -> None:
    mandarin = int(path.stem) <= 10
    sentence = "一句话" if mandarin else "A sentence"
    lines = [f"{name}\t{sentence} {int(name[5:]) % esd.EACH}.\tany" for name in names]
    encoding = "utf-8"
    if traps:
        encoding = ("utf-16", "gb18030" if mandarin else "utf-8")[int(path.stem) % 2]
        lines += ["0012_001355"] if path.stem == "0012" else []
    write_bytes(path, "\r\n".join(lines).encode(encoding))
