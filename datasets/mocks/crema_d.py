"""A miniature CREMA-D with synthetic voices: `AudioWAV/1001_DFA_ANG_XX.wav`, the list, demographics and votes.

With `traps`: the silent clip, a git-lfs pointer, an AppleDouble stub, ties.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from .. import crema_d
from ..core.files import write_text
from ..reading.acted import one_release
from ..schema.labels import VOCABULARIES
from ._common import csv_text, share, speak, write_stub, write_wav

EMOTIONS = VOCABULARIES["crema-d"]
RATE = 16000


def write(
    folder: Path, *, release: str | None = None, utterances: int = 144, traps: bool = False, seed: int = 0
) -> None:
    """Write about `utterances` files into `folder` (made if need be)."""
    one_release("crema-d", release)
    rng = np.random.default_rng((seed, 23))
    actors = {str(1001 + i): "female" if i % 3 else "male" for i in range(11)} | {"1076": "female"}
    clips = [(e, s) for s in crema_d.SENTENCES for e in EMOTIONS]
    counts = share(utterances, len(actors), len(clips))
    names = []
    for (actor, gender), count in zip(actors.items(), counts, strict=True):
        for emotion, sentence_code in clips[:count]:
            name = f"{actor}_{sentence_code}_{emotion}_XX"
            names.append((name, emotion))
            speak(folder / f"AudioWAV/{name}.wav", EMOTIONS[emotion], gender, RATE, rng)
    if traps:
        if ("1076_MTI_SAD_XX", "SAD") not in names:
            names.append(("1076_MTI_SAD_XX", "SAD"))
        write_wav(folder / "AudioWAV/1076_MTI_SAD_XX.wav", np.zeros(16000, np.float32), RATE)
        pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 66000\n"
        write_text(folder / f"AudioWAV/{names[0][0]}.wav", pointer)
        write_stub(folder / f"AudioWAV/{names[1][0]}.wav")
    listed = [{"Stimulus_Number": i, "Filename": name} for i, (name, _) in enumerate(names, 1)]
    _write(folder / "SentenceFilenames.csv", listed)
    people = [
        {"ActorID": a, "Age": 20 + i, "Sex": g.capitalize(), "Race": "Unknown", "Ethnicity": "Not Hispanic"}
        for i, (a, g) in enumerate(actors.items())
    ]
    _write(folder / "VideoDemographics.csv", people)
    rows = [
        _vote_row(kind, i, name, emotion, traps and i == 3, rng)
        for kind in (1, 2, 3)
        for i, (name, emotion) in enumerate(names, 1)
    ]
    _write(folder / "processedResults/tabulatedVotes.csv", rows)


def _vote_row(
    kind: int, number: int, name: str, emotion: str, tie: bool, rng: np.random.Generator
) -> dict[str, object]:
    """A row of the tabulated votes; `kind` 1 are votes by hearing alone, the other kinds vote for something else."""
    codes = list(crema_d.VOTES)
    meant = emotion[0]
    counts = dict.fromkeys(codes, 0)
    counts[meant if kind == 1 else codes[(codes.index(meant) + 1) % 6]] = 6
    counts[codes[int(rng.integers(6))]] += 1
    if tie:
        counts = {code: 4 if code in "AD" else 0 for code in codes}
    most = max(counts.values())
    vote = ":".join(code for code in codes if counts[code] == most)
    total = sum(counts.values())
    return {
        "": f"{kind}{number:05d}",
        **counts,
        "fileName": name,
        "numResponses": total,
        "agreement": f"{most / total:.6f}",
        "emoVote": vote,
        "meanEmoResp": 50,
    }


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    write_text(path, csv_text(list(rows[0]), rows, quoting=csv.QUOTE_NONNUMERIC))
