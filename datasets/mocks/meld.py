"""A miniature MELD in the layout of the unpacked archive, with synthetic voices and invented dialogues.

Clips are mp4 with AAC sound at 48 kHz, nine in ten of them in 5.1 channels (voice in the centre, noise around it), the
rest in stereo; where PyAV is not installed, wav files of the same names are written, which the reader takes as well.

With `traps`: damaged and absent clips, clips without rows, recut test clips, AppleDouble stubs, one-digit hours, code
points of cp1252, turns of several people, times that run backwards, stand still or are far too long, gaps in the
numbering, doubled `Sr No.`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import SerbenchError
from ..core.files import write_text
from ..meld.reader import COLUMNS
from ..meld.video import pyav
from ..reading.acted import one_release
from ._common import AFFECT, Array, csv_text, sentence, spread, voice_of, write_stub, write_wav

RATE = 48000
EMOTIONS = {
    "neutral": "neutral",
    "joy": "happiness",
    "surprise": "surprise",
    "anger": "anger",
    "sadness": "sadness",
    "disgust": "disgust",
    "fear": "fear",
}
SPEAKERS = (
    ("Chandler", "male"),
    ("Joey", "male"),
    ("Monica", "female"),
    ("Phoebe", "female"),
    ("Rachel", "female"),
    ("Ross", "male"),
    ("Gunther", "male"),
    ("Janice", "female"),
    ("The Waiter", "male"),
)
FOLDERS = {"train": "train/train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
LABELS = {"train": "train/train_sent_emo.csv", "dev": "dev_sent_emo.csv", "test": "test_sent_emo.csv"}
SHARES = {"train": 0.6, "dev": 0.15, "test": 0.25}


@dataclass
class _Turn:
    """A row to be written, and how it sounds."""

    cells: dict[str, Any]
    gender: str
    seconds: float
    start: float

    @property
    def stem(self) -> str:
        return f"dia{self.cells['Dialogue_ID']}_utt{self.cells['Utterance_ID']}"


def write(
    folder: Path, *, release: str | None = None, utterances: int = 120, traps: bool = False, seed: int = 0
) -> None:
    """Write the miniature corpus into `folder` (made if need be); the same arguments give the same rows and voices.

    Raises
    ------
    SerbenchError
        For a release (MELD has one), or fewer than 20 utterances.
    """
    one_release("meld", release)
    if utterances < 20:
        raise SerbenchError(f"a miniature MELD of {utterances} utterances has no room for its splits. Ask for 20.")
    rng = np.random.default_rng((seed, 11))
    for split, share in SHARES.items():
        turns = _turns(round(utterances * share), rng)
        if traps:
            _trap_rows(turns, split)
        _write_labels(folder / LABELS[split], turns, traps)
        for turn in turns:
            _write_clip(folder / FOLDERS[split], turn, rng)
        if traps:
            _trap_clips(folder / FOLDERS[split], turns, split, rng)


def _turns(count: int, rng: np.random.Generator) -> list[_Turn]:
    """Dialogues of about six turns between two to four speakers."""
    emotions = spread(list(EMOTIONS), count, rng)
    turns: list[_Turn] = []
    dialogue = 0
    while len(turns) < count:
        cast = [SPEAKERS[i] for i in rng.choice(len(SPEAKERS), int(rng.integers(2, 5)), replace=False)]
        start = float(rng.integers(60, 1200))
        season, episode = int(rng.integers(1, 10)), int(rng.integers(1, 24))
        for number in range(min(int(rng.integers(4, 9)), count - len(turns))):
            emotion = emotions[len(turns)]
            speaker, gender = cast[int(rng.integers(len(cast)))]
            seconds = round(float(rng.uniform(0.8, 1.8)), 3)
            cells = {
                "Sr No.": len(turns) + 1,
                "Utterance": sentence(EMOTIONS[emotion], rng),
                "Speaker": speaker,
                "Emotion": emotion,
                "Sentiment": _sentiment(emotion),
                "Dialogue_ID": dialogue,
                "Utterance_ID": number,
                "Season": season,
                "Episode": episode,
                "StartTime": _clock(start),
                "EndTime": _clock(start + seconds),
            }
            turns.append(_Turn(cells, gender, seconds, start))
            start += seconds + round(float(rng.uniform(0.05, 0.6)), 3)
        dialogue += 1
    return turns


def _sentiment(emotion: str) -> str:
    valence = AFFECT[EMOTIONS[emotion]][1]
    return "neutral" if emotion == "neutral" else "positive" if valence > 0 else "negative"


def _clock(seconds: float, digits: int = 2) -> str:
    milliseconds = round(seconds * 1000)
    rest, milliseconds = divmod(milliseconds, 1000)
    return f"{rest // 3600:0{digits}d}:{rest // 60 % 60:02d}:{rest % 60:02d},{milliseconds:03d}"


def _trap_rows(turns: list[_Turn], split: str) -> None:
    """Change some rows as the real label files have them (at fixed places, so that tests can name them)."""
    turns[1].cells["StartTime"] = _clock(turns[1].start, digits=1)
    turns[1].cells["Utterance"] = "It\x92s \x93fine\x94\x85 really\xa0\x96 isn\x91t it?"
    turns[2].cells["Speaker"] = "Ross and Joey"
    turns[3].cells["Speaker"] = "All"
    last = [t for t in turns if t.cells["Dialogue_ID"] == 0][-1]
    last.cells["StartTime"], last.cells["EndTime"] = turns[0].cells["StartTime"], turns[0].cells["EndTime"]
    turns[-1].cells["Utterance_ID"] += 3
    turns[-1].cells["Sr No."] = turns[0].cells["Sr No."]
    if split == "test":
        turns[4].cells["EndTime"] = turns[4].cells["StartTime"]
        turns[5].cells["EndTime"] = _clock(turns[5].start + 304.9)


def _trap_clips(folder: Path, turns: list[_Turn], split: str, rng: np.random.Generator) -> None:
    ending = _ending()
    first = folder / f"{turns[0].stem}{ending}"
    write_stub(first)
    extra = _Turn({**turns[0].cells, "Dialogue_ID": 900, "Utterance_ID": 1}, "female", 0.8, 0.0)
    _write_clip(folder, extra, rng)
    if split == "train":
        data = first.read_bytes()
        first.write_bytes(data[: len(data) // 3])
    if split == "dev":
        first.unlink()
    if split == "test":
        for turn in turns[:3]:
            _write_clip(folder, turn, rng, prefix="final_videos_test")


def _write_labels(path: Path, turns: list[_Turn], traps: bool) -> None:
    rows = [turn.cells for turn in turns]
    write_text(path, csv_text(("Sr No.", *COLUMNS), rows[::-1] if traps else rows, lineterminator="\r\n"))


def _write_clip(folder: Path, turn: _Turn, rng: np.random.Generator, prefix: str = "") -> None:
    seed = int(rng.integers(2**31))
    voice = voice_of(EMOTIONS[turn.cells["Emotion"]], turn.seconds, seed, turn.gender, RATE)
    surround = seed % 10 != 0
    noise = np.random.default_rng(seed).normal(0.0, 0.005, (6 if surround else 2, len(voice))).astype(np.float32)
    noise[2 if surround else slice(None)] += voice
    path = folder / f"{prefix}{turn.stem}{_ending()}"
    if _ending() == ".mp4":
        write_mp4(path, noise, RATE, "5.1" if surround else "stereo")
    else:
        write_wav(path, noise[2] if surround else noise[0], RATE)


def _ending() -> str:
    try:
        pyav()
    except SerbenchError:
        return ".wav"
    return ".mp4"


def write_mp4(path: Path, channels: Array, sampling_rate: int, layout: str, codec: str = "aac") -> None:
    """Write (channel, sample) float32 as the sound of a video container; needs PyAV."""
    av = pyav()
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=sampling_rate, layout=layout, options={"aac_coder": "fast"})
        for start in range(0, channels.shape[1], 1024):
            block = np.ascontiguousarray(channels[:, start : start + 1024])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = sampling_rate, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
