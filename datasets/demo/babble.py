"""The invented language of the demo corpus: its words, their feeling, and sentences that lean one way or the other.

The lexicon is drawn once from syllable grammars, so words look and sound like words of one language. Function words
are short and say nothing; content words have two or three syllables, a stress, and a valence between -1 and 1 that
most of them keep at 0. A sentence's mean word valence follows what the speaker feels, loosely.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from ..voice.phones import PAUSE, PHONES
from ..voice.synthesis import Score, timing
from ..voice.vocal_tract import HOP, RATE

_SPELLING = {"x": "sh", "@": "e"}
_FUNCTION, _NEUTRAL, _AFFECTIVE = 18, 60, 12


@dataclass(frozen=True)
class Word:
    """A word: spelling, phones (one letter each), the position of the stressed vowel (-1: none), valence in -1 .. 1."""

    text: str
    phones: str
    stress: int
    valence: float


@dataclass(frozen=True)
class Lexicon:
    """Function words, neutral content words, and content words with a pleasant or an unpleasant ring."""

    function: tuple[Word, ...]
    neutral: tuple[Word, ...]
    pleasant: tuple[Word, ...]
    unpleasant: tuple[Word, ...]

    @property
    def words(self) -> tuple[Word, ...]:
        """All words."""
        return (*self.function, *self.neutral, *self.pleasant, *self.unpleasant)


@cache
def lexicon() -> Lexicon:
    """The one lexicon of the corpus (the same in every process)."""
    rng = np.random.default_rng(33)
    taken: set[str] = set()

    def draw(count: int, syllables: tuple[int, ...], low: float, high: float) -> tuple[Word, ...]:
        words: list[Word] = []
        while len(words) < count:
            word = _word(syllables[int(rng.integers(len(syllables)))], round(float(rng.uniform(low, high)), 3), rng)
            if word.text not in taken:
                taken.add(word.text)
                words.append(word)
        return tuple(words)

    return Lexicon(
        function=draw(_FUNCTION, (1,), 0.0, 0.0),
        neutral=draw(_NEUTRAL, (2, 2, 3), 0.0, 0.0),
        pleasant=draw(_AFFECTIVE, (2, 2, 3), 0.4, 1.0),
        unpleasant=draw(_AFFECTIVE, (2, 2, 3), -1.0, -0.4),
    )


def _word(syllables: int, valence: float, rng: np.random.Generator) -> Word:
    """A word of consonant-vowel syllables, some closed; words of one syllable are unstressed."""
    nuclei = "aeiouaeiouy" if syllables > 1 else "ai@o@u"
    parts = [_pick("ptkbdgmnlrsxfvzhwj", rng) + _pick(nuclei, rng) for _ in range(syllables)]
    if rng.random() < 0.4:
        parts[-1] += _pick("nlrstm", rng)
    if syllables > 1 and rng.random() < 0.3:
        parts[0] += _pick("nlr", rng)
    phones = "".join(parts)
    vowels = [i for i, p in enumerate(phones) if PHONES[p].vowel]
    stress = -1 if syllables == 1 else vowels[-2 if rng.random() < 0.7 else 0]
    return Word("".join(_SPELLING.get(p, p) for p in phones), phones, stress, valence)


def _pick(letters: str, rng: np.random.Generator) -> str:
    return letters[int(rng.integers(len(letters)))]


def sentence(length: int, leaning: float, rng: np.random.Generator) -> tuple[Word, ...]:
    """Draw a sentence of `length` words; `leaning` (about -1 to 1) tips its affective words to one side."""
    words, lexical = [], lexicon()
    pleasant = 1.0 / (1.0 + math.exp(-4.0 * leaning))
    for i in range(length):
        if i % 3 == 0 and rng.random() < 0.85:
            words.append(_common(lexical.function, rng))
        elif rng.random() < 0.65:
            words.append(_common(lexical.pleasant if rng.random() < pleasant else lexical.unpleasant, rng))
        else:
            words.append(_common(lexical.neutral, rng))
    return tuple(words)


def _common(words: Sequence[Word], rng: np.random.Generator) -> Word:
    """Draw a word; early ones of the list are more frequent (the square of a uniform draw)."""
    return words[int(len(words) * float(rng.random()) ** 1.5)]


@dataclass(frozen=True)
class Line:
    """A spoken line: its words and its score; `spans` holds the phones (first, last + 1) of each word."""

    words: tuple[Word, ...]
    score: Score
    spans: tuple[tuple[int, int], ...]

    @property
    def text(self) -> str:
        """Transcript."""
        return " ".join(word.text for word in self.words)

    def times(self) -> list[tuple[str, float, float]]:
        """Word, start and end in seconds: exact, since the score places every phone."""
        edges = np.concatenate([[0], np.cumsum(self.score.frames)]) * HOP / RATE
        spans = zip(self.words, self.spans, strict=True)
        return [(word.text, round(float(edges[a]), 3), round(float(edges[b]), 3)) for word, (a, b) in spans]


def line(leaning: float, rate: float, hesitation: float, rng: np.random.Generator) -> Line:
    """Draw a sentence and its timing, with a word more or less each time until it lasts 1 to 4 seconds."""
    shortest, longest = 1.0, 4.0
    length = int(rng.integers(2, 9))
    while True:
        spoken = _line(sentence(length, leaning, rng), rate, hesitation, rng)
        if spoken.score.seconds > longest:
            length -= 1
        elif spoken.score.seconds < shortest:
            length += 1
        else:
            return spoken


def _line(words: tuple[Word, ...], rate: float, hesitation: float, rng: np.random.Generator) -> Line:
    phones: list[str] = [PAUSE]
    stressed: list[bool] = [False]
    spans: list[tuple[int, int]] = []
    for i, word in enumerate(words):
        if i and rng.random() < hesitation:
            phones.append(PAUSE)
            stressed.append(False)
        spans.append((len(phones), len(phones) + len(word.phones)))
        phones += word.phones
        stressed += [k == word.stress for k in range(len(word.phones))]
    return Line(words, timing([*phones, PAUSE], [*stressed, False], rate, rng), tuple(spans))
