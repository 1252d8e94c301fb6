"""What a record keeps of its test items: who, where and how long, never labels or text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from serbench.benchmarks.grid.grid import run
from serbench.benchmarks.grid.tables import item_table
from serbench.datasets.schema.corpus import OFFICIAL, Corpus, make_table
from serbench.datasets.schema.task import Task
from serbench.results.record.test_items import COLUMNS

TASK = Task("emotion", "classification", ("emotion",), labels=("anger", "neutral"))


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    soundfile.write(tmp_path / "whole.wav", np.zeros(8000), 16000)
    rows = [
        {"id": "segment", "path": "long.wav", "start": 1.0, "end": 3.5},
        {"id": "turn", "path": "gone.wav", "dialogue": "d1", "dialogue_start": 4.0, "dialogue_end": 5.25},
        {"id": "whole", "path": "whole.wav"},
        {"id": "lost", "path": "lost.wav"},
    ]
    common = {
        "emotion": "anger",
        "speaker": "s1",
        "gender": "female",
        "text": "a secret",
        "arousal": 4.0,
        "partition": "test",
    }
    table = make_table([common | row for row in rows])
    return Corpus("toy", "1", tmp_path, table, (TASK,), {"official": (OFFICIAL,)})


def test_durations_come_from_the_segment_the_dialogue_or_the_header(corpus: Corpus) -> None:
    table = item_table(corpus, TASK, ["segment", "turn", "whole", "lost"]).set_index("id")
    assert table["duration_seconds"].tolist()[:3] == [2.5, 1.25, 0.5]
    assert np.isnan(table.loc["lost", "duration_seconds"])  # no file: unknown, and no error


def test_only_the_stated_columns_are_kept(corpus: Corpus) -> None:
    table = item_table(corpus, TASK, ["turn", "whole"])
    assert table["id"].tolist() == ["turn", "whole"]
    assert set(table) - {"id"} <= set(COLUMNS)
    assert not {"emotion", "arousal", "text", "path"} & set(table)
    assert "a secret" not in table.to_csv()


@pytest.mark.slow
def test_a_run_writes_its_items_once(tmp_path: Path) -> None:
    (first,) = run("chance", "demo", results=tmp_path, trials=1, threads=1)
    items = first.items()
    assert items is not None
    assert set(items.index) == set(first.predictions()["id"])
    assert items["speaker"].notna().all()
    assert (items["duration_seconds"] > 0.2).all()
    for name in ("items.json", "items.parquet"):
        (first.path / name).unlink()
    (again,) = run("chance", "demo", results=tmp_path, trials=2, threads=1)
    assert again.items() is not None
