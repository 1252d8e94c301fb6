"""A miniature IEMOCAP in the layout of the full release, with synthetic voices and invented dialogues.

Five sessions of one woman and one man each, improvised and scripted dialogues, a sound file per turn and a two-channel
one per dialogue, label files with consensus and raters, transcriptions, word times.

With `traps`: AppleDouble stubs, the sub-folders of single raters with other labels in them, dialogues with a letter
behind the number, an empty dominance, missing and partial attributes, a rater with two labels, self-reports, turns that
overlap, speech that was never cut into turns (`XX`), nameless lines, a Latin-1 byte, a folder written `Transcriptions`,
a turn without word times.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..core.errors import SerbenchError
from ..core.files import write_bytes
from ..reading.acted import one_release
from ..schema.labels import VOCABULARIES
from ._common import AFFECT, on_scale, sentence, spread, voice_of, write_stub, write_wav

RATE = 16000
TURNS_PER_DIALOGUE = 10
CODES = ("neu", "ang", "sad", "exc", "hap", "fru", "neu", "xxx", "neu", "ang", "sad", "exc", "hap", "fru", "sur", "oth")
WORDS = {
    "ang": "Anger",
    "hap": "Happiness",
    "exc": "Excited",
    "sad": "Sadness",
    "neu": "Neutral",
    "fru": "Frustration",
    "fea": "Fear",
    "sur": "Surprise",
    "dis": "Disgust",
    "oth": "Other",
}
IRREGULAR = {3: "Ses03M_impro05a", 5: "Ses05M_script01_1b"}


@dataclass
class PlannedTurn:
    """One turn: names, times [s], what was said, and what three raters made of it."""

    dialogue: str
    letter: str
    number: int
    start: float
    end: float
    code: str
    text: str
    marks: tuple[tuple[int, int, int], ...]  # (valence, activation, dominance) of each of two raters
    votes: tuple[str, ...]
    extra: list[str] = field(default_factory=list)  # further rater lines

    @property
    def id(self) -> str:
        """The turn's name in the release's files."""
        return f"{self.dialogue}_{self.letter}{self.number:03d}"

    @property
    def session(self) -> int:
        """Number of the session, 1 to 5."""
        return int(self.dialogue[4])

    @property
    def gender(self) -> str:
        """The speaker's gender, which the letter tells."""
        return "female" if self.letter == "F" else "male"

    @property
    def triple(self) -> tuple[float, ...]:
        """Valence, activation and dominance: the means over the raters."""
        return tuple(float(np.mean([m[i] for m in self.marks])) for i in range(3))


def write(
    folder: Path, *, release: str | None = None, utterances: int = 150, traps: bool = False, seed: int = 0
) -> None:
    """Write the miniature corpus into `folder` (made if need be); the same arguments give the same rows and voices.

    Raises
    ------
    SerbenchError
        For a release (IEMOCAP has one), or fewer than 50 utterances.
    """
    one_release("iemocap", release)
    if utterances < 50:
        raise SerbenchError(f"a miniature IEMOCAP of {utterances} turns has no room for its folds. Ask for 50 or more.")
    turns = plan(utterances, seed, traps=traps)
    write_labels(folder, turns, traps=traps)
    write_audio(folder, turns, seed)
    if traps:
        _write_stubs(folder, turns)


def plan(
    utterances: int, seed: int, *, traps: bool = False, per_dialogue: int = TURNS_PER_DIALOGUE
) -> list[PlannedTurn]:
    """Turns of all sessions, dialogue by dialogue, in time order."""
    rng = np.random.default_rng((seed, 17))
    turns: list[PlannedTurn] = []
    for session in range(1, 6):
        count = utterances // 5 + (session <= utterances % 5)
        codes = spread(CODES, count, rng)
        for k, first in enumerate(range(0, count, per_dialogue)):
            name = _dialogue_name(session, k)
            if traps and k == 1:
                name = IRREGULAR.get(session, name)
            turns += _dialogue(name, codes[first : first + per_dialogue], rng)
    return turns


def _dialogue_name(session: int, k: int) -> str:
    """Improvised and scripted in turn, markers on the woman and on the man in turn."""
    kind, number = k % 2, k // 4 + 1
    part = f"impro{number:02d}" if kind == 0 else f"script{number // 4 + 1:02d}_{number % 4 + 1}"
    return f"Ses0{session}{'FM'[k // 2 % 2]}_{part}"


def _dialogue(name: str, codes: list[str], rng: np.random.Generator) -> list[PlannedTurn]:
    counters, clock, turns = {"F": 0, "M": 0}, float(rng.uniform(1.0, 8.0)), []
    for code in codes:
        letter = "F" if rng.random() < 0.5 else "M"
        start, end = clock, clock + float(rng.uniform(0.8, 1.6))
        emotion = VOCABULARIES["iemocap"][code]
        turns.append(
            PlannedTurn(
                name,
                letter,
                counters[letter],
                round(start, 4),
                round(end, 4),
                code,
                sentence(emotion, rng),
                _marks(emotion, rng),
                _votes(code, rng),
            )
        )
        counters[letter] += 1
        clock = end + float(rng.uniform(-0.3, 0.7))
    return turns


def _marks(emotion: str | None, rng: np.random.Generator) -> tuple[tuple[int, int, int], ...]:
    arousal, valence = AFFECT[emotion or "other"]
    state = (valence, arousal, arousal)
    return tuple(
        tuple(int(np.clip(round(on_scale(x, 1, 5) + rng.normal(0, 0.4)), 1, 5)) for x in state)  # type: ignore[misc]
        for _ in range(2)
    )


def _votes(code: str, rng: np.random.Generator) -> tuple[str, ...]:
    """Three raters: two or three agree on the consensus; where there is none, they all differ."""
    words = list(WORDS.values())
    if code == "xxx":
        return tuple(str(w) for w in rng.choice(words, 3, replace=False))
    other = str(rng.choice(words)) if rng.random() < 0.5 else WORDS[code]
    return (WORDS[code], other, WORDS[code])


def write_labels(folder: Path, turns: list[PlannedTurn], *, traps: bool = False) -> None:
    """Write EmoEvaluation, transcriptions and word times of the planned turns."""
    if traps:
        _trap_turns(turns)
    dialogues: dict[str, list[PlannedTurn]] = {}
    for turn in turns:
        dialogues.setdefault(turn.dialogue, []).append(turn)
    for name, members in dialogues.items():
        session = folder / f"Session{members[0].session}"
        spoken = "Transcriptions" if traps and members[0].session == 2 else "transcriptions"
        _write(session / "dialog/EmoEvaluation" / f"{name}.txt", _evaluation(members, traps))
        _write(session / "dialog" / spoken / f"{name}.txt", _transcription(members, traps))
        for turn in members:
            _write_alignment(session, turn)
        if traps:
            _write_single_raters(session, members)


def _evaluation(turns: list[PlannedTurn], traps: bool) -> str:
    blocks = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n"]
    for position, turn in enumerate(turns):
        triple = ", ".join(f"{x:.4f}" for x in turn.triple)
        if traps and position == 4:
            triple = triple.rsplit(",", 1)[0] + ", "
        lines = [f"[{turn.start:.4f} - {turn.end:.4f}]\t{turn.id}\t{turn.code}\t[{triple}]"]
        lines += [f"C-E{k}:\t{words};\t()" for k, words in enumerate(turn.votes, 2)]
        lines += [f"A-E{k}:\tval {v}; act {a}; dom  {d};\t()" for k, (v, a, d) in enumerate(turn.marks, 3)]
        blocks.append("\n".join([*lines, *turn.extra]) + "\n")
    return "\n".join(blocks) + "\n"


def _trap_turns(turns: list[PlannedTurn]) -> None:
    """Rater lines of the awkward kinds on the first turns of each dialogue."""
    for i, turn in enumerate(turns):
        if i == 0 or turn.dialogue != turns[i - 1].dialogue:
            turn.extra += ["A-E5:\tval 3; act 2; dom  ;\t()", f"C-{turn.letter}1:\tSurprise; Other;\t(self (nested))"]
            turn.votes = (*turn.votes[:2], f"{turn.votes[2]}; Frustration")


def _transcription(turns: list[PlannedTurn], traps: bool) -> str:
    lines = [f"{t.id} [{t.start:08.4f}-{t.end:08.4f}]: {t.text}" for t in turns]
    if traps:
        first = turns[0]
        lines[0] += " caf\xe9 [LAUGHTER]"
        lines.insert(1, f"{first.dialogue}_{first.letter}XX0 [{first.end:08.4f}-{first.end + 0.1:08.4f}]: Mm.")
        lines.insert(2, "M: Yeah.")
    return "\n".join(lines) + "\n"


def _write_single_raters(session: Path, turns: list[PlannedTurn]) -> None:
    """Sub-folders with other labels under the same turn names: a reader that goes too deep gets them twice."""
    name = turns[0].dialogue
    lines = "\n".join(f"{t.id} :Neutral state; ()" for t in turns)
    _write(session / "dialog/EmoEvaluation/Categorical" / f"{name}_e2_cat.txt", lines + "\n")
    marks = "\n".join(f"{t.id} :act 1; :val 1; :dom 1; ()" for t in turns)
    _write(session / "dialog/EmoEvaluation/Attribute" / f"{name}_e3_atr.txt", marks + "\n")


def _write_alignment(session: Path, turn: PlannedTurn) -> None:
    """Words spread evenly over the turn, silence before and behind, in frames of 10 ms."""
    words = [w.strip(".,!?").upper() for w in turn.text.split()]
    frames = int((turn.end - turn.start) * 100)
    edges = np.linspace(10, frames - 10, len(words) + 1).astype(int)
    rows = [
        (0, 9, "<s>"),
        *((a, b - 1, w) for a, b, w in zip(edges, edges[1:], words, strict=False)),
        (int(edges[-1]), frames - 1, "</s>"),
    ]
    lines = ["\tSFrm\tEFrm\tSegAScr\tWord", *(f"\t{a}\t{b}\t{-1000 * (b - a)}\t{w}" for a, b, w in rows)]
    path = session / "sentences/ForcedAlignment" / turn.dialogue / f"{turn.id}.wdseg"
    _write(path, "\n".join([*lines, f" Total score: {-1000 * frames}"]) + "\n")


def write_audio(folder: Path, turns: list[PlannedTurn], seed: int) -> None:
    """One mono file per turn, and per dialogue a two-channel file that holds every turn at its time."""
    voices: dict[str, list[tuple[PlannedTurn, np.ndarray]]] = {}
    for number, turn in enumerate(turns):
        seconds = turn.end - turn.start
        voice = voice_of(VOCABULARIES["iemocap"][turn.code], seconds, seed * 100_003 + number, turn.gender, RATE)
        base = folder / f"Session{turn.session}"
        write_wav(base / "sentences/wav" / turn.dialogue / f"{turn.id}.wav", voice, RATE)
        voices.setdefault(turn.dialogue, []).append((turn, voice))
    for name, spoken in voices.items():
        both = np.zeros((max(round(t.start * RATE) + len(v) for t, v in spoken), 2), dtype=np.float32)
        for turn, voice in spoken:
            start = round(turn.start * RATE)
            both[start : start + len(voice), 0 if turn.letter == "F" else 1] += voice
        write_wav(folder / f"Session{name[4]}" / "dialog/wav" / f"{name}.wav", both, RATE)


def _write_stubs(folder: Path, turns: list[PlannedTurn]) -> None:
    """What macOS archives leave beside the real files; and one turn loses its word times."""
    for path in (*folder.glob("Session*/dialog/*/Ses*.*"), *folder.glob("Session1/sentences/wav/*/*.wav")):
        write_stub(path)
    last = turns[-1]
    aligned = folder / f"Session{last.session}" / "sentences/ForcedAlignment" / last.dialogue
    (aligned / f"{last.id}.wdseg").unlink()


def _write(path: Path, text: str) -> None:
    write_bytes(path, text.encode("latin-1"))
