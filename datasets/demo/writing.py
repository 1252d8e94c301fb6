"""Writes the demo corpus: audio of utterances and of both sides of each dialogue, and five CSV tables.

`utterances.csv` and `recordings.csv` are corpus tables, `words.csv` holds the words of both kinds of items (item, word,
start, end), `traces.csv` the frame labels of recordings (item, time, arousal, valence, liking), `ratings.csv` what each
simulated rater said. The same bytes come out every time on one machine; another processor or numpy may round single
samples the other way.
"""

from __future__ import annotations

import wave
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from ..core.stages import track
from ..schema.context import add_context
from ..schema.corpus import make_table
from ..schema.ratings import make_ratings
from ..voice.synthesis import synthesise
from ..voice.vocal_tract import RATE, Array, room_noise
from . import FRAME_SECONDS
from .affect import Judgements, judge, rate, rater_habits, trace
from .dialogues import SEED, Dialogue, Turn, dialogues

_RAW = {"anger": "angry", "happiness": "happy", "neutral": "neutral", "sadness": "sad"}
_ROOM = -68.0  # dBFS
_CROSSTALK = 10.0 ** (-9.0 / 20.0)


def write_corpus(folder: Path, groups: int = 1) -> None:
    """Generate everything into an existing, empty folder, with some groups of unlabelled speakers."""
    everything = list(dialogues(groups))
    labelled = [d for d in everything if d.partition != "unlabelled"]
    (folder / "utterances").mkdir()
    (folder / "dialogues").mkdir()
    for dialogue in track(everything, "making the demo corpus, dialogues"):
        _write_audio(folder, dialogue)
    utterances = add_context(make_table(_utterance_row(d, k) for d in everything for k in range(len(d.turns))))
    _save(utterances.reset_index(), folder / "utterances.csv")
    recordings = make_table(_recording_row(d, side) for d in labelled for side in (0, 1))
    _save(recordings.reset_index(), folder / "recordings.csv")
    words = pd.DataFrame(_words(everything), columns=["item", "word", "start", "end"])
    _save(words, folder / "words.csv")
    _save(ratings(), folder / "ratings.csv")
    _save(pd.concat([_traces(d, side) for d in labelled for side in (0, 1)]), folder / "traces.csv")


def _write_audio(folder: Path, dialogue: Dialogue) -> None:
    """Synthesise each turn once; write it alone, and placed in the recording of either side."""
    sides = [np.zeros(round(dialogue.seconds * RATE), np.float32) for _ in dialogue.sides]
    for k, turn in enumerate(dialogue.turns):
        signal = synthesise(turn.line.score, turn.speaker.voice, turn.delivery, np.random.default_rng(turn.seed))
        first = round(turn.start * RATE)
        for mixed, who in zip(sides, dialogue.sides, strict=True):
            gain = 1.0 if who.id == turn.speaker.id else _CROSSTALK
            mixed[first : first + len(signal)] += np.float32(gain) * signal
        _write_wav(folder / _utterance_path(dialogue, k), signal, (*turn.seed, 2))
    for side, mixed in enumerate(sides if dialogue.partition != "unlabelled" else []):
        _write_wav(folder / _recording_path(dialogue, side), mixed, (SEED, 7, dialogue.number, side))


def _write_wav(path: Path, signal: Array, seed: tuple[int, ...]) -> None:
    """Add the room's noise and write 16 kHz mono PCM16."""
    start = int(np.random.default_rng(seed).integers(len(_room())))
    audible = signal + np.take(_room(), np.arange(start, start + len(signal)), mode="wrap")
    with wave.open(str(path), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(RATE)
        stream.writeframes(np.rint(np.clip(audible, -1.0, 1.0) * 32767).astype("<i2").tobytes())


@cache
def _room() -> Array:
    """Twenty seconds of noise that every file takes a stretch of, from a place of its own."""
    return room_noise(20 * RATE, _ROOM, np.random.default_rng((SEED, 6)))


def _utterance_id(dialogue: Dialogue, k: int) -> str:
    return f"{dialogue.id}_t{k:02d}_{dialogue.turns[k].speaker.id}"


def _recording_id(dialogue: Dialogue, side: int) -> str:
    return f"{dialogue.id}_{dialogue.sides[side].id}"


def _utterance_path(dialogue: Dialogue, k: int) -> str:
    return f"utterances/{_utterance_id(dialogue, k)}.wav"


def _recording_path(dialogue: Dialogue, side: int) -> str:
    return f"dialogues/{_recording_id(dialogue, side)}.wav"


def _utterance_row(dialogue: Dialogue, k: int) -> dict[str, object]:
    turn = dialogue.turns[k]
    row: dict[str, object] = {
        "id": _utterance_id(dialogue, k),
        "path": _utterance_path(dialogue, k),
        "speaker": turn.speaker.id,
        "gender": turn.speaker.voice.gender,
        "dialogue": dialogue.id,
        "turn": k,
        "dialogue_start": turn.start,
        "dialogue_end": turn.end,
        "text": turn.line.text,
        "partition": dialogue.partition,
    }
    return row if dialogue.partition == "unlabelled" else row | _labels(turn)


def _labels(turn: Turn) -> dict[str, object]:
    rating = rate(judged(turn))
    return {
        "raw_emotion": _RAW[rating.emotion],
        "emotion": rating.emotion,
        "arousal": rating.arousal,
        "valence": rating.valence,
        "dominance": rating.dominance,
    }


def judged(turn: Turn) -> Judgements:
    """What the simulated raters say of a turn."""
    habits = rater_habits(np.random.default_rng((SEED, 4)))
    return judge(turn.state, habits, np.random.default_rng((*turn.seed, 1)))


def ratings() -> pd.DataFrame:
    """The answers behind the labels of all labelled utterances, one row per utterance and simulated rater."""
    rows = []
    for dialogue in (d for d in dialogues() if d.partition != "unlabelled"):
        for k, turn in enumerate(dialogue.turns):
            said = judged(turn)
            for who, marks, emotion in zip(said.who, said.marks, said.emotions, strict=True):
                marked = dict(zip(("arousal", "valence", "dominance"), marks, strict=True))
                rows.append(
                    {"id": _utterance_id(dialogue, k), "rater": f"R{who + 1:02d}", "emotion": emotion, **marked}
                )
    return make_ratings(pd.DataFrame(rows))


def _recording_row(dialogue: Dialogue, side: int) -> dict[str, object]:
    who = dialogue.sides[side]
    return {
        "id": _recording_id(dialogue, side),
        "path": _recording_path(dialogue, side),
        "speaker": who.id,
        "gender": who.voice.gender,
        "dialogue": dialogue.id,
        "dialogue_start": 0.0,
        "dialogue_end": dialogue.seconds,
        "text": " ".join(turn.line.text for turn in dialogue.turns if turn.speaker.id == who.id),
        "partition": dialogue.partition,
    }


def _words(everything: list[Dialogue]) -> Iterator[tuple[str, str, float, float]]:
    """Words of each utterance, and again, in the dialogue's time, of the recording of the side that says them."""
    for dialogue in everything:
        for k, turn in enumerate(dialogue.turns):
            side = [who.id for who in dialogue.sides].index(turn.speaker.id)
            for word, start, end in turn.line.times():
                yield _utterance_id(dialogue, k), word, start, end
                if dialogue.partition != "unlabelled":
                    times = round(turn.start + start, 3), round(turn.start + end, 3)
                    yield _recording_id(dialogue, side), word, *times


def _traces(dialogue: Dialogue, side: int) -> pd.DataFrame:
    who = dialogue.sides[side].id
    turns = [(turn.start, turn.speaker.id == who, turn.state) for turn in dialogue.turns]
    rng = np.random.default_rng((SEED, 5, dialogue.number, side))
    frames = trace(turns, dialogue.liking[side], dialogue.seconds, rng)
    table = pd.DataFrame(frames, columns=["arousal", "valence", "liking"])
    table.insert(0, "time", (np.arange(len(frames)) * FRAME_SECONDS).round(3))
    return table.assign(item=_recording_id(dialogue, side))


def _save(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, index=False, lineterminator="\n")
