"""Feelings in the demo corpus: four emotions in affective space, raters who judge states, traces that follow them.

A state is (arousal, valence, dominance), each about -1 to 1. Simulated raters have a bias, a reach and a noise of
their own; an utterance's labels are what five of them say on a scale of 1 to 7 and which emotion most of them choose.
A trace follows the states late and smoothly, as an annotator's hand does.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from . import EMOTIONS, FRAME_SECONDS

State = npt.NDArray[np.float64]
_CENTRES = np.array([[0.65, -0.6, 0.6], [0.5, 0.65, 0.2], [-0.05, 0.0, 0.0], [-0.6, -0.5, -0.55]])
_PRIOR = np.array([0.24, 0.25, 0.27, 0.24])
_POOL, _RATERS = 12, 5
_NOISE = np.array([0.3, 0.3, 0.4])


def draw_emotion(rng: np.random.Generator) -> int:
    """An emotion out of the blue: its index."""
    return int(rng.choice(len(EMOTIONS), p=_PRIOR))


def next_emotion(own: int, other: int, rng: np.random.Generator) -> int:
    """Emotion of a speaker's next turn: the last one (0.45), the other's (0.15), or a new one."""
    chance = rng.random()
    if chance < 0.45:
        return own
    return other if chance < 0.6 else draw_emotion(rng)


def draw_state(emotion: int, rng: np.random.Generator) -> State:
    """A state near its emotion, (3,) in -1 .. 1."""
    state: State = np.clip(_CENTRES[emotion] + rng.normal(0.0, 0.24, 3), -1.0, 1.0)
    return state


@dataclass(frozen=True)
class Rating:
    """Labels of an utterance: means of the raters on 1 .. 7, and the emotion that most of them chose."""

    arousal: float
    valence: float
    dominance: float
    emotion: str


@dataclass(frozen=True)
class Judgements:
    """What five raters say of a state: numbers of the raters (rater,), marks on 1 .. 7 (rater, attribute), and how far
    each emotion is from what each saw (rater, emotion)."""

    who: npt.NDArray[np.int64]
    marks: npt.NDArray[np.float64]
    distance: npt.NDArray[np.float64]

    @property
    def emotions(self) -> list[str]:
        """The emotion that each rater chooses: the nearest."""
        return [EMOTIONS[int(k)] for k in self.distance.argmin(axis=1)]


def judge(state: State, habits: npt.NDArray[np.float64], rng: np.random.Generator) -> Judgements:
    """Let five of the raters judge a state; `habits` are `rater_habits`."""
    who = rng.choice(_POOL, _RATERS, replace=False)
    seen = state + _NOISE * rng.normal(0.0, 1.0, (_RATERS, 3))
    scores = 4.0 + 2.2 * (1.0 + 0.15 * habits[who, 0]) * seen + 0.35 * habits[who, 1]
    return Judgements(who, np.clip(np.rint(scores), 1, 7), np.linalg.norm(seen[:, None] - _CENTRES, axis=2))


def rate(judged: Judgements) -> Rating:
    """The labels that judgements of an utterance make."""
    arousal, valence, dominance = (round(float(m), 3) for m in judged.marks.mean(axis=0))
    return Rating(arousal, valence, dominance, EMOTIONS[_plurality(judged.distance)])


def rater_habits(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Reach and bias of each rater on each attribute, standard normal, (rater, 2, attribute)."""
    return rng.normal(0.0, 1.0, (_POOL, 2, 3))


def _plurality(distance: npt.NDArray[np.float64]) -> int:
    """The emotion nearest to most raters, from (rater, emotion) distances; a tie goes to the one nearer on average."""
    votes = Counter(int(k) for k in distance.argmin(axis=1))
    return max(votes, key=lambda k: (votes[k], -distance[:, k].mean()))


def trace(
    turns: Sequence[tuple[float, bool, State]], liking: float, seconds: float, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Arousal, valence and liking of one side of a dialogue every 0.1 s.

    While a side speaks its trace heads for the turn's state, while it listens for a mixture of its own fading state
    and the speaker's; the annotator follows 0.6 s late and smoothly, with slow errors. Liking moves slowest.

    Parameters
    ----------
    turns : (start [s], whether this side speaks, state) in order
    liking : what the side thinks of the topic, about -1 .. 1
    seconds : length of the dialogue

    Returns
    -------
    array, (frame, 3) in -1 .. 1, four decimals
    """
    frames = round(seconds / FRAME_SECONDS)
    goal, own = np.zeros((frames, 2)), np.zeros(2)
    for start, speaks, state in turns:
        own = state[:2] if speaks else 0.8 * own
        goal[round(start / FRAME_SECONDS) :] = own if speaks else 0.6 * own + 0.3 * state[:2]
    late = np.concatenate([np.zeros((6, 2)), goal])[:frames]
    followed = _follow(late, 0.8)
    liked = 0.6 * liking + 0.7 * _follow(followed[:, 1:], 5.0)
    errors = _follow(rng.normal(0.0, 0.25, (frames, 3)), 1.0) + rng.normal(0.0, 0.03, 3)
    rated: npt.NDArray[np.float64] = 0.7 * np.concatenate([followed, liked], axis=1) + errors
    return rated.clip(-1.0, 1.0).round(4)


def _follow(goal: npt.NDArray[np.float64], seconds: float) -> npt.NDArray[np.float64]:
    """First-order low pass with a time constant in seconds, from rest, along the first axis."""
    out, state = np.empty_like(goal), np.zeros(goal.shape[1])
    keep = math.exp(-FRAME_SECONDS / seconds)
    for k, value in enumerate(goal):
        state = keep * state + (1.0 - keep) * value
        out[k] = state
    return out
