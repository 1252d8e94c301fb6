"""Models on the waveform in frames of one length: utterances, and traces, of which each label frame is predicted.

Utterances and recordings are read in pieces of `sequence_seconds`. A network gives the states of all frames of a piece;
for a trace each label frame takes the outputs of the frame around its middle, for an utterance the outputs are those of
the mean of the states.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ...datasets.core.config import option
from ...datasets.core.errors import SerbenchError
from ...datasets.schema.task import Task
from ...features.core.feature_request import FeatureRequest
from ..core.rows import frame_counts
from ..core.sermodel import Data, Predictions
from ..inputs.batches import Batch, Batches, micro_batches
from ..training.objective import LabelScale
from ..training.training import Training
from .layers import within
from .piece_model import FREE, PieceConfig, PieceModel
from .pieces import Piece, Source, Stretches, on_labels, padded, split, split_traces


@dataclass(frozen=True)
class WaveConfig(PieceConfig):
    """Settings of the waveform and its frames."""

    sampling_rate: int = option(16000, "rate of the sound in Hz", source="public code of the authors", low=1000)
    frame_seconds: float = option(0.04, "length of a frame [s]", source="public code of the authors", low=0.001, high=1)
    sequence_seconds: float = option(6.0, "longest stretch that is read at once [s]", source=FREE, low=0.1)
    normalise: bool = option(True, "bring each recording to mean 0 and variance 1", source=FREE)


class WaveNetwork(LabelScale):
    """Base of networks on frames of the waveform; `head` goes from a state to the outputs."""

    head: nn.Linear

    @abstractmethod
    def states(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """(piece, frame, samples) -> (piece, frame, width)."""

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Outputs of pieces of utterances, (piece, output)."""
        means = within(self.states(frames, lengths), lengths).sum(1) / lengths[:, None]
        outputs: Tensor = self.head(means)
        return outputs

    def traces(self, frames: Tensor, lengths: Tensor, index: Tensor) -> Tensor:
        """Outputs of label frames, (piece, label frame, output); `index` (piece, label frame) are their frames."""
        outputs: Tensor = self.head(self.states(frames, lengths))
        return outputs.gather(1, index[:, :, None].expand(-1, -1, outputs.shape[2]))


N = TypeVar("N", bound=WaveNetwork)


class WaveModel(PieceModel[N]):
    """Base of models on the waveform."""

    kinds: ClassVar[frozenset[str]] = frozenset({"classification", "regression", "continuous"})
    config: WaveConfig

    def __init__(self, config: WaveConfig, task: Task, *arguments: Any) -> None:
        super().__init__(config, task, *arguments)
        self.samples = max(1, round(config.sampling_rate * config.frame_seconds))
        """Of a frame."""
        self.hop_seconds = self.samples / config.sampling_rate

    @classmethod
    def requests(cls, config: WaveConfig, task: Task) -> dict[str, FeatureRequest]:
        """The samples."""
        return {"input": FeatureRequest("waveform", (("sampling_rate", str(config.sampling_rate)),))}

    def sizes(self, train: Data) -> dict[str, Any]:
        """Samples of a frame."""
        table = train.features["input"]
        if table.dim != 1 or table.sampling_rate != self.config.sampling_rate:
            raise SerbenchError(
                f"the input has {table.dim} dimension(s) at {table.sampling_rate} Hz. Expected the waveform at "
                f"{self.config.sampling_rate} Hz: leave feature settings out, and type --set model.sampling_rate=N."
            )
        return {"samples": self.samples}

    def source(self, data: Data) -> Source:
        """The waveform in frames."""
        return Stretches(data, self.samples, self.train_config.keep_mb * 2**20, self.config.normalise)

    def pieces(self, data: Data, source: Source) -> list[Piece]:
        """All of every utterance, or of every trace."""
        seconds = self.config.sequence_seconds
        if self.task.kind == "continuous":
            return split_traces(data, self.hop_seconds, seconds)
        return split(source.counts, max(1, round(seconds / self.hop_seconds)))

    def labelled(self, pieces: list[Piece], data: Data) -> list[Piece]:
        """Of traces those pieces in which somebody rated something."""
        if self.task.kind != "continuous":
            return pieces
        return [p for p in pieces if not np.isnan(data.labels[p.position][p.first : p.last]).all()]

    def targets(self, network: N, data: Data) -> Tensor:
        """Those of the utterances, or (piece, label frame, target) of traces with NaN behind each."""
        if self.task.kind != "continuous":
            return super().targets(network, data)
        traces = [self.objective.targets(network, data.labels[p.position][p.first : p.last]) for p in self._pieces]
        return nn.utils.rnn.pad_sequence(traces, batch_first=True, padding_value=torch.nan)

    def losses(self, training: Training[N], batch: Batch) -> Mapping[str, Tensor]:
        """The loss of a batch, over all label frames of it for traces."""
        if self.task.kind != "continuous":
            return super().losses(training, batch)
        frames, lengths, targets, _, index = batch
        return self.objective.losses(training.network.traces(frames, lengths, index), targets[:, : index.shape[1]])

    def infer(self, network: N, data: Data) -> Predictions:
        """Predictions of utterances, or of recordings piece by piece."""
        if self.task.kind != "continuous":
            return super().infer(network, data)
        source = self.source(data)
        pieces, traces = self.pieces(data, source), self.objective.empty_traces(frame_counts(data))
        groups = micro_batches(len(pieces), self.micro_batch(cpu=4, card=32))
        batches = Batches(groups, lambda some: self._inputs(source, [pieces[i] for i in some]), self.device)
        for some, batch in zip(groups, batches, strict=True):
            outputs = network.traces(*batch).float().cpu().double().numpy()
            for i, rows in zip(some, outputs, strict=True):
                part = traces[pieces[i].position][pieces[i].first : pieces[i].last]
                part[:] = self.objective.predictions(network, rows[: len(part)])
        return list(traces)

    def _load(self, chosen: npt.NDArray[np.int64]) -> Batch:
        batch = super()._load(chosen)
        return (*batch, self._index([self._pieces[i] for i in chosen])) if self.task.kind == "continuous" else batch

    def _inputs(self, source: Source, pieces: Sequence[Piece]) -> Batch:
        return *padded(source, pieces), self._index(pieces)

    def _index(self, pieces: Sequence[Piece]) -> Tensor:
        """(piece, label frame): the frame of each, 0 behind a piece's last one."""
        assert self.task.frame_seconds is not None
        step = self.task.frame_seconds
        rows = [torch.from_numpy(on_labels(piece, step, self.hop_seconds)) for piece in pieces]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True)
