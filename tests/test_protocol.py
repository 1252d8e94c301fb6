"""The protocol as a splitter: folds, equal and deterministic subsets, groups kept whole, leaks refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from serbench.benchmarks.protocol.protocol import Protocol, assign_subsets, describe, divide, unit_seed
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.corpus import OFFICIAL, Corpus, Fold, make_table, rotation
from serbench.datasets.schema.task import Task, attribute_tasks

SCALE = {"arousal": (1.0, 7.0)}
DEFAULT = Protocol()
EMOTION = Task("emotion", "classification", ("emotion",), labels=("anger", "neutral"))


def corpus(n: int = 83, speakers: int = 6, partitioned: bool = True, **changes: object) -> Corpus:
    generator = np.random.default_rng(3)
    speaker = generator.integers(0, speakers, n)
    part = np.where(speaker < speakers - 3, "train", np.where(speaker < speakers - 2, "dev", "test"))
    rows = [
        {
            "id": f"u{i:03}",
            "path": f"{i}.wav",
            "speaker": f"s{speaker[i]}",
            "partition": part[i] if partitioned else None,
            "emotion": ("anger", "neutral")[i % 3 == 0],
            "arousal": 1 + 6 * generator.random(),
            "session": f"r{i // 4}",
        }
        for i in range(n)
    ]
    splits = (
        {"official": (OFFICIAL,)}
        if partitioned
        else {"speakers": rotation("speaker", [f"s{k}" for k in range(speakers)])}
    )
    made = Corpus(
        "toy", "1", Path("/nowhere"), make_table(rows), (EMOTION, *attribute_tasks(("arousal",), SCALE)), splits, SCALE
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def cut(one: Corpus, task: Task, protocol: Protocol = DEFAULT) -> dict[str, int]:
    return assign_subsets(one, task, protocol, divide(one, task, protocol))


def test_official_partitions_are_taken_as_they_are():
    one = corpus()
    (division,) = divide(one, EMOTION, Protocol())
    for role in ("train", "dev", "test"):
        assert list(getattr(division, role)) == list(one.utterances.index[one.utterances["partition"] == role])


def test_folds_test_every_item_once_and_never_train_on_it():
    one = corpus(partitioned=False)
    divisions = divide(one, EMOTION, Protocol())
    assert sorted(i for d in divisions for i in d.test) == sorted(one.utterances.index)
    for d in divisions:
        assert not set(d.test) & {*d.train, *d.dev}
        assert not set(d.train) & set(d.dev)
        assert set(d.test) | set(d.dev) | set(d.train) == set(one.utterances.index)
        assert one.utterances.loc[list(d.test), "speaker"].nunique() == 1


@pytest.mark.parametrize("task", ["emotion", "arousal"])
@pytest.mark.parametrize("partitioned", [True, False])
def test_subsets_are_equal_deterministic_and_differ_by_seed(task: str, partitioned: bool):
    one = corpus(partitioned=partitioned)
    subsets = cut(one, one.task(task))
    sizes = pd.Series(subsets).value_counts()
    assert len(sizes) == 4
    assert sizes.max() - sizes.min() <= 1
    assert cut(corpus(partitioned=partitioned), one.task(task)) == subsets
    assert cut(one, one.task(task), Protocol(seed=1)) != subsets


def test_subsets_follow_the_corpus_digest():
    one = corpus()
    changed = replace(one, release="2")
    assert one.digest() != changed.digest()
    assert cut(one, one.task("arousal")) != cut(changed, one.task("arousal"))


def test_every_subset_holds_every_class():
    one = corpus()
    subsets = pd.Series(cut(one, EMOTION))
    counts = pd.crosstab(subsets, one.utterances.loc[subsets.index, "emotion"])
    assert (counts.max() - counts.min() <= 1).all()


def test_groups_are_never_cut():
    one = corpus(partitioned=False)
    subsets = pd.Series(cut(one, one.task("arousal"), Protocol(group="session")))
    assert (subsets.groupby(one.utterances.loc[subsets.index, "session"].to_numpy()).nunique() == 1).all()
    sizes = subsets.value_counts()
    assert sizes.max() - sizes.min() <= 4  # never more than one group


def test_too_few_groups_or_items_say_what_to_type():
    one = corpus(partitioned=False)
    with pytest.raises(SerbenchError, match="--subsets 6"):
        cut(one, one.task("arousal"), Protocol(group="speaker", subsets=7))
    with pytest.raises(SerbenchError, match="no such column"):
        cut(one, one.task("arousal"), Protocol(group="colour"))
    with pytest.raises(SerbenchError, match="--subsets"):
        cut(corpus(n=60), EMOTION, Protocol(subsets=99))


def test_an_empty_role_names_the_fold_and_the_splits():
    one = corpus()
    empty = replace(one, splits={"none": (Fold("none", test={"partition": ("test9",)}, dev={"partition": ("dev",)}),)})
    with pytest.raises(SerbenchError, match=r"fold 'none' .* no test items"):
        divide(empty, EMOTION, Protocol())


def test_an_item_tested_twice_is_refused():
    one = corpus()
    twice = replace(one, splits={"twice": (OFFICIAL, replace(OFFICIAL, name="again"))})
    with pytest.raises(SerbenchError, match="two folds"):
        divide(twice, EMOTION, Protocol())


def test_the_description_changes_with_the_cut():
    one = corpus()
    first, second = (describe(one, EMOTION, p, divide(one, EMOTION, p)) for p in (Protocol(), Protocol(seed=4)))
    assert first["items_digest"] == second["items_digest"]
    assert first["subsets_digest"] != second["subsets_digest"]
    assert first["split"] == "official"


def test_seeds_differ_between_trials_and_folds():
    seeds = {unit_seed(Protocol(), trial, fold) for trial in range(5) for fold in ("a", "b")}
    assert len(seeds) == 10
    assert unit_seed(Protocol(), 0, "a") != unit_seed(Protocol(seed=1), 0, "a")
