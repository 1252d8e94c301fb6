"""Settings of `transformer` and their named values; what these are stands in `transformer/model.py`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...datasets.core.config import option
from ..pretrained.on_encoder import FREE, EncoderChoice
from ..training.settings import FINE_TUNING, TrainConfig

NORMALISE = ("checkpoint", "utterance", "corpus", "none")
_TRAIN = replace(FINE_TUNING, epochs=15, patience=5, checkpoint_epochs=1)
_BASELINE = "MSP-Podcast challenge"


@dataclass(frozen=True)
class Config(EncoderChoice):
    """Settings of `transformer`."""

    train: TrainConfig = option(_TRAIN, "training; learning_rate is the head's", source=FREE)  # noqa: RUF009
    encoder_rate: float = option(3e-5, "step size of the encoder's highest block", source=FREE, low=0)
    layer_decay: float = option(1.0, "factor on it from a block to the one below", source=FREE, low=0.1, high=1)
    freeze_front_end: bool = option(True, "leave the convolutional front end as it is", source=_BASELINE)
    frozen_layers: int = option(0, "lowest blocks that are left as they are", source=FREE, low=0)
    normalise: str = option(
        "checkpoint", "waveforms to mean 0, variance 1, by whose moments", source=FREE, choices=NORMALISE
    )
    max_seconds: float = option(12.0, "longest input in training [s]", source=_BASELINE, low=0.1)
    window_seconds: float = option(
        0.0,
        "Whisper's window in place of its own [s], which cuts what is longer; 0 = its own",
        source=FREE,
        low=0,
        later=True,
    )
    crop: str = option("random", "which part of longer utterances is taken", source=FREE, choices=("random", "start"))
    overlap_seconds: float = option(2.0, "overlap of windows in prediction [s]", source=FREE, low=0)
    pooling: str = option(
        "attentive", "over the frames of an utterance", source=_BASELINE, choices=("mean", "attentive")
    )
    hidden: int = option(256, "dimensions of a layer behind the pooling; 0 = none", source=FREE, low=0)
    dropout: float = option(0.1, "share of pooled and hidden dimensions dropped", source=FREE, low=0, high=1)
    encoder_dropout: float | None = option(None, "dropout in the encoder; none = its own", source=FREE, low=0, high=1)
    layerdrop: float | None = option(None, "share of blocks skipped; none = its own", source=FREE, low=0, high=1)
    mask_time: float | None = option(None, "share of frames masked; none = its own", source=FREE, low=0, high=1)
    parts: int = option(1, "parts that a step's batch is worked through in", source=FREE, low=1)
    gradient_checkpointing: bool = option(False, "compute activations twice instead of keeping them", source=FREE)
    class_weights: str = option("none", "of the cross-entropy", source=FREE, choices=("none", "balanced"))
    piece_seconds: float = option(10.0, "length of the pieces that recordings are cut into [s]", source=FREE, low=1)


MSP_PODCAST = Config(
    encoder="microsoft/wavlm-large",
    train=TrainConfig(epochs=20, patience=0, batch_size=32, learning_rate=1e-5, optimiser="adamw", weight_decay=0.01),
    encoder_rate=1e-5,
    normalise="corpus",
    crop="start",
    hidden=1024,
    dropout=0.5,
    parts=4,
    class_weights="balanced",
)
TINY = Config(
    encoder="random:wav2vec2-tiny",
    train=TrainConfig(epochs=16, patience=0, batch_size=8, learning_rate=2e-2, optimiser="adamw"),
    encoder_rate=3e-3,
    hidden=16,
    dropout=0.0,
    encoder_dropout=0.0,
    layerdrop=0.0,
    mask_time=0.0,
    piece_seconds=3.0,
)
"""For tests: a random encoder that needs no checkpoint, trained to learn a few utterances by heart."""
