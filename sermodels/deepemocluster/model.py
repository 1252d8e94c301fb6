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

- `paper`: the text, and what it must have left out. SGD 1e-3 for the encoder, Adam 5e-4 for the regressor, 64 sentences
  per step, k-means on the latent h. Pseudo-classes are sampled uniformly, as in the DeepCluster that the text builds
  on. The text has SGD 1e-3 for the classifier too; with the release's weights N(0, 0.01) and a top layer that is made
  anew in each stage it then learns nothing, at the paper's number of steps either (`serbench study deepemocluster-why
  --part classifier`). So its hidden layer has Adam 5e-4 and its top layer SGD 0.05, as in the release. The text to the
  letter: --set model.cluster_optimiser=sgd --set model.cluster_rate=1e-3 --set model.top_rate=1e-3.
- `released`: what the public code does, with its defects: the regressor is frozen before stage 1 and stays so, so
  that with an unlabelled pool it keeps its random initial weights (`regressor`); its balanced sampler does not balance
  (`sampler`, see `stored_order`); plain SGD 1e-3 and Adam 5e-4 both run over all parameters and both step on the same
  gradient (`optimisers`); the best epoch is that of the smallest mean over dev batches of the chunks' 1 - CCC
  (`selection`). Not repeated: that the pool's k-means draws the same start in every epoch, a short last batch, dev
  batches in random order, and which sentences of a pool beyond 40,000 are taken (`inputs/unlabelled_pool.py`).
- `fixed`: the release with the regressor trained in stage 2, balanced draws, one Adam 5e-4 over each part, selection
  and early stopping on sentences, k-means++; 16 sentences per step, so that small corpora train too. Stage 2 goes
  through the labelled chunks until it has as many steps as stage 1 (`labelled_passes`), points are whitened to 8
  dimensions, and clusters and their top layer go on from those of the last epoch: without the first a pool hurts where
  few sentences are labelled (`docs/deepemocluster.md`).
- `small`: `fixed` with the narrow network of `cnn-regressor:small`, for a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim import Optimizer

from ...datasets.core.errors import SerbenchError
from ..chunked.network import initialise, small
from ..chunked.two_stages import TwoStageModel
from ..clustering.health import findings
from ..clustering.pseudo_labels import SAMPLERS
from ..clustering.step import Labels, cluster, gather, keep_top, restore_top, sizes_so_far
from ..inputs.batches import Batch, Batches, even_batches
from ..inputs.chunks import ChunkSet
from ..training.settings import make_optimiser
from ..training.training import Training
from .config import FIXED, PAPER, RELEASED, TINY, Config
from .network import ClusterNetwork

__all__ = ["PRESETS", "SEARCH", "TINY", "Config", "Model"]

GROUP = "seed systems"
CITES = ("lin2021deepemocluster",)
PRESETS: dict[str, Config] = {
    "default": FIXED,
    "fixed": FIXED,
    "paper": PAPER,
    "released": RELEASED,
    "small": small(FIXED),
}
SEARCH = {"model.clusters": "10,20,30", "model.cluster_weight": "0.1..3:log"}


class Model(TwoStageModel[ClusterNetwork]):
    """Encoder, regressor and cluster classifier, trained in one or two stages per epoch."""

    name: ClassVar[str] = "deepemocluster"
    network_class: ClassVar[type[ClusterNetwork]] = ClusterNetwork
    config: Config

    def optimisers(self, network: ClusterNetwork) -> dict[str, Optimizer]:
        """Those that live through the training; each stage has one more, for its new top layer."""
        c = self.config
        encoder, emotion = list(network.encoder.parameters()), list(network.emotion.parameters())
        hidden = list(network.cluster[0].parameters())
        if c.optimisers == "released":
            every = [*encoder, *hidden, *emotion]
            return {"sgd": self.optimiser(every, c.encoder_optimiser, c.encoder_rate), "adam": self.optimiser(every)}
        return {
            "encoder": self.optimiser(encoder, c.encoder_optimiser, c.encoder_rate),
            "cluster": self.optimiser(hidden, c.cluster_optimiser, c.cluster_rate),
            "emotion": self.optimiser(emotion),
        }

    def begin(self, training: Training[ClusterNetwork]) -> None:
        """Lay out the labelled and the unlabelled chunks."""
        super().begin(training)
        k = self.config.clusters
        for name, chunks in (("training", self.train_chunks), ("unlabelled", self.pool_chunks)):
            if chunks is not None and len(chunks) < k:
                raise SerbenchError(
                    f"the {name} data have {len(chunks)} chunks, fewer than model.clusters={k}. Expected at least one "
                    f"chunk per cluster: type --set model.clusters={max(2, len(chunks) // 2)} or give more data."
                )
        frozen = self.config.regressor == "released" and self.pool_chunks is not None
        training.network.emotion.requires_grad_(not frozen)
        training.log.facts |= {"regressor_trained": not frozen, "cluster_sizes": sizes_so_far(training)}

    def epoch(self, training: Training[ClusterNetwork]) -> Mapping[str, float]:
        """The two stages; the log keeps the sizes of the clusters, and what is wrong with them."""
        rows = super().epoch(training)
        sizes = sizes_so_far(training)
        training.log.facts |= {"cluster_sizes": sizes, "warnings": findings([*training.log.epochs, rows], sizes)}
        return rows

    def stage_one(self, training: Training[ClusterNetwork], pool: ChunkSet, end: float) -> dict[str, float]:
        """Encoder and classifier on the pool's pseudo-labels; the regressor is frozen (section 4.2)."""
        network = training.network
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

    def stage_two(self, training: Training[ClusterNetwork], start: float) -> dict[str, float]:
        """The whole network on labelled chunks: L = (1 - CCC) + lambda CE (Eq. 3)."""
        network, weight = training.network, self.config.cluster_weight
        labels, row = self._clusters(training, "labelled", self.train_chunks)

        def load(chunks: Labels) -> Batch:
            return *self._load(chunks), torch.from_numpy(labels[chunks])

        def losses(batch: Batch) -> Mapping[str, Tensor]:
            chunks, targets, pseudo = batch
            hidden = network.latent(chunks)
            named = self.emotion_losses(network.emotion(hidden), targets)
            emotion, cluster = named.pop("loss"), functional.cross_entropy(network.cluster(hidden).float(), pseudo)
            return {"loss": emotion + weight * cluster, "emotion_loss": emotion, "cluster_loss": cluster, **named}

        names = ["labelled", *(f"labelled, pass {number}" for number in range(2, self.passes + 1))]
        drawn = [batch for name in names for batch in self._drawn(training, name, self.train_chunks, labels)]
        batches = Batches(drawn, load, training.device)
        steps = [*training.optimisers.values(), self._top(training)]
        means = training.sweep("stage 2", batches, losses, steps, (start, 1.0))
        keep_top(training, "labelled", network.top)
        return {**means, **row}

    def clustered(self, network: ClusterNetwork, hidden: Tensor, layer: str) -> Tensor:
        """What is clustered in training, or h: h (chunk, width) -> (chunk, width)."""
        which = self.config.cluster_input if layer == "auto" else layer
        return hidden if which == "h" else torch.as_tensor(network.cluster[0](hidden))

    def rank(self, training: Training[ClusterNetwork], score: float) -> float:
        """What the best epoch is chosen by: the dev score, or minus the chunks' mean loss over dev batches."""
        if self.config.selection == "sentences":
            return score
        network, dev = training.network, training.dev
        chunks, size = self.chunk_set(dev), self.train_config.batch_size * self.train_chunks.chunking.count
        targets = torch.from_numpy(np.repeat(self.targets(network, dev), chunks.chunking.count, axis=0))
        with torch.inference_mode():
            outputs = torch.cat([network.emotion(hidden).float() for hidden in self.latents(network, chunks)])
            pairs = zip(torch.split(outputs, size), torch.split(targets.to(outputs.device), size), strict=True)
            return -float(torch.stack([self.emotion_losses(o, t)["loss"] for o, t in pairs]).mean())

    def _clusters(
        self, training: Training[ClusterNetwork], name: str, chunks: ChunkSet
    ) -> tuple[Labels, dict[str, float]]:
        """Cluster a set of chunks as the network sees them now, and make the top layer ready for it."""
        network, c = training.network, self.config
        training.report(f"clusters of {name}", 0.0)
        training.network.eval()
        rows = (network.points(hidden, c.cluster_input) for hidden in self.latents(network, chunks))
        points = gather(training, rows, (len(chunks), c.width), c)
        labels, row = cluster(training, name, points, c)
        if not (c.warm_start and restore_top(training, name, network.top)):
            initialise(network.top, training.generator(f"top layer, {name}"))
        return labels, row

    def _drawn(self, training: Training[ClusterNetwork], name: str, chunks: ChunkSet, labels: Labels) -> list[Labels]:
        """The chunk numbers of each batch of a stage, or of one of its passes."""
        purpose = "order" if name == "labelled" else f"order, {name}"
        generator, c = training.generator(purpose), self.config
        if c.sampler == "all":
            return self.draws(chunks, generator)
        size = self.train_config.batch_size * chunks.chunking.count
        return even_batches(SAMPLERS[c.sampler](labels, generator), size)

    def _top(self, training: Training[ClusterNetwork]) -> Optimizer:
        """A new optimiser for a new top layer."""
        return make_optimiser("sgd", training.network.top.parameters(), self.config.top_rate)
