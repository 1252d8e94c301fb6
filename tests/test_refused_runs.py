"""A run that is refused before anything was worked on leaves no record; one that holds something stays."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from serbench.benchmarks import run
from serbench.datasets.core.errors import SerbenchError
from serbench.results.record.folder import Run


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Ten seconds of noise in twenty files, with partitions."""
    rng = np.random.default_rng(1)
    rows = ["path,label,speaker,partition"]
    for i in range(24):
        soundfile.write(tmp_path / f"{i}.wav", rng.normal(0, 0.1, 8000), 16000)
        rows.append(f"{i}.wav,{'ab'[i % 2]},s{i % 3},{('train', 'dev', 'test')[i % 3]}")
    (tmp_path / "mine.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "mine.csv"


def folders(results: Path) -> list[str]:
    return sorted(path.name.rsplit("_", 1)[0] for path in (results / "runs").glob("*"))


def refused(table: Path, results: Path) -> None:
    """A setting that is refused when features are made."""
    with pytest.raises(SerbenchError, match="needs a graphics card"):
        run(
            "probe",
            "table",
            root=table,
            trials=1,
            results=results,
            device="cpu",
            settings={"model.encoder": "random:wav2vec2-tiny", "feature.precision": "float16"},
        )


def test_a_refused_run_leaves_no_record_beside_those_that_are_there(table: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    run("chance", "table", root=table, trials=1, results=results)
    before = folders(results)
    refused(table, results)
    assert folders(results) == before


def test_a_record_that_was_there_before_stays(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = tmp_path / "results"
    monkeypatch.setattr(Run, "withdraw", lambda self: None)
    refused(table, results)
    (left,) = [name for name in folders(results) if "probe" in name]
    monkeypatch.undo()
    refused(table, results)
    assert left in folders(results), "another process may be at work in it"


def test_a_record_with_a_unit_stays(table: Path, tmp_path: Path) -> None:
    (one,) = run("chance", "table", root=table, trials=1, results=tmp_path / "results")
    fresh = Run(one.path, one.spec, fresh=True)
    fresh.withdraw()
    assert Run.open(one.path).units()


class Unreachable:
    """A launcher of a cluster that does not answer."""

    def work(self, orders: Iterable[object], *how: object) -> None:
        assert [*orders]  # whose records are there now
        raise SerbenchError("nothing answers there")


def test_a_cluster_that_refuses_leaves_no_record(table: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    with pytest.raises(SerbenchError, match="nothing answers"):
        run(["linear", "chance"], "table", root=table, trials=1, results=results, launcher=Unreachable())
    assert folders(results) == []
