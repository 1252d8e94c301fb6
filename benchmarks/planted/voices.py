"""A corpus of synthesised voices whose words have known classes and exact times, by espeak-ng (GPL; not a dependency).

Twelve voices say 48 English words in sentences of two classes by turns (`planted/words.py`); eight of the voices are
for training, four are held out. Words are said one by one, in four renditions of pitch and speed for each voice, so
their times are exact; there are homophones (sea, see) and minimal pairs (tide, ride) of different classes among them.

    python -m serbench.benchmarks.planted.voices FOLDER
    serbench words speech2vec table --root FOLDER/corpus.csv --words FOLDER/words.csv --out sound.vec
    serbench words judge sound.vec --dataset table --root FOLDER/corpus.csv --words FOLDER/words.csv \
        --classes FOLDER/classes.csv
"""

from __future__ import annotations

import argparse
import csv
import io
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import soundfile

from ...datasets.core.errors import SerbenchError
from ...datasets.core.stages import track
from ...features.words.spoken_words import Array
from .words import SENTENCE, said_classes

CLASSES = (
    "sea boat sail wave tide shore reef anchor",
    "swim float dive steer drift sink row wade",
    "flour bread meat pear salt butter plum honey",
    "bake stir chop boil taste peel roast weigh",
    "knight king sword castle tale horse crown shield",
    "ride fight meet see rule guard pair duel",
)
VOICES = ("f1", "f2", "f3", "m1", "m2", "m3", "m4", "klatt2", "f4", "f5", "m5", "m7")
"""Variants of the voice en-us, the last `HELD_OUT` of them for the test."""
HELD_OUT = 4
RENDITIONS = ((40, 150), (55, 150), (45, 175), (60, 175))
"""Pitch (of espeak-ng, 0 .. 99) and words per minute."""
RATE, PAUSE_SECONDS = 16000, 0.05
TRAINING, TEST = 600, 240
"""Words that a voice says."""


def espeak(*arguments: str) -> bytes:
    """What espeak-ng writes.

    Raises
    ------
    SerbenchError
        If it is not installed.
    """
    if shutil.which("espeak-ng") is None:
        raise SerbenchError("espeak-ng is not installed. Type apt-get install espeak-ng.")
    return subprocess.run(["espeak-ng", *arguments], capture_output=True, check=True).stdout


def say(word: str, voice: str, pitch: int, speed: int) -> Array:
    """A spoken word (samples,) at `RATE`, without the silence around it."""
    from ...features.core.audio import resample

    wave = espeak("-v", f"en-us+{voice}", "-p", str(pitch), "-s", str(speed), "--stdout", word)
    signal, rate = soundfile.read(io.BytesIO(wave), dtype="float32")
    loud = np.flatnonzero(np.abs(signal) > 0.01 * np.abs(signal).max())
    return resample(signal[loud[0] : loud[-1] + 1], rate, RATE)


def phones(word: str) -> str:
    """The phones of a word as espeak-ng spells them, without stress."""
    return "".join(c for c in espeak("-q", "-x", "-v", "en-us", word).decode().strip() if c not in "',%_ ")


def make(folder: Path, seed: int = 0) -> None:
    """Write the corpus (corpus.csv, for the dataset `table`), times of its words (words.csv) and classes.csv."""
    rng = np.random.default_rng(seed)
    (folder / "wav").mkdir(parents=True, exist_ok=True)
    classes = [line.split() for line in CLASSES]
    rows, times = [], []
    for k, voice in enumerate(track(VOICES, "voices")):
        said = {(w, r): say(w, voice, *RENDITIONS[r]) for line in classes for w in line for r in range(len(RENDITIONS))}
        held_out = k >= len(VOICES) - HELD_OUT
        kinds = said_classes(TEST if held_out else TRAINING, rng)
        for n in range(0, len(kinds), SENTENCE):
            words = [classes[c][rng.integers(len(classes[c]))] for c in kinds[n : n + SENTENCE]]
            sounds = [said[word, int(rng.integers(len(RENDITIONS)))] for word in words]
            name = f"wav/{voice}_{n // SENTENCE:03d}.wav"
            times += _write(folder, name, words, sounds)
            part = "test" if held_out else "dev" if k == len(VOICES) - HELD_OUT - 1 else "train"
            rows.append((name, name, "neutral" if kinds[n] % 2 else "happy", voice, part, "en", " ".join(words)))
    _table(folder / "corpus.csv", ("path", "id", "label", "speaker", "partition", "language", "text"), rows)
    _table(folder / "words.csv", ("item", "word", "start", "end"), times)
    spelt = [(w, f"class {c}", phones(w)) for c, line in enumerate(classes) for w in line]
    _table(folder / "classes.csv", ("word", "class", "sound"), spelt)


def _write(folder: Path, name: str, words: Sequence[str], sounds: Sequence[Array]) -> list[tuple[str, str, str, str]]:
    """Write a sentence; returns item, word, start and end of each of its words."""
    pause = np.zeros(round(PAUSE_SECONDS * RATE), np.float32)
    signal = np.concatenate([part for sound in sounds for part in (pause, sound)])
    soundfile.write(folder / name, signal, RATE, subtype="PCM_16")
    ends = np.cumsum([len(pause) + len(sound) for sound in sounds]) / RATE
    spans = [(end - len(sound) / RATE, end) for end, sound in zip(ends, sounds, strict=True)]
    return [(name, word, f"{a:.4f}", f"{b:.4f}") for word, (a, b) in zip(words, spans, strict=True)]


def _table(path: Path, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([head, *rows])


def main() -> None:
    """Make the corpus in a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    make(parser.parse_args().folder)


if __name__ == "__main__":
    main()
