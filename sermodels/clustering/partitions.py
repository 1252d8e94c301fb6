"""Numbers about an assignment of points to clusters: sizes, their entropy, agreement with another assignment.

Pure functions on integer arrays.
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
    from sklearn.metrics import normalized_mutual_info_score

    return float(normalized_mutual_info_score(a, b))
