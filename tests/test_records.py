"""Run folders: identity, units, scores from predictions, and what damaged files answer."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.task import Task
from serbench.results.record import run as run_module
from serbench.results.record.folder import Run, load_runs, protocol_digest, runs_table
from serbench.results.record.identity import differences, fill_line, short_names
from serbench.results.record.storage import csv_text, write_csv
from serbench.results.scores.scoring import score_predictions

TASK = Task("emotion", "classification", ("emotion",), labels=("anger", "neutral"))
FOLDS = ["03+08", "10+09"]
FEATURE = {
    "request": {"name": "mel"},
    "signature": "mel.v1+0123abcd",
    "identity": {"name": "mel", "libraries": {"numpy": "2.4.0"}},
}


def specification(**changes: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "model": {"name": "linear", "preset": "default", "config": {"alphas": [0.1, 1.0], "scale": True}},
        "features": {"input": FEATURE},
        "dataset": {"name": "emodb", "release": "1.3.0", "digest": "ab12" * 4, "licence": "CC0"},
        "task": TASK.to_dict(),
        "protocol": {"name": "4x5", "split": "speakers", "subsets": 4, "seed": 0, "folds": FOLDS},
        "labels": [],
        "arguments": {"model": "linear", "trials": 5},
        "command": "serbench run --model linear --dataset emodb --root '/my data'",
        "serbench": "0.1.0",
    }
    spec = copy.deepcopy(spec)
    for path, value in changes.items():
        *parents, last = path.split("__")
        target = spec
        for key in parents:
            target = target[key]
        target[last] = value
    return spec


def predictions(seed: int, fold: str, n: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng([seed, len(fold), FOLDS.index(fold) if fold in FOLDS else 9])
    p = rng.dirichlet([1, 1], n)
    return pd.DataFrame(
        {
            "id": [f"{fold}-{i}" for i in range(n)],
            "subset": np.arange(n) % 4,
            "gold": rng.choice(TASK.labels, n),
            "predicted": np.array(TASK.labels)[p.argmax(axis=1)],
            "p_anger": p[:, 0],
            "p_neutral": p[:, 1],
        }
    )


def facts(**more: Any) -> dict[str, Any]:
    return {
        "status": "done",
        "error": None,
        "seed": 7,
        "seconds": 1.5,
        "cpu_seconds": 2.0,
        "parameters": 10,
        "excluded": {},
        "versions": {"serbench": "0.1.0"},
        **more,
    }


def filled(results: Path, trials: int = 2, **changes: Any) -> Run:
    run = Run.create(results, specification(**changes))
    for trial in range(trials):
        for fold in FOLDS:
            run.write_unit(trial, fold, facts(), predictions(trial, fold))
    return run


def test_a_run_is_created_once_and_opened_again(tmp_path: Path) -> None:
    run = Run.create(tmp_path, specification())
    assert run.path == tmp_path / "runs" / run.run_id
    dataset, task, model, digest = run.run_id.split("_")
    assert (dataset, task, model, len(digest)) == ("emodb", "emotion", "linear", 12)
    before = (run.path / "run.json").read_bytes()
    again = Run.create(tmp_path, specification(command="serbench run other", model__preset="paper"))
    assert again.path == run.path
    assert (run.path / "run.json").read_bytes() == before
    assert Run.open(run.path).spec == Run.open(run.path / "run.json").spec == run.spec
    assert run.spec["protocol_digest"] == protocol_digest(specification()) == run.protocol_digest
    assert run.spec["signature"] == run.signature
    assert run.task == TASK
    assert run.folds == FOLDS


@pytest.mark.parametrize(
    "change",
    [
        {"model__preset": "paper"},
        {"command": "x"},
        {"serbench": "9.9"},
        {"arguments": {}},
        {"labels": ["trans"]},
        {"dataset__licence": "other"},
        {"protocol__trials": 10},
        {"features__input": {**FEATURE, "identity": {"name": "mel", "libraries": {"numpy": "9.9"}}}},
    ],
)
def test_what_changes_no_number_keeps_the_run_id(tmp_path: Path, change: dict[str, Any]) -> None:
    assert Run.create(tmp_path, specification(**change)).run_id == Run.create(tmp_path, specification()).run_id


@pytest.mark.parametrize(
    ("change", "comparable"),
    [
        ({"model__config": {"alphas": [1.0], "scale": True}}, True),
        ({"model__name": "svm"}, True),
        ({"features__input": {**FEATURE, "signature": "mel.v2+0123abcd"}}, True),
        ({"dataset__digest": "cd34" * 4}, False),
        ({"dataset__release": "2"}, False),
        ({"task": {**TASK.to_dict(), "labels": ["neutral", "anger"]}}, False),
        ({"protocol__subsets": 5}, False),
        ({"protocol__folds": ["03+08"]}, False),
    ],
)
def test_what_decides_the_numbers_changes_the_run_id(tmp_path: Path, change: dict[str, Any], comparable: bool) -> None:
    one, other = Run.create(tmp_path, specification()), Run.create(tmp_path, specification(**change))
    assert one.run_id != other.run_id
    assert (one.protocol_digest == other.protocol_digest) is comparable


def test_the_signature_names_the_recipe(tmp_path: Path) -> None:
    text = Run.create(tmp_path, specification(labels=["leak:speaker"])).signature
    parts = dict(part.split(":", 1) for part in text.split("|"))
    assert parts["model"].startswith("linear+")
    assert parts["data"] == "emodb@1.3.0+ab12ab12"
    assert parts["features"] == "mel.v1+0123abcd"
    assert parts["protocol"] == f"4x5+{protocol_digest(specification())[:8]}"
    assert (parts["task"], parts["metric"], parts["labels"], parts["serbench"]) == (
        "emotion",
        "UAR",
        "leak:speaker",
        "0.1.0",
    )
    assert "\n" not in text
    other = Run.create(tmp_path, specification(features={"text": FEATURE, "input": FEATURE}))
    assert "|features:mel.v1+0123abcd,text=mel.v1+0123abcd|" in other.signature
    assert "|features:none|" in Run.create(tmp_path, specification(features={})).signature


def test_units_come_back_as_they_were_written(tmp_path: Path) -> None:
    run = filled(tmp_path)
    unit = run.unit(1, FOLDS[0])
    assert unit is not None
    assert {k: unit[k] for k in ("trial", "fold", "status", "seed")} == {
        "trial": 1,
        "fold": FOLDS[0],
        "status": "done",
        "seed": 7,
    }
    assert run.unit(5, FOLDS[0]) is None
    assert [(u["trial"], u["fold"]) for u in run.units()] == [(t, f) for t in range(2) for f in FOLDS]
    back = run.predictions(1)
    assert set(back["trial"]) == {1}
    for fold in FOLDS:
        part = back[back["fold"] == fold].drop(columns=["trial", "fold"]).reset_index(drop=True)
        pd.testing.assert_frame_equal(part, predictions(1, fold), check_dtype=False, rtol=0, atol=0)
    assert len(run.predictions()) == 2 * 2 * 40


@pytest.mark.parametrize("fold", ["a/b", "../up", "leave one out: ü", "session-1"])
def test_any_fold_name_stays_inside_the_run(tmp_path: Path, fold: str) -> None:
    run = Run.create(tmp_path, specification(protocol__folds=[fold]))
    run.write_unit(0, fold, facts(), predictions(0, fold))
    assert sorted(p.parent for p in tmp_path.rglob("unit-*")) == [run.path] * 2
    assert run.finished(1, [fold]) == []
    assert len(run.scores()) == 16


def test_missing_and_failed_units_are_still_to_do(tmp_path: Path) -> None:
    run = filled(tmp_path)
    run.write_unit(2, FOLDS[0], facts(), predictions(2, FOLDS[0]))
    run.write_unit(2, FOLDS[1], facts(status="failed", error="loss is nan"), None)
    assert run.finished(2, FOLDS) == []
    assert run.finished(4, FOLDS) == [(2, FOLDS[1]), (3, FOLDS[0]), (3, FOLDS[1])]
    assert run.finished(4, FOLDS, retry=False) == [(3, FOLDS[0]), (3, FOLDS[1])]
    assert run.complete_trials() == [0, 1]


def test_scores_pool_the_folds_of_complete_trials(tmp_path: Path) -> None:
    run = filled(tmp_path)
    run.write_unit(2, FOLDS[0], facts(), predictions(2, FOLDS[0]))
    pooled = pd.concat([predictions(t, f).assign(trial=t) for t in range(2) for f in FOLDS])
    pd.testing.assert_frame_equal(run.scores(), score_predictions(pooled, TASK), check_dtype=False, rtol=1e-14)
    assert set(run.scores()["n"]) == {20}
    run.write_unit(2, FOLDS[1], facts(), predictions(2, FOLDS[1]))
    assert set(run.scores()["trial"]) == {0, 1, 2}


def test_scores_follow_a_unit_that_is_written_again(tmp_path: Path) -> None:
    run = filled(tmp_path)
    before = run.scores()
    perfect = predictions(0, FOLDS[0]).assign(predicted=lambda t: t["gold"])
    run.write_unit(0, FOLDS[0], facts(), perfect)
    after = run.scores()
    assert (after["value"] >= before["value"] - 1e-12)[after["trial"].eq(0) & after["metric"].eq("WA")].all()
    assert not after["value"].equals(before["value"])


def test_a_run_without_units_has_no_scores(tmp_path: Path) -> None:
    run = Run.create(tmp_path, specification())
    assert run.units() == []
    assert len(run.scores()) == len(run.predictions()) == 0
    assert run.finished(1, FOLDS) == [(0, f) for f in FOLDS]


def test_numbers_that_json_can_not_hold_become_null(tmp_path: Path) -> None:
    run = Run.create(tmp_path, specification())
    more = {
        "dev_score": float("nan"),
        "epochs": [{"loss": np.float32("inf"), "n": np.int64(3)}],
        "where": Path("x"),
        "ok": np.bool_(True),
        "array": np.arange(2),
    }
    run.write_unit(0, FOLDS[0], facts(**more), predictions(0, FOLDS[0]))
    unit = run.unit(0, FOLDS[0])
    assert unit is not None
    assert (unit["dev_score"], unit["epochs"], unit["where"], unit["ok"], unit["array"]) == (
        None,
        [{"loss": None, "n": 3}],
        "x",
        True,
        [0, 1],
    )


def test_predictions_that_are_not_finite_make_the_unit_fail(tmp_path: Path) -> None:
    run = Run.create(tmp_path, specification())
    table = predictions(0, FOLDS[0])
    table.loc[3, "p_anger"] = np.nan
    written = run.write_unit(0, FOLDS[0], facts(), table)
    assert written["status"] == "failed"
    assert written["error"] == "1 of 40 predictions are not finite numbers"
    assert run.unit(0, FOLDS[0]) == written
    assert not list(run.path.glob("*.parquet"))


def test_write_unit_refuses_what_is_no_unit(tmp_path: Path) -> None:
    run = Run.create(tmp_path, specification())
    table = predictions(0, FOLDS[0])
    with pytest.raises(SerbenchError, match="done, failed"):
        run.write_unit(0, FOLDS[0], {"status": "ok"}, table)
    with pytest.raises(SerbenchError, match="brings no predictions"):
        run.write_unit(0, FOLDS[0], facts(), None)
    with pytest.raises(SerbenchError, match="lack the column"):
        run.write_unit(0, FOLDS[0], facts(), table.drop(columns="gold"))
    assert run.units() == []


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("part", ["write_parquet", "write_record"])
def test_a_unit_interrupted_while_it_is_written_is_unfinished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, first: bool
) -> None:
    run = Run.create(tmp_path, specification())
    if not first:
        run.write_unit(0, FOLDS[0], facts(), predictions(0, FOLDS[0]))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_module, part, killed)
        with pytest.raises(KeyboardInterrupt):
            run.write_unit(0, FOLDS[0], facts(seed=8), predictions(9, FOLDS[0]))
    assert run.unit(0, FOLDS[0]) is None
    run.verify()
    run.write_unit(0, FOLDS[0], facts(seed=8), predictions(9, FOLDS[0]))
    pd.testing.assert_frame_equal(
        run.predictions().drop(columns=["trial", "fold"]), predictions(9, FOLDS[0]), check_dtype=False
    )


def unit_file(run: Run, suffix: str) -> Path:
    return run.path / f"unit-0-{FOLDS[0]}.{suffix}"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def flip_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def edit(path: Path, **changes: Any) -> None:
    """A change by hand in a record without a checksum, as those of before have none."""
    held = {key: value for key, value in json.loads(path.read_text()).items() if key != "checksum"}
    path.write_text(json.dumps({**held, **changes}))


def replace_text(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


UNIT_DAMAGE = {
    "truncated parquet": lambda run: truncate(unit_file(run, "parquet")),
    "changed parquet": lambda run: flip_byte(unit_file(run, "parquet")),
    "empty parquet": lambda run: unit_file(run, "parquet").write_bytes(b""),
    "missing parquet": lambda run: unit_file(run, "parquet").unlink(),
    "truncated json": lambda run: truncate(unit_file(run, "json")),
    "not text": lambda run: unit_file(run, "json").write_bytes(b"\xff\xfe\x00"),
    "a list": lambda run: unit_file(run, "json").write_text("[]"),
    "another trial": lambda run: edit(unit_file(run, "json"), trial=1),
    "unknown status": lambda run: edit(unit_file(run, "json"), status="great"),
    "another second": lambda run: replace_text(unit_file(run, "json"), '"seconds": 1', '"seconds": 2'),
    "no digest": lambda run: edit(unit_file(run, "json"), predictions=None),
}


@pytest.mark.parametrize("damage", UNIT_DAMAGE)
def test_a_damaged_unit_is_named_with_its_remedy(tmp_path: Path, damage: str) -> None:
    run, sound = filled(tmp_path), filled(tmp_path, model__name="svm")
    UNIT_DAMAGE[damage](run)
    with pytest.raises(SerbenchError) as caught:
        run.scores()
    message = str(caught.value)
    assert f"unit-0-{FOLDS[0]}.json and unit-0-{FOLDS[0]}.parquet there and run again: serbench run" in message
    assert str(run.path) in message
    found = load_runs(tmp_path)
    assert [r.run_id for r in found] == [sound.run_id]
    assert found.problems == {run.path: message}
    for suffix in ("json", "parquet"):
        unit_file(run, suffix).unlink(missing_ok=True)
    assert run.finished(2, FOLDS) == [(0, FOLDS[0])]


RUN_DAMAGE = {
    "truncated": (lambda path: truncate(path), "is damaged"),
    "no task": (lambda path: edit(path, task=None), "is damaged"),
    "no model": (lambda path: edit(path, model={}), "is damaged"),
    "settings": (lambda path: edit(path, model={"name": "linear", "config": {"alphas": [9]}}), "changed by hand"),
    "run id": (lambda path: edit(path, run_id="emodb_emotion_linear_0"), "changed by hand"),
    "schema": (lambda path: edit(path, schema=99), "Update serbench"),
    "gone": (lambda path: path.unlink(), "no run.json"),
}


@pytest.mark.parametrize("damage", RUN_DAMAGE)
def test_a_damaged_specification_is_named(tmp_path: Path, damage: str) -> None:
    run = filled(tmp_path, trials=1)
    change, message = RUN_DAMAGE[damage]
    change(run.path / "run.json")
    with pytest.raises(SerbenchError, match=message) as caught:
        Run.open(run.path)
    found = load_runs(tmp_path)
    assert list(found) == []
    assert found.problems == {run.path: str(caught.value)}
    assert run.run_id in str(caught.value)


def test_a_copied_folder_is_reported_and_not_counted_twice(tmp_path: Path) -> None:
    run = filled(tmp_path, trials=1)
    run.path.rename(run.path.with_name("backup"))
    filled(tmp_path, trials=1)
    found = load_runs(tmp_path)
    assert [r.run_id for r in found] == [run.run_id]
    assert list(found.problems) == [run.path.with_name("backup")]


def test_load_runs_filters_and_passes_over_what_is_no_run(tmp_path: Path) -> None:
    assert list(load_runs(tmp_path / "nowhere")) == []
    for name in ("linear", "svm", "chance"):
        filled(tmp_path, trials=1, model__name=name)
    (tmp_path / "runs" / ".finished").mkdir()
    (tmp_path / "runs" / ".finished" / "note.json").write_text("{}")
    (tmp_path / "runs" / "empty").mkdir()
    (tmp_path / "runs" / "README").write_text("mine")
    found = load_runs(tmp_path)
    assert [r.spec["model"]["name"] for r in found] == ["chance", "linear", "svm"]
    assert found.problems == {}
    assert [r.name for r in load_runs(tmp_path, model="svm")] == ["svm"]
    assert [r.name for r in load_runs(tmp_path, model={"svm", "chance"}, dataset="emodb")] == ["chance", "svm"]
    assert load_runs(tmp_path, task="arousal") == []


def test_the_runs_table_has_one_row_per_run(tmp_path: Path) -> None:
    run = filled(tmp_path)
    more = {"excluded": {"x": "too short"}, "versions": {"serbench": "0.2.0"}}
    run.write_unit(2, FOLDS[0], facts(**more), predictions(2, FOLDS[0]))
    run.write_unit(2, FOLDS[1], facts(status="failed", error="no", excluded={"x": "too short", "y": "silent"}), None)
    filled(tmp_path, trials=1, model__name="svm", model__preset="paper")
    table = runs_table(tmp_path)
    assert len(table) == 2
    row = table.loc[run.run_id]
    assert (row["model"], row["trials"], row["failed_trials"], row["left_out"]) == ("linear", 2, 1, 2)
    assert (row["seconds"], row["cpu_seconds"], row["parameters"]) == (6 * 1.5, 6 * 2.0, 10)
    assert row["serbench"] == "0.1.0,0.2.0"
    assert len(runs_table(tmp_path / "nowhere")) == 0


def test_differences_name_the_fields() -> None:
    a, b = specification(), specification(protocol__subsets=5, dataset__release="2", protocol__folds=["03+08", "other"])
    assert differences(a, b) == [
        "dataset.release: '1.3.0' and '2'",
        "protocol.folds[1]: '10+09' and 'other'",
        "protocol.subsets: 4 and 5",
    ]
    assert differences(a, a) == []


def test_fill_lines_keep_the_command_and_set_the_trials(tmp_path: Path) -> None:
    assert fill_line(specification(), Path("results"), 5) == (
        "serbench run --model linear --dataset emodb --root '/my data' --trials 5"
    )
    given = specification(command="serbench run --model a --trials 2 --dataset b --results old")
    assert fill_line(given, tmp_path, 7) == f"serbench run --model a --dataset b --trials 7 --results {tmp_path}"
    record = Path("results/runs") / Run.create(tmp_path, specification()).run_id / "run.json"
    assert fill_line(specification(command=""), Path("results"), 5) == f"serbench run --from-record {record} --trials 5"


def test_short_names_are_unambiguous() -> None:
    specs = [
        specification(),
        specification(model__preset="paper"),
        specification(model__config={"a": 1}),
        specification(model__name="chance"),
    ]
    names = short_names(specs)
    assert names[1] == "linear:paper"
    assert names[3] == "chance"
    assert len(set(names)) == 4
    assert all(name.startswith("linear+") for name in (names[0], names[2]))


def test_the_package_is_light_to_import() -> None:
    heavy = ("torch", "sklearn", "scipy", "matplotlib", "rich", "librosa", "transformers")
    code = (
        "import sys\nfrom serbench.results.record import folder\nfrom serbench.results.scores import metrics, scoring\n"
        "from serbench.results.statistics import significance\n"
        "from serbench.results.tables import compare, leaderboard\n"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"


def test_a_csv_file_holds_no_formulas_and_every_number_as_it_is(tmp_path: Path) -> None:
    texts = ["=1+1", "@x", "+cmd", "-x", "\ta", "-1.5", "+3", "-", "plain", None]
    table = pd.DataFrame({"speaker": texts, "score": np.linspace(-1, 1, len(texts))})
    back = pd.read_csv(write_csv(tmp_path / "a.csv", table), dtype={"speaker": str})
    expected = ["'=1+1", "'@x", "'+cmd", "'-x", "'\ta", "-1.5", "+3", "-", "plain"]
    assert back["speaker"].tolist()[:-1] == expected
    assert back["speaker"].isna().tolist() == [False] * 9 + [True]
    pd.testing.assert_series_equal(back["score"], table["score"])
    named = pd.DataFrame({"file": ["=a.wav"], "score": [1 / 3], "n": [2]})
    assert csv_text(named, 3) == "file,score,n\n'=a.wav,0.333,2\n"
