"""Probe: a small head on the frozen hidden states of a pre-trained speech encoder.

    frames -> standardise -> learned sum of layers -> projection -> pooling -> hidden layer -> outputs

Each step may be left out, and the presets are public recipes; what they leave open is a free choice. Type the encoder
with `--set model.encoder=NAME` (a folder, a name on the Hugging Face hub that is in the local cache, random:NAME).

- `default`: all layers, standardised with the training set's moments, learned weights, linear projection to 256, mean,
  Adam 1e-3. Free choices, made so that small corpora train in few epochs.
- `superb`: emotion recognition of SUPERB (Yang et al., Interspeech 2021, arXiv:2105.01051), from its code
  (github.com/s3prl/s3prl, s3prl/downstream/emotion): learned sum of all layers, linear projection to 256, mean, linear
  outputs; cross-entropy, Adam 1e-4, 32 utterances per step (8 times 4), gradients clipped to norm 1. 30,000 steps are
  271 epochs of a fold of IEMOCAP. Not kept: its dev set is a random fifth that shares speakers with training, here the
  protocol decides; it looks at dev every 1,000 steps and chooses by accuracy, here after every epoch and by the task's
  metric; its batches are of 32 up to the last one, here of equal sizes (they differ by one at most).
- `emobox`: EmoBox (Ma et al., Interspeech 2024, arXiv:2406.07162), from its code (github.com/emo-box/EmoBox,
  examples/sb with `hparams`): the last layer, projection to 256, ReLU, mean over the utterance's frames, linear
  outputs; log-softmax and negative log-likelihood, Adam 1e-4, 32 utterances per step, 20 epochs, gradients clipped to
  norm 5 (SpeechBrain's default). Its warm-up of 10 is counted in epochs, at the end of each: the step sizes of epochs
  1, 2, 3 ... 12 are 1, 0, 0.1 ... 1 times 1e-4, and fall to 0.2 times in epoch 20. Not kept: it tests the weights of
  every epoch, here dev chooses one, by the task's metric; batch sizes as above. The command of its README differs from
  its `hparams`: 128 dimensions, 100 epochs, features normalised over each utterance. That is `--set
  model.projection=128 --set train.epochs=100 --set model.utterance_norm=true`.
- `attentive`: attentive statistics pooling and the hidden layer of the MSP-Podcast challenge's baseline (see the preset
  of `transformer`) on a frozen encoder; the rest as `default`.

A mean over time and a linear projection may change places, so where nothing nonlinear stands before the mean, the
feature is asked for one vector per utterance and layer: the same function, at a thousandth of the memory.

For attributes the outputs are trained jointly, 1 - CCC averaged over them. For traces each label frame takes the mean
of the encoder's frames around its time, and the head sees it by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..datasets.core.config import option
from ..datasets.core.errors import SerbenchError
from ..datasets.schema.task import Task
from ..features.core.feature_request import FeatureRequest
from .chunked.network import Normaliser
from .core.rows import frame_counts
from .core.sermodel import Data, FitLog, Predictions, Score
from .inputs.batches import Batch, Batches, even_batches, map_batches, micro_batches, shuffled
from .inputs.moments import inverse_std, moments
from .inputs.sequences import Sequences, padded_traces
from .pretrained import on_encoder
from .pretrained.on_encoder import FREE, EncoderChoice, OnEncoder
from .training.objective import LabelScale, Objective
from .training.pooling import LayerSum, PoolingHead
from .training.settings import TrainConfig
from .training.training import Training


@dataclass(frozen=True)
class Config(EncoderChoice):
    """Settings of `probe`."""

    train: TrainConfig = option(TrainConfig(learning_rate=1e-3, batch_size=32), "training", source=FREE)  # noqa: RUF009
    layers: str = option("all", "hidden states: last, all, 5, a range such as 4-8, or several (0,6,12)", source=FREE)
    utterance_norm: bool = option(
        False, "bring the features of each utterance as a whole to mean 0, variance 1", source=FREE
    )
    standardise: bool = option(True, "z-normalise each dimension with the training set's moments", source=FREE)
    projection: int = option(256, "dimensions of a linear layer on each frame; 0 = none", source=FREE, low=0)
    activation: str = option("none", "behind the projection", source=FREE, choices=("none", "relu"))
    pooling: str = option("mean", "over the frames of an utterance", source=FREE, choices=("mean", "attentive"))
    hidden: int = option(0, "dimensions of a layer behind the pooling; 0 = none", source=FREE, low=0)
    dropout: float = option(0.0, "share of pooled and hidden dimensions dropped", source=FREE, low=0, high=1)
    class_weights: str = option("none", "of the cross-entropy", source=FREE, choices=("none", "balanced"))
    piece_seconds: float = option(
        30.0, "length of the pieces that recordings are cut into for training [s]", source=FREE, low=1
    )


_SUPERB = TrainConfig(epochs=271, patience=0, batch_size=32, learning_rate=1e-4, clip_norm=1.0)
_EMOBOX = TrainConfig(
    epochs=20, patience=0, batch_size=32, learning_rate=1e-4, clip_norm=5.0, schedule="late-linear", warmup_epochs=10.0
)
GROUP = "encoders"
CITES = ("yang2021superb", "ma2024emobox")
PRESETS: dict[str, Config] = {
    "default": Config(),
    "superb": Config(train=_SUPERB, standardise=False),
    "emobox": Config(train=_EMOBOX, layers="last", standardise=False, projection=256, activation="relu"),
    "attentive": Config(projection=0, pooling="attentive", hidden=1024, dropout=0.5),
}
TINY = Config(
    encoder="random:wav2vec2-tiny",
    train=TrainConfig(epochs=40, patience=0, batch_size=4, learning_rate=1e-2),
    projection=16,
    pooling="attentive",
    piece_seconds=4.0,
)
"""For tests: a random encoder that needs no checkpoint, and a head that learns a few utterances by heart."""
SEARCH = {"train.learning_rate": "1e-4..1e-2:log", "model.hidden": "0,128,256", "model.dropout": "0..0.5"}


class ProbeNetwork(LabelScale):
    """The head with everything before it, on features (batch, frame, layers * width)."""

    def __init__(self, layers: int, width: int, outputs: int, pooling: str, config: Config) -> None:
        super().__init__(outputs)
        self.normaliser = Normaliser(layers * width, torch.inf)
        self.layers = LayerSum(layers)
        c = config
        self.standardise = c.standardise
        self.head = PoolingHead(width, outputs, c.projection, c.activation, pooling, c.hidden, c.dropout)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """(batch, outputs), or (batch, frame, outputs) for traces."""
        frames = self.normaliser(frames) if self.standardise else frames
        outputs: Tensor = self.head(self.layers(frames), lengths)
        return outputs


class Model(OnEncoder[ProbeNetwork]):
    """Frozen encoder, trained head."""

    name: ClassVar[str] = "probe"
    kinds: ClassVar[frozenset[str]] = frozenset({"classification", "regression", "continuous"})
    config: Config

    def __init__(self, config: Config, task: Task, *arguments: Any) -> None:
        super().__init__(config, task, *arguments)
        self.objective = Objective(task, config.class_weights)

    @classmethod
    def requests(cls, config: Config, task: Task) -> dict[str, FeatureRequest]:
        """The encoder's hidden states, pooled as far as the head allows it."""
        settings = {"layers": config.layers, "revision": config.revision}
        if task.kind == "continuous":
            shape = on_encoder.source_of(config).geometry
            if task.frame_seconds and task.frame_seconds >= shape.hop / shape.sampling_rate:
                settings["average_seconds"] = repr(task.frame_seconds)
        elif pools_first(config):
            settings["pooling"] = "mean"
        return {"input": FeatureRequest(f"transformers:{config.encoder}", tuple(settings.items()))}

    def sizes(self, train: Data) -> dict[str, Any]:
        """Number of layers and width of each, from the feature's width and the encoder's."""
        table = train.features["input"]
        if table.hop_seconds is None and not pools_first(self.config):
            raise SerbenchError(
                f"the feature has one row per utterance, but this configuration of {self.name!r} does more with frames "
                "than take their mean. Expected a feature with frames: leave feature.pooling out."
            )
        width, dim = on_encoder.source_of(self.config).geometry.width, table.dim
        if dim % width:
            raise SerbenchError(
                f"the features have {dim} dimensions, which are no whole number of layers of {self.config.encoder} "
                f"({width} each). Expected feature.pooling of none or mean."
            )
        return {"layers": dim // width, "width": width}

    def build(self, sizes: Mapping[str, Any], generator: torch.Generator) -> ProbeNetwork:
        """The head, as torch initialises it; all layers weigh the same."""
        pooling = "none" if self.task.kind == "continuous" else self.config.pooling
        return ProbeNetwork(sizes["layers"], sizes["width"], self.task.n_outputs, pooling, self.config)

    def calibrate(self, network: ProbeNetwork, train: Data) -> None:
        """Moments of the features, if they are standardised, and of the labels."""
        self.objective.calibrate(network, train.labels)
        if self.config.standardise:
            frames = self._sequences(train)
            dimensions = moments((frames[i] for i in range(len(frames))), train.features["input"].dim)
            network.normaliser.set(dimensions.mean, inverse_std(dimensions))

    def begin(self, training: Training[ProbeNetwork]) -> None:
        """Lay out the training items and their targets."""
        network = training.network
        self.objective.begin(training.train.labels)
        self._train = self._sequences(training.train)
        self._pieces = self._train.pieces(self.config.piece_seconds)
        labels = training.train.labels
        if self.task.kind == "continuous":
            self._targets: Any = [
                self.objective.targets(network, labels[p.position][p.start : p.stop]) for p in self._pieces
            ]
        else:
            self._targets = self.objective.targets(network, labels)

    def batches(self, training: Training[ProbeNetwork]) -> Batches:
        """Every utterance, or piece of a recording, once, in random order."""
        order = shuffled(len(self._pieces), training.generator("order"))
        return Batches(even_batches(order, self.train_config.batch_size), self._load, training.device)

    def losses(self, training: Training[ProbeNetwork], batch: Batch) -> Mapping[str, Tensor]:
        """The loss of a batch."""
        frames, lengths, targets = batch
        return self.objective.losses(training.network(frames, lengths), targets)

    def infer(self, network: ProbeNetwork, data: Data) -> Predictions:
        """Predictions of utterances, or of recordings piece by piece."""
        frames = self._sequences(data)
        pieces = frames.pieces(self.config.piece_seconds)
        size = 1 if self.task.kind == "continuous" else self.micro_batch(cpu=8, card=64)

        def load(positions: npt.NDArray[np.int64]) -> Batch:
            return frames.padded([pieces[i] for i in positions])

        batches = Batches(micro_batches(len(pieces), size), load, self.device)
        if self.task.kind != "continuous":
            outputs = map_batches(batches, lambda batch: network(*batch))
            return self.objective.predictions(network, outputs.cpu().double().numpy())
        traces: list[npt.NDArray[np.floating[Any]]] = self.objective.empty_traces(frame_counts(data))
        for piece, batch in zip(pieces, batches, strict=True):
            rows = network(*batch)[0].float().cpu().double().numpy()
            traces[piece.position][piece.start : piece.stop] = self.objective.predictions(network, rows)
        return traces

    def fit(self, train: Data, dev: Data, score: Score, unlabelled: Data | None = None) -> FitLog:
        """Train the head; the record says what the layers weigh, and what the encoder is."""
        log = super().fit(train, dev, score, unlabelled)
        assert self.network is not None
        weights = self.network.layers.weights.detach().cpu().tolist()
        log.facts |= {"encoder": on_encoder.described(self.config), "layer_weights": [round(w, 5) for w in weights]}
        return log

    def _sequences(self, data: Data) -> Sequences:
        return Sequences(data, self.train_config.keep_mb * 2**20, self.config.utterance_norm)

    def _load(self, items: npt.NDArray[np.int64]) -> Batch:
        frames, lengths = self._train.padded([self._pieces[i] for i in items])
        if self.task.kind == "continuous":
            return frames, lengths, padded_traces([self._targets[i] for i in items])
        return frames, lengths, self._targets[torch.from_numpy(items)]


def pools_first(config: Config) -> bool:
    """Whether the mean over time may be taken before everything else without changing the function."""
    return config.pooling == "mean" and config.activation == "none" and not config.utterance_norm
