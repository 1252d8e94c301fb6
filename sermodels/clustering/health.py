"""Whether clusters and their classifier did what they are there for, told from the log of a training.

Pure functions. Each finding is a sentence for a record and for the screen; none means that nothing is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

LEARNT = 0.99
"""A classifier that has learnt something has a cross-entropy below this share of ln K in at least one epoch."""
COLLAPSED = 0.95
"""Share of one cluster from which on the clusters count as one."""
ABOVE_CHANCE = 0.05
"""An NMI to the epoch before that is less than this above chance is no agreement."""
EPOCHS = 5
"""Last epochs that agreement is the mean of."""
LOSSES = {"unlabelled": "unlabelled_loss", "labelled": "cluster_loss"}
"""Set of chunks -> the column of its classifier's loss."""


def chance_nmi(a: Sequence[int], b: Sequence[int]) -> float:
    """About the NMI of two independent assignments with clusters of such sizes.

    The mutual information of n points by chance is (A - 1)(B - 1) / 2n nats for A and B filled clusters (Miller 1955).
    """
    one, other = (np.asarray([c for c in counts if c > 0], dtype=float) for counts in (a, b))
    entropies = [-(counts / counts.sum() * np.log(counts / counts.sum())).sum() for counts in (one, other)]
    mean = sum(entropies) / 2
    return min(1.0, (len(one) - 1) * (len(other) - 1) / (2 * one.sum()) / mean) if mean > 0 else 1.0


def findings(rows: Sequence[Mapping[str, float]], sizes: Mapping[str, Sequence[Sequence[int]]]) -> list[str]:
    """What is wrong with the clusters of a training.

    Parameters
    ----------
    rows : the log, one row per epoch
    sizes : set of chunks -> cluster sizes (epoch, cluster)
    """
    warnings = []
    for name, counts in sizes.items():
        k = len(counts[-1])
        losses = [row[LOSSES[name]] for row in rows if LOSSES[name] in row]
        if losses and min(losses) > LEARNT * math.log(k):
            warnings.append(
                f"the classifier of the {name} chunks' clusters has learnt nothing: its cross-entropy is at best "
                f"{min(losses):.3f}, and ln {k} = {math.log(k):.3f} without any training. Expected a lower one: raise "
                "model.top_rate or model.cluster_rate, or type --set model.cluster_optimiser=adam."
            )
        largest = max(counts[-1]) / sum(counts[-1])
        if largest >= COLLAPSED:
            warnings.append(
                f"the {name} chunks' clusters have collapsed: one of {k} holds {largest:.0%} of the chunks. Type "
                "--set model.whiten=8, or a smaller model.clusters."
            )
        warnings += _unsteady(name, rows, counts)
    return warnings


def _unsteady(name: str, rows: Sequence[Mapping[str, float]], counts: Sequence[Sequence[int]]) -> list[str]:
    """Whether clusters of one epoch are no clusters of the next; needs a few epochs to be told."""
    agreement = [row[f"{name}_nmi"] for row in rows if f"{name}_nmi" in row][-EPOCHS:]
    if len(agreement) < EPOCHS or sum(c > 0 for c in counts[-1]) < 2:
        return []
    mean, chance = float(np.mean(agreement)), chance_nmi(counts[-2], counts[-1])
    if mean >= chance + ABOVE_CHANCE:
        return []
    return [
        f"the {name} chunks' clusters change from epoch to epoch: their NMI to those of the epoch before is "
        f"{mean:.2f}, by chance it is {chance:.2f}. A smaller step size or a smaller model.clusters may hold them."
    ]
