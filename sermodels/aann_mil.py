"""AANN-MIL: an utterance as a bag of segments whose emotions nobody labelled, and attention to the salient ones.

S. Mao, P. C. Ching, C.-C. J. Kuo and T. Lee, "Advancing multiple instance learning with attention modeling for
categorical speech emotion recognition", Interspeech 2020, arXiv:2008.06667. MAEC names multi-instance learning that
attends to the most salient part of an utterance; that it means this paper is inferred from the wording, as its list of
references was not at hand. `maec` without its adversary (`model.first_pass=none`) is the other ablation of that idea.

From the abstract, which is all that was at hand: segment embeddings are learnt from labels of whole utterances by
multiple instance learning, and attention networks are applied to the learnt embeddings. All else is a free choice here,
and a setting. A segment of log mel bands goes through convolutions to an embedding x. For the bag's label, decisions on
each segment are pooled over the bag (`bag`: mean, or max as the standard assumption of multiple instances has it); this
loss alone teaches the embedding, unless `joint`. Attention has one of three usual forms (Q. Kong, C. Yu, Y. Xu, T.
Iqbal, W. Wang and M. D. Plumbley, "Weakly labelled AudioSet tagging with attention neural networks", IEEE/ACM TASLP
27(11), 2019, doi:10.1109/TASLP.2019.2930913); whether they are the paper's three is not confirmed:

    decision    F   = sum_i p(x_i) f(x_i)          one weight p per segment, f its class probabilities
    classwise   F_k = sum_i p_k(x_i) f_k(x_i)      a weight for each class
    feature     u_j = sum_i p_j(x_i) h_j(x_i)      a weight for each dimension of a hidden layer h, then the classes

with p = v / sum_i v(x_i) and v a sigmoid. In "classwise" the F_k are made to sum to 1. The two stages, one after the
other in the abstract, run at the same time: the attention's gradient stops at the embedding. Attributes, our addition:
f is linear, the loss 1 - CCC on z-scores, and the bag's pooling a mean.

Presets: `default`; `joint`, one network trained as a whole; `small`, narrow, for a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from ..datasets.core.config import option
from ..datasets.core.errors import SerbenchError
from ..datasets.schema.task import Task
from ..features.core.feature_request import FeatureRequest
from .core.sermodel import Data, Predictions
from .dialogue.turn_model import FREE, TurnConfig, TurnModel, TurnNetwork
from .inputs.batches import Batch, Batches, even_batches, map_batches, micro_batches, shuffled
from .inputs.turns import Array, TurnFrames
from .training.pooling import frame_mask
from .training.settings import TrainConfig
from .training.training import Training

GROUP = "relatives"
CITES = ("mao2020mil",)
FORMS = ("decision", "classwise", "feature")
FLOOR = 1e-7
"""Least probability that the logarithm is taken of."""
_TRAIN = TrainConfig(epochs=60, patience=12, batch_size=16, learning_rate=1e-3)


@dataclass(frozen=True)
class Config(TurnConfig):
    """Settings of `aann-mil`: those of turns, and these."""

    train: TrainConfig = option(_TRAIN, "training settings, set with train.KEY", source=FREE)  # noqa: RUF009
    feature: str = option("mel", "feature with frames; mel is taken with 64 logarithmic bands", source=FREE)
    frames: int = option(1875, "most frames of an utterance, from its beginning; 0 = all", source=FREE, low=0)
    segment: int = option(32, "frames of a segment", source=FREE, low=8)
    hop: int = option(16, "frames between two segments", source=FREE, low=1)
    channels: tuple[int, ...] = option((32, 64, 128), "of each convolution", source=FREE, low=1)
    embedding: int = option(128, "dimensions of a segment's embedding", source=FREE, low=1)
    attention: str = option("decision", "form of the attention", source="Kong et al. 2019", choices=FORMS)
    bag: str = option("mean", "pooling of the segments' decisions", source=FREE, choices=("mean", "max"))
    bag_weight: float = option(1.0, "weight of the bag's loss beside the attention's", source=FREE, low=0)
    joint: bool = option(False, "let the attention teach the embedding too", source="abstract: false")
    dropout: float = option(0.3, "share of the embedding dropped", source=FREE, low=0, high=1)


PRESETS: dict[str, Config] = {
    "default": Config(),
    "joint": Config(joint=True),
    "small": Config(train=replace(_TRAIN, epochs=20, patience=6), channels=(8, 16, 32), embedding=48),
}
TINY = Config(
    train=TrainConfig(epochs=40, patience=0, batch_size=4, learning_rate=1e-2),
    channels=(4, 8),
    embedding=16,
    segment=16,
    hop=16,
    dropout=0,
    joint=True,
)
SEARCH = {"train.learning_rate": "1e-4..3e-3:log", "model.attention": ",".join(FORMS), "model.dropout": "0..0.6"}


class Attention(nn.Module):
    """What a bag is, from the embeddings of its segments: outputs (bag, output), and the share of each segment.

    Class outputs are logits: logarithms of class probabilities where decisions are pooled. Shares (bag, segment) sum
    to 1: the weights (their mean over classes) or, in "feature", what each segment brings to u.
    """

    def __init__(self, embedding: int, outputs: int, form: str, classes: bool) -> None:
        super().__init__()
        self.form, self.classes = form, classes
        width = embedding if form == "feature" else outputs
        self.value = nn.Linear(embedding, width)
        self.weight = nn.Linear(embedding, 1 if form == "decision" else width)
        self.out = nn.Linear(embedding, outputs) if form == "feature" else nn.Identity()

    def forward(self, embeddings: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """From embeddings (bag, segment, dim), of which the first `counts` of each bag are there."""
        mask = frame_mask(counts, embeddings.shape[1])[:, :, None]
        raw = torch.where(mask, torch.sigmoid(self.weight(embeddings)), 0.0)
        weights = raw / raw.sum(1, keepdim=True)  # p, (bag, segment, 1 or width)
        values = self.value(embeddings)
        if self.form == "feature":
            parts = weights * torch.relu(values)
            brought = torch.where(mask, parts, 0.0).sum(2) + FLOOR * mask[:, :, 0]
            return self.out(parts.sum(1)), brought / brought.sum(1, keepdim=True)
        decided = torch.softmax(values, dim=2) if self.classes else values
        pooled = (weights * decided).sum(1)  # F
        return pooled.clamp(min=FLOOR).log() if self.classes else pooled, weights.mean(2)


class Network(TurnNetwork):
    """Convolutions to an embedding, the decision on each segment, and attention over the bag."""

    def __init__(self, dim: int, outputs: int, config: Config, classes: bool) -> None:
        super().__init__(dim, outputs)
        self.config, self.classes = config, classes
        layers: list[nn.Module] = []
        for before, after in zip((1, *config.channels), config.channels, strict=False):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
            layers += [nn.MaxPool2d(2, ceil_mode=True)]
        self.convolutions = nn.Sequential(*layers)
        self.embed = nn.Sequential(nn.Linear(config.channels[-1] * 2, config.embedding), nn.ReLU())
        self.dropout = nn.Dropout(config.dropout)
        self.decide = nn.Linear(config.embedding, outputs)
        self.attention = Attention(config.embedding, outputs, config.attention, classes)

    def forward(self, segments: Tensor, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs by attention (bag, output), by the pooled decisions (bag, output), and shares (bag, segment).

        segments: of all bags, bag after bag, (segment, frame, dim); counts: segments of each bag (bag,)
        """
        maps = self.convolutions(segments[:, None])  # (segment, channel, frame, band)
        pooled = torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], dim=1)
        rows = self.dropout(self.embed(pooled))
        decided = _bags(self.decide(rows), counts)
        taught = _bags(rows if self.config.joint else rows.detach(), counts)
        outputs, shares = self.attention(taught, counts)
        return outputs, pool(decided, counts, self.config.bag if self.classes else "mean"), shares


def pool(decisions: Tensor, counts: Tensor, how: str) -> Tensor:
    """Mean or maximum of decisions (bag, segment, output) over the segments that are there."""
    mask = frame_mask(counts, decisions.shape[1])[:, :, None]
    if how == "max":
        return decisions.masked_fill(~mask, -torch.inf).amax(1)
    return torch.where(mask, decisions, 0.0).sum(1) / counts[:, None]


def _bags(rows: Tensor, counts: Tensor) -> Tensor:
    """Rows (segment, dim), bag after bag, as (bag, segment, dim)."""
    return nn.utils.rnn.pad_sequence(list(torch.split(rows, counts.tolist())), batch_first=True)


class Model(TurnModel[Network]):
    """Multiple instances with attention."""

    name: ClassVar[str] = "aann-mil"
    config: Config

    @classmethod
    def requests(cls, config: Config, task: Task) -> dict[str, FeatureRequest]:
        """The feature that the configuration names; the mel spectrum in logarithms."""
        settings = (("log", "true"), ("bands", "64")) if config.feature == "mel" else ()
        return {"input": FeatureRequest(config.feature, settings)}

    def sizes(self, train: Data) -> dict[str, Any]:
        """Values per frame."""
        table = train.features["input"]
        if table.hop_seconds is None:
            raise SerbenchError(
                f"the model {self.name!r} cuts frames into segments, but the feature {self.config.feature} has one row "
                "per utterance. Expected a feature with frames: --set model.feature=mel."
            )
        return {"dim": table.dim}

    def build(self, sizes: Mapping[str, Any], generator: torch.Generator) -> Network:
        """The network with PyTorch's initial weights."""
        return Network(sizes["dim"], self.task.n_outputs, self.config, self.task.kind == "classification")

    def batches(self, training: Training[Network]) -> Batches:
        """Every training item once, in random order."""
        turns, data = self.turns(training.network, training.train), training.train
        order = shuffled(len(data), training.generator("order"))

        def load(items: npt.NDArray[np.int64]) -> Batch:
            return (*self._cut(turns, data, items), self._targets[torch.from_numpy(items)])

        return Batches(even_batches(order, self.train_config.batch_size), load, training.device)

    def losses(self, training: Training[Network], batch: Batch) -> Mapping[str, Tensor]:
        """The loss of the attention, and that of the pooled decisions."""
        segments, counts, targets = batch
        attended, pooled, _ = training.network(segments, counts)
        attention = self.objective.losses(attended, targets)["loss"]
        bag = self.objective.losses(pooled, targets)["loss"]
        return {"loss": attention + self.config.bag_weight * bag, "loss_attention": attention, "loss_bag": bag}

    def infer(self, network: Network, data: Data) -> Predictions:
        """What the attention says: class scores (item, class), or attributes (item, target) on the label scale."""
        return self.predicted(network, map_batches(self._all(network, data), lambda batch: network(*batch)[0]))

    def salience(self, data: Data) -> list[pd.DataFrame]:
        """The share of each segment in what the attention pools."""
        network = self.network
        assert network is not None, "the model is trained"
        rows: list[npt.NDArray[Any]] = []
        with torch.inference_mode():
            for segments, counts in self._all(network, data):
                shares = network(segments, counts)[2].cpu().double().numpy()
                rows += [row[:n] for row, n in zip(shares, counts.tolist(), strict=True)]
        return self.weighted(data, rows, self.config.segment, self.config.hop)

    def _all(self, network: Network, data: Data) -> Batches:
        turns, indices = self.turns(network, data), micro_batches(len(data), self.micro_batch(cpu=8, card=128))
        return Batches(indices, lambda items: self._cut(turns, data, items), self.device)

    def _cut(self, turns: TurnFrames, data: Data, items: npt.NDArray[np.int64]) -> Batch:
        """Segments of some items, one after the other, (segment, frame, dim), and their numbers (item,)."""
        bags = [segments(turns[data.ids[int(i)]], self.config.segment, self.config.hop) for i in items]
        return torch.from_numpy(np.concatenate(bags)), torch.tensor([len(bag) for bag in bags])


def segments(frames: Array, length: int, hop: int) -> Array:
    """The segments of an utterance (frame, dim), (segment, length, dim): one every `hop` frames.

    The last one holds the last frame, with zeros behind it where the utterance ends before the segment does.
    """
    count = 1 + max(0, -(-(len(frames) - length) // hop))
    padded = np.zeros(((count - 1) * hop + length, frames.shape[1]), dtype=np.float32)
    padded[: len(frames)] = frames
    windows = np.lib.stride_tricks.sliding_window_view(padded, length, axis=0)[::hop]
    return np.ascontiguousarray(windows.transpose(0, 2, 1))
