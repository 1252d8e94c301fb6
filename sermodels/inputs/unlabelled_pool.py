"""The unlabelled pool of a semi-supervised training: which of its sentences are used, and what is refused.

The choice depends on the ids alone, so every trial, fold and model sees the same sentences.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import digest
from ..core.sermodel import Data

MOST = 40_000
"""Sentences of the pool that are used unless a number is given: the largest set of the paper (section 5.3)."""


def chosen(ids: Sequence[str], count: int | None) -> list[str]:
    """The first `count` ids in an order that is random but the same for one set of ids; None = all, at most `MOST`.

    Smaller choices are part of larger ones.

    Raises
    ------
    SerbenchError
        If there are fewer ids than asked for.
    """
    wanted = min(len(ids), MOST) if count is None else count
    if wanted > len(ids):
        raise SerbenchError(
            f"model.unlabelled={wanted}, but the unlabelled pool has {len(ids)} sentences. Expected at most that many; "
            + (f"type --set model.unlabelled={len(ids)}, or " if len(ids) else "")
            + "type --set model.unlabelled=0 for a supervised training."
        )
    return sorted(ids, key=lambda item: (digest(item), item))[:wanted] if wanted else []


def taken(pool: Data | None, labelled: Iterable[Data], count: int | None) -> Data | None:
    """The used part of the pool, without labels; None when nothing of it is used.

    Raises
    ------
    SerbenchError
        If there are fewer sentences than asked for, or one of them is among the labelled ones.
    """
    ids = [] if pool is None else pool.ids
    used = chosen(ids, count)
    if pool is None or not used:
        return None
    position = {item: i for i, item in enumerate(ids)}
    part = pool.take(np.sort([position[item] for item in used]))
    for data in labelled:
        _refuse_overlap(part, data)
    return replace(part, labels=None)


def _refuse_overlap(pool: Data, labelled: Data) -> None:
    """Refuse a pool that shares an utterance, or a segment of audio, with labelled data."""
    known, audio = set(labelled.ids), set(_segments(labelled))
    pairs = zip(pool.ids, _segments(pool), strict=True)
    both = [item for item, segment in pairs if item in known or (any(segment) and segment in audio)]
    if both:
        raise SerbenchError(
            f"the unlabelled pool shares {len(both)} sentences with the labelled data, such as {both[0]!r}. Expected a "
            "pool of other sentences: correct the partitions, or type --set model.unlabelled=0."
        )


def _segments(data: Data) -> list[tuple[str, ...]]:
    """(path, start, end) of each utterance as text, "" for what the table does not say."""
    names = ("path", "start", "end")
    columns = [data.items[c].astype("string").fillna("") if c in data.items else [""] * len(data) for c in names]
    return list(zip(*columns, strict=True))
