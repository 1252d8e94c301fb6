"""DeepEmoCluster: an emotion regressor and a classifier of k-means pseudo-labels over one encoder; semi-supervised.

Lin, Sridhar and Busso, "DeepEmoCluster: a semi-supervised framework for latent cluster representation of speech
emotions", ICASSP 2021, DOI 10.1109/ICASSP39728.2021.9414035: sections 4.2 (framework, Eq. 3), 5.1 (settings) and 5.3
(size of the unlabelled set, number of clusters). Where the text is silent, the authors' release is followed
(github.com/winston-lin-wei-cheng/DeepEmoClusters).

One epoch. Stage 1, if there is an unlabelled pool: its chunks are clustered, the classifier's top layer is initialised
anew, and one pass of cross-entropy on the pseudo-labels trains encoder and classifier; the regressor is frozen. Stage
2: the labelled chunks are clustered by themselves, the top layer is initialised anew again, and one pass minimises
L = (1 - CCC) + lambda CE. For classification, our addition, cross-entropy on the emotions stands for 1 - CCC.

Presets (`default` is `fixed`):

- `paper`: the text. SGD 1e-3 for encoder and classifier, Adam 5e-4 for the regressor, 64 sentences per step, k-means on
  the latent h. Pseudo-classes are sampled uniformly, as in the DeepCluster that the text builds on.
- `released`: what the public code does, with its defects: the regressor is frozen before stage 1 and stays so, so
  that with an unlabelled pool it keeps its random initial weights (`regressor`); its balanced sampler does not balance
  (`sampler`, see `_pseudo.stored_order`); plain SGD 1e-3 and Adam 5e-4 both run over all parameters and both step on
  the same gradient (`optimisers`); the best epoch is that of the smallest mean over dev batches of the chunks' 1 - CCC
  (`selection`). Not repeated: that the pool's k-means draws the same start in every epoch, a short last batch, dev
  batches in random order, and which sentences of a pool beyond 40,000 are taken (`inputs/unlabelled_pool.py`).
- `fixed`: the release with the regressor trained in stage 2, balanced draws, one Adam 5e-4 over each part, selection
  and early stopping on sentences, k-means++; 16 sentences per step, so that small corpora train too.
- `small`: `fixed` with the narrow network of `cnn-regressor:small`, for a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from ...datasets.core.config import option
from ...datasets.core.errors import SerbenchError
from ..chunked.chunked_model import ChunkedModel
from ..chunked.network import ChunkNetwork, EncoderConfig, Head, initialise
from ..clustering.pseudo_labels import SAMPLERS
from ..clustering.step import ClusterConfig, Labels, cluster, gather, keep_top, restore_top, sizes_so_far
from ..core.sermodel import Data, FitLog, Score
from ..inputs import unlabelled_pool
from ..inputs.batches import Batch, Batches, even_batches
from ..inputs.chunks import ChunkSet
from ..training.training import TrainConfig, Training, make_optimiser


@dataclass(frozen=True)
class Config(EncoderConfig, ClusterConfig):
    """Settings of `deepemocluster`: those of the encoder, of the clustering, of pool, draws and optimisers."""

    cluster_weight: float = option(1.0, "weight lambda of the cluster loss", source="Eq. 3, section 5.1", low=0)
    unlabelled: int | None = option(
        None,
        "sentences of the unlabelled pool; 0 = supervised, none = all of it, at most 40,000",
        source="section 5.3",
        low=0,
    )
    sampler: str = option(
        "balanced",
        "chunks of an epoch: as many of each cluster, as the release draws, or each chunk once",
        source="DeepCluster, section 3.3",
        choices=(*SAMPLERS, "all"),
    )
    top_rate: float = option(0.05, "step size (SGD) of the classifier's top layer", source="released code", low=0)
    cluster_optimiser: str = option("adam", "that of its hidden layer", source="free choice", choices=("adam", "sgd"))
    cluster_rate: float | None = option(None, "its step size; none = train.learning_rate", source="free choice", low=0)
    optimisers: str = option(
        "parts",
        "one optimiser per part, or the release's SGD and Adam over everything",
        source="section 5.1",
        choices=("parts", "released"),
    )
    regressor: str = option(
        "trained",
        "whether stage 2 trains the regressor, or a pool leaves it frozen for good",
        source="section 4.2",
        choices=("trained", "released"),
    )
    selection: str = option(
        "sentences",
        "the best epoch: dev score, or the chunks' mean loss over dev batches",
        source="section 5.1",
        choices=("sentences", "chunks"),
    )

    def __post_init__(self) -> None:
        """Refuse settings that don't go together."""
        super().__post_init__()
        if self.draw == "sentences" and self.sampler != "all":
            raise SerbenchError(
                f"model.draw=sentences draws whole sentences, model.sampler={self.sampler} chunks by cluster. "
                "Type --set model.sampler=all with it."
            )
        if self.whiten > self.width:
            raise SerbenchError(f"model.whiten={self.whiten} exceeds model.width={self.width}. Expected at most that.")
        if self.optimisers == "released" and self.train.amp == "fp16":
            raise SerbenchError(
                "model.optimisers=released steps twice on one gradient, which the loss scaling of train.amp=fp16 does "
                "not allow. Type --set train.amp=bf16 or off."
            )


FIXED = Config()
PAPER = Config(
    train=TrainConfig(batch_size=64),
    encoder_optimiser="sgd",
    encoder_rate=1e-3,
    cluster_optimiser="sgd",
    cluster_rate=1e-3,
    top_rate=1e-3,
    cluster_input="h",
)
RELEASED = Config(
    train=TrainConfig(batch_size=64, patience=0),
    encoder_optimiser="sgd",
    encoder_rate=1e-3,
    kmeans_start="random",
    empty_clusters="split",
    sampler="stored-order",
    optimisers="released",
    regressor="released",
    selection="chunks",
    ccc_correction=1,
    ccc_epsilon=0.0,
)
PRESETS: dict[str, Config] = {
    "default": FIXED,
    "fixed": FIXED,
    "paper": PAPER,
    "released": RELEASED,
    "small": replace(
        FIXED,
        train=TrainConfig(epochs=10, patience=4, learning_rate=1e-3),
        max_seconds=3.0,
        channels=(16, 32, 32, 64, 64),
        strides=(2, 2, 1, 2, 2),
        width=128,
    ),
}
TINY = Config(
    train=TrainConfig(epochs=60, patience=0, batch_size=4, learning_rate=3e-3),
    chunk_seconds=0.25,
    max_seconds=0.5,
    channels=(4, 8),
    strides=(4, 2),
    width=16,
    dropout=0.0,
    clusters=3,
    cluster_weight=0.1,
)
SEARCH = {"model.clusters": "10,20,30", "model.cluster_weight": "0.1..3:log"}
"""For tests: trains in about a second on a few short utterances."""


class ClusterNetwork(ChunkNetwork):
    """Encoder, emotion regressor and cluster classifier f_cltr."""

    def __init__(self, frames: int, bands: int, outputs: int, config: Config) -> None:
        super().__init__(frames, bands, outputs, config)
        self.cluster = Head(config.width, config.clusters)

    def points(self, hidden: Tensor, which: str) -> Tensor:
        """h (chunk, width) -> what is clustered, (chunk, width)."""
        return hidden if which == "h" else torch.as_tensor(self.cluster[0](hidden))

    @property
    def top(self) -> nn.Linear:
        """The classifier's last layer, one output per cluster."""
        layer = self.cluster[2]
        assert isinstance(layer, nn.Linear)
        return layer


class Model(ChunkedModel):
    """Encoder, regressor and cluster classifier, trained in one or two stages per epoch."""

    name: ClassVar[str] = "deepemocluster"
    uses_unlabelled: ClassVar[bool] = True
    config: Config
    pool_chunks: ChunkSet | None
    """Chunks of the unlabelled pool, from `begin` on; None without a pool."""

    @classmethod
    def pool(cls, config: Config, ids: Sequence[str]) -> list[str]:
        """The ids of the unlabelled pool that are used."""
        return unlabelled_pool.chosen(ids, config.unlabelled)

    def build(self, sizes: Mapping[str, Any], generator: torch.Generator) -> nn.Module:
        """The network, initialised as in the release."""
        network = ClusterNetwork(sizes["frames"], sizes["bands"], self.task.n_outputs, self.config)
        initialise(network, generator)
        return network

    def optimisers(self, network: nn.Module) -> dict[str, Optimizer]:
        """Those that live through the training; each stage has one more, for its new top layer."""
        assert isinstance(network, ClusterNetwork)
        c, train = self.config, self.train_config

        def over(parameters: list[nn.Parameter], kind: str, rate: float | None) -> Optimizer:
            step = train.learning_rate if rate is None else rate
            return make_optimiser(kind, parameters, step, train.weight_decay, train.momentum)

        encoder, emotion = list(network.encoder.parameters()), list(network.emotion.parameters())
        hidden = list(network.cluster[0].parameters())
        if c.optimisers == "released":
            every = [*encoder, *hidden, *emotion]
            return {
                "sgd": over(every, c.encoder_optimiser, c.encoder_rate),
                "adam": over(every, train.optimiser, train.learning_rate),
            }
        return {
            "encoder": over(encoder, c.encoder_optimiser, c.encoder_rate),
            "cluster": over(hidden, c.cluster_optimiser, c.cluster_rate),
            "emotion": over(emotion, train.optimiser, train.learning_rate),
        }

    def fit(self, train: Data, dev: Data, score: Score, unlabelled: Data | None = None) -> FitLog:
        """Train as `TorchModel.fit`; sentences of the pool that are among the labelled ones are an error."""
        return super().fit(train, dev, score, unlabelled_pool.taken(unlabelled, (train, dev), self.config.unlabelled))

    def begin(self, training: Training) -> None:
        """Lay out the labelled and the unlabelled chunks."""
        super().begin(training)
        pool, k = training.unlabelled, self.config.clusters
        self.pool_chunks = None if pool is None else self.chunk_set(pool)
        for name, chunks in (("training", self.train_chunks), ("unlabelled", self.pool_chunks)):
            if chunks is not None and len(chunks) < k:
                raise SerbenchError(
                    f"the {name} data have {len(chunks)} chunks, fewer than model.clusters={k}. Expected at least one "
                    f"chunk per cluster: type --set model.clusters={max(2, len(chunks) // 2)} or give more data."
                )
        frozen = self.config.regressor == "released" and pool is not None
        _network(training).emotion.requires_grad_(not frozen)
        training.log.facts |= {
            "unlabelled_sentences": 0 if pool is None else len(pool),
            "regressor_trained": not frozen,
            "cluster_sizes": sizes_so_far(training),
        }

    def epoch(self, training: Training) -> Mapping[str, float]:
        """Stage 1 on the pool, stage 2 on the labelled chunks."""
        total = len(self.train_chunks) + (0 if self.pool_chunks is None else len(self.pool_chunks))
        middle = 1 - len(self.train_chunks) / total
        rows: dict[str, float] = {}
        if self.pool_chunks is not None:
            rows |= self.stage_one(training, self.pool_chunks, middle)
        rows |= self.stage_two(training, middle)
        training.log.facts["cluster_sizes"] = sizes_so_far(training)
        return rows

    def stage_one(self, training: Training, pool: ChunkSet, end: float) -> dict[str, float]:
        """Encoder and classifier on the pool's pseudo-labels; the regressor is frozen (section 4.2)."""
        network = _network(training)
        labels, row = self._clusters(training, "unlabelled", pool)
        trained = [o for name, o in training.optimisers.items() if name in ("encoder", "cluster", "sgd")]

        def load(chunks: Labels) -> Batch:
            return torch.from_numpy(pool.gather(chunks)), torch.from_numpy(labels[chunks])

        def losses(batch: Batch) -> Mapping[str, Tensor]:
            chunks, pseudo = batch
            return {"loss": functional.cross_entropy(network.cluster(network.latent(chunks)).float(), pseudo)}

        was = [p.requires_grad for p in network.emotion.parameters()]
        network.emotion.requires_grad_(False)
        batches = Batches(self._drawn(training, "unlabelled", pool, labels), load, training.device)
        means = training.sweep("stage 1", batches, losses, [*trained, self._top(training)], (0.0, end))
        for parameter, needed in zip(network.emotion.parameters(), was, strict=True):
            parameter.requires_grad_(needed)
        keep_top(training, "unlabelled", network.top)
        return {"unlabelled_loss": means["loss"], **row}

    def stage_two(self, training: Training, start: float) -> dict[str, float]:
        """The whole network on labelled chunks: L = (1 - CCC) + lambda CE (Eq. 3)."""
        network, weight = _network(training), self.config.cluster_weight
        labels, row = self._clusters(training, "labelled", self.train_chunks)

        def load(chunks: Labels) -> Batch:
            return *self._load(chunks), torch.from_numpy(labels[chunks])

        def losses(batch: Batch) -> Mapping[str, Tensor]:
            chunks, targets, pseudo = batch
            hidden = network.latent(chunks)
            found = self.emotion_losses(network.emotion(hidden), targets)
            emotion, cluster = found.pop("loss"), functional.cross_entropy(network.cluster(hidden).float(), pseudo)
            return {"loss": emotion + weight * cluster, "emotion_loss": emotion, "cluster_loss": cluster, **found}

        batches = Batches(self._drawn(training, "labelled", self.train_chunks, labels), load, training.device)
        steps = [*training.optimisers.values(), self._top(training)]
        means = training.sweep("stage 2", batches, losses, steps, (start, 1.0))
        keep_top(training, "labelled", network.top)
        return {**means, **row}

    def clustered(self, network: ChunkNetwork, hidden: Tensor, layer: str) -> Tensor:
        """What is clustered in training, or h: h (chunk, width) -> (chunk, width)."""
        assert isinstance(network, ClusterNetwork)
        which = self.config.cluster_input if layer == "auto" else layer
        return hidden if which == "h" else torch.as_tensor(network.cluster[0](hidden))

    def rank(self, training: Training, score: float) -> float:
        """What the best epoch is chosen by: the dev score, or minus the chunks' mean loss over dev batches."""
        if self.config.selection == "sentences":
            return score
        network, dev = _network(training), training.dev
        chunks, size = self.chunk_set(dev), self.train_config.batch_size * self.train_chunks.chunking.count
        targets = torch.from_numpy(np.repeat(self.targets(network, dev), chunks.chunking.count, axis=0))
        with torch.inference_mode():
            outputs = torch.cat([network.emotion(hidden).float() for hidden in self.latents(network, chunks)])
            pairs = zip(torch.split(outputs, size), torch.split(targets.to(outputs.device), size), strict=True)
            return -float(torch.stack([self.emotion_losses(o, t)["loss"] for o, t in pairs]).mean())

    def _clusters(self, training: Training, name: str, chunks: ChunkSet) -> tuple[Labels, dict[str, float]]:
        """Cluster a set of chunks as the network sees them now, and make the top layer ready for it."""
        network, c = _network(training), self.config
        training.report(f"clusters of {name}", 0.0)
        training.network.eval()
        rows = (network.points(hidden, c.cluster_input) for hidden in self.latents(network, chunks))
        points = gather(training, rows, (len(chunks), c.width), c)
        labels, row = cluster(training, name, points, c)
        if not (c.warm_start and restore_top(training, name, network.top)):
            initialise(network.top, training.generator(f"top layer, {name}"))
        return labels, row

    def _drawn(self, training: Training, name: str, chunks: ChunkSet, labels: Labels) -> list[Labels]:
        """The chunk numbers of each batch of a stage."""
        purpose = "order" if name == "labelled" else f"order, {name}"
        generator, c = training.generator(purpose), self.config
        if c.sampler == "all":
            return self.draws(chunks, generator)
        size = self.train_config.batch_size * chunks.chunking.count
        return even_batches(SAMPLERS[c.sampler](labels, generator), size)

    def _top(self, training: Training) -> Optimizer:
        """A new optimiser for a new top layer."""
        return make_optimiser("sgd", _network(training).top.parameters(), self.config.top_rate)


def _network(training: Training) -> ClusterNetwork:
    assert isinstance(training.network, ClusterNetwork)
    return training.network
