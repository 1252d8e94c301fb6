"""Loudness as a group of test items: the level in closed form, groups by it, and the command that adds it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from serbench.benchmarks.analyses.loudness import add_levels
from serbench.benchmarks.cli.app import app
from serbench.benchmarks.grid.grid import run
from serbench.datasets.core.errors import SerbenchError
from serbench.features.core.feature_extractor import build
from serbench.results.groups.grouping import LEVEL, groupings


def test_the_level_of_a_sine_and_of_silence_in_closed_form() -> None:
    level = build("level")
    sine = np.sin(np.arange(16000) * 2 * np.pi * 100 / 16000).astype(np.float32)
    assert level.extract(0.5 * sine)[0, 0] == pytest.approx(20 * np.log10(0.5) - 10 * np.log10(2), abs=1e-3)
    assert level.extract(np.zeros(100, np.float32))[0, 0] == -100


def test_the_command_adds_levels_once_and_groups_by_them(toy_corpus: Callable[..., Path], tmp_path: Path) -> None:
    root = toy_corpus(count=100, seconds=0.1, speakers={"train": "abcd", "dev": "ef", "test": "ghijklmn"})
    (made,) = run("chance", "table", root=root, results=tmp_path, trials=1, task="arousal")
    items = made.items()
    assert items is not None
    assert LEVEL not in items
    assert "loudness" not in groupings(items)
    line = ["fairness", str(made.path), "--by", "loudness", "--resamples", "50", "--results", str(tmp_path)]
    done = CliRunner().invoke(app, line)
    assert done.exit_code == 0, done.output + str(done.exception)
    items = made.items()
    assert items is not None
    arousal = pd.read_csv(root).set_index("path")["arousal"].loc[items.index]
    assert np.corrcoef(items[LEVEL], arousal)[0, 1] > 0.8, "toy voices are louder the more they are aroused"
    (csv,) = (tmp_path / "studies").glob("fairness_*groups.csv")
    assert set(pd.read_csv(csv)["group"]) == {"quiet", "middle", "loud"}
    assert (
        items[LEVEL]
        .groupby(groupings(items)["loudness"])
        .mean()
        .loc[["quiet", "middle", "loud"]]
        .is_monotonic_increasing
    )
    table = pd.read_csv(root)
    table.assign(arousal=table["arousal"] + 0.1).to_csv(root, index=False)
    made.write_items(items.drop(columns=LEVEL).reset_index())
    with pytest.raises(SerbenchError, match="is not the recorded one, so the level of its test items can't be told"):
        add_levels(made)
