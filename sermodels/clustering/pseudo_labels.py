"""Pseudo-labels from k-means: which chunks are drawn under them, and how the clusters of two epochs are matched.

Pure functions on assignments, (chunk,) cluster numbers. Sampling uniformly over clusters keeps the classifier from
putting everything into the largest one (Caron et al., 2018, ECCV, "Deep clustering for unsupervised learning of visual
features", section 3.3).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..inputs.batches import shuffled

Indices = npt.NDArray[np.int64]


def share_of_draws(chunks: int, filled: int) -> int:
    """Most draws of one cluster in a balanced epoch: floor(chunks / clusters that hold anything) + 1."""
    return chunks // filled + 1


def balanced(assignment: Indices, generator: torch.Generator) -> Indices:
    """As many draws as there are chunks, each cluster that holds anything getting the same share of them.

    A cluster with at most as many chunks as its share is drawn from with replacement, a larger one without. The draws
    are shuffled and cut to the number of chunks.
    """
    filled = [np.flatnonzero(assignment == k) for k in np.unique(assignment)]
    share = share_of_draws(len(assignment), len(filled))
    drawn = np.concatenate([_draw(chunks, share, generator) for chunks in filled])
    return drawn[shuffled(len(drawn), generator)][: len(assignment)]


def stored_order(assignment: Indices, generator: torch.Generator) -> Indices:
    """The draws of the authors' release: balanced numbers, looked up in a list that is sorted by cluster.

    The release stores the re-labelled chunks cluster by cluster and indexes that list with numbers of the original
    order. Each chunk keeps its own pseudo-label, but a drawn number now means another chunk, so clusters are drawn
    about in proportion to their size.
    """
    stored: Indices = np.argsort(assignment, kind="stable")
    drawn: Indices = stored[balanced(assignment, generator)]
    return drawn


SAMPLERS = {"balanced": balanced, "stored-order": stored_order}


def matched(old: Tensor, new: Tensor) -> Indices:
    """For each new cluster the old one that it continues, (K,): the one-to-one matching of least squared distance.

    Parameters
    ----------
    old, new : centroids (K, dim)
    """
    from scipy.optimize import linear_sum_assignment

    _, columns = linear_sum_assignment(torch.cdist(new.double().cpu(), old.double().cpu()).square().numpy())
    return np.asarray(columns, dtype=np.int64)


def _draw(chunks: Indices, count: int, generator: torch.Generator) -> Indices:
    several = len(chunks) <= count
    which = torch.randint(len(chunks), (count,), generator=generator).numpy() if several else None
    drawn: Indices = chunks[shuffled(len(chunks), generator)[:count] if which is None else which]
    return drawn
