"""A miniature SEWA in the layouts of AVEC 2017, 2018 and 2019: synthetic chats, traced by what can be heard in them.

A recording holds the recorded person's turns and, between them, another voice. Its trace follows the person's state at
a lag and begins with frames of exact zeros, as annotations do. Test recordings have sound (and turns) but no labels.

With `traps`: a `;`, quotes and tags inside a transcription, a tag alone, further columns in a turns file, a turn behind
the end of the trace, commas for semicolons in one label file, another case of a folder name, AppleDouble stubs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..core.errors import unknown
from ..core.files import write_text
from ..sewa.files import HOP_SECONDS, parse_name
from ..sewa.package import RELEASES
from ._common import AFFECT, Array, sentence, spread, voice_of, write_lines, write_stub, write_wav

RATE = 16000
ZEROS = 5
LAG_SECONDS = 0.2
EMOTIONS = ("anger", "happiness", "neutral", "sadness")
COUNTS: Mapping[str, Mapping[str, int]] = {
    "2017": {"Train": 6, "Devel": 4, "Test": 2},
    "2018": {"Train_DE": 6, "Devel_DE": 4, "Test_DE": 1, "Test_HU": 2},
    "2019": {"Train_DE": 5, "Train_HU": 5, "Devel_DE": 4, "Devel_HU": 4, "Test_DE": 1, "Test_HU": 1, "Test_CN": 1},
}
"""Release -> recordings by beginning of their names."""


@dataclass
class _Chat:
    """One recording: sound, spans of the person's turns with what is said, and the trace (frame, target)."""

    signal: Array
    spans: list[tuple[float, float]]
    texts: list[str]
    trace: npt.NDArray[np.float64]


def write(
    folder: Path, *, release: str | None = None, utterances: int = 72, traps: bool = False, seed: int = 0
) -> None:
    """Write the miniature package into `folder` (made if need be); the same arguments give the same files.

    Parameters
    ----------
    release : "2017" (the default), "2018" or "2019", which comes in two folders
    utterances : about how many turns the recordings have in all (three or more each)

    Raises
    ------
    SerbenchError
        For an unknown release.
    """
    release = release or "2017"
    if release not in RELEASES:
        raise unknown("release of sewa", release, RELEASES)
    rng = np.random.default_rng((seed, 13))
    names = [f"{start}_{i + 1:02d}" for start, count in COUNTS[release].items() for i in range(count)]
    for name in names:
        chat = _chat(max(3, round(utterances / len(names))), rng)
        package = folder
        if release == "2019":
            package = folder / ("AVEC2019_CES_test" if name.startswith("Test") else "AVEC2019_CES_traindevel")
        write_wav(package / "audio" / f"{name}.wav", chat.signal, RATE)
        if not name.startswith("Test"):
            _write_labels(package / "labels" / f"{name}.csv", name, chat.trace, release)
        if release == "2017":
            _write_turns(package, name, chat)
    if traps:
        _add_traps(folder / "AVEC2019_CES_traindevel" if release == "2019" else folder, names[0])


def _chat(turns: int, rng: np.random.Generator) -> _Chat:
    """Turns of one person with another one's in the gaps."""
    genders = ("female", "male") if rng.random() < 0.5 else ("male", "female")
    sound: list[Array] = []
    spans, texts, states = [], [], []
    clock = 0.0
    for emotion in spread(EMOTIONS, turns, rng):
        gap, length = (round(float(rng.uniform(*bounds)), 1) for bounds in ((0.7, 1.4), (1.0, 2.0)))
        sound.append(voice_of("neutral", gap, int(rng.integers(2**31)), genders[1], RATE))
        sound.append(voice_of(emotion, length, int(rng.integers(2**31)), genders[0], RATE))
        spans.append((round(clock + gap, 1), round(clock + gap + length, 1)))
        texts.append(sentence(emotion, rng))
        states.append(AFFECT[emotion])
        clock = spans[-1][1]
    return _Chat(np.concatenate(sound), spans, texts, _trace(spans, states, clock, rng))


def _trace(
    spans: list[tuple[float, float]], states: list[tuple[float, float]], seconds: float, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Arousal, valence and liking per frame: towards the state of the turn that was heard last, late and smoothly."""
    frames = round(seconds / HOP_SECONDS)
    time = np.arange(frames) * HOP_SECONDS - LAG_SECONDS
    heard = np.searchsorted([start for start, _ in spans], time, side="right")
    aims = np.array([(0.0, 0.0), *states])[heard] * 0.7
    trace = np.zeros((frames, 3))
    for i in range(ZEROS, frames):
        trace[i, :2] = 0.7 * trace[i - 1, :2] + 0.3 * aims[i]
    trace[:, 2] = 0.5 * trace[:, 1]
    trace[ZEROS:] += rng.normal(0.0, 0.01, (frames - ZEROS, 3))
    return np.clip(trace, -1.0, 1.0)


def _write_labels(path: Path, name: str, trace: npt.NDArray[np.float64], release: str) -> None:
    header = ["name;timestamp;arousal;valence;liking"] if release == "2019" else []
    first = 1 if release == "2019" else 0
    rows = [
        f"'{name}';{(i + first) * HOP_SECONDS:.6f};" + ";".join(f"{value:.6f}" for value in frame)
        for i, frame in enumerate(trace)
    ]
    write_lines(path, [*header, *rows])


def _write_turns(package: Path, name: str, chat: _Chat) -> None:
    write_lines(package / "turns" / f"{name}.csv", [f"{a:.3f};{b:.3f}" for a, b in chat.spans])
    said = [f"{a:.3f};{b:.3f};'{text}'" for (a, b), text in zip(chat.spans, chat.texts, strict=True)]
    write_lines(package / "transcriptions" / f"{name}.csv", said)


def _add_traps(package: Path, name: str) -> None:
    """Change the files of the first recording as they are found in real copies."""
    labels = package / "labels" / f"{name}.csv"
    write_text(labels, labels.read_text(encoding="utf-8").replace(";", ","))
    for folder in ("labels", "audio"):
        for path in sorted((package / folder).iterdir())[:2]:
            write_stub(path)
    recording = parse_name(name)
    if recording is not None and not recording.named_culture:
        turns = package / "turns" / f"{name}.csv"
        last = float(turns.read_text(encoding="utf-8").split()[-1].split(";")[1])
        lines = [f"{line};0.5" for line in turns.read_text(encoding="utf-8").split()]
        write_lines(turns, [*lines, f"{last + 20:.3f};{last + 21:.3f};0.5"])
        text = package / "transcriptions" / f"{name}.csv"
        rows = text.read_text(encoding="utf-8").splitlines()
        first = ";".join(rows[0].split(";")[:2])
        second = ";".join(rows[1].split(";")[:2])
        rows[:2] = [f"{first};'ja; 'genau' <laughter> das stimmt'", f"{second};'<laughter>'"]
        write_lines(text, rows)
    (package / "audio").rename(package / "Audio")
