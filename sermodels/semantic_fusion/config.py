"""Settings of semantic fusion and their named values; what these are stands in `semantic_fusion/model.py`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...datasets.core.config import option
from ..training.settings import TrainConfig
from .network import FREE, RELEASED, NetworkConfig
from .words import WordConfig

CHOSEN = -1.0
"""The delay is chosen on the data."""
WEIGHTS = ("equal", "harmonic")
TRAINING: TrainConfig = option(
    TrainConfig(epochs=60, patience=15, batch_size=5, learning_rate=5e-4, clip_norm=5.0),
    "training settings, set with train.KEY; batch_size counts sequences of recordings",
)


@dataclass(frozen=True)
class Config(NetworkConfig, WordConfig):
    """Settings of `semantic-fusion`: those of network and words, and these."""

    train: TrainConfig = TRAINING
    sampling_rate: int = option(22050, "rate of the sound in Hz", source="section 4", low=1000)
    sequence: int = option(100, "frames of a training sequence", source="released code; paper: 300", low=1)
    frame_seconds: float = option(0.1, "frames of utterances [s]; traces have their own", source=FREE, low=0.01, high=1)
    utterance_batch: int = option(32, "utterances per step, where utterances are predicted", source=FREE, low=1)
    masked: bool = option(True, "silence behind a recording's end counts nowhere", source="released code: false")
    target_weights: str = option(
        "equal", "weights of the targets; harmonic: 1, 1/2, 1/3", source=RELEASED, choices=WEIGHTS
    )
    delay_seconds: float = option(
        CHOSEN,
        "how late annotators react [s]; -1 = chosen on training and dev data",
        source="released code: 0; AVEC 2018: 2",
        low=-1,
        high=20,
    )
    max_delay_seconds: float = option(4.0, "longest delay that is tried [s]", source=FREE, low=0, high=20)
    delay_step_seconds: float = option(0.2, "distance of the delays that are tried [s]", source=FREE, low=0.01, high=5)
    scaled: bool = option(True, "divide sound by the training data's root mean square", source="released code: false")
    beta2: float = option(0.999, "Adam's second coefficient", source="released code: 0.99", low=0, high=0.99999)
    class_weights: str = option("none", "of the cross-entropy", source=FREE, choices=("none", "balanced"))


FIXED = Config()
RELEASE = Config(
    train=replace(FIXED.train, epochs=100, patience=0, clip_norm=0.0),
    masked=False,
    target_weights="harmonic",
    delay_seconds=0.0,
    scaled=False,
    beta2=0.99,
    unknown="random",
)
PAPER = Config(
    train=replace(FIXED.train, batch_size=25, learning_rate=1e-4, clip_norm=5.0),
    sequence=300,
    order="alv",
    delay_seconds=0.0,
    scaled=False,
    unknown="random",
)
SMALL = Config(
    train=replace(FIXED.train, epochs=20, patience=6, batch_size=8, learning_rate=1e-3),
    sampling_rate=8000,
    filters=(16, 32, 40),
    projection=128,
    width=96,
    units=64,
    dropout=0.2,
)
TINY = replace(
    SMALL,
    train=replace(SMALL.train, epochs=30, patience=0, batch_size=8, learning_rate=1e-2),
    sampling_rate=2000,
    filters=(8, 8, 8),
    pools=(5, 4, 2),
    projection=32,
    width=32,
    units=16,
    dropout=0.0,
    sequence=25,
    utterance_batch=8,
    max_delay_seconds=1.0,
    word_dim=5,
)
