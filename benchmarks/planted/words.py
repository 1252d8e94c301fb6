"""A language whose meaning is known: words of random sound that mean nothing but their class, in sentences of classes.

A sentence is of two classes by turns, and a word is drawn from its class at random, so words of one class have the same
neighbours and nothing else in common. Sound is ideal: a word always sounds the same, and no two words are
alike. Vectors that learn from neighbours bring the words of a class together; vectors of sound alone can't.

    python -m serbench.benchmarks.planted.words --tokens 4800
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from ...features.judging.precision import average_precision, cosines
from ...features.words import word2vec
from ...features.words.speech2vec import QUICK, Config, average, embed, fresh, train
from ...features.words.spoken_words import Cuts
from ...features.words.vectors import Vectors

CLASSES, WORDS = 6, 8
"""Classes, and words of each."""
SENTENCE = 12
"""Words of a sentence."""
FRAMES, COEFFICIENTS = 6, 13


SETTINGS = replace(QUICK, dim=32, lr=5e-3, batch=128, epochs=6, patience=0)
"""Small words need a small network."""


def ideal_speech(tokens: int, seed: int = 0) -> Cuts:
    """So many spoken words of the language; word "w13" is the sixth of class 1."""
    rng = np.random.default_rng(seed)
    sounds = rng.standard_normal((CLASSES * WORDS, FRAMES, COEFFICIENTS), dtype=np.float32)
    said = said_classes(tokens, rng) * WORDS + rng.integers(WORDS, size=tokens)
    lengths = np.full(tokens, FRAMES, np.int64)
    return Cuts([f"w{k:02d}" for k in said], [f"u{i // SENTENCE}" for i in range(tokens)], sounds[said], lengths)


def said_classes(tokens: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Classes of so many words, in sentences of two classes by turns."""
    first = rng.integers(CLASSES, size=(-(-tokens // SENTENCE), 1))
    return np.where(np.arange(SENTENCE) % 2, first ^ 1, first).ravel()[:tokens]


def class_precision(vectors: Vectors) -> float:
    """Average precision of "words of one class are near"; chance is about (WORDS - 1) / (CLASSES * WORDS - 1)."""
    classes = np.array([int(word[1:]) // WORDS for word in vectors.words])
    pairs = np.triu_indices(len(classes), 1)
    return average_precision((classes[:, None] == classes)[pairs], cosines(vectors.matrix)[pairs])


def untrained(cuts: Cuts, config: Config) -> Vectors:
    """The vectors of a network as it is before its training."""
    network = fresh(cuts.mfcc.shape[2], config)
    return average(cuts.words, embed(network, torch.from_numpy(cuts.mfcc), torch.from_numpy(cuts.lengths)))


def rows(tokens: int, seed: int, epochs: int) -> Iterator[tuple[str, Vectors]]:
    """Vectors of the same words by each way."""
    cuts, config = ideal_speech(tokens, seed), replace(SETTINGS, epochs=epochs, seed=seed)
    yield "untrained", untrained(cuts, config)
    for forcing in (1.0, 0.5, 0.25, 0.0):
        yield f"forcing={forcing:g}", train(cuts, replace(config, forcing=forcing)).vectors
    yield "decoders=distance", train(cuts, replace(config, decoders="distance")).vectors
    yield "objective=choose", train(cuts, replace(config, objective="choose")).vectors
    yield "Word2Vec", word2vec.train([cuts.words], word2vec.Config())


def main() -> None:
    """Print the average precision of each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=4800)
    parser.add_argument("--epochs", type=int, default=SETTINGS.epochs)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for name, vectors in rows(given.tokens, given.seed, given.epochs):
        sys.stdout.write(f"{name:<20} {class_precision(vectors):.3f}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
