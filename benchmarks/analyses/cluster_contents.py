"""What clusters of chunks hold: emotion, or the speaker, the sentence, the recording, the level, the place in it?

One number for each: the normalised mutual information (NMI) of the clusters with it, beside

- its value by chance: the mean over shuffles, of sentences where all chunks of a sentence have the same value, of
  chunks otherwise;
- within speakers: the same with shuffles among the sentences of each speaker alone. What the clusters know of emotion
  through the speaker (who was recorded angry, who calm) is in this number and not in the gain over it;
- untrained: that of the clusters of a network of the same shape with fresh weights.

Attributes and level are cut into `BINS` groups of equally many chunks. The numbers of two quantities compare only
roughly, since NMI depends on the number of groups; `excess`, NMI - chance, is what is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from .cluster_measures import SHUFFLES, Labels, class_nmi, variance_ratio

BINS = 5
OF_CHUNKS = ("level", "position", "sentence")
"""What differs between the chunks of a sentence, or is the sentence itself: shuffled chunk by chunk."""


def quantities(chunks: pd.DataFrame, attributes: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """Name -> group of each chunk (None where unknown), of what is known of the chunks and not all the same.

    `chunks` has the columns id, chunk, emotion and the attributes, and of speaker, recording and level those that are
    known.
    """
    groupings: dict[str, npt.NDArray[Any]] = {"emotion": chunks["emotion"].to_numpy(dtype=object)}
    groupings |= {name: _cut(chunks[name]) for name in attributes}
    named = {"speaker": "speaker", "sentence": "id", "recording": "recording", "position": "chunk"}
    groupings |= {name: chunks[column].to_numpy(dtype=object) for name, column in named.items() if column in chunks}
    if "level" in chunks:
        groupings["level"] = _cut(chunks["level"])
    if "recording" in groupings and pd.Series(groupings["recording"]).nunique() >= chunks["id"].nunique():
        del groupings["recording"]  # each sentence is a file of its own
    return {name: groups for name, groups in groupings.items() if len(set(groups[~pd.isna(groups)].tolist())) > 1}


def contents(chunks: pd.DataFrame, attributes: Sequence[str], untrained: Labels | None, seed: int) -> pd.DataFrame:
    """One row per quantity and measure: measure, target, value, chance, within_speakers, untrained, excess, n.

    Parameters
    ----------
    chunks : as for `quantities`, with the column cluster
    untrained : (chunk,) clusters of the untrained network; None = unknown
    """
    labels = chunks["cluster"].to_numpy(dtype=np.int64)
    rows = [
        _row("NMI", name, groups, class_nmi, labels, untrained, chunks, seed)
        for name, groups in quantities(chunks, attributes).items()
    ]
    rows += [
        _row("ratio", name, chunks[name].to_numpy(dtype=np.float64), variance_ratio, labels, untrained, chunks, seed)
        for name in attributes
    ]
    return pd.DataFrame(rows)


def verdict(table: pd.DataFrame) -> str:
    """In a sentence, what the clusters hold most of; "" without any emotion to compare with."""
    if not len(table):
        return ""
    part = table[table["measure"].eq("NMI")]
    excess = dict(zip(part["target"].astype(str), part["excess"].astype(float), strict=True))
    others = {name: value for name, value in excess.items() if name in ("speaker", "recording", *OF_CHUNKS)}
    affect = {name: value for name, value in excess.items() if name not in others}
    if not affect or not others:
        return ""
    most, rival = max(affect, key=affect.__getitem__), max(others, key=others.__getitem__)
    ours, theirs = f"{affect[most]:.3f} of {most}", f"{others[rival]:.3f} of {rival}"
    if affect[most] >= others[rival]:
        return f"The clusters hold more emotion than anything else looked at: NMI above chance {ours}, {theirs}."
    return f"These are clusters of {rival} rather than of emotion: NMI above chance {theirs}, {ours}."


def _row(
    measure: str,
    name: str,
    groups: npt.NDArray[Any],
    score: Any,
    labels: Labels,
    untrained: Labels | None,
    chunks: pd.DataFrame,
    seed: int,
) -> dict[str, Any]:
    ids = np.arange(len(chunks)) if name in OF_CHUNKS else pd.factorize(chunks["id"])[0]
    one = np.zeros(len(chunks), dtype=np.int64)
    within = np.nan
    if "speaker" in chunks and name not in ("speaker", *OF_CHUNKS):
        within = _shuffled(score, groups, labels, ids, pd.factorize(chunks["speaker"])[0], seed)
    value, chance = score(groups, labels), _shuffled(score, groups, labels, ids, one, seed)
    return {
        "measure": measure,
        "target": name,
        "value": value,
        "chance": chance,
        "within_speakers": within,
        "untrained": np.nan if untrained is None else score(groups, untrained),
        "excess": value - chance,
        "n": int((~pd.isna(groups)).sum()),
    }


def _shuffled(score: Any, groups: npt.NDArray[Any], labels: Labels, ids: Labels, strata: Labels, seed: int) -> float:
    """Mean of a score with the groups shuffled among the units `ids` that have the same stratum."""
    _, first, unit = np.unique(ids, return_index=True, return_inverse=True)
    values, of = groups[first], strata[first]
    generator, scores = np.random.default_rng(seed), []
    for _ in range(SHUFFLES):
        order = np.arange(len(first))
        for stratum in np.unique(of):
            here = np.flatnonzero(of == stratum)
            order[here] = generator.permutation(here)
        scores.append(score(values[order][unit], labels))
    return float(np.mean(scores))


def _cut(values: pd.Series[float]) -> npt.NDArray[Any]:
    """Numbers as `BINS` groups of equally many, fewer where many are equal; None where there is no number."""
    numbers = values.to_numpy(dtype=np.float64)
    known = np.isfinite(numbers)
    groups = np.full(len(numbers), None, dtype=object)
    if known.any():
        edges = np.unique(np.quantile(numbers[known], np.arange(1, BINS) / BINS))
        groups[known] = np.searchsorted(edges, numbers[known], side="right")
    return groups
