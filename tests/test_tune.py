"""`serbench tune`: against the same candidates run one by one, an untouched test set, resuming, records, bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from serbench.benchmarks.cli.app import app
from serbench.benchmarks.grid.grid import from_record, run
from serbench.benchmarks.protocol.request import Request
from serbench.benchmarks.tune.search import Choice, Range, Search, Tuned, candidate, check, parse, resolved, search_of
from serbench.datasets.core.config import option
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.task import Task
from serbench.results.record.folder import Run, load_runs
from serbench.results.tables.leaderboard import leaderboard
from serbench.sermodels import registry
from serbench.sermodels.core.sermodel import Data, FitLog, Resources

pytest.importorskip("optuna")
TASK = Task("arousal", "regression", ("arousal",), scales={"arousal": (1.0, 7.0)})


@pytest.fixture(scope="module")
def corpus_file(toy_corpus: Callable[..., Path]) -> Path:
    """A `table` corpus of 40 babbles of 10 speakers."""
    return toy_corpus(gain=0.125)


def searched(space: dict[str, str], budget: int = 20, sampler: str = "auto", model: str = "linear") -> dict[str, Any]:
    return resolved(Search(space, budget, sampler), registry.load(model).PRESETS["default"]).plain()


def predictions(one: Run) -> pd.DataFrame:
    return one.predictions().sort_values(["trial", "id"]).reset_index(drop=True)


def test_the_choice_is_the_best_of_the_same_candidates_run_one_by_one(corpus_file: Path, tmp_path: Path):
    common = {"root": corpus_file, "task": "arousal", "trials": 1, "threads": 1}
    space = {"model.clip": "0.3,5", "model.alphas": "10;100000"}
    (tuned,) = run("linear", "table", results=tmp_path / "t", search=searched(space), **common)
    alone = {}
    for clip in ("0.3", "5"):
        for alphas in ("10", "100000"):
            settings = {"model.clip": clip, "model.alphas": alphas}
            (one,) = run("linear", "table", results=tmp_path / "a", settings=settings, **common)
            alone[clip, alphas] = one
    dev = {key: one.units()[0]["dev_score"] for key, one in alone.items()}
    (unit,) = tuned.units()
    found = unit["facts"]["search"]
    tried = {(c["settings"]["model.clip"], c["settings"]["model.alphas"]): c["dev_score"] for c in found["candidates"]}
    assert tried == pytest.approx(dev)
    best = max(dev, key=lambda key: dev[key])
    assert found["chosen"] == {"model.clip": best[0], "model.alphas": best[1]}
    assert unit["dev_score"] == pytest.approx(dev[best])
    pd.testing.assert_frame_equal(predictions(tuned), predictions(alone[best]), check_exact=True)


def test_test_labels_change_neither_choice_nor_prediction(corpus_file: Path, tmp_path: Path):
    table = pd.read_csv(corpus_file)
    tested = table["partition"] == "test"
    table.loc[tested, ["arousal", "emotion"]] = table.loc[tested, ["arousal", "emotion"]].to_numpy()[::-1]
    changed = corpus_file.parent / "shuffled.csv"
    table.to_csv(changed, index=False)
    search = searched({"model.clip": "0.3,1,5"})
    common = {"task": "arousal", "trials": 2, "threads": 1, "search": search}
    (a,) = run("linear", "table", root=corpus_file, results=tmp_path / "a", **common)
    (b,) = run("linear", "table", root=changed, results=tmp_path / "b", **common)
    assert [u["facts"]["search"] for u in a.units()] == [u["facts"]["search"] for u in b.units()]
    np.testing.assert_array_equal(predictions(a)["pred_arousal"], predictions(b)["pred_arousal"])
    assert not predictions(a)["gold_arousal"].equals(predictions(b)["gold_arousal"])


def test_record_leaderboard_and_repetition_hold_the_budget(corpus_file: Path, tmp_path: Path):
    common = {"root": corpus_file, "task": "arousal", "trials": 1, "threads": 1}
    search = searched({"model.clip": "1..5"}, budget=3, sampler="tpe")
    (one,) = run("linear", "table", results=tmp_path, search=search, **common)
    (plain,) = run("linear", "table", results=tmp_path, **common)
    assert one.run_id != plain.run_id
    spec = json.loads((one.path / "run.json").read_text())
    assert spec["model"]["search"] == {"space": {"model.clip": "1..5"}, "budget": 3, "sampler": "tpe"}
    assert "labels:search:tpe-3" in one.signature
    assert len(one.units()[0]["facts"]["search"]["candidates"]) == 3
    rows = leaderboard(load_runs(tmp_path)).set_index("name")
    assert rows.loc["linear+search3", "search_budget"] == 3
    assert np.isnan(rows.loc["linear", "search_budget"])
    assert rows["search_budget"].notna().sum() == 1  # chance is not searched
    (again,) = from_record(one.path, results=tmp_path / "b", threads=1)
    assert again.run_id == one.run_id
    pd.testing.assert_frame_equal(predictions(one), predictions(again), check_exact=True)
    (more,) = run("linear", "table", results=tmp_path, search={**search, "budget": 4}, **common)
    assert more.run_id != one.run_id


def test_the_command_stands_in_the_record():
    request = Request("svm", "emodb", search=searched({"model.clip": "2,5"}, model="svm"), trials=2)
    expected = "serbench tune --model svm --dataset emodb --trials 2 --set model.clip=2,5 --budget 2 --sampler grid"
    assert request.command() == expected
    assert Request.from_dict(json.loads(json.dumps(vars(request) | {"protocol": vars(request.protocol)}))) == request


@dataclass(frozen=True)
class Config:
    k: int = option(1, "what is searched", low=0, high=100)
    rate: float = option(0.1, "what is searched too", low=0)
    sizes: tuple[int, ...] = option((1, 2), "a list")


class Fake:
    """A model whose dev score is a known function of its settings."""

    uses_unlabelled = False
    fitted: list[Config] = []  # noqa: RUF012 - emptied by each test
    seen: list[str] = []  # noqa: RUF012
    stop_at: int | None = None

    def __init__(self, config: Config, task: Task, resources: Resources) -> None:
        self.config, self.resources, self.parameters = config, resources, config.k

    @classmethod
    def requests(cls, config: Config, task: Task) -> dict[str, Any]:
        return {}

    @classmethod
    def pool(cls, config: Config, ids: Any) -> list[str]:
        return []

    def fit(self, train: Data, dev: Data, score: Any, unlabelled: Data | None = None) -> FitLog:
        if Fake.stop_at == len(Fake.fitted):
            raise KeyboardInterrupt
        Fake.fitted.append(self.config)
        Fake.seen += [*train.ids, *dev.ids]
        if self.config.k == 13:
            raise SerbenchError("the loss is not finite")
        return FitLog(facts={"k": self.config.k})

    def predict(self, data: Data) -> Any:
        return np.full((len(data), 1), -abs(self.config.k - 7.2))


MODULE = SimpleNamespace(Model=Fake, Config=Config, PRESETS={"default": Config()})


def items(role: str) -> Data:
    return Data(TASK, pd.DataFrame(index=[f"{role}{k}" for k in range(4)]), {}, np.zeros((4, 1)))


@pytest.fixture
def fit(tmp_path: Path) -> Callable[..., tuple[Tuned, FitLog]]:
    """Fit a search of the fake model from nothing."""
    Fake.fitted, Fake.seen, Fake.stop_at = [], [], None
    train, dev = (items(role) for role in "ab")

    def fitted(search: Search, seed: int = 1) -> tuple[Tuned, FitLog]:
        plain = resolved(search, Config()).plain()
        tuned = Tuned(MODULE, Config(), plain, TASK, Resources(seed, checkpoint=tmp_path / "unfinished"))
        return tuned, tuned.fit(train, dev, lambda labels, predicted: float(predicted.mean()))

    return fitted


def test_every_point_of_a_grid_is_tried_once(fit: Any):
    tuned, log = fit(Search({"model.k": "3,6,9,13", "model.rate": "1,2"}))
    assert sorted((c.k, c.rate) for c in Fake.fitted) == [(k, r) for k in (3, 6, 9, 13) for r in (1.0, 2.0)]
    assert log.facts["search"]["chosen"]["model.k"] == "6"
    assert tuned.chosen.config.k == 6
    assert log.facts["k"] == 6
    failed = [c for c in log.facts["search"]["candidates"] if c["error"]]
    assert {c["settings"]["model.k"] for c in failed} == {"13"}
    assert set(Fake.seen) == {f"{role}{k}" for role in "ab" for k in range(4)}


def test_ranges_are_searched_from_the_seed(fit: Any):
    search = Search({"model.k": "0..100", "model.rate": "1e-4..1:log"}, budget=25)
    _, log = fit(search)
    tried = [c["settings"] for c in log.facts["search"]["candidates"]]
    assert len(tried) <= 25
    assert all(0 <= int(t["model.k"]) <= 100 and 1e-4 <= float(t["model.rate"]) <= 1 for t in tried)
    best = min(tried, key=lambda t: abs(int(t["model.k"]) - 7.2))
    assert log.facts["search"]["chosen"]["model.k"] == best["model.k"]
    assert fit(search)[1].facts["search"] == log.facts["search"]
    assert fit(search, seed=2)[1].facts["search"] != log.facts["search"]


def test_an_interrupted_search_goes_on_after_its_last_candidate(fit: Any, tmp_path: Path):
    search = Search({"model.k": "0..100"}, budget=12)
    whole = fit(search)[1].facts["search"]
    Fake.fitted = []
    Fake.stop_at = 5
    with pytest.raises(KeyboardInterrupt):
        fit(search)
    Fake.stop_at = None
    before = len(Fake.fitted)
    tuned, log = fit(search)
    assert log.facts["search"] == whole
    assert tuned.chosen.config.k == int(whole["chosen"]["model.k"])
    distinct = len({c["settings"]["model.k"] for c in whole["candidates"]})
    assert len(Fake.fitted) - before <= distinct - 5 + 1  # the best one may have to be fitted again
    assert not (tmp_path / "unfinished").exists()


def test_a_search_whose_candidates_all_fail_says_why(fit: Any):
    with pytest.raises(SerbenchError, match=r"each of 1 candidates failed, the first one so: the loss is not finite"):
        fit(Search({"model.k": "13"}))


def test_dimensions_are_read_by_the_kind_of_their_setting():
    space = {"model.k": "1..9", "model.rate": "1e-3..1:log", "model.sizes": "1,2;3", "model.x": "a, b,a"}
    found = parse(space, Config())
    assert found == {
        "model.k": Range(1, 9, False, True),
        "model.rate": Range(1e-3, 1, True, False),
        "model.sizes": Choice(("1,2", "3")),
        "model.x": Choice(("a", "b")),
    }
    assert candidate(Config(), {"model.sizes": "1,2,3", "model.k": "4"}) == replace(Config(), sizes=(1, 2, 3), k=4)
    fixed, search = search_of(MODULE, "fake", {"model.sizes": "1,2,3", "model.k": "1,2"})
    assert (fixed, search) == ({"model.sizes": "1,2,3"}, Search({"model.k": "1,2"}, 2, "grid"))


def _other(dimension: Choice | Range, text: str) -> str:
    """Another value of a dimension."""
    ends = () if isinstance(dimension, Choice) else (dimension.low, dimension.high)
    values = dimension.values if isinstance(dimension, Choice) else [dimension.text(end) for end in ends]
    return next(value for value in values if value != text)


@pytest.mark.parametrize("model", [name for name in registry.names() if registry.declared(name, "SEARCH")])
def test_default_spaces_are_ones_that_the_models_take(model: str):
    module = registry.load(model)
    emotion = Task("emotion", "classification", ("emotion",), labels=("a", "b"), mapping={"a": "a", "b": "b"})
    task = next(t for t in (TASK, emotion) if t.kind in module.Model.kinds)
    fixed, search = search_of(module, model, {})
    assert not fixed
    assert search.space == module.SEARCH
    assert 1 <= search.budget <= 20
    config = module.PRESETS["default"]
    for key, dimension in parse(search.space, config).items():
        ends = () if isinstance(dimension, Choice) else (dimension.low, dimension.high)
        for text in dimension.values if isinstance(dimension, Choice) else map(dimension.text, ends):
            assert candidate(config, {key: text}) != candidate(config, {key: _other(dimension, text)})
    if not hasattr(module.Config, "encoder"):  # those name their checkpoint when they are asked for features
        check(module, config, task, search.plain())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--model", "linear", "--set", "model.clip=a,b"], "can't be read"),
        (["--model", "linear", "--set", "model.clpi=1,2"], "model.clip"),
        (["--model", "linear", "--set", "model.clip=5..1"], "LOW below HIGH"),
        (["--model", "linear", "--set", "model.clip=0..1:log"], "above 0"),
        (["--model", "linear", "--set", "model.clip=low..high"], "with numbers"),
        (["--model", "linear", "--set", "train.epochs=1,2"], "no training loop"),
        (["--model", "linear", "--set", "feature.x=1,2"], "features can't be searched"),
        (["--model", "linear", "--set", "model.feature=egemaps,mel"], "changes the model's features"),
        (["--model", "linear", "--sampler", "tpa"], "Did you mean 'tpe'?"),
        (["--model", "linear", "--sampler", "grid", "--set", "model.clip=1..2"], "a range has no grid"),
        (["--model", "linear", "--budget", "0"], "expected 1 or more"),
        (["--model", "chance"], "no default search space for 'chance'"),
        (["--model", "linear", "--model", "svm"], "takes one --model"),
    ],
)
def test_bad_input_says_what_to_type(corpus_file: Path, tmp_path: Path, more: list[str], said: str):
    given = ["tune", "--dataset", "table", "--root", str(corpus_file), "--results", str(tmp_path), *more]
    done = CliRunner().invoke(app, given)
    assert isinstance(done.exception, SerbenchError), done.output
    assert said in str(done.exception)


def test_the_command_says_what_it_searches_and_what_it_chose(corpus_file: Path, tmp_path: Path):
    given = [
        "tune",
        "--model",
        "linear",
        "--dataset",
        "table",
        "--root",
        str(corpus_file),
        "--task",
        "arousal",
        "--results",
        str(tmp_path),
        "--trials",
        "1",
        "--threads",
        "1",
        "--set",
        "model.clip=0.3,5",
    ]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    assert "2 candidates in each training, proposed by grid" in done.output
    assert "trial 1, fold official: model.clip=" in done.output
