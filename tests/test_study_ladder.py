"""The ladder: its steps, what each is compared with, and that its tests are those of a plain comparison."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from serbench.benchmarks.cli.app import app
from serbench.benchmarks.grid.execution import Execution
from serbench.benchmarks.protocol.protocol import Protocol
from serbench.benchmarks.protocol.request import Grid
from serbench.benchmarks.protocol.split_files import write
from serbench.benchmarks.studies import ladder
from serbench.datasets.schema.corpus import Corpus, rotation
from serbench.results.record.folder import Run
from serbench.results.record.pairing import load_scored, pair


@pytest.fixture
def three_splits(toys: dict[str, Corpus], silent_corpus: object, tmp_path: Path) -> Path:
    """A corpus with an own split and loso; returns a file of folds that share speakers."""
    made = silent_corpus("toy", 60, folds=6)  # type: ignore[operator]
    speakers = [f"s{k}" for k in range(6)]
    table = made.utterances.assign(pair=[f"p{int(s[1:]) // 2}" for s in made.utterances["speaker"]])
    splits = {
        "leave-one-speaker-pair-out": rotation("pair", [f"p{k}" for k in range(3)]),
        "leave-one-speaker-out": rotation("speaker", speakers),
    }
    toys["toy"] = replace(made, utterances=table, splits=splits)
    order = np.random.default_rng(0).permutation(60)
    ids = list(map(str, table.index))
    lines = [(ids[i], str(f), "test" if k % 3 == f else "train") for f in range(3) for k, i in enumerate(order)]
    write(tmp_path / "mixed.csv", lines)
    return tmp_path / "mixed.csv"


def test_the_ladder_pairs_runs_of_different_protocols(three_splits: Path, tmp_path: Path) -> None:
    grid = Grid("chance:random", "toy", protocol=Protocol(split=str(three_splits)), trials=1, allow_leak=True)
    frame = ladder.ladder(grid, Execution(tmp_path, threads=1)).set_index("step")
    assert list(frame["split"]) == [
        "leave-one-speaker-pair-out",
        *["leave-one-speaker-out"] * 4,
        "leave-one-speaker-pair-out",
        frame["split"].iloc[-1],
    ]
    assert frame["split"].iloc[-1].startswith("file+")
    assert list(frame["labels"].str.contains("leak:speaker")) == [False] * 6 + [True]
    assert [frame.index.tolist().index(step) for step in frame["against"][1:]] == [0, 1, 1, 2, 0, 5]
    own, loso = (Run.open(tmp_path / "runs" / frame.loc[step, "run"]) for step in frame.index[:2])
    scores = pair(load_scored(loso), load_scored(own), "UAR").scores
    assert frame.loc["leave one speaker out", "gain"] == pytest.approx((scores["a"] - scores["b"]).mean())
    assert frame["score"].iloc[1] - frame["score"].iloc[0] == pytest.approx(frame["gain"].iloc[1])
    assert frame["clusters"].eq(6).all()
    assert frame.loc["leave one speaker out", "low"] <= frame.loc["leave one speaker out", "gain"]
    assert ((frame["p"].dropna() * 32) % 1).abs().max() == pytest.approx(0), "six speakers: 2^6 patterns, two tails"
    assert (frame["p_holm"].dropna() >= frame["p"].dropna()).all()

    line = f"study ladder --dataset toy --model chance:random --trials 1 --threads 1 --results {tmp_path} --allow-leak"
    done = CliRunner().invoke(app, [*line.split(), "--split", str(three_splits)], catch_exceptions=False)
    assert done.exit_code == 0
    assert list(pd.read_csv(tmp_path / "studies" / "ladder.csv")["step"]) == list(frame.index)
    text = (tmp_path / "studies" / "ladder.md").read_text()
    assert "| leave one speaker out |" in text
    assert "serbench run --model chance" in text
