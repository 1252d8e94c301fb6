"""Published rows made again: what is lacking is said; a miniature row is run, and its numbers are worked out again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import recall_score
from typer.testing import CliRunner

from serbench.benchmarks import Execution, Places, reproduce, reproducible
from serbench.benchmarks.cli.app import app
from serbench.benchmarks.studies import reproduce as again
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.reading.load import root_variable
from serbench.results.record.folder import Run
from serbench.results.tables import references as published

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="session")
def corpus_file(toy_corpus: Callable[..., Path]) -> Path:
    """A `table` corpus of 60 babbles in two emotions."""
    return toy_corpus(count=60, seconds=0.5, columns=("gender", "arousal", "emotion"))


@pytest.fixture
def row(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """A published row of the toy corpus: chance that draws, UAR .50 and WA .99, averaged over the folds."""
    recipe = {"model": "chance:random", "protocol": {"seed": 3}, "settings": {}}
    row = {**dict.fromkeys(published.COLUMNS, ""), "dataset": "table", "task": "emotion", "target": "emotion"}
    row |= {
        "model": "draws frozen, small head",
        "source": "a paper",
        "recipe": json.dumps(recipe),
        "average": "over folds",
    }
    rows = [{**row, "metric": m, "value": v} for m, v in (("UAR", 0.5), ("WA", 0.99))]
    monkeypatch.setattr(published, "_table", lambda: pd.DataFrame(rows))
    return row


def test_a_row_is_run_and_compared(row: dict[str, object], corpus_file: Path, tmp_path: Path) -> None:
    frame = reproduce("table/DRAWS", Places({"table": str(corpus_file)}), Execution(tmp_path, threads=1), trials=4)
    run = Run.open(frame.attrs["run"])
    assert run.spec["protocol"]["seed"] == 3
    assert run.spec["model"]["preset"] == "random"
    p = run.predictions()
    each = p.groupby(["trial", "fold"])[["gold", "predicted"]].apply(
        lambda part: recall_score(part["gold"], part["predicted"], average="macro")
    )
    trials = each.groupby("trial").mean()
    uar = frame.set_index("metric").loc["UAR"]
    assert (uar["published"], uar["trials"]) == (0.5, 4)
    assert uar["ours"] == pytest.approx(trials.mean())
    assert uar["sd"] == pytest.approx(np.std(trials, ddof=1))
    assert uar["high"] - uar["low"] == pytest.approx(2 * 3.182446305 * np.std(trials, ddof=1) * np.sqrt(1.25))
    assert uar["difference"] == pytest.approx(trials.mean() - 0.5)
    assert frame.set_index("metric")["verdict"].to_dict() == {"UAR": "inside", "WA": "outside"}


def scores(*values: float) -> pd.DataFrame:
    return pd.DataFrame({"trial": range(len(values)), "target": "emotion", "metric": "UAR", "value": values})


@pytest.mark.parametrize(
    ("values", "printed", "verdict"),
    [
        ((0.80, 0.82), 0.85, "inside"),  # t(1) = 12.7: two trials say little
        ((0.80, 0.82, 0.81, 0.80, 0.82), 0.85, "outside"),
        ((0.8123456,) * 5, 0.8123, "inside"),  # trials that repeat: the rounding of the print alone
        ((0.8123456,) * 5, 0.8125, "outside"),
        ((0.81,), 0.81, "one trial has no spread"),
    ],
)
def test_inside_is_where_one_more_training_would_lie(values: tuple[float, ...], printed: float, verdict: str) -> None:
    row = pd.DataFrame({"target": ["emotion"], "metric": ["UAR"], "value": [printed]})
    (found,) = again.compared(row, scores(*values))["verdict"]
    assert found == verdict


def test_what_is_lacking_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in (*map(root_variable, ("emodb", "ravdess")), again.FOLDS, again.WEIGHTS):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr(again, "locate", lambda name: Path(name).is_dir() or (_ for _ in ()).throw(SerbenchError("no")))
    rows = reproducible().set_index("name")
    assert len(rows) == 16
    assert rows["missing"]["emodb/WavLM large"] == (
        "the corpus (--root emodb=FOLDER); the fold files (--folds FOLDER); "
        "the weights (--weights microsoft/wavlm-large=FOLDER)"
    )
    with pytest.raises(SerbenchError, match="it lacks the corpus"):
        reproduce("emodb/WavLM large", Places(), Execution(tmp_path))
    (tmp_path / "hubert-base-ls960").mkdir()
    monkeypatch.setenv(again.WEIGHTS, str(tmp_path))
    monkeypatch.setenv(again.FOLDS, str(tmp_path))
    rows = reproducible(Places({"emodb": str(tmp_path)})).set_index("name")
    assert rows["missing"]["emodb/HuBERT base"] == ""
    assert rows["missing"]["ravdess/HuBERT base"] == "the corpus (--root ravdess=FOLDER)"
    grid = again.grid_of(rows.loc["emodb/HuBERT base"], Places({"emodb": "here"}), 2)
    assert grid.settings == {"model.encoder": str(tmp_path / "hubert-base-ls960")}
    assert (grid.protocol.split, grid.root, grid.allow_leak, grid.trials) == (f"emobox:{tmp_path}", "here", True, 2)


def test_an_unknown_row_is_answered_with_the_closest(tmp_path: Path) -> None:
    with pytest.raises(SerbenchError, match="emodb/WavLM large"):
        reproduce("emodb/WavLM larg", Places(), Execution(tmp_path))


def test_the_command_lists_and_runs(row: dict[str, object], corpus_file: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["reproduce", "--root", f"table={corpus_file}"])
    assert done.exit_code == 0, done.output
    assert "table/draws: UAR 0.5000, WA 0.9900" in done.output
    assert "1 of 1 published rows can be run here." in done.output
    asked = ["reproduce", "table/draws", "--root", f"table={corpus_file}", "--trials", "2", "--threads", "1"]
    done = CliRunner().invoke(app, [*asked, "--results", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert list(pd.read_csv(tmp_path / "reproduce_table_draws.csv").columns) == list(again.COLUMNS)
