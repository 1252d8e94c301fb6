"""IEMOCAP's task in which frustration counts as neutral: what becomes of each consensus code."""

from __future__ import annotations

import pandas as pd

from serbench.datasets.iemocap import reader as iemocap
from serbench.datasets.schema.labels import canonical

WANTED = {"ang": "anger", "hap": "happiness", "exc": "happiness", "sad": "sadness", "neu": "neutral", "fru": "neutral"}
LEFT_OUT = ("fea", "sur", "dis", "oth", "xxx")


def test_frustration_is_neutral_and_nothing_else_differs_from_the_four_classes() -> None:
    (task,) = (t for t in iemocap.TASKS if t.name == "emotion-4-frustration-neutral")
    codes = pd.Series([*WANTED, *LEFT_OUT])
    table = pd.DataFrame({"emotion": canonical(codes, "iemocap")})
    kept = task.select(table)
    assert [task.labels[k] for k in task.encode(kept)] == list(WANTED.values())
    assert task.labels == iemocap.TASKS[0].labels
    assert "frustration" not in iemocap.TASKS[0].mapping, "the default task leaves frustration out"


def test_its_size_follows_from_the_published_counts() -> None:
    published = iemocap.EXPECTED
    assert published["task:emotion-4-frustration-neutral"] == sum(published[f"raw_emotion={code}"] for code in WANTED)
