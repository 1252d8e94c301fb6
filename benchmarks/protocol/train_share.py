"""A share of what each fold trains on, speaker by speaker, as a corpus grows when it is recorded.

Speakers are put in an order that the protocol's seed, the fold's name and their names decide, and whole ones are taken
until the share of the training items is reached; the last one is taken in part, each class in its proportion. So a
smaller share is part of every larger one, and trials of a share are trained on the same items. Items of unknown
speakers are speakers of their own. Dev and test stay whole.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.schema.task import Task


def share_of_train(text: str) -> float:
    """The share that a text says; empty = 1.

    Raises
    ------
    SerbenchError
        For anything but a number above 0 and up to 1.
    """
    try:
        share = float(text) if text else 1.0
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise SerbenchError(f"--share {text}: expected a share of the training items above 0 and up to 1, such as 0.2.")
    return share


def keep_share(
    role: pd.Series[str], items: pd.DataFrame, task: Task, text: str, seed: str, where: str = ""
) -> pd.Series[str]:
    """Roles of a fold of which a share of "train" is left; the rest has none.

    Raises
    ------
    SerbenchError
        When the share leaves no item, or a class without any that the whole training part has.
    """
    share, rows = share_of_train(text), items[role.eq("train").fillna(False).to_numpy(dtype=bool)]
    ids = np.array([str(i) for i in rows.index])
    labels = task.encode(rows) if task.kind == "classification" else np.zeros(len(rows), dtype=np.int64)
    order = _order(ids, rows["speaker"].astype("string"), labels, seed)
    number = round(share * len(order))
    least = _least(labels[order])
    if number < least:
        lacking = sorted({int(k) for k in labels} - {int(k) for k in labels[order[:number]]})
        what = f"no item of {', '.join(task.labels[k] for k in lacking)}" if number and lacking else "nothing"
        raise SerbenchError(
            f"the share {share:g} of the {len(order)} training items of fold {where!r} leaves {number} items, {what} "
            f"to learn from. Expected {np.ceil(100 * least / len(order)) / 100:g} or more."
        )
    gone = role.index.isin(rows.index[order[number:]])
    return role.mask(gone)


def _order(ids: Any, speakers: pd.Series[str], labels: Any, seed: str) -> Any:
    """Positions of the items, speaker after speaker, of each speaker every class in its proportion."""
    table = pd.DataFrame({"id": ids, "label": labels})
    table["speaker"] = speakers.fillna("").to_numpy(dtype=object)
    table["speaker"] = table["speaker"].where(table["speaker"].ne(""), "item " + table["id"])
    table["chance"] = [_hash(seed, str(i)) for i in ids]
    table["turn"] = table["speaker"].map({name: _hash(seed, str(name)) for name in table["speaker"].unique()})
    table = table.sort_values(["turn", "speaker", "label", "chance"], kind="stable")
    of = table.groupby(["speaker", "label"], sort=False)["id"]
    table["depth"] = (of.cumcount() + 0.5) / of.transform("size")
    return table.sort_values(["turn", "speaker", "depth", "chance"], kind="stable").index.to_numpy()


def _least(labels: Any) -> int:
    """How many of the first items hold every class."""
    return 1 + max((int(np.flatnonzero(labels == k)[0]) for k in np.unique(labels)), default=0)


def _hash(seed: str, name: str) -> str:
    return hashlib.sha256(f"share|{seed}|{name}".encode()).hexdigest()
