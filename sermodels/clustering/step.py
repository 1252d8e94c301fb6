"""The clustering step of an epoch: points of all chunks, k-means, pseudo-labels, and what is logged of them.

What goes from one epoch to the next (assignments, sizes, and for a warm start centroids and top layers) is held in
`Training.kept`, so an interrupted training has it again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ...datasets.core.config import option
from ..training.device import autocast
from ..training.training import Training
from .kmeans import BACKENDS, EMPTY, STARTS, kmeans
from .partitions import entropy, nmi, sizes
from .points import Points, make_points
from .pseudo_labels import matched
from .whitening import whiten

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClusterConfig:
    """Settings of the clustering step."""

    clusters: int = option(10, "number K of clusters", source="section 5.2", low=2)
    cluster_input: str = option(
        "classifier",
        "what is clustered: h, or f_cltr's hidden layer before its ReLU",
        source="released code",
        choices=("classifier", "h"),
    )
    whiten: int = option(0, "dimensions of PCA whitening and L2 norm before; 0 = none", source="released code", low=0)
    kmeans: str = option("torch", "implementation of k-means", source="free choice", choices=BACKENDS)
    kmeans_start: str = option("k-means++", "what k-means starts from", source="free choice", choices=STARTS)
    kmeans_iterations: int = option(20, "most iterations of k-means", source="released code", low=1)
    empty_clusters: str = option("farthest", "what an empty cluster is given", source="free choice", choices=EMPTY)
    warm_start: bool = option(False, "match clusters to the last epoch's and keep the top layer", source="free choice")
    cluster_mb: int = option(512, "megabytes of points to cluster held in memory; more go to a file", low=0)


def gather(training: Training[Any], blocks: Iterable[Tensor], shape: tuple[int, int], c: ClusterConfig) -> Points:
    """Rows that come block by block, of `shape` (point, dim) in all, computed in evaluation mode without gradients."""
    points, first = make_points(*shape, training.device, c.cluster_mb * 2**20), 0
    training.network.eval()
    with torch.inference_mode(), autocast(training.device, training.settings.amp):
        for block in blocks:
            points.put(first, block.float())
            first += len(block)
    training.network.train()
    return points


def cluster(training: Training[Any], name: str, points: Points, c: ClusterConfig) -> tuple[Labels, dict[str, float]]:
    """Pseudo-labels (point,) of a set of chunks, and the epoch's log of them.

    The log: number of empty clusters, largest and smallest share, entropy of the sizes over ln K, inertia per point,
    iterations, how often an empty cluster was refilled, and NMI to the last epoch's assignment.
    """
    ready = whiten(points, c.whiten, c.cluster_mb * 2**20) if c.whiten else points
    clusters = kmeans(
        ready,
        c.clusters,
        training.generator(f"clusters, {name}"),
        iterations=c.kmeans_iterations,
        start=c.kmeans_start,
        empty=c.empty_clusters,
        backend=c.kmeans,
    )
    labels = clusters.assignment
    if c.warm_start:
        labels = _continued(training, name, points, labels, c.clusters)
    counts = sizes(labels, c.clusters)
    row = {
        f"{name}_entropy": entropy(counts),
        f"{name}_empty": float((counts == 0).sum()),
        f"{name}_largest": float(counts.max() / counts.sum()),
        f"{name}_smallest": float(counts.min() / counts.sum()),
        f"{name}_inertia": clusters.inertia / len(labels),
        f"{name}_iterations": float(clusters.iterations),
        f"{name}_refilled": float(clusters.refilled),
    }
    kept = training.kept
    if f"{name}_labels" in kept:
        row[f"{name}_nmi"] = nmi(labels, kept[f"{name}_labels"].astype(np.int64))
    kept[f"{name}_labels"] = labels.astype(np.int32)
    before = kept.get(f"{name}_sizes", np.empty((0, c.clusters), np.int64))
    kept[f"{name}_sizes"] = np.concatenate([before, counts[None]])
    return labels, row


def sizes_so_far(training: Training[Any]) -> dict[str, Any]:
    """Cluster sizes of every epoch so far, for the record: name -> list of lists (epoch, cluster)."""
    return {
        name: training.kept[f"{name}_sizes"].tolist()
        for name in ("labelled", "unlabelled")
        if f"{name}_sizes" in training.kept
    }


def keep_top(training: Training[Any], name: str, top: nn.Linear) -> None:
    """Remember the top layer that a set's clusters ended with."""
    training.kept[f"{name}_top"] = torch.cat([top.weight, top.bias[:, None]], 1).detach().cpu().numpy().copy()


def restore_top(training: Training[Any], name: str, top: nn.Linear) -> bool:
    """Put the remembered top layer of a set back; False where there is none yet."""
    held = training.kept.get(f"{name}_top")
    if held is None:
        return False
    with torch.no_grad():
        top.weight.copy_(torch.from_numpy(held[:, :-1]))
        top.bias.copy_(torch.from_numpy(held[:, -1]))
    return True


def _continued(training: Training[Any], name: str, points: Points, labels: Labels, k: int) -> Labels:
    """The labels, numbered like the last epoch's clusters that they continue; remembers the new centroids."""
    means = cluster_means(points, labels, k)
    key = f"{name}_centroids"
    if key in training.kept:
        old = matched(torch.from_numpy(training.kept[key]), means)
        labels, means = old[labels], means[np.argsort(old)]
    training.kept[key] = means.numpy()
    return labels


def cluster_means(points: Points, labels: Labels, k: int) -> Tensor:
    """Mean of the points of each cluster, (K, dim) float32 on the CPU; 0 for an empty one."""
    sums, first = torch.zeros(k, points.dim, dtype=torch.float64), 0
    for block in points.blocks(1 << 16):
        sums.index_add_(0, torch.from_numpy(labels[first : first + len(block)]), block.double().cpu())
        first += len(block)
    counts = torch.from_numpy(sizes(labels, k)).clamp(min=1)
    return (sums / counts[:, None]).float()
