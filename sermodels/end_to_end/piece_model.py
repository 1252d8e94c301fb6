"""Models that see items in pieces: training on pieces with their item's label, prediction as the mean of the pieces.

Two bases: `SpectrumModel` for features with frames, `WaveModel` (`wave_model.py`) for the waveform, which takes traces
too. A network is called with pieces (piece, frame, dim), zeros behind each, and their lengths (piece,); it has to give
a piece the same outputs (piece, output) whatever stands behind its end, and whatever other pieces are there.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...datasets.core.config import option
from ...datasets.core.errors import SerbenchError
from ...datasets.schema.task import Task
from ..chunked.network import Normaliser
from ..core.sermodel import Data, Predictions
from ..inputs.batches import Batch, Batches, even_batches, micro_batches, shuffled
from ..inputs.moments import inverse_std, moments
from ..training.objective import LabelScale, Objective
from ..training.settings import TrainConfig
from ..training.torch_model import TorchModel
from ..training.training import Training
from .layers import within
from .pieces import Piece, Source, Spectra, cut, padded, split

FREE = "free choice"


@dataclass(frozen=True)
class PieceConfig:
    """Settings that all models on pieces share; each names its own defaults."""

    train: TrainConfig = option(TrainConfig(), "training settings, set with train.KEY", source=FREE)  # noqa: RUF009
    class_weights: str = option("none", "of the cross-entropy", source=FREE, choices=("none", "balanced"))


class PieceNetwork(LabelScale):
    """Base of networks on pieces: moments of the labels, and of the frames' dimensions."""

    def __init__(self, dim: int, outputs: int) -> None:
        super().__init__(outputs)
        self.normaliser = Normaliser(dim, torch.inf)

    def normalised(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Frames (piece, frame, dim) by the training set's moments, zeros behind each piece."""
        return within(self.normaliser(frames), lengths)


N = TypeVar("N", bound=LabelScale)
P = TypeVar("P", bound=PieceNetwork)


class PieceModel(TorchModel[N]):
    """Base of models on pieces."""

    kinds: ClassVar[frozenset[str]] = frozenset({"classification", "regression"})
    config: PieceConfig

    def __init__(self, config: PieceConfig, task: Task, *arguments: Any) -> None:
        super().__init__(config, task, *arguments)
        self.objective = Objective(task, config.class_weights)

    @abstractmethod
    def source(self, data: Data) -> Source:
        """The items of a data set as frames."""

    @abstractmethod
    def pieces(self, data: Data, source: Source) -> list[Piece]:
        """What of the items goes through the network: one piece of each item at least."""

    def calibrate(self, network: N, train: Data) -> None:
        """Moments of the labels."""
        self.objective.calibrate(network, train.labels)

    def begin(self, training: Training[N]) -> None:
        """Lay out the training pieces and their targets."""
        data = training.train
        self.objective.begin(data.labels)
        self._train = self.source(data)
        self._pieces = self.labelled(self.pieces(data, self._train), data)
        self._targets = self.targets(training.network, data)
        training.log.facts["pieces"] = len(self._pieces)

    def labelled(self, pieces: list[Piece], data: Data) -> list[Piece]:
        """The pieces that have something to learn from."""
        return pieces

    def targets(self, network: N, data: Data) -> Tensor:
        """The targets of the training pieces, those of their items."""
        return self.objective.targets(network, data.labels)[[piece.position for piece in self._pieces]]

    def batches(self, training: Training[N]) -> Batches:
        """Every training piece once, in random order."""
        order = shuffled(len(self._pieces), training.generator("order"))
        return Batches(even_batches(order, self.train_config.batch_size), self._load, training.device)

    def losses(self, training: Training[N], batch: Batch) -> Mapping[str, Tensor]:
        """The loss of a batch: frames, lengths, targets, positions of the items."""
        frames, lengths, targets, _ = batch
        return self.objective.losses(training.network(frames, lengths), targets)

    def infer(self, network: N, data: Data) -> Predictions:
        """Class scores or values of each item: the mean of those of its pieces."""
        source = self.source(data)
        pieces = self.pieces(data, source)
        rows = self.objective.predictions(network, self.outputs(network, source, pieces))
        owners = np.array([piece.position for piece in pieces])
        sums = np.zeros((len(data), rows.shape[1]))
        np.add.at(sums, owners, rows)
        return sums / np.bincount(owners, minlength=len(data))[:, None]

    def outputs(self, network: N, source: Source, pieces: Sequence[Piece]) -> npt.NDArray[np.float64]:
        """Outputs of pieces, (piece, output), in their order; pieces of about one length go together."""
        order = np.argsort([piece.stop - piece.start for piece in pieces], kind="stable")
        groups = [order[some] for some in micro_batches(len(pieces), self.micro_batch(cpu=8, card=128))]
        batches = Batches(groups, lambda some: padded(source, [pieces[i] for i in some]), self.device)
        made = torch.cat([network(frames, lengths).float() for frames, lengths in batches])
        out = np.empty(made.shape)
        out[order] = made.cpu().numpy()
        return out

    def _load(self, chosen: npt.NDArray[np.int64]) -> Batch:
        pieces = [self._pieces[i] for i in chosen]
        items = torch.tensor([piece.position for piece in pieces])
        return *padded(self._train, pieces), self._targets[torch.from_numpy(chosen)], items


class SpectrumModel(PieceModel[P]):
    """Base of models on features with frames; `max_seconds` is the longest piece, `splits` whether more follow it."""

    splits: ClassVar[bool] = False

    @property
    @abstractmethod
    def max_seconds(self) -> float:
        """The longest piece [s]."""

    def sizes(self, train: Data) -> dict[str, Any]:
        """Dimensions of a frame, and frames of the longest piece."""
        table = train.features["input"]
        if table.hop_seconds is None:
            raise SerbenchError(
                f"the model {self.name!r} reads frames, but the feature has one row per utterance. Expected a feature "
                "with frames: leave feature.pooling out."
            )
        return {"dim": table.dim, "frames": max(1, round(self.max_seconds / table.hop_seconds))}

    def source(self, data: Data) -> Source:
        """The feature's frames."""
        dim, expected = data.features["input"].dim, self._sizes["dim"]
        if dim != expected:
            raise SerbenchError(
                f"the features have {dim} values per frame. Expected {expected}, as in training: give the feature "
                "settings that the model was trained with."
            )
        return Spectra(data, self.train_config.keep_mb * 2**20)

    def begin(self, training: Training[P]) -> None:
        """Lay out the training pieces; the record says how many utterances are longer than one."""
        super().begin(training)
        long = sum(count > self._sizes["frames"] for count in self._train.counts)
        training.log.facts["split_in_training" if self.splits else "cut_in_training"] = long

    def pieces(self, data: Data, source: Source) -> list[Piece]:
        """The beginning of each utterance, or all of it."""
        return (split if self.splits else cut)(source.counts, self._sizes["frames"])

    def calibrate(self, network: P, train: Data) -> None:
        """Moments of the labels, and of each dimension over all frames of the training data."""
        super().calibrate(network, train)
        dimensions = moments((train.array(i) for i in range(len(train))), self._sizes["dim"])
        network.normaliser.set(dimensions.mean, inverse_std(dimensions))
