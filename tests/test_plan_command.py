"""`serbench plan`: counts against records, costs against closed forms, nothing written, a small disk refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile
from typer.testing import CliRunner

from serbench.benchmarks import Execution, Grid
from serbench.benchmarks.budget import estimate as planned
from serbench.benchmarks.budget.estimate import Budget, Training, UnitCost, audio_seconds, carried, estimate, size
from serbench.benchmarks.budget.pilot import SIZES, Pilot, Timed, part_of, some
from serbench.benchmarks.cli.app import app
from serbench.benchmarks.cli.plan import plan as plan_command
from serbench.benchmarks.cli.run import run as run_command
from serbench.benchmarks.grid.grid import run, run_grid
from serbench.benchmarks.grid.training import TrainingPlan, plan_training
from serbench.benchmarks.protocol.protocol import Division
from serbench.benchmarks.protocol.setting import Corpora
from serbench.datasets.core.errors import SerbenchError
from serbench.features.extraction.file_tasks import FileTask, Segment


@pytest.fixture(scope="module")
def corpus_file(toy_corpus: Callable[..., Path]) -> Path:
    """A `table` corpus of 40 babbles of 10 speakers."""
    return toy_corpus()


def asked(corpus_file: Path, *models: str, trials: int = 3) -> Grid:
    return Grid(models, "table", root=corpus_file, trials=trials)


def planned_chance(corpus_file: Path) -> TrainingPlan:
    return plan_training(asked(corpus_file, "chance:random").requests()[:1], Corpora())


def command(corpus_file: Path, results: Path, *more: str) -> list[str]:
    return ["plan", "--dataset", "table", "--root", str(corpus_file), "--results", str(results), *more]


def test_trainings_are_counted_against_the_records(corpus_file: Path, tmp_path: Path):
    run("chance", "table", root=corpus_file, results=tmp_path, trials=2)
    found = estimate(asked(corpus_file, "chance"), Execution(tmp_path), pilots=False)
    assert [(t.todo, t.done) for t in found.trainings] == [(0, 2), (1, 2)]  # chance is copied, chance:random trained
    (run_folder,) = [p for p in (tmp_path / "runs").iterdir() if "chance" in p.name and p.name != ".finished"][:1]
    assert run_folder.is_dir()
    assert (
        estimate(asked(corpus_file, "chance", trials=2), Execution(tmp_path), pilots=False).hours(on_card=False) == 0.0
    )


def test_costs_are_those_of_the_records(corpus_file: Path, tmp_path: Path):
    (one,) = run("chance:random", "table", root=corpus_file, results=tmp_path, trials=2)
    cost = planned.recorded(planned_chance(corpus_file), tmp_path)
    assert cost is not None
    units = one.units()
    assert cost.source == "its own trials"
    assert cost.seconds == pytest.approx(np.mean([u["seconds"] for u in units]))
    assert cost.peak_mib == max(u["peak_mib"] for u in units) > 10
    sizes = [sum(f.stat().st_size for f in one.path.glob(f"unit-{t}-official.*")) for t in range(2)]
    assert cost.bytes == pytest.approx(np.mean(sizes))


def test_training_on_copies_is_no_training_without(corpus_file: Path, tmp_path: Path):
    run("linear", "table", root=corpus_file, task="arousal", results=tmp_path, trials=1)
    plain = replace(asked(corpus_file, "linear"), task="arousal")
    for grid, known in ((plain, True), (replace(plain, train_with=["white:10"]), False)):
        (request,) = [r for r in grid.requests() if r.model == "linear"]
        assert (planned.recorded(plan_training([request], Corpora()), tmp_path) is not None) == known


def test_another_corpus_counts_in_proportion_to_its_training_items(corpus_file: Path, tmp_path: Path):
    (one,) = run("chance:random", "table", root=corpus_file, results=tmp_path, trials=2)
    table = pd.read_csv(corpus_file)
    part = table[(table["partition"] != "train") | (table.index % 2 == 0)]
    half = corpus_file.parent / "half.csv"
    part.to_csv(half, index=False)
    cost = planned.recorded(planned_chance(half), tmp_path)
    assert cost is not None
    share = (part["partition"] == "train").sum() / (table["partition"] == "train").sum()
    assert 0 < share < 1
    assert cost.cpu_seconds == pytest.approx(share * np.mean([u["cpu_seconds"] for u in one.units()]))
    assert "in proportion" in cost.source


def test_a_pilot_is_carried_over_as_a_line_in_items_and_epochs():
    """Training that takes 2 s + 0.5 s for each item and epoch, seen at 10 and 30 items in one epoch."""
    tried = Pilot((Timed(10, 7.0, 7.0, 1000), Timed(30, 17.0, 17.0, 1000)), 100.0, 5.0)
    division = SimpleNamespace(train=range(200), test=range(50))
    plan = SimpleNamespace(
        config=SimpleNamespace(train=SimpleNamespace(epochs=4)),
        request=SimpleNamespace(search=None),
        setting=SimpleNamespace(divisions=[division]),
        pool=lambda division: range(0),
    )
    cost = carried(tried, plan)
    assert cost.cpu_seconds == pytest.approx(2 + 0.5 * 200 * 4)
    assert cost.bytes == pytest.approx(1000 * 50 / 10)
    assert carried(replace(tried, trainings=tried.trainings[::-1]), plan).seconds > 0


def fold(train: int, pool: int) -> SimpleNamespace:
    """A plan whose only fold has so many training items, and unlabelled sentences for its model."""
    names = (("t", train), ("d", 60), ("x", 90), ("p", pool))
    train_ids, dev, test, pool_ids = (tuple(f"{name}{i}" for i in range(n)) for name, n in names)
    return SimpleNamespace(
        setting=SimpleNamespace(divisions=[Division("official", train_ids, dev, test)]),
        pool=lambda division: list(pool_ids),
        config=SimpleNamespace(train=SimpleNamespace(epochs=4)),
        request=SimpleNamespace(search=None),
    )


@pytest.mark.parametrize(
    ("train", "pool", "small", "large"),
    [
        (34280, 40000, (24, 28), (72, 84)),  # the paper's sizes: 1.17 unlabelled sentences for each labelled one
        (50, 0, (24, 0), (50, 0)),
        (20, 10, (20, 10), (20, 10)),  # no more than there are
        (50, 450, (12, 96), (36, 288)),  # 9 for each: fewer training items, and at most 4 x 24 and 4 x 72 of the pool
        (36, 3000, (6, 96), (18, 288)),
    ],
)
def test_a_pilot_has_a_pool_in_proportion(
    train: int, pool: int, small: tuple[int, int], large: tuple[int, int]
) -> None:
    parts = [part_of(fold(train, pool), size) for size in SIZES["regression"]]
    assert [(len(part.train), len(part.unlabelled)) for part in parts] == [small, large]
    assert set(parts[0].unlabelled) <= set(parts[1].unlabelled)


def test_unlabelled_sentences_are_carried_over_as_items() -> None:
    """Training that takes 2 s + 0.5 s for each sentence of either kind and epoch."""
    tried = Pilot((Timed(24, 2 + 26, 2 + 26, 1000, 28), Timed(72, 2 + 78, 2 + 78, 1000, 84)), 100.0, 5.0)
    cost = carried(tried, fold(34280, 40000))
    assert cost.cpu_seconds == pytest.approx(2 + 0.5 * (34280 + 40000) * 4)
    assert cost.source == "a pilot of 72 training items with 84 unlabelled ones and one epoch"


@pytest.mark.slow
def test_a_training_with_a_pool_is_planned_and_counted_by_its_record(
    toy_corpus: Callable[..., Path], tmp_path: Path
) -> None:
    file = toy_corpus(speakers={"train": "abcd", "dev": "ef", "test": "gh", "unlabelled": "ij"})
    settings = {"model.channels": "4", "model.strides": "4", "train.epochs": "1", "model.clusters": "2"}
    grid = Grid("deepemocluster:small", "table", root=file, task="arousal", trials=1, settings=settings)
    (cost,) = [t.cost for t in estimate(grid, Execution(tmp_path)).trainings if t.name.startswith("deepemocluster")]
    assert cost is not None
    assert cost.cpu_seconds > 0
    (run_,) = [one for one in run_grid(grid, Execution(tmp_path, threads=1)) if one.name.startswith("deepemocluster")]
    (unit,) = run_.units()
    assert unit["facts"]["unlabelled_sentences"] == 8
    fewer = replace(grid, settings={**settings, "model.unlabelled": "0"})
    known = [plan_training(one.requests()[:1], Corpora()) for one in (grid, fewer)]
    assert [len(plan.pool(plan.setting.divisions[0])) for plan in known] == [8, 0]
    own = planned.recorded(known[0], tmp_path)
    assert own is not None
    assert own.source == "its own trials"
    assert planned.recorded(known[1], tmp_path) is None


def test_tasks_of_one_kind_share_a_pilot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(planned, "pilot", lambda plan, *_: made.append(plan.request.task) or Pilot(problem="none"))
    grids = [Grid("chance", "demo", task=task) for task in ("arousal", "valence", "emotion")]
    planned.estimate_of([grid.requests()[0] for grid in grids], Execution(tmp_path), Corpora())
    assert made == ["arousal", "emotion"]


def test_plan_pilots_and_writes_nothing(corpus_file: Path, tmp_path: Path):
    results = tmp_path / "results"
    done = CliRunner().invoke(app, command(corpus_file, results, "--model", "chance", "--trials", "2"))
    assert done.exit_code == 0, done.output
    assert "chance on table: 1 trainings to do, 0 done" in done.output
    assert "a pilot of 16 training items" in done.output
    assert "in all: 3 trainings to do, 0 done" in done.output
    assert not results.exists()


@pytest.mark.slow
def test_features_to_make_are_counted_and_priced(corpus_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SERBENCH_CACHE", str(tmp_path / "cache"))
    (feature,) = estimate(asked(corpus_file, "linear", trials=1), Execution(tmp_path)).features
    assert feature.files == 40
    lengths = [soundfile.info(path).duration for path in corpus_file.parent.glob("*.wav")]
    assert feature.audio_seconds == pytest.approx(sum(lengths))
    assert feature.cpu_seconds is not None
    assert feature.bytes == pytest.approx(88 * 4 / (feature.audio_seconds / 40), rel=0.05)  # 88 functionals each
    run("linear", "table", root=corpus_file, results=tmp_path, trials=1, threads=1)
    assert estimate(asked(corpus_file, "linear", trials=2), Execution(tmp_path)).features == []


def test_a_small_disk_is_refused(corpus_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run("chance", "table", root=corpus_file, results=tmp_path, trials=1)
    monkeypatch.setattr(planned.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    done = CliRunner().invoke(app, command(corpus_file, tmp_path, "--model", "chance", "--trials", "50"))
    assert isinstance(done.exception, SerbenchError)
    assert "1.0 kB free" in str(done.exception)
    assert "needed" in done.output


def test_a_disk_is_refused_by_what_all_parts_need():
    assert Budget(free=[(Path("/a"), 10.0, 10.0)]).check() is None
    with pytest.raises(SerbenchError, match="has 9 bytes free, and this needs about 10 bytes"):
        Budget(free=[(Path("/a"), 10.0, 9.0)]).check()


def test_hours_keep_processors_and_cards_apart():
    cost = UnitCost(3600.0, 7200.0, None, 0, 0, "")
    found = Budget([Training("a", 2, 0, False, cost), Training("b", 3, 0, True, cost), Training("c", 9, 0, True, None)])
    assert found.hours(on_card=False) == 4
    assert found.hours(on_card=True) == 3
    assert any("and 9 trainings of unknown length" in text for text in found.lines())


def test_lengths_come_from_bounds_and_headers(tmp_path: Path):
    for k in range(3):
        soundfile.write(tmp_path / f"{k}.wav", np.zeros(16000 * (k + 1)), 16000)
    whole = [FileTask(str(tmp_path / f"{k}.wav"), (Segment(f"u{k}", None, None),)) for k in range(3)]
    cut = FileTask("gone.wav", (Segment("v", 1.0, 3.5), Segment("w", None, 2.0)))
    assert audio_seconds([*whole, cut]) == pytest.approx(6 + 2.5 + 2.0)


def test_plan_takes_the_options_of_run():
    """But the one that says when to stop: a plan says how long it takes."""
    own = set(inspect.signature(plan_command).parameters)
    assert own == (set(inspect.signature(run_command).parameters) - {"stop_after"}) | {"pilot"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--model", "linaer"], "Did you mean 'linear'?"),
        (["--model", "chance", "--trials", "0"], "expected 1 or more"),
        (["--model", "chance", "--from-record", "x"], "leave --from-record and --weights out"),
        ([], "expected --model"),
    ],
)
def test_bad_input_says_what_to_type(corpus_file: Path, tmp_path: Path, more: list[str], said: str):
    done = CliRunner().invoke(app, command(corpus_file, tmp_path, *more))
    assert isinstance(done.exception, SerbenchError)
    assert said in str(done.exception)


def test_sizes_and_samples():
    assert [size(n) for n in (999, 1000, 2.5e9)] == ["999 bytes", "1.0 kB", "2.5 GB"]
    assert some([str(k) for k in range(100)], 4) == ("0", "25", "50", "75")
    assert some(["a", "b"], 4) == ("a", "b")
