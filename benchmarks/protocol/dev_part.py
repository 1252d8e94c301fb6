"""Where the dev part of a fold comes from, if not from the split: drawn, or nested.

A share of what a fold trains and selects on is drawn by speaker where that is possible.

By speaker, whole speakers are taken; that is possible where all speakers are known and the share of the fewest that a
fold has is at least one. Else utterances are taken, of classification the same share of every class. What is taken
depends on the seed, the fold's name and the names of speakers or utterances alone.

`nested` has no dev part: everything that is not tested is trained on, and a model chooses by an inner
cross-validation of its own (`sermodels/core/selection.py`), which only some models can.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.schema.corpus import Fold, ListedFold
from ...datasets.schema.task import Task

UNITS = ("speaker", "utterance")
NESTED = "nested"


def share_of(rule: str) -> tuple[float, str]:
    """Share and unit ("" = to be chosen) of a rule such as `0.2` or `0.2:utterance`.

    Raises
    ------
    SerbenchError
        For a rule of another form, or a share that is not between 0 and 1.
    """
    text, sign, unit = rule.partition(":")
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share < 1 or (sign and unit not in UNITS):
        raise SerbenchError(
            f"--dev {rule}: expected a share between 0 and 1, such as 0.2, 0.2:speaker or 0.2:utterance."
        )
    return share, unit


def dev_unit(rule: str, items: pd.DataFrame, folds: Sequence[Fold | ListedFold]) -> str:
    """The unit by which a rule draws in all folds; "" where there is no rule.

    Raises
    ------
    SerbenchError
        Where speakers are asked for and can't be drawn.
    """
    if not rule:
        return ""
    share, unit = share_of(rule)
    fewest = min(_speakers(items[_kept(fold.assign(items))]) for fold in folds)
    possible = share * fewest >= 1 and fewest > 1
    if unit == "speaker" and not possible:
        raise SerbenchError(
            f"--dev {rule}: a fold trains and selects on {fewest} known speakers, too few for this. Expected "
            f"--dev {rule.partition(':')[0]}:utterance, or a larger share."
        )
    return unit or ("speaker" if possible else "utterance")


def check_rule(rule: str) -> None:
    """Raise SerbenchError for a rule that is none."""
    if rule != NESTED:
        share_of(rule)


def named_rule(rule: str, items: pd.DataFrame, folds: Sequence[Fold | ListedFold]) -> str:
    """A rule as records hold it: `0.2:speaker`, `nested`."""
    return NESTED if rule == NESTED else f"{share_of(rule)[0]:g}:{dev_unit(rule, items, folds)}"


def without_dev(role: pd.Series[str]) -> pd.Series[str]:
    """Roles of a fold whose dev part is trained on too."""
    return role.mask(role.eq("dev").fillna(False), "train")


def draw_dev(role: pd.Series[str], items: pd.DataFrame, task: Task, rule: str, unit: str, seed: str) -> pd.Series[str]:
    """Roles of the items of a fold with train and dev drawn anew; test stays."""
    share, _ = share_of(rule)
    kept = items[_kept(role)]
    if unit == "speaker":
        names = sorted(kept["speaker"].astype(str).unique(), key=lambda name: _hash(seed, name))
        taken = (
            kept["speaker"]
            .astype(str)
            .isin(names[: min(round(share * len(names)), len(names) - 1)])
            .to_numpy(dtype=bool)
        )
    else:
        labels = task.encode(kept) if task.kind == "classification" else [0] * len(kept)
        taken = _of_each_class([str(i) for i in kept.index], labels, share, seed)
    drawn = role.copy()
    drawn.loc[kept.index] = pd.array(["dev" if one else "train" for one in taken], dtype="string")
    return drawn


def _of_each_class(ids: Sequence[str], labels: Any, share: float, seed: str) -> list[bool]:
    """Whether each item is drawn: the first ones of its class in a random order."""
    order = sorted(range(len(ids)), key=lambda k: (int(labels[k]), _hash(seed, ids[k])))
    taken = [False] * len(ids)
    for label in sorted({int(label) for label in labels}):
        members = [k for k in order if int(labels[k]) == label]
        for k in members[: round(share * len(members))]:
            taken[k] = True
    return taken


def _kept(role: pd.Series[str]) -> Any:
    return role.isin(["train", "dev"]).fillna(False).to_numpy(dtype=bool)


def _speakers(rows: pd.DataFrame) -> int:
    """Number of speakers; 0 where one is unknown."""
    return 0 if rows["speaker"].isna().any() else int(rows["speaker"].nunique())


def _hash(seed: str, name: str) -> bytes:
    return hashlib.sha256(f"dev|{seed}|{name}".encode()).digest()
