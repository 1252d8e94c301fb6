"""`--json` of commands that say lines: plan, card and words, their numbers against the corpus's own table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from serbench.benchmarks.cli.app import app
from serbench.benchmarks.corpora.transcripts import counted
from serbench.datasets.reading.load import load_corpus
from serbench.features.words.agreement import Agreement
from serbench.features.words.times import WordTimes


def data(*words: str | Path) -> dict[str, Any]:
    """`data` of a command's one JSON object."""
    done = CliRunner().invoke(app, [*map(str, words), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["lines"]
    return found["data"]


def test_a_plan_is_data(toy_corpus: Callable[..., Path], tmp_path: Path):
    options = ("--dataset", "table", "--root", toy_corpus(), "--results", tmp_path, "--trials", "3", "--no-pilot")
    found = data("plan", "--model", "chance:random", *options)
    assert [(one["todo"], one["done"], one["cost"]) for one in found["trainings"]] == [(3, 0, None), (1, 0, None)]
    assert found["hours"] == {"cpu": 0.0, "gpu": 0.0}
    assert found["features"] == []
    assert all(one["free"] > 0 for one in found["disks"])


def test_a_card_is_data():
    card = data("card", "demo", "--task", "emotion")["card"]
    table = load_corpus("demo").utterances
    for row in card["folds"]:
        part = table[table["partition"].eq(row["role"]).fillna(False)]
        assert row["items"] == len(part)
        assert row["speakers"] == part["speaker"].nunique()
        assert row["classes"] == part["emotion"].value_counts().to_dict()
    assert [row["role"] for row in card["folds"]] == ["train", "dev", "test"]
    assert {row["partition"]: row["items"] for row in card["partitions"]} == {"train": 288, "dev": 120, "test": 192}
    assert card["protocol"]["sizes"] == {"official": [288, 120, 192]}
    assert card["licence"] == "MIT"
    attributes = data("card", "demo", "--task", "attributes")["card"]
    assert "classes" not in attributes["folds"][0]


def test_word_times_and_their_agreement_are_data(tmp_path: Path):
    times = tmp_path / "words.csv"
    found = data("words", "align", "demo", "--items", "utterances", "--partition", "dev", "--out", times)["alignment"]
    corpus = load_corpus("demo")
    dev = corpus.utterances.index[corpus.utterances["partition"].eq("dev")]
    assert found["items"] == len(dev)
    assert found["words"] == sum(len(corpus.words(item)) for item in dev)
    assert found["sources"] == {"corpus": found["words"]}
    same = data("words", "compare", times, "demo")["agreement"]
    assert (same["median_seconds"], same["within"], same["bias_seconds"]) == (0.0, 1.0, 0.0)
    assert same["words"] == found["words"]


def test_numbers_by_name():
    errors = Agreement(np.array([0.02, -0.2, 0.05]), 2, ("u",)).data()
    assert errors["median_seconds"] == pytest.approx(0.05)
    assert errors["nine_tenths_seconds"] == pytest.approx(0.05 + 0.8 * 0.15)  # four fifths of the way to the largest
    assert errors["within"] == pytest.approx(2 / 3)
    table = pd.DataFrame({"item": ["a", "a"], "word": ["x", "y"], "start": 0.0, "end": 1.0, "source": "even"})
    known = counted(WordTimes(table, {"b": "no sound"}, ("c",), {"a": 0.1}, 0.5))
    assert known["doubted"] == ["a"]
    assert (known["words"], known["items"], known["sources"], known["failed"]) == (2, 1, {"even": 2}, {"b": "no sound"})
