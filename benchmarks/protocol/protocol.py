"""The protocol: how a corpus's items become folds, test subsets and trials.

The default is `4x5`: the test items (an official test partition, or the pooled test items of all folds) are cut once
into 4 subsets, the same for every model, and 5 trials with different seeds are trained; 4 x 5 = 20 scores per model,
task and target, as in Lin, Sridhar and Busso (ICASSP 2021, section 5.1). A protocol is a splitter over a table: it
never sees audio, features or predictions, and it depends on the corpus digest, the task and the protocol's seed alone.

How the cut is made: items are put in the order of a hash of (corpus digest, seed, id). For classification each class is
dealt out in turn, so every subset holds every class that has at least as many test items as there are subsets; for
regression the order itself is dealt out. Continuous tasks, and any task under `group=COLUMN`, deal out whole groups
(recordings, dialogues, speakers), the largest first, each to the subset that is smallest so far.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ...datasets.core.config import option, to_dict
from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import digest
from ...datasets.schema.corpus import Corpus, Fold, ListedFold
from ...datasets.schema.task import Task

ROLES = ("train", "dev", "test")
UNLABELLED = "unlabelled"
"""Role of items whose labels are taken away: a semi-supervised model has them in its pool, others don't have them."""
SHORT = {"loso": "leave-one-speaker-out"}
"""Short names of splits."""
_FILE = re.compile(r"emobox:.*|.*/.*|.*\.(csv|jsonl|parquet)", re.IGNORECASE)
"""Splits that are given by a file or folder, not by name (`split_files` reads them)."""


@dataclass(frozen=True)
class Protocol:
    """Settings that decide which items are scored together. The number of trials and the seed of training are apart."""

    name: str = option("4x5", "name of the protocol", choices=("4x5",))
    split: str | None = option(None, "split of the corpus; none = its default one")
    subsets: int = option(4, "number of test subsets", source="Lin et al. 2021, section 5.1", low=1, high=100)
    group: str = option("auto", "column that subsets may not cut; auto = the corpus's own for continuous tasks; none")
    seed: int = option(0, "seed of the subsets, and base of the trials' seeds", low=0)
    dev: str = option(
        "", "share of train + dev that is drawn as dev (0.2, 0.2:speaker), or nested; empty = the split's own dev"
    )
    share: str = option("", "share of train, whole speakers first (0.2); empty = all of it")
    listed: str = option("", "what the file that `split` names lists (`split_files.packed`)")

    @property
    def nested(self) -> bool:
        """Whether there is no dev part, and models choose by folds within train."""
        return self.dev == "nested"

    def digest(self) -> str:
        """Sixteen hexadecimal digits of the settings."""
        return digest(to_dict(self))


@dataclass(frozen=True)
class Split:
    """A split as a protocol names it: its name in records, its folds, whether the corpus knows it, remarks."""

    name: str
    folds: tuple[Fold | ListedFold, ...]
    own: bool = True
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Division:
    """One fold: ids by role, in table order. `unlabelled` items join the corpus's unlabelled pool in this fold."""

    fold: str
    train: tuple[str, ...]
    dev: tuple[str, ...]
    test: tuple[str, ...]
    unlabelled: tuple[str, ...] = ()


def unlabelled_ids(corpus: Corpus, division: Division) -> list[str]:
    """Ids of the unlabelled pool of a fold: the corpus's own, and the items whose labels the split takes away."""
    return list(dict.fromkeys([*map(str, corpus.unlabelled().index), *division.unlabelled]))


def divide(corpus: Corpus, task: Task, protocol: Protocol, needed: Sequence[str] = ROLES) -> list[Division]:
    """Ids of train, dev and test of every fold.

    Raises
    ------
    SerbenchError
        When a role of a fold that is `needed` is empty, or an item is tested in two folds.
    """
    items = corpus.items(task)
    divisions = []
    for name, role in roles_of(corpus, task, protocol):
        ids = {one: tuple(str(i) for i in items.index[role.eq(one).fillna(False)]) for one in (*ROLES, UNLABELLED)}
        for one in (one for one in needed if not ids[one] and not (one == "dev" and protocol.nested)):
            draw = " A dev part is drawn by --dev 0.2." if one == "dev" and not protocol.dev else ""
            raise SerbenchError(
                f"fold {name!r} of {corpus.name} has no {one} items for the task {task.name!r}.{draw} Choose another "
                f"split ({', '.join(corpus.splits)}) with --split, or another task."
            )
        divisions.append(Division(name, ids["train"], ids["dev"], ids["test"], ids[UNLABELLED]))
    tested = pd.Series([i for d in divisions for i in d.test])
    if tested.duplicated().any():
        first = tested[tested.duplicated()].iloc[0]
        raise SerbenchError(
            f"{first!r} is a test item of two folds of {corpus.name}; expected each item in one fold only."
        )
    return divisions


def assign_subsets(corpus: Corpus, task: Task, protocol: Protocol, divisions: Sequence[Division]) -> dict[str, int]:
    """Subset number 0 .. subsets-1 of every test item, pooled over folds."""
    items = corpus.items(task)
    tested = items.loc[[i for d in divisions for i in d.test]]
    group = _group_column(corpus, task, protocol)
    order = sorted((str(i) for i in tested.index), key=lambda i: _hash(corpus.digest(), protocol.seed, i))
    if group is not None:
        return _deal_groups(tested[group].astype("string").fillna("none").to_dict(), order, protocol, corpus, group)
    if len(order) < protocol.subsets:
        raise SerbenchError(
            f"{len(order)} test items can't be cut into {protocol.subsets} subsets. Type --subsets {len(order)}."
        )
    if task.kind == "classification":
        labels = dict(zip(map(str, tested.index), task.encode(tested), strict=True))
        order.sort(key=lambda i: int(labels[i]))
    return {item: position % protocol.subsets for position, item in enumerate(order)}


def describe(
    corpus: Corpus,
    task: Task,
    protocol: Protocol,
    divisions: Sequence[Division],
    subsets: Mapping[str, int] | None = None,
    named: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The protocol as records hold it: resolved split and group, folds, sizes, and a digest of the cut itself.

    `named` is what `names_of` says of the corpus that is trained on, where that is another one.
    """
    subsets = assign_subsets(corpus, task, protocol, divisions) if subsets is None else subsets
    settings = {key: value for key, value in to_dict(protocol).items() if key not in ("dev", "share", "listed")}
    return {
        **settings,
        **(names_of(corpus, task, protocol) if named is None else named),
        "group": _group_column(corpus, task, protocol) or "none",
        "folds": [d.fold for d in divisions],
        "sizes": {d.fold: [len(d.train), len(d.dev), len(d.test)] for d in divisions},
        "items_digest": digest([_listed(d) for d in divisions]),
        "subsets_digest": digest(sorted(subsets.items())),
    }


def _listed(division: Division) -> list[Any]:
    more = [division.unlabelled] if division.unlabelled else []
    return [division.fold, division.train, division.dev, division.test, *more]


def given_split(split: str | None, dataset: str) -> tuple[str | None, str]:
    """A split as it was typed -> its full name and, of a file or folder, what that lists for a dataset."""
    if split is None or not _FILE.fullmatch(split):
        return SHORT.get(split or "", split), ""
    from .split_files import packed

    return split, packed(split, dataset)


def split_of(corpus: Corpus, task: Task, split: str | None, listed: str) -> Split:
    """The split of a corpus of that name, the default one (None), or the one that a file lists.

    Raises
    ------
    SerbenchError
        For an unknown split; as `splits.listed_split` does.
    """
    if not listed:
        split, listed = given_split(split, corpus.name)
    if listed:
        from .splits import listed_split

        return Split(*listed_split(corpus, task, listed))
    name = split or next(iter(corpus.splits))
    return Split(name, corpus.folds(name))


def roles_of(corpus: Corpus, task: Task, protocol: Protocol) -> Iterator[tuple[str, pd.Series[str]]]:
    """Name of each fold and the role of each item in it."""
    if not protocol.share:
        yield from _whole_roles(corpus, task, protocol)
        return
    from .train_share import keep_share

    items = corpus.items(task)
    for name, role in _whole_roles(corpus, task, protocol):
        yield name, keep_share(role, items, task, protocol.share, f"{protocol.seed}|{name}", name)


def _whole_roles(corpus: Corpus, task: Task, protocol: Protocol) -> Iterator[tuple[str, pd.Series[str]]]:
    """The roles with all that folds train on."""
    items, folds = corpus.items(task), split_of(corpus, task, protocol.split, protocol.listed).folds
    if not protocol.dev:
        yield from ((fold.name, fold.assign(items)) for fold in folds)
        return
    from .dev_part import dev_unit, draw_dev, without_dev

    if protocol.nested:
        yield from ((fold.name, without_dev(fold.assign(items))) for fold in folds)
        return
    unit = dev_unit(protocol.dev, items, folds)
    for fold in folds:
        role = fold.assign(items)
        yield fold.name, draw_dev(role, items, task, protocol.dev, unit, f"{protocol.seed}|{fold.name}")


def names_of(corpus: Corpus, task: Task, protocol: Protocol) -> dict[str, str]:
    """Name of the split of a corpus, and of how its dev part is drawn, as records hold them."""
    split = split_of(corpus, task, protocol.split, protocol.listed)
    named = {"split": split.name} | ({"share": f"{float(protocol.share):g}"} if protocol.share else {})
    if not protocol.dev:
        return named
    from .dev_part import named_rule

    return named | {"dev": named_rule(protocol.dev, corpus.items(task), split.folds)}


def unit_seed(protocol: Protocol, trial: int, fold: str) -> int:
    """Seed of one training: differs between trials and folds, the same for every model."""
    return int(digest([protocol.seed, trial, fold], 8), 16) % (2**31)


def _group_column(corpus: Corpus, task: Task, protocol: Protocol) -> str | None:
    if protocol.group == "none":
        return None
    if protocol.group != "auto":
        if protocol.group not in corpus.items(task):
            raise SerbenchError(
                f"--group {protocol.group}: {corpus.name} has no such column. Expected auto, none or a column."
            )
        return protocol.group
    return corpus.subset_group if task.kind == "continuous" else None


def _hash(corpus_digest: str, seed: int, item: str) -> bytes:
    return hashlib.sha256(f"{corpus_digest}|{seed}|{item}".encode()).digest()


def _deal_groups(
    groups: dict[Any, str], order: Sequence[str], protocol: Protocol, corpus: Corpus, column: str
) -> dict[str, int]:
    members: dict[str, list[str]] = {}
    for item in order:
        members.setdefault(groups[item], []).append(item)
    if len(members) < protocol.subsets:
        raise SerbenchError(
            f"the test set of {corpus.name} has {len(members)} groups by {column!r}, too few for {protocol.subsets} "
            f"subsets. Type --subsets {len(members)} (or --group none to cut groups)."
        )
    sizes = [0] * protocol.subsets
    result: dict[str, int] = {}
    for group in sorted(members, key=lambda g: -len(members[g])):
        smallest = sizes.index(min(sizes))
        sizes[smallest] += len(members[group])
        result.update(dict.fromkeys(members[group], smallest))
    return result
