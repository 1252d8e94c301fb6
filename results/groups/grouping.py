"""Groups of test items: by what a corpus states of speakers and utterances, by duration and by loudness.

Ages are cut at 25, 40 and 60 years, durations and levels at their terciles over the test items. An item of which a
column says nothing is in no group of that column.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from ...datasets.core.errors import SerbenchError, unknown

STATED = ("gender", "language", "role", "session")
"""Columns whose values are groups as they stand."""
AGES = (25, 40, 60)
DURATIONS = ("short", "middle", "long")
LEVEL = "level_db"
"""Column of the items' levels, once they were asked for (`serbench fairness --by loudness`)."""
LOUDNESS = "loudness"
LEVELS = ("quiet", "middle", "loud")
SPEAKER = "speaker"


def groupings(items: pd.DataFrame, only: Sequence[str] = ()) -> dict[str, pd.Series[str]]:
    """Name of a grouping -> id -> group, for every grouping of which the items hold two groups or more.

    Parameters
    ----------
    items : what a run knows of its test items, indexed by id (`Run.items`)
    only : names of groupings; none = all

    Raises
    ------
    SerbenchError
        For a name that is none of those that the items hold.
    """
    made = {name: items[name].astype("string") for name in (*STATED, SPEAKER) if name in items}
    if "age" in items:
        made["age"] = _ages(items["age"])
    if "duration_seconds" in items:
        made["duration"] = _terciles(items["duration_seconds"], DURATIONS)
    if LEVEL in items:
        made[LOUDNESS] = _terciles(items[LEVEL], LEVELS)
    several = {name: groups.dropna() for name, groups in made.items() if groups.nunique() > 1}
    for name in only:
        if name not in several:
            raise unknown("grouping of these test items", name, several)
    if not several:
        raise SerbenchError(
            "the corpus states nothing of its test items that makes two groups: no gender, language, age, speaker or "
            f"duration. It states: {', '.join(map(str, items)) or 'nothing'}."
        )
    return {name: groups for name, groups in several.items() if not only or name in only}


def _ages(years: pd.Series) -> pd.Series[str]:
    bounds = [-np.inf, *AGES, np.inf]
    names = [f"below {AGES[0]}", *(f"{a} to {b - 1}" for a, b in pairwise(AGES)), f"{AGES[-1]} on"]
    return pd.Series(pd.cut(years.astype("float64"), bounds, right=False, labels=names), years.index).astype("string")


def _terciles(given: pd.Series, of: Sequence[str]) -> pd.Series[str]:
    """Three groups of equally many items; none where too many items have one value."""
    values = given.astype("float64")
    low, high = values.quantile([1 / 3, 2 / 3])
    if not values.min() < low < high:
        return pd.Series(pd.NA, given.index, dtype="string")
    names = np.select([values <= low, values <= high, values > high], list(of), default="")
    return pd.Series(names, given.index, dtype="string").replace("", pd.NA)
