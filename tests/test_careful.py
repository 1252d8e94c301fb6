"""`serbench run --protocol careful`: the clean scores are those of 4x5, and all that it adds is there, or said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from serbench.benchmarks.analyses import beyond
from serbench.benchmarks.cli.app import app
from serbench.results.record.folder import load_runs
from serbench.results.report.writing import write_report


def run(root: Path, results: Path, *more: str) -> str:
    command = ["run", "--model", "linear", "--dataset", "table", "--root", str(root), "--task", "emotion", *more]
    done = CliRunner().invoke(app, [*command, "--trials", "2", "--threads", "1", "--results", str(results)])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


@pytest.fixture(scope="module")
def rated(toy_corpus: Callable[..., Path]) -> Path:
    """Babbles that three raters have judged, each of them now and then otherwise than the label says."""
    path = toy_corpus(seconds=0.5, columns=("arousal", "emotion", "gender"))
    table = pd.read_csv(path)
    other = {"anger": "sadness", "sadness": "anger"}
    for k, name in enumerate("xyz"):
        wrong = pd.Series(range(len(table))).mod(7).eq(k)
        table[f"label@{name}"] = table["emotion"].mask(wrong, table["emotion"].map(other))
    table.to_csv(path, index=False)
    return path


def test_one_command_has_it_all(rated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beyond, "KINDS", ("white", "telephone"))
    run(rated, tmp_path / "plain", "--protocol", "4x5")
    run(rated, tmp_path / "careful", "--protocol", "careful")
    plain, careful = (load_runs(tmp_path / name, model="linear")[0] for name in ("plain", "careful"))
    assert careful.run_id == plain.run_id
    pd.testing.assert_frame_equal(careful.scores(), plain.scores())
    studies = tmp_path / "careful" / "studies"
    assert {"fairness", "calibration", "stress", "raters"} == {
        path.name.split("_")[0] for path in studies.glob("*.csv")
    }
    stressed = [one.spec["stress"] for one in load_runs(tmp_path / "careful" / "stress")]
    assert sorted((one["kind"], float(one["level"])) for one in stressed) == [
        ("telephone", 2000),
        ("telephone", 3400),
        ("white", 0),
        ("white", 10),
    ]
    write_report(load_runs(tmp_path / "careful"), tmp_path / "page.html", 0)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    for section in ("Perturbed test audio", "Models and raters", "Calibration"):
        assert section in page, section


def test_another_name_is_answered_with_both() -> None:
    done = CliRunner().invoke(app, ["run", "--model", "linear", "--dataset", "demo", "--protocol", "carefull"])
    assert "unknown protocol 'carefull'. Did you mean 'careful'?" in str(done.exception)
    assert "4x5" in str(done.exception)


def test_what_cant_be_done_is_said(
    toy_corpus: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No raters, and no second speaker who could babble."""
    monkeypatch.setattr(beyond, "KINDS", ("babble",))
    root = toy_corpus(tmp_path / "toy", seconds=0.5, speaker="one")
    said = " ".join(run(root, tmp_path / "results", "--protocol", "careful", "--allow-leak").split())
    assert "stress by babble is left out: babble is of other speakers" in said
    assert "raters of table, emotion are left out: the records hold no answers of single raters" in said
    assert not list((tmp_path / "results" / "studies").glob("stress*"))
