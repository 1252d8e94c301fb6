"""Training on one corpus and testing on others: what is asked, who predicts what, shared trainings, the matrix."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score

from serbench.benchmarks import grid, setting
from serbench.benchmarks.cli_cross import spread
from serbench.benchmarks.cross import cross
from serbench.benchmarks.plan import Request
from serbench.benchmarks.request import Place
from serbench.benchmarks.setting import Corpora, resolve
from serbench.benchmarks.tasks import task_of
from serbench.datasets._corpus import OFFICIAL, Corpus, make_table, rotation
from serbench.datasets._errors import SerbenchError
from serbench.datasets._labels import emotion_task
from serbench.datasets._task import Task, attribute_tasks
from serbench.datasets._union import join
from serbench.results.leaderboard import leaderboard
from serbench.results.matrix import matrix, render_matrix, write_matrix
from serbench.results.records import Run, load_runs
from serbench.sermodels.chance import Model as Chance

FOUR = ("anger", "happiness", "neutral", "sadness")


def toy(
    name: str,
    n: int,
    emotions: tuple[str, ...] = FOUR,
    *,
    scale: tuple[float, float] = (1.0, 5.0),
    folds: int = 0,
    seed: int = 0,
    **changes: Any,
) -> Corpus:
    """n items of 2 per emotion in turn, with official partitions or that many speaker folds; no audio."""
    generator = np.random.default_rng(seed)
    part = ("train", "train", "dev", "test", "test")
    rows = [
        {
            "id": f"{name}{i:03}", "path": f"{i}.wav", "emotion": emotions[i // 5 % len(emotions)],
            "speaker": f"s{i % folds}" if folds else f"{part[i % 5]}{i % 10}",
            "partition": None if folds else part[i % 5],
            "arousal": scale[0] + (scale[1] - scale[0]) * generator.random(), "text": f"words of {name} number {i}",
        }
        for i in range(n)
    ]  # fmt: skip
    splits = {"speakers": rotation("speaker", [f"s{k}" for k in range(folds)])} if folds else {"official": (OFFICIAL,)}
    scales = {"arousal": scale}
    tasks = (Task("emotion", "classification", ("emotion",), tuple(sorted(set(emotions)))),
             *attribute_tasks(("arousal",), scales))  # fmt: skip
    made = Corpus(name, "", Path("/nowhere") / name, make_table(rows), tasks, splits, scales)
    return replace(made, **changes)


SIX = ("anger", "happiness", "neutral", "sadness", "fear", "excitement")
TOYS = {
    "alpha": toy("alpha", 120, folds=4),
    "beta": toy("beta", 150, SIX, scale=(1.0, 7.0), seed=1),
    "gamma": toy("gamma", 100, ("anger", "neutral", "sadness", "fear"), scale=(-1.0, 1.0), folds=3, seed=2),
}


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> dict[str, Corpus]:
    """The toy corpora, loaded by their names; a test may change them."""
    found = dict(TOYS)
    monkeypatch.setattr(setting, "load_corpus", lambda name, *_: found[name])
    return found


def setting_of(trained: str, test: str, **more: Any) -> setting.Setting:
    first, *also = (Place(name) for name in trained.split("+"))
    return resolve(Request("chance", first.name, also=tuple(also), test=Place(test), **more))


def predictions(one: Run) -> pd.DataFrame:
    return one.predictions().sort_values(["trial", "id"]).reset_index(drop=True)


# ---- what is asked --------------------------------------------------------------------------------------------------


def test_test_items_are_the_second_corpus_own_test_set(toys: dict[str, Corpus]) -> None:
    found = setting_of("alpha", "beta", task="emotion-4")
    table = toys["beta"].utterances
    asked = table[table["partition"].eq("test") & table["emotion"].ne("fear")]
    assert set(found.subsets) == set(asked.index)
    assert set(setting_of("beta", "alpha", task="emotion-4").subsets) == set(toys["alpha"].utterances.index)


@pytest.mark.parametrize("task", ["emotion-4", "arousal"])
@pytest.mark.parametrize(("trained", "test"), [("alpha", "beta"), ("gamma", "beta"), ("gamma", "alpha")])
def test_each_test_item_is_dealt_to_one_fold_model_in_equal_parts(
    toys: dict[str, Corpus], trained: str, test: str, task: str
) -> None:
    found = setting_of(trained, test, task=task)
    dealt = [i for d in found.divisions for i in d.test]
    assert sorted(dealt) == sorted(found.subsets)
    assert len(found.divisions) == len(toys[trained].folds())
    labels = toys[test].utterances["emotion"] if task == "emotion-4" else pd.Series("all", toys[test].utterances.index)
    merged = labels.replace("excitement", "happiness")
    for subset in range(4):
        sizes = [Counter(merged[i] for i in d.test if found.subsets[i] == subset) for d in found.divisions]
        for label in set(merged[dealt]):
            counts = [size[label] for size in sizes]
            assert max(counts) - min(counts) <= 1
    sizes = [len(d.test) for d in found.divisions]
    assert max(sizes) - min(sizes) <= 1


def test_training_is_that_of_the_first_corpus_alone(toys: dict[str, Corpus]) -> None:
    own, crossed = resolve(Request("chance", "alpha", task="emotion-4")), setting_of("alpha", "beta", task="emotion-4")
    assert [(d.fold, d.train, d.dev) for d in own.divisions] == [(d.fold, d.train, d.dev) for d in crossed.divisions]


def test_subsets_are_those_of_the_tested_corpus(toys: dict[str, Corpus]) -> None:
    for task in ("emotion-4", "arousal"):
        own = resolve(Request("chance", "beta", task=task))
        for trained in ("alpha", "gamma"):
            subsets = setting_of(trained, "beta", task=task).subsets
            assert subsets == {i: own.subsets[i] for i in subsets}
            assert trained == "gamma" or len(subsets) == len(own.subsets)


def test_items_of_a_class_that_was_never_trained_are_left_out_and_counted(toys: dict[str, Corpus]) -> None:
    found = setting_of("gamma", "beta", task="emotion-4")  # gamma has no happiness; excitement is merged with it
    table = toys["beta"].utterances
    lost = table["partition"].eq("test") & table["emotion"].isin(["happiness", "excitement"])
    assert found.left_out == {"happiness": int(lost.sum())}
    assert not set(found.subsets) & set(table.index[lost])
    assert any("20 test items of the class happiness, which gamma has no training item of" in n for n in found.notes)


def test_a_class_that_is_never_tested_stays_a_wrong_answer(toys: dict[str, Corpus], tmp_path: Path) -> None:
    found = setting_of("beta", "gamma", task="emotion-4")
    assert found.asked.labels == FOUR
    assert any(note.startswith("happiness never occurs in the test set") for note in found.notes)
    (run,) = grid.run("chance:random", "beta", test_dataset="gamma", task="emotion-4", results=tmp_path, trials=1)
    table = predictions(run)
    assert "happiness" in set(table["predicted"])
    assert "happiness" not in set(table["gold"])
    scores = run.scores()
    for subset, part in table.groupby("subset"):
        gold, predicted = part["gold"].to_numpy(), part["predicted"].to_numpy()
        recalls = [np.mean(predicted[gold == label] == label) for label in sorted(set(gold))]
        uar = scores[scores["metric"].eq("UAR") & scores["subset"].eq(subset)]["value"].item()
        assert uar == pytest.approx(np.mean(recalls))


def test_mapping_and_losses_are_printed_and_recorded(toys: dict[str, Corpus], tmp_path: Path) -> None:
    said: list[str] = []
    display = grid.Silent()
    display.message = said.append  # type: ignore[method-assign]
    common = {"task": "emotion-4", "results": tmp_path, "trials": 1, "display": display}
    (run,) = grid.run("chance", "alpha", test_dataset="beta", **common)
    lines = [line.strip() for line in said]
    assert lines.count("alpha>beta, task emotion-4:") == 1  # for three rows of models
    assert "tested on beta: happiness: 20 = excitement 10 + happiness 10" in lines
    assert "tested on beta: dropped: fear 10" in lines
    assert "trained on alpha: dropped: nothing" in lines
    recorded = run.spec["transfer"]
    assert [f"{note}" for note in recorded["notes"]] == [line for line in lines if " on " in line and ":" in line]
    assert recorded["trained_on"]["name"] == "alpha"
    assert recorded["tested_on"]["digest"] == toys["beta"].digest()
    assert recorded["task"]["labels"] == list(FOUR)


def test_conditions_on_columns_that_are_not_there_fall(toys: dict[str, Corpus]) -> None:
    one = toys["alpha"]
    table = one.utterances.assign(scenario=["improvised"] * 60 + ["scripted"] * 60)
    task = emotion_task("emotion-4", "improvised", where={"scenario": ("improvised",)})
    toys["alpha"] = replace(one, utterances=table, tasks=(*one.tasks, task))
    found = setting_of("alpha", "beta", task="improvised")
    assert len({i for d in found.divisions for i in d.train}) == 60
    assert found.asked.where == {}
    assert "the condition on 'scenario' falls: beta has no such column" in found.notes


def test_the_tested_corpus_own_task_of_the_name_is_asked_if_it_is_the_same(toys: dict[str, Corpus]) -> None:
    own = Task("perceived", "classification", ("emotion",), FOUR, "heard", where={"certain": ("yes",)})
    n = len(toys["beta"].utterances)
    table = toys["beta"].utterances.assign(heard=[FOUR[i % 4] for i in range(n)], certain="yes")
    toys["beta"] = replace(toys["beta"], utterances=table, tasks=(own,))
    plain = Task("perceived", "classification", ("emotion",), FOUR)
    toys["alpha"] = replace(toys["alpha"], tasks=(plain,))
    found = setting_of("alpha", "beta")
    assert found.asked is own
    assert found.task is plain


def test_attributes_are_carried_between_scales(toys: dict[str, Corpus], tmp_path: Path) -> None:
    (run,) = grid.run("chance", "alpha", test_dataset="beta", task="arousal", results=tmp_path, trials=1)
    table = predictions(run).set_index("id")
    truth = toys["beta"].utterances["arousal"]
    np.testing.assert_array_equal(table["gold_arousal"], truth[table.index])
    for division in setting_of("alpha", "beta", task="arousal").divisions:
        mean = toys["alpha"].utterances.loc[list(division.train), "arousal"].mean()  # what the chance model says
        np.testing.assert_allclose(table.loc[list(division.test), "pred_arousal"], (mean - 1) / 4 * 6 + 1)
    assert run.spec["task"]["scales"] == {"arousal": [1.0, 7.0]}
    assert "arousal: predictions on 1 .. 5 carried to 1 .. 7" in run.spec["transfer"]["notes"]


def test_traces_are_carried_and_their_hops_must_agree(toys: dict[str, Corpus], tmp_path: Path) -> None:
    def traced(name: str, scale: tuple[float, float], hop: float) -> Corpus:
        task = Task("traces", "continuous", ("arousal",), scales={"arousal": scale}, frame_seconds=hop)
        rows = [{"id": f"{name}{i}", "path": f"{i}.wav", "partition": ("train", "dev", "test", "test")[i % 4]}
                for i in range(16)]  # fmt: skip
        level = (scale[0] + scale[1]) / 2 + 0.25 * (scale[1] - scale[0])
        frames = pd.DataFrame({"time": np.arange(5) * hop, "arousal": [level] * 5})
        return replace(
            toys["alpha"], name=name, tasks=(task,), splits={"official": (OFFICIAL,)}, scales={"arousal": scale},
            recordings=make_table(rows), trace_source=lambda _: frames,
        )  # fmt: skip

    toys["alpha"], toys["beta"] = traced("alpha", (-1.0, 1.0), 0.1), traced("beta", (1.0, 9.0), 0.1)
    (run,) = grid.run("chance", "alpha", test_dataset="beta", results=tmp_path, trials=1)
    table = predictions(run)
    assert len(table) == 8 * 5
    np.testing.assert_allclose(table["pred_arousal"], table["gold_arousal"])  # three quarters up, on either scale
    np.testing.assert_allclose(table["gold_arousal"], 7.0)
    toys["beta"] = traced("beta", (1.0, 9.0), 0.04)
    with pytest.raises(SerbenchError, match=r"a label every 0\.04 s, 'traces' one every 0\.1 s"):
        setting_of("alpha", "beta")


def test_a_shared_label_set_is_a_task_of_every_corpus(toys: dict[str, Corpus]) -> None:
    task = task_of(toys["beta"], "emotion-4")
    assert dict(task.mapping)["excitement"] == "happiness"
    assert task_of(toys["beta"], "emotion").labels == tuple(sorted(SIX))
    some = task_of(toys["beta"], "emotion-4", ("sadness", "anger"))
    assert (some.name, some.labels) == ("emotion-4:anger+sadness", ("anger", "sadness"))
    assert set(some.select(toys["beta"].utterances)["emotion"]) == {"anger", "sadness"}
    assert task_of(toys["beta"], "emotion-4", FOUR) == task


@pytest.mark.parametrize(
    ("trained", "test", "more", "said"),
    [
        ("alpha", "beta", {"task": "emotoin"}, "Did you mean 'emotion'"),
        ("alpha", "beta", {"task": "emotion-4", "classes": ("anger", "rage")}, "class of emotion-4"),
        ("alpha", "beta", {"task": "arousal", "classes": ("anger",)}, "has no classes"),
        ("alpha+beta", "beta", {"task": "emotion-4"}, "trained on and tested"),
        ("alpha+alpha", "beta", {"task": "emotion-4"}, "names a corpus twice"),
        ("alpha+beta", "gamma", {"task": "arousal", "protocol": grid.Protocol(split="official")}, "--split"),
    ],
)
def test_bad_requests_say_what_to_do(toys: dict[str, Corpus], trained: str, test: str, more: dict, said: str) -> None:
    with pytest.raises(SerbenchError, match=said):
        setting_of(trained, test, **more)


def test_corpora_that_share_too_little_are_refused(toys: dict[str, Corpus]) -> None:
    toys["gamma"] = toy("gamma", 100, ("fear", "boredom"))
    with pytest.raises(SerbenchError, match="gamma has no utterance of the classes"):
        setting_of("alpha", "gamma", task="emotion-4")
    toys["gamma"] = toy("gamma", 100, ("fear", "anger"))
    with pytest.raises(SerbenchError, match=r"share 1 classes .* trained on anger, happiness, .*, tested anger"):
        setting_of("alpha", "gamma", task="emotion-4")
    toys["gamma"] = replace(toy("gamma", 100), scales={}, tasks=(task_of(toys["alpha"], "emotion"),))
    with pytest.raises(SerbenchError, match="gamma has no arousal"):
        setting_of("alpha", "gamma", task="arousal")
    with pytest.raises(SerbenchError, match="Name a --test-dataset"):
        resolve(Request("chance", "alpha", also=(Place("beta"),)))
    toys["beta"] = toy("beta", 5)
    with pytest.raises(SerbenchError, match=r"2 items .* fewer than the 4 models of a trial"):
        setting_of("alpha", "beta", task="arousal")


# ---- records --------------------------------------------------------------------------------------------------------


def test_a_cross_run_has_a_record_and_a_row_of_its_own(toys: dict[str, Corpus], tmp_path: Path) -> None:
    common = {"task": "emotion-4", "results": tmp_path, "trials": 2}
    (home,) = grid.run("chance", "beta", **common)
    (away,) = grid.run("chance", "alpha", test_dataset="beta", **common)
    assert away.spec["dataset"]["name"] == "alpha>beta"
    assert away.run_id.startswith("alpha-beta_emotion-4_chance_")
    assert away.protocol_digest != home.protocol_digest
    assert "|data:alpha>beta@" in away.signature
    assert away.spec["protocol"]["split"] == "speakers"
    assert away.spec["protocol"]["test_split"] == "official"
    frame = leaderboard(load_runs(tmp_path))
    assert set(frame["dataset"]) == {"beta", "alpha>beta"}
    assert len(frame[frame["dataset"] == "alpha>beta"]) == 2  # both chance rows
    assert (frame["n"] == 8).all()
    items = away.items()
    assert items is not None
    assert set(items.index) == set(predictions(away)["id"])


def test_changes_of_either_corpus_are_other_runs(toys: dict[str, Corpus], tmp_path: Path) -> None:
    def run_id() -> str:
        (run,) = grid.run("chance", "alpha", test_dataset="beta", task="arousal", results=tmp_path, trials=1)
        return run.run_id

    first = run_id()
    assert run_id() == first
    for name in ("alpha", "beta"):
        before = toys[name]
        toys[name] = replace(before, release="2")
        assert run_id() != first
        toys[name] = before


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The training ids of every fit of the chance model."""
    seen: list[tuple[str, ...]] = []
    fit = Chance.fit

    def counted(self: Chance, train: Any, *rest: Any, **more: Any) -> Any:
        seen.append(tuple(train.ids))
        return fit(self, train, *rest, **more)

    monkeypatch.setattr(Chance, "fit", counted)
    return seen


def test_one_training_serves_all_tested_corpora(toys: dict[str, Corpus], tmp_path: Path, fits: list) -> None:
    common = {"task": "arousal", "trials": 2}
    together = grid.run("chance", "alpha", test_dataset=["alpha", "beta", "gamma"], results=tmp_path / "a", **common)
    assert [run.spec["dataset"]["name"] for run in together] == ["alpha", "alpha>beta", "alpha>gamma"]
    assert len(fits) == 2 * (2 * 4)  # the chance row and the random one: trials x folds, whatever is tested
    assert len(set(fits)) == 4
    for run, test in zip(together, ("alpha", "beta", "gamma"), strict=True):
        more = {} if test == "alpha" else {"test_dataset": test}
        (alone,) = grid.run("chance", "alpha", results=tmp_path / test, **more, **common)
        assert alone.run_id == run.run_id
        pd.testing.assert_frame_equal(predictions(alone), predictions(run), check_exact=True)
    unit = together[1].unit(0, "speaker-s0")
    assert unit is not None
    assert sorted(unit["trained_for"]) == sorted(run.run_id for run in together)


def test_what_is_finished_is_not_trained_again(toys: dict[str, Corpus], tmp_path: Path, fits: list) -> None:
    common = {"task": "arousal", "trials": 2, "results": tmp_path}
    runs = grid.run("chance", "alpha", test_dataset=["beta", "gamma"], **common)
    whole = [predictions(run) for run in runs]
    del fits[:]
    grid.run("chance", "alpha", test_dataset=["beta", "gamma"], **common)
    assert not fits
    for suffix in ("json", "parquet"):
        next(runs[1].path.glob(f"unit-1-speaker-s2.{suffix}")).unlink()
    stamps = {p: p.stat().st_mtime_ns for p in runs[0].path.glob("unit-*")}
    grid.run("chance", "alpha", test_dataset=["beta", "gamma"], **common)
    assert len(fits) == 1
    assert {p: p.stat().st_mtime_ns for p in runs[0].path.glob("unit-*")} == stamps
    for run, before in zip(runs, whole, strict=True):
        pd.testing.assert_frame_equal(predictions(run), before, check_exact=True)


@pytest.mark.parametrize("writes", [1, 2, 5])
def test_a_stopped_run_goes_on_and_ends_in_the_same_numbers(
    toys: dict[str, Corpus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    common = {"task": "arousal", "trials": 1, "test_dataset": ["beta", "gamma"]}
    write, left = Run.write_unit, [writes]

    def stopping(self: Run, *given: Any) -> Any:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return write(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "write_unit", stopping)
        with pytest.raises(KeyboardInterrupt):
            grid.run("chance:random", "alpha", results=tmp_path / "stopped", **common)
    done = [len(list(run.path.glob("unit-*.json"))) for run in load_runs(tmp_path / "stopped")]
    assert sum(done) == writes
    again = grid.run("chance:random", "alpha", results=tmp_path / "stopped", **common)
    unbroken = grid.run("chance:random", "alpha", results=tmp_path / "unbroken", **common)
    for a, b in zip(again, unbroken, strict=True):
        pd.testing.assert_frame_equal(predictions(a), predictions(b), check_exact=True)


def test_a_test_set_that_fails_fails_alone(
    toys: dict[str, Corpus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = Chance.predict

    def failing(self: Chance, data: Any) -> Any:
        if any(i.startswith("beta") for i in data.ids):
            raise ValueError("no beta, please")
        return predict(self, data)

    monkeypatch.setattr(Chance, "predict", failing)
    bad, good = grid.run("chance", "alpha", test_dataset=["beta", "gamma"], task="arousal", results=tmp_path, trials=1)
    assert {u["status"] for u in bad.units()} == {"failed"}
    assert {u["error"] for u in bad.units()} == {"ValueError: no beta, please"}
    assert {u["status"] for u in good.units()} == {"done"}


# ---- several corpora together ---------------------------------------------------------------------------------------


def test_a_union_keeps_names_apart_and_carries_labels() -> None:
    alpha, beta = TOYS["alpha"], TOYS["beta"]
    table = beta.utterances.assign(dialogue="d1", previous=[pd.NA, *beta.utterances.index[:-1]])
    beta = replace(beta, utterances=table, word_source=lambda item: pd.DataFrame({"word": [item]}))
    union, task = join([(alpha, alpha.task("arousal")), (beta, beta.task("arousal"))])
    joined = union.utterances
    assert (union.name, len(joined)) == ("alpha+beta", 270)
    assert union.root == Path("/nowhere")
    assert joined.loc["beta/beta007", "path"] == "beta/7.wav"
    assert joined.loc["beta/beta007", "speaker"] == "beta/" + beta.utterances.loc["beta007", "speaker"]
    assert joined.loc["beta/beta007", "previous"] == "beta/beta006"
    assert joined.loc["beta/beta007", "dialogue"] == "beta/d1"
    carried = (beta.utterances["arousal"] - 1) / 6 * 4 + 1
    np.testing.assert_allclose(joined.filter(like="beta/", axis=0)["arousal"], carried)
    np.testing.assert_array_equal(joined.filter(like="alpha/", axis=0)["arousal"], alpha.utterances["arousal"])
    assert task.scales == {"arousal": (1.0, 5.0)}
    assert union.words("beta/beta003")["word"].tolist() == ["beta003"]
    merged, four = join([(c, emotion_task("emotion-4", "emotion-4")) for c in (alpha, beta)])
    excited = beta.utterances.index[beta.utterances["emotion"] == "excitement"]
    assert set(merged.utterances.loc[[f"beta/{i}" for i in excited], four.column]) == {"happiness"}
    assert len(merged.items(four)) == 120 + 125


def test_a_union_decodes_clips_of_the_corpus_that_has_them_and_stays_inside_the_roots(tmp_path: Path) -> None:
    roots = {name: tmp_path / name for name in ("alpha", "beta")}
    table = TOYS["beta"].utterances.copy()
    table.loc["beta001", "path"] = "../alpha/1.wav"
    beta = replace(TOYS["beta"], root=roots["beta"], utterances=table, audio_source=lambda p: p.with_suffix(".flac"))
    union, _ = join([(replace(TOYS["alpha"], root=roots["alpha"]), TOYS["alpha"].task("arousal")),
                     (beta, beta.task("arousal"))])  # fmt: skip
    assert union.audio_path("beta/beta002") == roots["beta"] / "2.flac"
    assert union.audio_path("alpha/alpha002") == roots["alpha"] / "2.wav"
    with pytest.raises(SerbenchError, match="leaves the corpus root"):
        union.audio_path("beta/beta001")


def test_training_on_several_corpora_takes_each_of_their_folds_in_turn(
    toys: dict[str, Corpus], tmp_path: Path, fits: list
) -> None:
    (run,) = grid.run("chance", "alpha+gamma", test_dataset="beta", task="arousal", results=tmp_path, trials=5)
    assert run.spec["dataset"]["name"] == "alpha+gamma>beta"
    assert run.folds == ["joined"]
    assert len(predictions(run)) == 5 * 60
    folds = {name: resolve(Request("chance", name, task="arousal")).divisions for name in ("alpha", "gamma")}
    for trial, trained in enumerate(fits[:5]):
        turn = trial % 4  # alpha has four folds, gamma three
        parts = [(name, folds[name][turn % len(folds[name])]) for name in ("alpha", "gamma")]
        assert set(trained) == {f"{name}/{i}" for name, division in parts for i in division.train}
    values = pd.concat([toys["alpha"].utterances["arousal"], (toys["gamma"].utterances["arousal"] + 1) * 2 + 1],
                       keys=["alpha", "gamma"])  # fmt: skip
    values.index = ["/".join(key) for key in values.index]
    first = predictions(run).query("trial == 0")["pred_arousal"]
    np.testing.assert_allclose(first, (values[list(fits[0])].mean() - 1) / 4 * 6 + 1)


# ---- the matrix -----------------------------------------------------------------------------------------------------


def crossed(differences: np.ndarray) -> tuple[float, float]:
    """Mean and p of a (trial, subset) table, by the quasi-F of Clark (1973) for one contrast, written a second time."""
    t, s = differences.shape
    mean = differences.mean()
    ms_t = s * ((differences.mean(axis=1) - mean) ** 2).sum() / (t - 1)
    ms_s = t * ((differences.mean(axis=0) - mean) ** 2).sum() / (s - 1)
    rest = differences - differences.mean(axis=1, keepdims=True) - differences.mean(axis=0) + mean
    ms_r = (rest**2).sum() / ((t - 1) * (s - 1))
    parts = [(ms, df) for ms, df in ((ms_t, t - 1), (ms_s, s - 1)) if ms > ms_r]
    total = sum(ms for ms, _ in parts) - ms_r * (len(parts) - 1)
    degrees = total**2 / (sum(ms**2 / df for ms, df in parts) + (len(parts) - 1) ** 2 * ms_r**2 / ((t - 1) * (s - 1)))
    return mean, 2 * stats.t.sf(abs(mean) / np.sqrt(total / (t * s)), degrees)


def test_the_matrix_follows_from_the_predictions(toys: dict[str, Corpus], tmp_path: Path) -> None:
    toys["gamma"] = toy("gamma", 200, seed=2)
    frame = cross(["chance:random", "chance"], ["alpha", "beta", "gamma"], task="emotion-4", results=tmp_path)
    assert frame.empty  # chance rows are columns of other models, not rows
    runs = as_model(tmp_path, "toy")
    frame = matrix(runs)
    assert len(frame) == 9
    assert set(frame["model"]) == {"toy"}
    assert (frame["n"] == 20).all()
    tables: dict[str, dict[Any, Any]] = {"toy": {}, "chance": {}}
    for run in runs:
        place = tuple(run.spec["dataset"]["name"].split(">"))
        scores = predictions(run).groupby(["trial", "subset"])[["gold", "predicted"]].apply(
            lambda part: balanced_accuracy_score(part["gold"], part["predicted"])
        )
        found = tables[run.spec["model"]["name"]]
        found[place if len(place) == 2 else place * 2] = scores.unstack().to_numpy()
    floor, tables = tables["chance"], tables["toy"]
    ps = []
    for row in frame.itertuples():
        assert row.mean == pytest.approx(tables[row.trained_on, row.tested_on].mean())
        assert row.in_corpus == pytest.approx(tables[row.tested_on, row.tested_on].mean())
        assert row.chance == pytest.approx(floor[row.trained_on, row.tested_on].mean())
        if row.trained_on == row.tested_on:
            assert np.isnan([row.drop, row.p, row.p_holm]).all()
            continue
        mean, p = crossed(tables[row.tested_on, row.tested_on] - tables[row.trained_on, row.tested_on])
        assert row.drop == pytest.approx(mean)
        assert row.p == pytest.approx(p, rel=1e-6)
        assert row.drop_low < row.drop < row.drop_high
        assert row.low < row.mean < row.high
        ps.append(p)
    held = np.sort(frame["p_holm"].dropna())
    expected = np.minimum(np.maximum.accumulate(np.sort(ps) * np.arange(6, 0, -1)), 1)
    np.testing.assert_allclose(held, np.sort(expected))


def test_every_cell_has_the_classes_that_all_corpora_have(toys: dict[str, Corpus], tmp_path: Path) -> None:
    said: list[str] = []
    display = grid.Silent()
    display.message = said.append  # type: ignore[method-assign]
    cross(["chance"], list(TOYS), task="emotion-7", results=tmp_path, trials=1, display=display)
    runs = load_runs(tmp_path)
    assert len(runs) == 2 * 9
    assert {run.task.name for run in runs} == {"emotion-7:anger+neutral+sadness"}
    assert {run.task.labels for run in runs} == {("anger", "neutral", "sadness")}
    assert "left out everywhere: happiness, which gamma can't train and test" in said
    assert any(line.startswith("left out everywhere: disgust, fear, surprise, which alpha") for line in said)
    tested = {run.spec["dataset"]["name"]: set(predictions(run)["id"]) for run in runs}
    assert tested["alpha>beta"] == tested["beta"] == tested["gamma>beta"]


@pytest.fixture(scope="module")
def left_out(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, int]:
    """Records of a leave-one-out matrix; the number of fits that they took, and of those of the same call again."""
    results, seen, fit = tmp_path_factory.mktemp("left_out"), [0], Chance.fit

    def counted(self: Chance, *given: Any, **more: Any) -> Any:
        seen[0] += 1
        return fit(self, *given, **more)

    counts = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setting, "load_corpus", lambda name, *_: TOYS[name])
        patch.setattr(Chance, "fit", counted)
        for _ in range(2):
            cross(["chance"], list(TOYS), task="arousal", results=results, trials=2, leave_one_out=True)
            counts.append(seen[0])
    return results, counts[0], counts[1] - counts[0]


def as_model(results: Path, name: str) -> list[Run]:
    """All runs, the random chance rows as if they were of a model."""
    runs = load_runs(results)
    for run in runs:
        if run.spec["model"]["preset"] == "random":
            run.spec["model"] |= {"name": name, "preset": "default"}
    return runs


def test_one_fit_per_trained_corpus_trial_and_fold(left_out: tuple[Path, int, int]) -> None:
    single, joined = (4 + 1 + 3) * 2, 3 * 2
    assert left_out[1] == 2 * (single + joined)  # two chance rows
    assert left_out[2] == 0


def test_leave_one_corpus_out_rows(left_out: tuple[Path, int, int], tmp_path: Path) -> None:
    frame = matrix(as_model(left_out[0], "toy"))
    joined = frame[frame["trained_on"].str.contains("+", regex=False)]
    assert sorted(zip(joined["trained_on"], joined["tested_on"], strict=True)) == [
        ("alpha+beta", "gamma"), ("alpha+gamma", "beta"), ("beta+gamma", "alpha"),
    ]  # fmt: skip
    assert joined["drop"].notna().all()
    with pytest.raises(SerbenchError, match="three or more to leave one out"):
        cross(["chance"], ["alpha", "beta"], task="arousal", results=tmp_path, leave_one_out=True)


def test_the_matrix_is_written_as_csv_png_and_svg(left_out: tuple[Path, int, int], tmp_path: Path) -> None:
    import xml.etree.ElementTree as ElementTree

    from matplotlib.image import imread
    from rich.console import Console

    frame = matrix(as_model(left_out[0], "toy <model>"))
    written = write_matrix(frame, tmp_path / "a")
    assert [p.name for p in written] == [
        "cross_arousal.csv", "cross_arousal_toy--model-.png", "cross_arousal_toy--model-.svg",
    ]  # fmt: skip
    again = pd.read_csv(written[0])
    assert list(again.columns) == list(frame.columns)
    np.testing.assert_array_equal(again["mean"], frame["mean"])
    assert imread(written[1]).shape[0] > 400
    texts = [e.text for e in ElementTree.parse(written[2]).iter("{http://www.w3.org/2000/svg}text")]
    assert {"alpha", "beta", "gamma", "the others", "trained on", "tested on", "toy <model>: arousal"} <= set(texts)
    row = frame[frame["trained_on"].eq("alpha") & frame["tested_on"].eq("beta")].iloc[0]
    assert f"{row['mean']:.3f}" in texts
    assert any(text.startswith(f"drop {row['drop']:+.3f}") for text in texts if text)
    assert any(text.startswith("CCC (mean of 8 scores)") for text in texts if text)
    repeated = write_matrix(frame, tmp_path / "b")
    assert [p.read_bytes() for p in repeated] == [p.read_bytes() for p in written]
    console = Console(width=100, record=True, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115
    console.print(render_matrix(frame))
    shown = console.export_text()
    assert f"{row['mean']:.3f}" in shown
    assert "the others" in shown


def test_missing_cells_and_doubled_cells(toys: dict[str, Corpus], tmp_path: Path) -> None:
    grid.run("chance:random", "alpha", test_dataset=["beta", "gamma"], task="arousal", results=tmp_path, trials=2)
    runs = load_runs(tmp_path)
    for run in runs:
        run.spec["model"]["name"] = f"toy-{run.spec['model']['preset']}"
    frame = matrix(runs)
    assert frame["drop"].isna().all()  # no in-corpus run to compare with
    assert frame["mean"].notna().all()
    assert write_matrix(frame, tmp_path / "figures")[1].stat().st_size > 0
    with pytest.raises(SerbenchError, match="one task"):
        matrix([])


@pytest.mark.parametrize(
    ("datasets", "task", "said"),
    [
        (["alpha"], "arousal", "expected two or more"),
        (["alpha", "beta"], "emotion", r"is anger, happiness, neutral, sadness in alpha, .* Expected a label set"),
        (["alpha", "fearful"], "emotion-4", "share 1 classes"),
        (["alpha", "beta"], "valence", "emotion-4"),
    ],
)
def test_a_matrix_that_makes_no_sense_is_refused(
    toys: dict[str, Corpus], tmp_path: Path, datasets: list[str], task: str, said: str
) -> None:
    toys["fearful"] = toy("fearful", 100, ("fear", "anger"))
    with pytest.raises(SerbenchError, match=said):
        cross(["chance"], datasets, task=task, results=tmp_path)


# ---- the command line -----------------------------------------------------------------------------------------------


def test_words_after_an_option_belong_to_it() -> None:
    words = ["--models", "a", "b:x", "--trials", "2", "--datasets", "c", "--leave-one-out"]
    assert spread(words, ("--models", "--datasets")) == [
        "--models", "a", "--models", "b:x", "--trials", "2", "--datasets", "c", "--leave-one-out",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two `table` corpora in folders of their own."""
    found = {}
    for name, scale in (("one", (1, 5)), ("two", (1, 7))):
        folder = tmp_path_factory.mktemp(name)
        generator = np.random.default_rng(len(found))
        rows = [
            {"path": f"{i}.wav", "speaker": f"s{i}", "partition": ("train", "dev", "test", "test")[i % 4],
             "emotion": FOUR[i // 4 % 4], "arousal": round(generator.uniform(*scale), 3),
             "scale": f"{scale[0]}..{scale[1]}"}
            for i in range(64)
        ]  # fmt: skip
        pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)
        found[name] = folder / f"{name}.csv"
    return found


def serbench(*words: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-c", "from serbench.benchmarks.cli import main; main()", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_a_cross_run_on_the_command_line_repeats_itself(files: dict[str, Path], tmp_path: Path) -> None:
    done = serbench("run", "--model", "chance", "--dataset", "table", "--root", files["one"], "--test-dataset", "table",
                    "--test-root", files["two"], "--task", "arousal", "--trials", 1, "--results", tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "predictions on 1 .. 5 carried to 1 .. 7" in done.stderr
    run = next(r for r in load_runs(tmp_path) if r.spec["model"]["preset"] == "default")
    assert run.spec["dataset"]["name"] == "table>table"
    assert run.spec["dataset"]["release"] == "one>two"
    words = run.spec["command"].split()
    assert words[:2] == ["serbench", "run"]
    again = serbench(*words[1:], "--results", tmp_path / "again")
    assert again.returncode == 0, again.stderr
    (folder,) = (tmp_path / "again").glob(f"runs/{run.run_id}")
    pd.testing.assert_frame_equal(predictions(Run.open(folder)), predictions(run))
    (repeated,) = grid.from_record(run.path, results=tmp_path / "third")
    assert repeated.run_id == run.run_id
    assert json.loads((repeated.path / "run.json").read_text())["arguments"] == run.spec["arguments"]


def test_processes_share_a_training_too(files: dict[str, Path], tmp_path: Path) -> None:
    common = {"root": files["one"], "test_dataset": "table", "test_root": files["two"], "task": "arousal", "trials": 2}
    (serial,) = grid.run("chance:random", "table", results=tmp_path / "a", **common)
    (parallel,) = grid.run("chance:random", "table", results=tmp_path / "b", jobs=2, **common)
    pd.testing.assert_frame_equal(predictions(serial), predictions(parallel), check_exact=True)


def test_a_request_survives_its_command_line_and_json() -> None:
    request = Request(
        "linear", "iemocap", "/a b", options={"context": "ended"}, task="emotion-4", also=(Place("emodb", "/e"),),
        test=Place("meld", "/m", options={"test_clips": "plain"}, split="official"), classes=("anger", "sadness"),
    )  # fmt: skip
    assert request.command() == (
        "serbench run --model linear --dataset iemocap+emodb --root 'iemocap=/a b' --root emodb=/e --test-dataset meld "
        "--test-root /m --test-split official --task emotion-4 --classes anger,sadness --option iemocap.context=ended "
        "--option meld.test_clips=plain"
    )
    from dataclasses import asdict

    assert Request.from_dict(json.loads(json.dumps(asdict(request)))) == request
    old = asdict(Request("linear", "emodb"))
    for key in ("also", "test", "classes"):
        del old[key]
    assert Request.from_dict(old) == Request("linear", "emodb")


def test_roots_releases_and_options_find_their_corpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: dict[str, tuple[Any, ...]] = {}

    def load(name: str, *given: Any) -> Corpus:
        seen[name] = given
        return TOYS[name]

    monkeypatch.setattr(setting, "load_corpus", load)
    grid.run("chance", "alpha+gamma", test_dataset="beta", root={"alpha": "/a", "gamma": "/g"}, test_root="/b",
             release={"gamma": "2"}, test_release="3", task="arousal", results=tmp_path, trials=1,
             options={"beta.cut": "plain", "alpha.turns": "all"})  # fmt: skip
    assert seen == {
        "alpha": ("/a", None, {"turns": "all"}), "gamma": ("/g", "2", {}), "beta": ("/b", "3", {"cut": "plain"}),
    }  # fmt: skip
    with pytest.raises(SerbenchError, match="dataset of --root"):
        grid.run("chance", "alpha", root={"delta": "/d"}, results=tmp_path)
    assert Corpora().get(Place("alpha")) is TOYS["alpha"]
