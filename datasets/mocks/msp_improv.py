"""A miniature MSP-IMPROV with synthetic voices: `session1/S01A/S/*.wav`, transcriptions and the label file.

With `traps`: the label file's other spelling, `Audio/` above the sessions, the second letter as speaker's, activation
turned around, NaN values, a repeated and an odd rater line, a Latin-1 byte, an AppleDouble stub.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..reading.acted import one_release
from ._common import AFFECT, on_scale, sentence, speak, spread, write_lines, write_stub

RATE = 48000


def write(
    folder: Path, *, release: str | None = None, utterances: int = 144, traps: bool = False, seed: int = 0
) -> None:
    """Write about `utterances` files into `folder` (made if need be)."""
    one_release("msp-improv", release)
    rng = np.random.default_rng((seed, 37))
    lines: list[str] = []
    for k, (name, speaker, emotion) in enumerate(_turns(utterances, second=traps, rng=rng)):
        session, scene, condition = int(name[6:8]), name[:4], name[9]
        place = f"{'Audio/' if traps else ''}session{session}/{scene}/{condition}/MSP-IMPROV-{name}.wav"
        speak(folder / place, emotion, "female" if speaker == "F" else "male", RATE, rng)
        lines += _block(name, emotion, k, traps, rng)
        write_lines(folder / "All_human_transcriptions" / f"MSP-IMPROV-{name}.txt", [sentence(emotion, rng)])
        if traps and k == 0:
            write_stub(folder / place)
    text = "\n".join(lines) + "\n"
    path = folder / ("Evalution.txt" if traps else "Evaluation.txt")
    path.write_bytes(text.encode("latin-1"))


def _turns(count: int, *, second: bool, rng: np.random.Generator) -> list[tuple[str, str, str | None]]:
    """Names without prefix, speaking letters and emotions, in scenes of eight turns."""
    emotions = spread(("anger", "happiness", "neutral", "sadness", "neutral", "happiness", "other", None), count, rng)
    turns: list[tuple[str, str, str | None]] = []
    scene = 0
    while len(turns) < count:
        session, target, actor = scene % 6 + 1, "AHNS"[scene // 6 % 4], "FM"[scene // 24 % 2]
        other = "M" if actor == "F" else "F"
        number: dict[tuple[str, str], int] = {}
        for condition, speaker in (
            ("R", actor),
            ("S", other),
            ("S", actor),
            ("T", actor),
            ("S", other),
            ("P", actor),
            ("P", other),
            ("P", actor),
        ):
            number[condition, speaker] = number.get((condition, speaker), 0) + 1
            letters = speaker + ("M" if speaker == "F" else "F")
            letters = letters[::-1] if second else letters
            sentence_code = f"S{scene // 48 + 1:02d}{target}"
            name = f"{sentence_code}-{actor}{session:02d}-{condition}-{letters}{number[condition, speaker]:02d}"
            if len(turns) < count:
                turns.append((name, speaker, emotions[len(turns)]))
        scene += 1
    return turns


def _block(name: str, emotion: str | None, k: int, traps: bool, rng: np.random.Generator) -> list[str]:
    """The label file's block of a turn, with five raters."""
    arousal, valence = AFFECT[emotion or "other"]
    means = [on_scale(-arousal if traps else arousal, 1, 5), on_scale(valence, 1, 5), on_scale(arousal, 1, 5)]
    code = {"anger": "A", "happiness": "H", "neutral": "N", "sadness": "S", "other": "O", None: "X"}[emotion]
    values = "; ".join(f"{letter}:{value:.6f}" for letter, value in zip("AVD", means, strict=True))
    if traps and k == 2:
        values = values.rsplit("D:", 1)[0] + "D:NaN"
    raters = []
    words = {"A": "Angry", "H": "Happy", "N": "Neutral", "S": "Sad", "O": "Other", "X": "Neutral"}
    for i in range(5):
        word = "Sad" if code == "X" and i >= 3 else "Other" if code == "X" and i == 2 else words[code]
        own = [float(np.clip(np.rint(m + rng.normal(0, 0.4)), 1, 5)) for m in means]
        own_text = "; ".join(f"{letter}:{value:.6f}" for letter, value in zip("AVD", own, strict=True))
        raters.append(f"worker{i:03d}; {word}; {word},; {own_text}; N:4.000000;")
    if traps and k == 0:
        raters += [raters[0], "worker900; Neutral; caf\xe9; A:3.000000; V:3.000000; D:3.000000; N:NaN;"]
    if traps and k == 1:
        raters.append("no answer given")
    return [f"UTD-IMPROV-{name}.avi; {code}; {values} ; N:4.000000;", *raters, ""]
