"""Clusters of chunks in numbers: how much emotion is in them, with its value by chance; their order; a plane of chunks.

- ratio: variance of an attribute between the clusters over that within them, sum_k n_k (m_k - m)^2 / sum_k sum_i
  (x_ki - m_k)^2; 0 when all clusters have the same mean;
- NMI of the clusters with the emotion classes, normalised by the mean of the two entropies.

Chance: the mean of the same number with the labels shuffled among sentences, chunks of a sentence staying together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.int64]
SHUFFLES = 20


def measure(chunks: pd.DataFrame, attributes: Sequence[str], seed: int) -> pd.DataFrame:
    """Ratios and NMI of clustered chunks (columns id, cluster, the attributes, emotion), with their chance values."""
    labels = chunks["cluster"].to_numpy(dtype=np.int64)
    rows = []
    for target in (*attributes, "emotion"):
        column = chunks[target].to_numpy(dtype=object if target == "emotion" else np.float64)
        name, score = ("NMI", class_nmi) if target == "emotion" else ("ratio", variance_ratio)
        rows.append(
            {
                "measure": name,
                "target": target,
                "value": score(column, labels),
                "chance": _by_chance(score, column, labels, chunks["id"], seed),
                "n": int((~pd.isna(column)).sum()),
            }
        )
    return pd.DataFrame(rows)


def variance_ratio(values: Floats, labels: Labels) -> float:
    """Variance between clusters over variance within them; values that are no numbers don't count.

    Infinite where clusters differ and nothing varies within them, NaN where nothing varies at all.
    """
    known = np.isfinite(values)
    values, labels = values[known], labels[known]
    if not len(values):
        return float("nan")
    counts = np.bincount(labels)
    means = np.bincount(labels, values) / np.maximum(counts, 1)
    between = float((counts * (means - values.mean()) ** 2).sum())
    within = float(((values - means[labels]) ** 2).sum())
    if within <= 1e-12 * max(between, 1.0):
        return float("inf") if between > 1e-12 else float("nan")
    return between / within


def class_nmi(classes: npt.NDArray[Any], labels: Labels) -> float:
    """NMI of clusters with classes (text; missing ones don't count); NaN with fewer than two classes."""
    from ...sermodels.clustering.partitions import nmi

    known = ~pd.isna(classes)
    codes, names = pd.factorize(classes[known])
    return nmi(labels[known], codes.astype(np.int64)) if len(names) > 1 else float("nan")


def _by_chance(
    score: Callable[[npt.NDArray[Any], Labels], float],
    column: npt.NDArray[Any],
    labels: Labels,
    ids: pd.Series[str],
    seed: int,
) -> float:
    codes, first = pd.factorize(ids)[0], np.flatnonzero(~ids.duplicated().to_numpy())
    by_sentence, generator = column[first], np.random.default_rng(seed)
    return float(np.mean([score(generator.permutation(by_sentence)[codes], labels) for _ in range(SHUFFLES)]))


def in_order(labels: Labels, values: Floats) -> Labels:
    """The same clusters, numbered by the rising mean of some values, from 0; the largest numbers are empty ones."""
    known = np.isfinite(values)
    k = int(labels.max()) + 1
    counts = np.bincount(labels[known], minlength=k)
    means = np.bincount(labels[known], values[known], minlength=k) / np.maximum(counts, 1)
    order = np.argsort(np.where(counts > 0, means, np.inf), kind="stable")
    return np.asarray(np.argsort(order)[labels], dtype=np.int64)


def project(points: Floats, kind: str, seed: int) -> Floats:
    """Points (chunk, dim) on a plane, (chunk, 2): principal components, or t-SNE started from them."""
    from sklearn.decomposition import PCA

    width = min(2, *points.shape)
    plane = PCA(width, svd_solver="full").fit_transform(points.astype(np.float64))
    plane = np.pad(plane, ((0, 0), (0, 2 - width)))
    if kind == "pca":
        return plane
    from sklearn.manifold import TSNE

    perplexity = min(30.0, max(2.0, (len(points) - 1) / 3))
    return np.asarray(TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(points))
