"""Settings of Speech2Vec and their named values; what these are stands in `words/speech2vec.py`."""

from __future__ import annotations

from dataclasses import dataclass

from ...datasets.core.config import option

_PAPER, _SOURCE, _FREE = "Chung and Glass", "reproduction", "free choice"


@dataclass(frozen=True)
class Config:
    """Settings of Speech2Vec."""

    dim: int = option(
        100,
        "length of a vector (even): the semantic-fusion authors'; Chung and Glass find 50 best",
        source="semantic fusion",
        low=2,
    )
    window: int = option(3, "words on each side", source=_PAPER, low=1)
    across: bool = option(True, "context may lie in the utterance before or behind", source=_SOURCE)
    min_count: int = option(4, "words that occur less often are left out", source=_SOURCE, low=1)
    subsample: float = option(1e-3, "word2vec's threshold for frequent centres; 0 = none", source=_SOURCE, low=0)
    padding: str = option("zero", "what is behind a word's end", source=_SOURCE, choices=("zero", "masked"))
    optimiser: str = option("sgd", "plain gradient descent or Adam", source=_SOURCE, choices=("sgd", "adam"))
    lr: float = option(1e-3, "learning rate", source=_SOURCE, low=0)
    batch: int = option(4096, "pairs of words per step", source=_SOURCE, low=1)
    epochs: int = option(500, "passes over the pairs at most", source=_PAPER, low=1)
    patience: int = option(
        20, "epochs without a lower loss of the words kept apart before it ends; 0 = never", source=_FREE, low=0
    )
    held_out: float = option(0.05, "share of centre words kept apart for that", source=_FREE, low=0, high=0.5)
    forcing: float = option(
        0.0,
        "share of frames of which the decoder is told the true one before; of the others it is told zeros",
        source="reproduction: 1",
        low=0,
        high=1,
    )
    decoders: str = option(
        "shared",
        "one for all neighbours, or one for each distance",
        source=_PAPER,
        choices=("shared", "distance"),
        later=True,
    )
    objective: str = option(
        "write",
        "write the neighbours' sound, or choose the neighbours among words of the batch",
        source=_PAPER,
        choices=("write", "choose"),
        later=True,
    )
    own: bool = option(False, "the word itself is one of its neighbours, at distance 0", source=_PAPER, later=True)
    target: str = option(
        "mfcc",
        "what is written: mfcc; speaker: MFCCs standardised by speaker; or the folder of a Whisper checkpoint, whose "
        "encoder's means of words are",
        source=_PAPER,
        later=True,
    )
    seed: int = option(0, "seed of start values, of what is kept apart, and of the order", source=_FREE, low=0)


QUICK = Config(optimiser="adam", lr=2e-3, batch=256, epochs=8, padding="masked", subsample=0.0)
"""For small corpora: Adam, small batches, few epochs."""
PAPER = Config(dim=50, forcing=1.0)
"""As published, and as reproduced where the paper is silent: neighbours are written, and every frame is told."""
TARGETS = ("mfcc", "speaker")
"""What can be written beside the means of an encoder."""
PRESETS = {"default": Config(), "quick": QUICK, "paper": PAPER}
SMALL = 100_000
"""Corpora of fewer spoken words are small: 500 epochs of plain gradient descent are meant for hundreds of hours."""


def preset_for(occurrences: int) -> str:
    """The preset that suits so many spoken words."""
    return "quick" if occurrences < SMALL else "default"
