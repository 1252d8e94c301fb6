"""Whole dialogues: which turns there are around an item, and in which order.

The order is the corpus's own. Its table links each turn to the speaker's previous turn and to the interlocutor's last
one, and one of the two is the turn right before; so the order of the links is the order of the turns, whatever clock
the corpus's reader trusts. Turns that no link orders (their speaker is unknown, say) go by their time, then by the
table. Turns without features are left out: no task uses them, or their sound could not be read.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from ..core.sermodel import Data
from .turns import CONTEXT


@dataclass(frozen=True)
class Dialogues:
    """The dialogues of some items.

    Attributes
    ----------
    turns : ids of the turns of each dialogue (or of each piece of a long one), in order
    places : (dialogue, turn) of each item, in the order of the data
    """

    turns: tuple[tuple[str, ...], ...]
    places: tuple[tuple[int, int], ...]

    @cached_property
    def members(self) -> list[list[int]]:
        """Positions in the data of the items of each dialogue."""
        found: list[list[int]] = [[] for _ in self.turns]
        for position, (dialogue, _) in enumerate(self.places):
            found[dialogue].append(position)
        return found


def dialogues_of(data: Data, most: int) -> Dialogues:
    """The dialogues that the items of a data set stand in; an item without one stands alone.

    Parameters
    ----------
    most : turns of a piece that a longer dialogue is cut into
    """
    rows = data.items if data.turns is None else data.turns
    pieces: list[tuple[str, ...]] = []
    if "dialogue" in rows:
        wanted = rows["dialogue"].reindex(data.items.index).dropna().unique()
        around = rows[rows["dialogue"].isin(list(wanted))]
        for _, own in around.groupby("dialogue", sort=True):
            pieces += _pieces(_ordered(data, own), most)
    at = {item: (k, i) for k, piece in enumerate(pieces) for i, item in enumerate(piece)}
    for item in data.ids:
        if item not in at:
            at[item] = (len(pieces), 0)
            pieces.append((item,))
    return Dialogues(tuple(pieces), tuple(at[item] for item in data.ids))


def _ordered(data: Data, own: pd.DataFrame) -> list[str]:
    """Ids of the turns of a dialogue (rows of the table) that have features, in the order of the dialogue."""
    start = own["dialogue_start"] if "dialogue_start" in own else pd.Series(float("nan"), own.index)
    rank = {str(item): (s if s == s else float("inf"), k) for k, (item, s) in enumerate(start.items())}
    before = {str(item): links for item, links in _links(own)}
    table = data.features["input"].loaders
    return [item for item in in_order(before, rank) if item in table]


def _links(rows: pd.DataFrame) -> list[tuple[object, list[str]]]:
    """Each row's id, and the ids of its context turns."""
    columns = [rows[column].astype("string").fillna("") for column in CONTEXT if column in rows]
    named = zip(*columns, strict=True) if columns else ((),) * len(rows)
    return [(item, [str(i) for i in links if i]) for item, links in zip(rows.index, named, strict=True)]


def in_order(before: Mapping[str, Sequence[str]], rank: Mapping[str, tuple[float, int]]) -> list[str]:
    """Names in an order in which each stands behind those before it; of several that may be next, the lowest rank.

    Parameters
    ----------
    before : name -> names that come before it; those that are no names of the mapping don't count
    rank : name -> what decides where nothing else does

    Returns
    -------
    all names; those in a circle last, by rank
    """
    waits = {name: {other for other in others if other in before} for name, others in before.items()}
    ready = [(rank[name], name) for name, others in waits.items() if not others]
    heapq.heapify(ready)
    follow: dict[str, list[str]] = {}
    for name, others in waits.items():
        for other in others:
            follow.setdefault(other, []).append(name)
    order: list[str] = []
    while ready:
        _, name = heapq.heappop(ready)
        order.append(name)
        for other in follow.get(name, ()):
            waits[other].discard(name)
            if not waits[other]:
                heapq.heappush(ready, (rank[other], other))
    left = set(before) - set(order)
    return [*order, *sorted(left, key=lambda name: rank[name])]


def _pieces(turns: Sequence[str], most: int) -> list[tuple[str, ...]]:
    return [tuple(turns[i : i + most]) for i in range(0, len(turns), most)]
