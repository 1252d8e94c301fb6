"""Many records of one shape: runs of so many models on so many corpora, made of a few true ones by other names."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...results.record.folder import Run, load_runs
from .children import command
from .works import sound, write_corpus

TRIALS = 50
MODELS = 10
"""Models in each ranking."""
SECONDS = 300


def write_records(place: Path, count: int) -> Path:
    """A results folder with `count` records: a unit each, 50 to a run, ten runs in each ranking.

    The models of a corpus predict differently; what they predict is the same in every corpus.
    """
    table, seed = write_corpus(place / "corpus", 80), place / "seed"
    asked = ("run", "--model", "chance:random", "--dataset", "table", "--root", str(table), "--task", "emotion")
    sound(command((*asked, "--trials", str(TRIALS)), seed, seconds=SECONDS), "run")
    run = load_runs(seed / "results").named("chance:random")
    variants = [_variant(run, place / "variants", number) for number in range(MODELS)]
    results = place / "many"
    for number in range(count // TRIALS):
        corpus, model = divmod(number, MODELS)
        _copy(variants[model], results, f"corpus{corpus:03}")
    return results


def _variant(run: Run, results: Path, number: int) -> Run:
    """The run as another model's: each of its class scores a little other."""
    spec = copy.deepcopy(run.spec)
    spec["model"] |= {"name": f"model{number:02}", "preset": "default"}
    made, rng = Run.create(results, spec), np.random.default_rng(number)
    for path in run.path.glob("items*"):
        shutil.copy(path, made.path)
    for facts in run.units():
        made.write_unit(facts["trial"], facts["fold"], facts, _other(run, facts, number / MODELS, rng))
    return made


def _other(run: Run, facts: dict[str, Any], skill: float, rng: np.random.Generator) -> pd.DataFrame:
    """Predictions of a unit, of which a share is right."""
    frame = pd.read_parquet(run.unit_files(facts["trial"], facts["fold"])[1])
    labels = [column for column in frame.columns if column.startswith("p_")]
    right = np.array([[f"p_{gold}" == label for label in labels] for gold in frame["gold"]])
    scores = rng.uniform(0.05, 1, right.shape) + skill * right
    frame[labels] = scores / scores.sum(axis=1, keepdims=True)
    frame["predicted"] = [labels[k].removeprefix("p_") for k in scores.argmax(axis=1)]
    return frame


def _copy(run: Run, results: Path, corpus: str) -> None:
    """The run as one on another corpus."""
    spec = copy.deepcopy(run.spec)
    spec["dataset"] |= {"name": corpus, "digest": corpus}
    made = Run.create(results, spec)
    for path in run.path.iterdir():
        if path.name != "run.json":
            shutil.copy(path, made.path)
