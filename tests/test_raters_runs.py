"""Raters from the label files to the leaderboard: a table of one's own, records, commands, the report, bad input."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from serbench.benchmarks.cli.app import app
from serbench.benchmarks.grid.grid import run
from serbench.benchmarks.grid.rater_labels import relabelled
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.reading.load import load_corpus
from serbench.datasets.schema.ratings import answers
from serbench.results.record.folder import load_runs
from serbench.results.record.sharing import merge
from serbench.results.record.test_items import read_ratings
from serbench.results.tables.leaderboard import leaderboard, to_markdown
from serbench.sermodels.core.sermodel import Data

CLASSES = ("anger", "sadness")


def raters_of(table: pd.DataFrame, seed: int = 0) -> dict[str, list[object]]:
    """Three raters' classes (right in four of five) and arousal (off by .5), as columns of the table."""
    rng = np.random.default_rng(seed)
    columns: dict[str, list[object]] = {}
    for name in ("ann", "bob", "cem"):
        right = rng.random(len(table)) < 0.8
        other = table["emotion"].map({"anger": "sadness", "sadness": "anger"})
        columns[f"label@{name}"] = table["emotion"].where(right, other).tolist()
        columns[f"arousal@{name}"] = (table["arousal"] + rng.normal(0, 0.5, len(table))).clip(1, 7).round(2).tolist()
    return columns


@pytest.fixture(scope="module")
def root(toy_corpus: Callable[..., Path]) -> Path:
    file = toy_corpus(count=100, seconds=0.2)
    table = pd.read_csv(file)
    table.assign(**raters_of(table)).to_csv(file, index=False)
    return file


@pytest.fixture(scope="module")
def results(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    small = {"model.feature": "mel"}
    run("linear", "table", root=root, results=folder, trials=2, task="emotion", settings=small)
    return folder


def invoke(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    if isinstance(done.exception, SerbenchError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_columns_and_a_file_of_raters_say_the_same(root: Path, tmp_path: Path) -> None:
    by_column = load_corpus("table", root)
    assert not [c for c in by_column.utterances if "@" in c]
    table = pd.read_csv(root)
    long = pd.concat(
        [
            pd.DataFrame(
                {"id": table["path"], "rater": n, "label": table[f"label@{n}"], "arousal": table[f"arousal@{n}"]}
            )
            for n in ("ann", "bob", "cem")
        ]
    )
    plain = tmp_path / "plain.csv"
    table[[c for c in table if "@" not in c]].to_csv(plain, index=False)
    long.to_csv(tmp_path / "raters.tsv", sep="\t", index=False)
    options = {"raters": str(tmp_path / "raters.tsv"), "audio": str(root.parent)}
    by_file = load_corpus("table", plain, "toy", options)
    assert by_file.digest() == by_column.digest(), "raters don't change what a corpus is"
    for task in ("emotion", "arousal"):
        ids = [str(i) for i in by_column.items(by_column.task(task)).index]
        ours, theirs = (
            answers(corpus, corpus.task(task), ids).sort_values(["id", "rater"], ignore_index=True)
            for corpus in (by_column, by_file)
        )
        pd.testing.assert_frame_equal(ours, theirs)
        assert len(ours) == 3 * len(ids)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("nobody.wav", "ann", "anger")], "line 2 of .*'nobody.wav' is no id of the table .1 such rows."),
        (
            [("00.wav", "ann", "anger"), ("00.wav", "ann", "sadness")],
            "line 3 of .*a second answer of 'ann' about '00.wav'",
        ),
    ],
)
def test_a_file_of_raters_that_does_not_fit_is_refused(root: Path, tmp_path: Path, rows: list, message: str) -> None:
    table = pd.read_csv(root)
    table[[c for c in table if "@" not in c]].to_csv(tmp_path / "plain.csv", index=False)
    pd.DataFrame(rows, columns=["id", "rater", "label"]).to_csv(tmp_path / "raters.csv", index=False)
    options = {"raters": str(tmp_path / "raters.csv"), "audio": str(root.parent)}
    with pytest.raises(SerbenchError, match=message):
        load_corpus("table", tmp_path / "plain.csv", None, options)
    pd.DataFrame(rows, columns=["id", "rater", "said"]).to_csv(tmp_path / "raters.csv", index=False)
    with pytest.raises(SerbenchError, match=r"has no answers\. Expected id, rater, and some of: label"):
        load_corpus("table", tmp_path / "plain.csv", None, options)
    options["raters"] = str(tmp_path / "raters.csv")
    with pytest.raises(SerbenchError, match="has columns of single raters, and raters="):
        load_corpus("table", root, None, options)
    table.rename(columns={"label@ann": "mood@ann"}).to_csv(tmp_path / "odd.csv", index=False)
    with pytest.raises(SerbenchError, match=r"the column 'mood@ann'\. Expected ANSWER@RATER"):
        load_corpus("table", tmp_path / "odd.csv", None, {"audio": str(root.parent)})


def test_the_leaderboard_has_a_human(results: Path) -> None:
    frame = leaderboard(load_runs(results))
    row = frame[frame["model"].eq("linear")].iloc[0]
    assert 0.5 < row["human"] < 1
    assert row["human_who"].startswith(("each of 3 raters against", "a rater drawn for each item"))
    assert row["against_human"] in ("below", "above", "no difference")
    assert frame.loc[frame["chance"], "p_human"].isna().all()
    shown = to_markdown(frame)
    assert "(human)" in shown
    assert "against the other raters of the same items" in shown


def test_the_command_and_the_report(results: Path, root: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(results / "runs", tmp_path / "runs")
    report = ["report", "--results", tmp_path, "--bootstrap", 0]
    invoke(*report)
    assert "Models and raters" not in (tmp_path / "report.html").read_text(encoding="utf-8")
    said = invoke("raters", "table", "--root", root, "--task", "emotion", "--results", tmp_path, "--resamples", 100)
    assert "agreement of raters" in said
    tables = {p.stem: pd.read_csv(p) for p in (tmp_path / "studies").glob("raters_table_emotion*.csv")}
    assert tables["raters_table_emotion"]["raters"].tolist() == [3]
    assert {"raters_table_emotion_human", "raters_table_emotion_agreement", "raters_table_emotion_distribution"} <= set(
        tables
    )
    assert tables["raters_table_emotion_human"]["model"].tolist() == ["linear"], "chance is not tested"
    invoke(*report)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Models and raters" in page
    assert "(human)" in page


def test_answers_of_raters_are_not_passed_on_with_the_predictions(results: Path, tmp_path: Path) -> None:
    one = load_runs(results, model="linear")[0]
    for labels in (False, True):
        file = tmp_path / f"{labels}.zip"
        invoke("export", one.path, "--out", file, *(["--labels"] if labels else []))
        with zipfile.ZipFile(file) as archive:
            assert any(name.endswith("ratings.parquet") for name in archive.namelist()) == labels
    merge([tmp_path / "True.zip"], tmp_path / "merged")
    (copy,) = load_runs(tmp_path / "merged")
    ours, theirs = read_ratings(one.path), read_ratings(copy.path)
    assert ours is not None
    assert theirs is not None
    pd.testing.assert_frame_equal(ours.table, theirs.table)
    (copy.path / "ratings.parquet").write_bytes(b"PAR1")
    with pytest.raises(SerbenchError, match=r"ratings.parquet is damaged: .*Delete ratings.json and ratings.parquet"):
        read_ratings(copy.path)
    assert leaderboard([copy]).attrs["problems"]["human"].startswith(str(copy.path))


def test_a_corpus_without_raters_and_one_with_a_single_rater_say_so(
    toy_corpus: Callable[..., Path], tmp_path: Path
) -> None:
    file = toy_corpus(count=20, seconds=0.1)
    with pytest.raises(SerbenchError, match=r"no single raters' answers to the task 'emotion'.*label@NAME"):
        invoke("raters", "table", "--root", file, "--task", "emotion", "--results", tmp_path)
    table = pd.read_csv(file)
    table.assign(**{"label@ann": table["emotion"]}).to_csv(file, index=False)
    with pytest.raises(SerbenchError, match="one rater alone rated each of the 20 items"):
        invoke("raters", "table", "--root", file, "--task", "emotion", "--results", tmp_path)
    with pytest.raises(SerbenchError, match=r"train\.labels"):
        run("linear", "table", root=file, results=tmp_path, trials=1, task="emotion", settings={"train.labels": "most"})
    with pytest.raises(SerbenchError, match=r"train\.labels=soft is for classes"):
        run("linear", "table", root=file, results=tmp_path, trials=1, task="arousal", settings={"train.labels": "soft"})


def test_alpha_alone_needs_its_library(
    results: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "krippendorff", None)
    said = invoke("raters", "table", "--root", root, "--task", "emotion", "--results", tmp_path)
    assert "alpha is left out" in said
    assert pd.read_csv(tmp_path / "studies" / "raters_table_emotion.csv")["alpha"].isna().all()


def test_training_on_all_answers_is_training_on_copies(root: Path, tmp_path: Path) -> None:
    corpus = load_corpus("table", root)
    task = corpus.task("emotion")
    items = corpus.items(task).iloc[:30]
    data = Data(task, items, {}, task.encode(items))
    said = answers(corpus, task, data.ids)
    each = relabelled(data, corpus, "raters")
    assert len(each) == 90
    truth = said.set_index("id")["answer"].map({c: k for k, c in enumerate(task.labels)})
    for item in data.ids:
        assert sorted(each.labels[np.array(each.ids) == item]) == sorted(truth[item])
    soft = relabelled(data, corpus, "soft")
    assert np.array_equal(np.sort(soft.labels), np.sort(each.labels)), "three raters of each item: the same copies"
    arousal = corpus.task("arousal")
    values = relabelled(Data(arousal, items, {}, arousal.encode(items)), corpus, "raters")
    means = pd.Series(values.labels[:, 0], values.ids).groupby(level=0).mean()
    assert np.allclose(means[data.ids], answers(corpus, arousal, data.ids).groupby("id")["arousal"].mean()[data.ids])


@pytest.mark.parametrize("rule", ["soft", "raters"])
def test_every_kind_of_classifier_trains_on_them_and_the_signature_says_so(
    root: Path, tmp_path: Path, rule: str
) -> None:
    for model, settings in (
        ("linear", {"model.feature": "mel"}),
        ("svm", {"model.feature": "mel", "model.costs": "1"}),
        ("cnn-regressor:small", {"train.epochs": "1"}),
    ):
        wanted = settings | {"train.labels": rule}
        (made,) = run(model, "table", root=root, results=tmp_path, trials=1, task="emotion", settings=wanted)
        assert made.complete_trials() == [0], made.units()[0]["error"]
        assert f"labels:{rule}" in made.signature
        assert made.name.endswith(f"+{rule}")
        assert made.units()[0]["counts"]["train"] == 40


@pytest.mark.parametrize("name", ["crema-d", "msp-improv", "iemocap"])
def test_adapters_give_the_answers_behind_their_soft_labels(name: str, miniature: Callable[..., Path]) -> None:
    corpus = load_corpus(name, miniature(name, utterances=60))
    ratings = corpus.ratings()
    soft = [c for c in corpus.utterances if str(c).startswith("soft_")]
    known = ratings.dropna(subset=["emotion"])
    votes = known.pivot_table(index="id", columns="emotion", values="weight", aggfunc="sum", fill_value=0.0)
    table = corpus.utterances.dropna(subset=soft)
    shares = votes.reindex(columns=[c.removeprefix("soft_") for c in soft], fill_value=0.0)
    shares = shares.div(shares.sum(axis=1), axis=0).loc[table.index]
    assert np.allclose(shares.to_numpy(), table[soft].to_numpy())
