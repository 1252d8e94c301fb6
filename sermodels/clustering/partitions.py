"""Numbers about an assignment of points to clusters: sizes, their entropy, agreement with another assignment.

Pure functions on integer arrays. `nmi` is normalised mutual information with the arithmetic mean of the entropies, as
in scikit-learn's `normalized_mutual_info_score`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.integer]


def sizes(assignment: Indices, k: int) -> Indices:
    """Number of points of each cluster, (K,)."""
    return np.bincount(assignment, minlength=k).astype(np.int64)


def entropy(counts: Indices) -> float:
    """Entropy of the cluster sizes in nats divided by ln K: 1 for equal sizes, 0 when all are in one cluster."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum() / np.log(len(counts))) if len(counts) > 1 else 0.0


def nmi(a: Indices, b: Indices) -> float:
    """Normalised mutual information of two assignments of the same points: I(a; b) over the mean of the two entropies.

    1 when they differ only in the clusters' numbers, also when both have a single cluster.
    """
    width = int(b.max()) + 1
    joint = np.bincount(a * width + b, minlength=(int(a.max()) + 1) * width).reshape(-1, width) / len(a)
    rows, columns = joint.sum(1), joint.sum(0)
    held = joint > 0
    shared = float((joint[held] * np.log(joint[held] / np.outer(rows, columns)[held])).sum())
    both = sum(float(-(p[p > 0] * np.log(p[p > 0])).sum()) for p in (rows, columns)) / 2
    return max(0.0, shared / both) if both > 0 else 1.0
