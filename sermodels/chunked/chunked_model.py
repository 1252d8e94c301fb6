"""Models that see a sentence as chunks: the training data in batches of chunks, the sentence score as their mean.

Section 4.1 of the DeepEmoCluster paper (see `chunked/network.py`): every chunk inherits its sentence's label, and a
sentence's prediction is the mean of its chunks' outputs. Regression works on z-normalised labels with the loss 1 - CCC,
classification with cross-entropy; class scores are the softmax of the mean logits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim import Optimizer

from ...datasets.core.errors import SerbenchError
from ...datasets.schema.task import Task
from ...features.core.feature_request import FeatureRequest
from ..core.graph import Graph
from ..core.sermodel import Data, FitLog, Predictions, Score
from ..core.speed import computed_by
from ..inputs import unlabelled_pool
from ..inputs.batches import Batch, Batches, even_batches, micro_batches, shuffled
from ..inputs.chunks import Chunking, ChunkSet
from ..inputs.moments import inverse_std, moments
from ..training.losses import balanced_weights, ccc_losses
from ..training.torch_model import TorchModel
from ..training.training import Training
from .chunk_graph import of_chunks
from .fast.shared_maps import can_share, latents_of_sentences
from .network import ChunkNetwork, EncoderConfig, initialise
from .pool_config import PoolConfig

N = TypeVar("N", bound=ChunkNetwork)
CPU_CHUNKS = 16
"""Chunks at once in passes without training on a CPU: what stays in its cache (about 10 MB of maps)."""


class ChunkedModel(TorchModel[N]):
    """Base of the DeepEmoCluster family; the network is a `ChunkNetwork` or has one's parts."""

    kinds: ClassVar[frozenset[str]] = frozenset({"regression", "classification"})
    network_class: ClassVar[type[Any]] = ChunkNetwork
    config: EncoderConfig
    train_chunks: ChunkSet
    """Chunks of the training data, from `begin` on."""

    @classmethod
    def requests(cls, config: EncoderConfig, task: Task) -> dict[str, FeatureRequest]:
        """The 128-band mel spectrogram."""
        return {"input": FeatureRequest("mel")}

    def sizes(self, train: Data) -> dict[str, Any]:
        """Bands, frames of a chunk, chunks of a sentence."""
        table = train.features["input"]
        if table.hop_seconds is None:
            raise SerbenchError(
                f"the model {self.name!r} cuts frames into chunks, but the feature has one row per utterance. Expected "
                "a feature with frames, such as mel."
            )
        c = self.config
        chunks = Chunking.from_seconds(c.chunk_seconds, c.max_seconds, table.hop_seconds)
        return {"bands": table.dim, "frames": chunks.length, "chunks": chunks.count}

    def build(self, sizes: Mapping[str, Any], generator: torch.Generator) -> N:
        """The network, initialised as in the release."""
        network: N = self.network_class(sizes["frames"], sizes["bands"], self.task.n_outputs, self.config)
        initialise(network, generator)
        return network

    def calibrate(self, network: N, train: Data) -> None:
        """Moments of every band over all frames, and of the labels, of the training data (population)."""
        bands = moments((train.array(i) for i in range(len(train))), train.features["input"].dim)
        network.normaliser.set(bands.mean, inverse_std(bands))
        if self.task.kind == "regression":
            std = train.labels.std(axis=0)
            network.label_mean.copy_(torch.tensor(train.labels.mean(axis=0)))
            network.label_std.copy_(torch.from_numpy(np.where(std > 0, std, 1.0)))

    def optimisers(self, network: N) -> dict[str, Optimizer]:
        """One optimiser for the encoder, one for everything else (section 5.1)."""
        c, encoder = self.config, network.encoder.parameters()
        others = [p for name, p in network.named_parameters() if not name.startswith("encoder.")]
        return {
            "encoder": self.optimiser(encoder, c.encoder_optimiser, c.encoder_rate),
            "heads": self.optimiser(others),
        }

    def begin(self, training: Training[N]) -> None:
        """Lay out the training chunks and their targets."""
        self.train_chunks = self.chunk_set(training.train)
        self._targets = torch.tensor(self.targets(training.network, training.train))
        self._weights = self._class_weights(training.train.labels)
        training.log.facts |= {
            "chunks_per_sentence": self.train_chunks.chunking.count,
            "frames_per_chunk": self.train_chunks.chunking.length,
            "extended_sentences": self.train_chunks.short,
        }

    def targets(self, network: N, data: Data) -> npt.NDArray[Any]:
        """What the chunks are trained on: z-scores (sentence, target) float32, or classes (sentence,) int64."""
        if self.task.kind == "classification":
            return np.asarray(data.labels, dtype=np.int64)
        mean, std = _moments_of_labels(network)
        return np.asarray((data.labels - mean) / std, dtype=np.float32)

    def chunk_set(self, data: Data) -> ChunkSet:
        """The chunks of a data set, as trained."""
        c = self.config
        chunking = Chunking(self._sizes["frames"], self._sizes["chunks"], c.step_rule, c.short)
        bands, expected = data.features["input"].dim, self._sizes["bands"]
        if bands != expected:
            raise SerbenchError(
                f"the features have {bands} bands. Expected {expected}, as in training: give the feature settings that "
                "the model was trained with."
            )
        return ChunkSet(data, chunking, keep_bytes=self.train_config.keep_mb * 2**20)

    def batches(self, training: Training[N]) -> Batches:
        """Every training chunk once, in batches of `batch_size` sentences' worth of chunks."""
        indices = self.draws(self.train_chunks, training.generator("order"))
        return Batches(indices, self._load, training.device)

    def draws(self, chunks: ChunkSet, generator: torch.Generator) -> list[npt.NDArray[np.int64]]:
        """The chunk numbers of each batch: chunks from anywhere, or all chunks of sentences from anywhere."""
        size, count = self.train_config.batch_size, chunks.chunking.count
        if self.config.draw == "chunks":
            return even_batches(shuffled(len(chunks), generator), size * count)
        sentences = shuffled(len(chunks) // count, generator)
        return [chunks.of_sentences(batch) for batch in even_batches(sentences, size)]

    def losses(self, training: Training[N], batch: Batch) -> Mapping[str, Tensor]:
        """The supervised loss of a batch of chunks."""
        chunks, targets = batch
        return self.emotion_losses(training.network(chunks), targets)

    def emotion_losses(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """1 - CCC, averaged over the targets, or cross-entropy; outputs (chunk, target or class)."""
        if self.task.kind == "classification":
            weights = None if self._weights is None else self._weights.to(outputs.device)
            return {"loss": functional.cross_entropy(outputs.float(), targets, weights)}
        c = self.config
        each = ccc_losses(outputs, targets, epsilon=c.ccc_epsilon, correction=c.ccc_correction)
        several = {f"loss_{name}": loss for name, loss in zip(self.task.targets, each, strict=True)}
        return {"loss": each.mean(), **(several if len(several) > 1 else {})}

    def infer(self, network: N, data: Data) -> Predictions:
        """Mean of the chunk outputs of each sentence, on the label scale or as class scores."""
        latents = self.latents(network, self.chunk_set(data))
        means = torch.cat([self.sentence_means(network.emotion(hidden)) for hidden in latents])
        outputs = means.cpu().double()
        if self.task.kind == "classification":
            return np.asarray(torch.softmax(outputs, dim=1).numpy())
        mean, std = _moments_of_labels(network)
        return np.asarray(outputs.numpy() * std + mean)

    def graph(self) -> Graph:
        """From the chunks of each sentence to its prediction."""
        if self.network is None or type(self).infer is not ChunkedModel.infer:
            return super().graph()
        return of_chunks(self.network, self._sizes, classes=self.task.kind == "classification")

    @computed_by(latents_of_sentences, where=can_share)
    def latents(self, network: N, chunks: ChunkSet) -> Iterator[Tensor]:
        """h of all chunks in order, (sentences * C, width) for a few sentences at a time, in evaluation mode."""
        for (batch,) in self.sentences(chunks):
            yield network.latent(batch)

    def chunk_features(self, data: Data, layer: str = "auto") -> npt.NDArray[np.float32]:
        """Features of every chunk, (sentence * C, width): the latent h, or with "auto" what the model clusters."""
        network = self.network
        if network is None:
            raise SerbenchError(f"the model {self.name!r} is not trained. Call fit, or load trained weights.")
        with torch.inference_mode():
            latents = ChunkedModel.latents(self, network.eval(), self.chunk_set(data))  # h, whatever the head reads
            rows = torch.cat([self.clustered(network, hidden, layer).float() for hidden in latents])
        return np.asarray(rows.cpu().numpy())

    def chunk_levels(self, data: Data) -> npt.NDArray[np.float64]:
        """Logarithm of the mean of each chunk's spectrum, (sentence * C,): how loud it is in its recording."""
        chunks = self.chunk_set(data)
        means = [batch.double().mean((1, 2)).cpu() for (batch,) in self.sentences(chunks)]
        return np.asarray(torch.cat(means).clamp(min=1e-12).log().numpy())

    def untrained(self) -> Self:
        """A model like this one with fresh weights, and the moments of the bands that this one was trained with."""
        if self.network is None:
            raise SerbenchError(f"the model {self.name!r} is not trained. Call fit, or load trained weights.")
        other = type(self)(self.config, self.task, self.resources)
        other._sizes = self._sizes
        network = other._fresh_network()
        network.normaliser.load_state_dict(self.network.normaliser.state_dict())
        other.network = network.to(self.device).eval()
        return other

    def clustered(self, network: N, hidden: Tensor, layer: str) -> Tensor:
        """h (chunk, width) -> what `chunk_features` gives of it, (chunk, width)."""
        return hidden

    def sentences(self, chunks: ChunkSet) -> Batches:
        """All sentences in order, a few at a time, for passes without training: (chunk, frame, band)."""
        size = self.micro_batch(cpu=max(1, CPU_CHUNKS // chunks.chunking.count), card=64)
        indices = micro_batches(len(chunks) // chunks.chunking.count, size)
        return Batches(indices, lambda some: (torch.from_numpy(chunks.gather(chunks.of_sentences(some))),), self.device)

    def sentence_means(self, outputs: Tensor) -> Tensor:
        """Chunk outputs (sentence * C, output) -> their mean (sentence, output), in float32."""
        return outputs.float().reshape(-1, self._sizes["chunks"], outputs.shape[-1]).mean(1)

    def _load(self, chunks: npt.NDArray[np.int64]) -> Batch:
        sentences = torch.from_numpy(self.train_chunks.sentence_of(chunks))
        return torch.from_numpy(self.train_chunks.gather(chunks)), self._targets[sentences]

    def _class_weights(self, labels: npt.NDArray[Any]) -> Tensor | None:
        if self.task.kind != "classification" or self.config.class_weights == "none":
            return None
        return torch.from_numpy(balanced_weights(labels, self.task.n_outputs))


class PoolModel(ChunkedModel[N]):
    """Base of the models that an unlabelled pool helps to train."""

    uses_unlabelled: ClassVar[bool] = True
    config: PoolConfig
    pool_chunks: ChunkSet | None
    """Chunks of the unlabelled pool, from `begin` on; None without a pool."""

    @classmethod
    def pool(cls, config: PoolConfig, ids: Sequence[str]) -> list[str]:
        """The ids of the unlabelled pool that are used."""
        return unlabelled_pool.chosen(ids, config.unlabelled)

    @classmethod
    def with_pool(cls, config: PoolConfig, count: int) -> PoolConfig:
        """The configuration that takes `count` sentences of the pool."""
        return replace(config, unlabelled=count)

    def fit(self, train: Data, dev: Data, score: Score, unlabelled: Data | None = None) -> FitLog:
        """Train as `TorchModel.fit`; sentences of the pool that are among the labelled ones are an error."""
        return super().fit(train, dev, score, unlabelled_pool.taken(unlabelled, (train, dev), self.config.unlabelled))

    def begin(self, training: Training[N]) -> None:
        """Lay out the labelled and the unlabelled chunks."""
        super().begin(training)
        pool = training.unlabelled
        self.pool_chunks = None if pool is None else self.chunk_set(pool)
        training.log.facts["unlabelled_sentences"] = 0 if pool is None else len(pool)


def _moments_of_labels(network: ChunkNetwork) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    return network.label_mean.cpu().double().numpy(), network.label_std.cpu().double().numpy()
