"""Who speaks to whom in the demo corpus, what they feel, and how they show it.

In a dialogue each side moves between emotions, drawn towards the other's, and each turn scatters around its emotion.
Speakers show a state with weights of their own, one per cue, and with chance from turn to turn: by prosody mostly its
arousal and dominance, by words its valence. Everything is drawn from fixed seeds: the same in every process.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..voice.synthesis import Delivery, Voice, express, voice
from ..voice.vocal_tract import HOP, RATE
from . import FRAME_SECONDS
from .affect import State, draw_emotion, draw_state, next_emotion
from .babble import Line, line

SEED = 2
TURNS = 12
PARTITIONS = {"train": (8, 6), "dev": (4, 5), "test": (8, 4), "unlabelled": (6, 4)}
"""Partition -> (speakers, dialogues of each speaker); half of the speakers are women."""


@dataclass(frozen=True)
class Speaker:
    """A speaker: id, voice, weights of the nine cues, habits of rate, level [dB] and hesitation, and reach of words."""

    id: str
    voice: Voice
    weights: npt.NDArray[np.float64]
    rate: float
    level: float
    hesitation: float
    wording: float


@dataclass(frozen=True)
class Turn:
    """A turn: who, when in the dialogue [s], the state behind it, what is said and how; `seed` starts its synthesis."""

    speaker: Speaker
    start: float
    state: State
    line: Line
    delivery: Delivery
    seed: tuple[int, ...]

    @property
    def end(self) -> float:
        """Seconds in the dialogue's own time."""
        return round(self.start + self.line.score.seconds, 3)


@dataclass(frozen=True)
class Dialogue:
    """A dialogue: number, partition, two speakers and what each thinks of the topic, turns, length in seconds."""

    number: int
    partition: str
    sides: tuple[Speaker, Speaker]
    liking: tuple[float, float]
    turns: tuple[Turn, ...]
    seconds: float

    @property
    def id(self) -> str:
        """Dialogue id."""
        return f"d{self.number:03d}"


def dialogues(groups: int = 1) -> Iterator[Dialogue]:
    """All dialogues of the corpus, partition after partition, with some groups of unlabelled speakers at the end."""
    number, women, men = 0, 0, 0
    partitions = [*PARTITIONS.items(), *[("unlabelled", PARTITIONS["unlabelled"])] * (groups - 1)]
    for partition, (size, rounds) in partitions:
        half = size // 2
        group = [speaker("female", women + 1 + i) for i in range(half)]
        group += [speaker("male", men + 1 + i) for i in range(half)]
        women, men = women + half, men + half
        for sides in _pairs(group, rounds):
            number += 1
            yield _dialogue(number, partition, sides)


def _pairs(group: list[Speaker], rounds: int) -> Iterator[tuple[Speaker, Speaker]]:
    """Rounds of a tournament (circle method): everybody meets somebody once a round."""
    for k in range(rounds):
        shift = k % (len(group) - 1)
        ring = [group[0], *group[1 + shift :], *group[1 : 1 + shift]]
        for i in range(len(ring) // 2):
            yield ring[i], ring[-1 - i]


def speaker(gender: str, number: int) -> Speaker:
    """The speaker of that gender and number (from 1)."""
    rng = np.random.default_rng((SEED, 1, gender == "male", number))
    return Speaker(
        id=f"{gender[0].upper()}{number:02d}",
        voice=voice(gender, rng),
        weights=rng.uniform(0.3, 1.5, 9),
        rate=math.exp(rng.normal(0.0, 0.08)),
        level=rng.normal(0.0, 1.6),
        hesitation=rng.uniform(0.02, 0.1),
        wording=rng.uniform(0.6, 1.3),
    )


def _dialogue(number: int, partition: str, sides: tuple[Speaker, Speaker]) -> Dialogue:
    rng = np.random.default_rng((SEED, 2, number))
    liking = (float(rng.normal(0.0, 0.35)), float(rng.normal(0.0, 0.35)))
    speaking, clock = int(rng.integers(2)), float(rng.uniform(0.3, 0.8))
    feeling = [draw_emotion(rng), draw_emotion(rng)]
    turns: list[Turn] = []
    for k in range(TURNS):
        feeling[speaking] = next_emotion(feeling[speaking], feeling[1 - speaking], rng)
        state = draw_state(feeling[speaking], rng)
        turns.append(_turn(sides[speaking], clock, state, liking[speaking], (SEED, 3, number, k), rng))
        goes_on = rng.random() < 0.15
        clock = turns[-1].end + float(rng.uniform(0.2, 0.6) if goes_on else np.clip(rng.normal(0.35, 0.25), -0.3, 1.2))
        speaking = speaking if goes_on else 1 - speaking
    seconds = math.ceil((max(t.end for t in turns) + 0.5) / FRAME_SECONDS) * FRAME_SECONDS
    return Dialogue(number, partition, sides, liking, tuple(turns), round(seconds, 3))


def _turn(
    who: Speaker, start: float, state: State, liking: float, seed: tuple[int, ...], rng: np.random.Generator
) -> Turn:
    """Find words and a delivery for a state; the start is rounded to the synthesiser's 5 ms."""
    delivery = _deliver(who, state, rng)
    leaning = who.wording * float(state[1]) + 0.35 * liking + float(rng.normal(0.0, 0.15))
    said = line(leaning, delivery.rate, who.hesitation * math.exp(-float(state[2])), rng)
    grid = HOP / RATE
    return Turn(who, round(round(start / grid) * grid, 3), state, said, delivery, seed)


def _deliver(who: Speaker, state: State, rng: np.random.Generator) -> Delivery:
    """The speaker's own expression of a state, and chance."""
    plain = express(float(state[0]), float(state[1]), float(state[2]), who.weights)
    return replace(
        plain,
        pitch=plain.pitch + rng.normal(0.0, 1.2),
        range=plain.range * math.exp(rng.normal(0.0, 0.25)),
        rate=plain.rate * who.rate * math.exp(rng.normal(0.0, 0.06)),
        level=min(-16.0, max(-29.5, plain.level + who.level + rng.normal(0.0, 1.6))),
        tilt=plain.tilt + rng.normal(0.0, 0.06),
        breath=plain.breath * math.exp(rng.normal(0.0, 0.25)),
        final=plain.final + rng.normal(0.0, 1.0),
    )
