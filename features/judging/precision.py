"""Average precision of pairs of words by their similarity.

Same-different average precision is that of Carlin, Thomas, Jansen and Hermansky ("Rapid evaluation of speech
representations for spoken term discovery", Interspeech 2011): all pairs by falling similarity, and the mean of the
precision at each pair that is of the same word.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def average_precision(same: Flags, similarity: Array) -> float:
    """Mean precision at each true pair; pairs that are equally similar count together; NaN without a true pair.

    same, similarity : (pair,)
    """
    order = np.argsort(-similarity, kind="stable")
    last = np.flatnonzero(np.append(np.diff(similarity[order]) != 0, True))
    hits = np.cumsum(same[order])[last]
    if not len(same) or not hits[-1]:
        return float("nan")
    return float(np.sum(np.diff(hits, prepend=0) * hits / (last + 1)) / hits[-1])


def cosines(vectors: npt.NDArray[np.floating]) -> Array:
    """Cosines (word, word) of vectors (word, dim), their mean taken off."""
    centred = vectors.astype(np.float64) - vectors.mean(0, dtype=np.float64)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    return np.asarray(unit @ unit.T)


def percentile(similarity: Array, chosen: Flags) -> float:
    """Mean share of all pairs that are less similar than a chosen pair, (pair,) both; NaN where none is chosen."""
    from scipy.stats import rankdata

    if not chosen.any():
        return float("nan")
    return float(np.mean((rankdata(similarity)[chosen] - 0.5) / len(similarity)))
