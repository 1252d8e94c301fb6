"""k-means by Lloyd's algorithm, on any device, in memory that is bounded by blocks.

Lloyd (1982, IEEE Trans. Inf. Theory 28:129-137); seeding by k-means++ is the D^2 sampling of Arthur and Vassilvitskii
(2007, SODA, 1027-1035), one candidate per step. From the same start the result is that of scikit-learn's `KMeans` with
`algorithm="lloyd"`, `tol=0`: assign, update, stop when no assignment changes, and assign once more at the end.

The nearest centroid of x maximises x.c_k - |c_k|^2 / 2, the terms of -|x - c_k|^2 / 2 that depend on k, so one matrix
product per block decides. The mean of all points is taken off first, so an offset that they share costs no digits.

What becomes of a centroid that no point is nearest to is a stated rule (`EMPTY`); whichever is chosen, a cluster may be
empty in the final assignment, for instance where there are fewer distinct points than clusters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...datasets.core.errors import SerbenchError
from ...datasets.core.libraries import library
from ...features.core.process import one_thread
from .points import HeldPoints, Points

Indices = npt.NDArray[np.int64]
STARTS = ("random", "k-means++")
EMPTY = ("farthest", "split", "keep")
"""`farthest`: an empty cluster takes the point that is farthest from its own centroid (scikit-learn's rule); `split`:
it takes half of the largest cluster, both centroids moved apart by 1/1024 (the rule of faiss, which draws the one to
split by its size instead); `keep`: its centroid stays where it is."""
BACKENDS = ("torch", "faiss")
_NUDGE = 1 / 1024
_CPU_ROWS = 2048
"""Rows per block on a CPU: 2 MB at 256 columns, which stay in its cache between assignment and sums."""
_CARD_ELEMENTS = 1 << 26
"""Elements of a block's rows and distances on an accelerator (256 MB)."""


@dataclass(frozen=True)
class Clusters:
    """What k-means found.

    Attributes
    ----------
    centroids : (K, dim) on the points' device
    assignment : (point,) int64, the nearest centroid of every point
    inertia : sum of squared distances to the nearest centroid
    iterations : updates that were made
    refilled : how often an empty cluster was given something
    """

    centroids: Tensor
    assignment: Indices
    inertia: float
    iterations: int
    refilled: int


def kmeans(
    points: Points | Tensor,
    k: int,
    generator: torch.Generator,
    *,
    iterations: int = 20,
    start: str | Tensor = "k-means++",
    empty: str = "farthest",
    backend: str = "torch",
) -> Clusters:
    """Cluster points (point, dim).

    Parameters
    ----------
    points : float32 (or float64, for a tensor), finite
    k : number of clusters
    generator : on the CPU; what the start is drawn from
    iterations : most updates
    start : "random" (k different points), "k-means++", or the centroids (k, dim) to start from
    empty : the rule for a cluster without points, one of `EMPTY`
    backend : "torch", or "faiss" where that is installed (its own rule for empty clusters; float32 on the CPU)

    Raises
    ------
    SerbenchError
        For fewer points than clusters, points that are not finite, or a missing faiss.
    """
    held = HeldPoints(points) if isinstance(points, Tensor) else points
    if held.count < k or k < 1:
        raise SerbenchError(f"{held.count} points can't form {k} clusters. Expected at least one point per cluster.")
    with torch.no_grad(), one_thread(held.device):
        centroids = start.to(held.device) if isinstance(start, Tensor) else _START[start](held, k, generator)
        if backend == "faiss":
            return _faiss(held, centroids, iterations)
        return _lloyd(held, centroids, iterations, empty)


def _lloyd(points: Points, start: Tensor, iterations: int, empty: str) -> Clusters:
    mean = mean_of(points)
    centroids = (start.to(mean.dtype) - mean).to(start.dtype)  # without the mean, until the end
    mean = mean.to(start.dtype)
    assignment = torch.full((points.count,), -1, dtype=torch.int64, device=points.device)
    done = refilled = 0
    while done < iterations:
        changed, sums, counts = _step(points, mean, centroids, assignment)
        if not changed:
            break
        means = (sums / counts.clamp(min=1)[:, None]).to(centroids.dtype)
        means[counts == 0] = centroids[counts == 0]
        holes = torch.nonzero(counts == 0).flatten().tolist()
        if holes and empty == "farthest":
            refilled += _farthest(points, mean, centroids, assignment, means, counts, holes)
        elif holes and empty == "split":
            refilled += _split(means, mean, counts, holes)
        centroids, done = means, done + 1
    else:
        _step(points, mean, centroids, assignment)
    inertia = float(_distances(points, mean, centroids, assignment).sum(dtype=widest(points.device)))
    return Clusters(centroids + mean, assignment.cpu().numpy(), inertia, done, refilled)


def _step(points: Points, mean: Tensor, centroids: Tensor, assignment: Tensor) -> tuple[bool, Tensor, Tensor]:
    """Assign every point in place; whether any changed, and the sums (K, dim) and counts (K,) of the new clusters."""
    k, wide = len(centroids), widest(points.device)
    bias, directions = -centroids.square().sum(1) / 2, centroids.T.contiguous()  # (K,), (dim, K)
    sums = torch.zeros(k, points.dim, dtype=wide, device=points.device)
    changed = torch.zeros((), dtype=torch.bool, device=points.device)
    first = 0
    for block in points.blocks(block_rows(points, k)):
        rows = block - mean
        nearest = torch.addmm(bias, rows, directions).argmax(1)
        old = assignment[first : first + len(rows)]
        changed |= (nearest != old).any()
        old.copy_(nearest)
        sums += _cluster_sums(rows, nearest, k)
        first += len(rows)
    counts = torch.bincount(assignment, minlength=k)
    return bool(changed), sums, counts


def _cluster_sums(rows: Tensor, nearest: Tensor, k: int) -> Tensor:
    """Sum of the rows of each cluster, (K, dim); on an accelerator by a product, which is repeatable."""
    if rows.device.type == "cpu":
        return torch.zeros(k, rows.shape[1], dtype=rows.dtype).index_add_(0, nearest, rows)
    return torch.nn.functional.one_hot(nearest, k).to(rows.dtype).T @ rows


def _distances(points: Points, mean: Tensor, centroids: Tensor, assignment: Tensor) -> Tensor:
    """Squared distance of every point to its centroid, (point,)."""
    squared, first = centroids.new_empty(points.count), 0
    for block in points.blocks(block_rows(points, len(centroids))):
        here = slice(first, first + len(block))
        squared[here] = (block - mean).sub_(centroids[assignment[here]]).square_().sum(1)
        first += len(block)
    return squared


def _farthest(
    points: Points, mean: Tensor, old: Tensor, assignment: Tensor, means: Tensor, counts: Tensor, holes: list[int]
) -> int:
    """Give each empty cluster the farthest point that is left, and take it out of its cluster; how many were given."""
    values, which = _distances(points, mean, old, assignment).topk(len(holes))
    donors = assignment[which]
    rows = points.take(which.cpu().numpy()) - mean
    given = 0
    for j, hole in enumerate(holes):
        if not values[j] > 0:
            break  # every point lies on a centroid: there are fewer distinct points than clusters
        donor, size = int(donors[j]), int(counts[donors[j]])
        if size > 1:
            means[donor] += (means[donor] - rows[j]) / (size - 1)
            counts[donor] -= 1
        means[hole], counts[hole] = rows[j], 1
        given += 1
    return given


def _split(means: Tensor, mean: Tensor, counts: Tensor, holes: list[int]) -> int:
    """Halve the largest cluster for each empty one; how many were given."""
    means += mean  # the centroids are moved apart in proportion to their coordinates
    sign = torch.where(torch.arange(means.shape[1], device=means.device) % 2 == 0, _NUDGE, -_NUDGE).to(means.dtype)
    for hole in holes:
        largest = int(counts.argmax())
        means[hole] = means[largest] * (1 + sign)
        means[largest] *= 1 - sign
        counts[hole] = counts[largest] // 2
        counts[largest] -= counts[hole].clone()
    means -= mean
    return len(holes)


def _random_start(points: Points, k: int, generator: torch.Generator) -> Tensor:
    """k different points, all choices equally likely."""
    return points.take(torch.randperm(points.count, generator=generator)[:k].numpy())


def _plus_plus(points: Points, k: int, generator: torch.Generator) -> Tensor:
    """k points, each drawn with a probability in proportion to its squared distance from the nearest one so far."""
    chosen = [int(torch.randint(points.count, (1,), generator=generator))]
    nearest: Tensor | None = None
    for draw in torch.rand(k - 1, dtype=torch.float64, generator=generator).tolist():
        far = _squared_to(points, points.take(np.array(chosen[-1:])))
        nearest = far if nearest is None else torch.minimum(nearest, far)
        sums = nearest.cpu().cumsum(0)  # an accelerator has no repeatable running sum
        total = float(sums[-1])
        if not np.isfinite(total):
            raise not_finite()
        # where no point is left that differs from those drawn, any point will do
        at = int(torch.searchsorted(sums, draw * total, right=True)) if total > 0 else int(draw * points.count)
        chosen.append(min(at, points.count - 1))
    return points.take(np.array(chosen))


_START = {"random": _random_start, "k-means++": _plus_plus}


def _squared_to(points: Points, centre: Tensor) -> Tensor:
    """Squared distance of every point to one centre (1, dim), (point,)."""
    squared, first = torch.empty(points.count, dtype=widest(points.device), device=points.device), 0
    for block in points.blocks(block_rows(points, 1)):
        squared[first : first + len(block)] = (block - centre).square_().sum(1)
        first += len(block)
    return squared


def mean_of(points: Points) -> Tensor:
    """Mean of all points, (dim,) in the widest format of the device."""
    wide = widest(points.device)
    total = torch.zeros(points.dim, dtype=wide, device=points.device)
    for block in points.blocks(block_rows(points, 1)):
        total += block.sum(0)
    if not bool(torch.isfinite(total).all()):
        raise not_finite()
    return total / points.count


def not_finite() -> SerbenchError:
    """The error for points that are no numbers."""
    return SerbenchError(
        "the points to cluster are not all finite numbers. Expected finite features; "
        "try a lower step size, such as --set train.learning_rate=5e-5, and 'serbench check' for broken audio."
    )


def _faiss(points: Points, centroids: Tensor, iterations: int) -> Clusters:
    faiss = library("faiss", "model.kmeans=faiss", ", or --set model.kmeans=torch")
    rows = torch.cat([block.clone() for block in points.blocks(1 << 16)]).float().cpu().numpy()
    k = len(centroids)
    machine = faiss.Kmeans(
        points.dim, k, niter=iterations, nredo=1, seed=1, max_points_per_centroid=len(rows), min_points_per_centroid=1
    )
    machine.train(rows, init_centroids=centroids.float().cpu().numpy())
    squared, nearest = machine.index.search(rows, 1)
    last = torch.from_numpy(np.array(machine.centroids)).to(points.device)
    return Clusters(last, nearest[:, 0].astype(np.int64), float(squared.sum(dtype=np.float64)), iterations, 0)


def block_rows(points: Points, columns: int) -> int:
    """Rows of a block."""
    return _CPU_ROWS if points.device.type == "cpu" else max(1024, _CARD_ELEMENTS // (points.dim + columns))


def widest(device: torch.device) -> torch.dtype:
    """The format that sums are kept in: double, where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64
