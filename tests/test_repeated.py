"""Deterministic models: one training per fold, copies for the other trials, the same numbers as five trainings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from serbench.benchmarks.grid.grid import run
from serbench.results.record.folder import Run
from serbench.results.scores.scoring import required_columns
from serbench.sermodels import linear
from serbench.sermodels.core.sermodel import SERModel


@pytest.fixture(scope="session")
def corpus_file(toy_corpus: Callable[..., Path]) -> Path:
    """A `table` corpus of 60 babbles."""
    return toy_corpus(count=60, seconds=0.5, columns=("gender", "arousal", "emotion"))


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds of the trainings of `linear` that are made, as they are made."""
    seeds: list[int] = []
    original = linear.Model.fit

    def counted(self: SERModel, *data: object) -> object:
        seeds.append(self.resources.seed)
        return original(self, *data)  # type: ignore[arg-type]

    monkeypatch.setattr(linear.Model, "fit", counted)
    return seeds


def made(corpus_file: Path, results: Path, **more: object) -> Run:
    (one,) = run("linear", "table", root=corpus_file, task="arousal", results=results, threads=1, **more)
    return one


def table(one: Run) -> pd.DataFrame:
    columns = [*required_columns(one.task), "trial"]
    return one.predictions()[columns].sort_values(["trial", "id"]).reset_index(drop=True)


def test_it_is_trained_once_and_says_so(corpus_file: Path, tmp_path: Path, fits: list[int]) -> None:
    one = made(corpus_file, tmp_path)
    assert len(fits) == len(one.folds) == len(one.units()) / 5
    assert all(u["deterministic"] for u in one.units())
    assert [u.get("same_as") for u in one.units() if u["fold"] == one.folds[0]] == [None, 0, 0, 0, 0]
    assert len({u["seed"] for u in one.units()}) == len(one.units())
    assert all(u["seconds"] == u["seconds_fit"] == 0 for u in one.units() if "same_as" in u)


def test_numbers_are_those_of_five_trainings(
    corpus_file: Path, tmp_path: Path, fits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    once = made(corpus_file, tmp_path / "once", trials=2)
    monkeypatch.setattr(linear.Model, "deterministic", classmethod(lambda cls, config: False))
    each = made(corpus_file, tmp_path / "each", trials=2)
    assert len(fits) == 3 * len(each.folds)
    assert not any("deterministic" in unit for unit in each.units())
    assert each.run_id == once.run_id
    pd.testing.assert_frame_equal(table(once), table(each), check_exact=True)
    assert [u["seed"] for u in once.units()] == [u["seed"] for u in each.units()]


def test_further_trials_and_lost_ones_are_copied(corpus_file: Path, tmp_path: Path, fits: list[int]) -> None:
    first = made(corpus_file, tmp_path, trials=1)
    trained = len(fits)
    whole = made(corpus_file, tmp_path, trials=3)
    assert (len(fits), whole.run_id) == (trained, first.run_id)
    assert whole.complete_trials() == [0, 1, 2]
    before = table(whole)
    for file in whole.unit_files(0, whole.folds[0]):
        file.unlink()
    again = made(corpus_file, tmp_path, trials=3)
    assert len(fits) == trained
    assert again.unit(0, again.folds[0])["same_as"] == 0  # it was copied back
    pd.testing.assert_frame_equal(table(again), before, check_exact=True)


def test_a_failure_is_that_of_all_trials_and_is_tried_again(
    corpus_file: Path, tmp_path: Path, fits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(linear.Model, "predict", lambda self, data: 1 / 0)
        one = made(corpus_file, tmp_path, trials=2)
    assert [u["status"] for u in one.units()] == ["failed"] * (2 * len(one.folds))
    trained = len(fits)
    assert made(corpus_file, tmp_path, trials=2).complete_trials() == [0, 1]
    assert len(fits) == trained + len(one.folds)


def test_weights_are_kept_of_every_trial(corpus_file: Path, tmp_path: Path) -> None:
    one = made(corpus_file, tmp_path, trials=2, save_models=True)
    kept = [one.unit_files(t, f)[0].with_suffix(".safetensors").read_bytes() for f in one.folds for t in (0, 1)]
    assert kept[0] == kept[1]
    assert len(kept) == 2 * len(one.folds)
