"""Dividing the rows of a table into groups that share no speaker, dialogue or file.

Rows that have a value of any linking column in common belong together (connected components). The components are
dealt out, the largest first and equals in the order of a digest of (seed, component), each to the group that is
smallest so far. The result depends on the ids and values alone, not on the order of the rows.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import pandas as pd

from ..core.errors import SerbenchError
from ..core.files import digest

GUARDED = ("speaker", "dialogue", "session")
"""Columns whose values should not stand in two groups."""


@dataclass(frozen=True)
class Groups:
    """`of` is the group of each row, "1" .. "k"; `shared` the guarded columns with a value in more than one group."""

    of: pd.Series[str]
    shared: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Group names in order."""
        return tuple(sorted(set(self.of)))


def components(table: pd.DataFrame, columns: Sequence[str]) -> pd.Series[str]:
    """The first id (in sorted order) of the component that each row belongs to; missing values link nothing."""
    parent: dict[Hashable, Hashable] = {}

    def find(node: Hashable) -> Hashable:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for column in columns:
        known = table[column].dropna()
        for item, value in zip(known.index, known, strict=True):
            parent[find(("id", item))] = find((column, value))
    names: dict[Hashable, str] = {}
    for item in sorted(map(str, table.index)):
        names.setdefault(find(("id", item)), item)
    return pd.Series([names[find(("id", i))] for i in table.index], index=table.index, dtype="string")


def deal(units: pd.Series[str], k: int, seed: int) -> pd.Series[str]:
    """Deal units (one name per row) out to `k` groups named "1" .. "k", of sizes as equal as whole units allow."""
    sizes = units.value_counts()
    order = sorted(sizes.index, key=lambda unit: (-int(sizes[unit]), digest([seed, str(unit)])))
    filled = [0] * k
    group: dict[str, str] = {}
    for unit in order:
        smallest = filled.index(min(filled))
        filled[smallest] += int(sizes[unit])
        group[unit] = str(smallest + 1)
    return units.map(group).astype("string")


def make_groups(table: pd.DataFrame, most: int, least: int, seed: int = 0) -> Groups:
    """Divide rows into `least` to `most` groups that share as little as the table allows.

    Tried in order until there are `least` components: no shared speaker, dialogue, session or file; no shared
    speaker or file; no shared speaker; no shared dialogue, session or file; no shared file; single rows.

    Raises
    ------
    SerbenchError
        When the table has fewer rows than `least`.
    """
    if len(table) < least:
        raise SerbenchError(f"{len(table)} utterances can't be divided into {least} groups. Expected more rows.")
    guarded = [c for c in GUARDED if c in table and table[c].notna().any()]
    attempts = [("dialogue", "session", "path"), ("path",), ()]
    if "speaker" in guarded:
        attempts = [("speaker", "dialogue", "session", "path"), ("speaker", "path"), ("speaker",), *attempts]
    for links in attempts:
        units = components(table, [c for c in links if c in table])
        if units.nunique() >= least:
            break
    of = deal(units, min(most, int(units.nunique())), seed)
    return Groups(of, tuple(c for c in guarded if crosses(table[c], of)))


def crosses(values: pd.Series[str], groups: pd.Series[str]) -> bool:
    """Whether any value stands in more than one group."""
    return bool((groups.groupby(values).nunique() > 1).any())
