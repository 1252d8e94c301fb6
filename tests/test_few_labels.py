"""Items without their labels in a split, and the study of few labelled speakers: who is where, what is compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from serbench.benchmarks.cli.app import app
from serbench.benchmarks.grid.grid import run
from serbench.benchmarks.protocol.protocol import Division, Protocol, divide, unlabelled_ids
from serbench.benchmarks.protocol.split_files import rows_of, write
from serbench.benchmarks.studies import few_labels
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.reading.load import load_corpus
from serbench.datasets.schema.corpus import Corpus
from serbench.results.record.folder import Run, load_runs


@pytest.fixture(scope="module")
def toy(toy_corpus: Callable[..., Path]) -> Path:
    """Four training speakers of arousal, two of dev, four of the test."""
    return toy_corpus(seconds=0.4)


@pytest.fixture(scope="module")
def corpus(toy: Path) -> Corpus:
    return load_corpus("table", toy)


def folds(corpus: Corpus, labelled: int, seed: int = 0) -> Iterator[Division]:
    task = corpus.task("arousal")
    for one in divide(corpus, task, Protocol()):
        yield few_labels.thinned(corpus, task, one, labelled, seed)


def speakers(corpus: Corpus, ids: tuple[str, ...]) -> set[str]:
    return set(corpus.utterances.loc[list(ids), "speaker"])


def test_more_labelled_speakers_hold_the_fewer(corpus: Corpus) -> None:
    """Every training item is labelled or in the pool, whole speakers; dev and test are as they were."""
    (whole,) = divide(corpus, corpus.task("arousal"), Protocol())
    before: set[str] = set()
    for n in (1, 2, 3, 4):
        (one,) = folds(corpus, n)
        assert sorted((*one.train, *one.unlabelled)) == sorted(whole.train)
        assert (one.dev, one.test) == (whole.dev, whole.test)
        labelled = speakers(corpus, one.train)
        assert len(labelled) == n
        assert not labelled & speakers(corpus, one.unlabelled)
        assert before <= labelled
        before = labelled
    assert len({frozenset(speakers(corpus, next(folds(corpus, 1, seed)).train)) for seed in range(20)}) == 4
    for n in (0, 5):
        with pytest.raises(SerbenchError, match=rf"--labelled {n}: fold 'official' .* Expected 1 to 4"):
            next(folds(corpus, n))


def trained(toy: Path, results: Path, split: Path, tiny: dict[str, str], model: str = "deepemocluster") -> Run:
    (made,) = run(
        model,
        "table",
        root=toy,
        task="arousal",
        trials=1,
        protocol=Protocol(split=str(split)),
        settings={**tiny, "train.epochs": "2"},
        results=results,
        threads=1,
        device="cpu",
    )
    return made


def test_labels_that_are_taken_away_decide_nothing(
    toy: Path, corpus: Corpus, tmp_path: Path, tiny_chunked: dict[str, str]
) -> None:
    """Other labels of the unlabelled items: the same pool, the same predictions; a model without a pool lacks them."""
    split = tmp_path / "few.csv"
    write(split, rows_of(folds(corpus, 2)))
    (one,) = folds(corpus, 2)
    table = pd.read_csv(toy)
    ids = corpus.utterances["path"]
    hidden = table["path"].isin(ids.loc[list(one.unlabelled)])
    assert hidden.sum() == len(one.unlabelled) > 0
    other = toy.with_name("other.csv")
    table.assign(arousal=table["arousal"].mask(hidden, 8 - table["arousal"])).to_csv(other, index=False)
    first, second = (trained(root, tmp_path / root.stem, split, tiny_chunked) for root in (toy, other))
    assert first.units()[0]["facts"]["unlabelled_sentences"] == len(one.unlabelled)
    assert first.units()[0]["counts"]["train"] == len(one.train)
    assert first.spec["protocol"]["split"].startswith("file+")
    predicted = [made.predictions().sort_values("id").filter(regex="id|pred").to_numpy() for made in (first, second)]
    np.testing.assert_array_equal(*predicted)
    assert len(np.unique(predicted[0][:, -1])) > 4
    alone = trained(toy, tmp_path / "alone", split, tiny_chunked, "cnn-regressor")
    assert alone.units()[0]["counts"]["train"] == len(one.train)


def test_the_corpus_s_own_pool_is_there_too(toy_corpus: Callable[..., Path]) -> None:
    path = toy_corpus(seconds=0.2, speakers={"train": "abcd", "dev": "ef", "test": "gh", "unlabelled": "ij"})
    corpus = load_corpus("table", path)
    (one,) = folds(corpus, 1)
    own = set(map(str, corpus.unlabelled().index))
    assert len(own) > 4
    assert set(unlabelled_ids(corpus, one)) == own | set(one.unlabelled)


def test_what_has_no_pool_takes_as_many_steps() -> None:
    """Ten labelled items, twenty of the fold and ten of the corpus without labels: six times as long as one pass."""
    one = Division("a", tuple("abcdefghij"), (), (), tuple(f"u{k}" for k in range(20)))
    assert few_labels.length([one], 10) == 6
    assert few_labels.alone("deepemocluster", "small", 6) == {"model.unlabelled": "0", "model.labelled_passes": "6"}
    epochs = few_labels.alone("cnn-regressor", "small", 6)
    assert int(epochs["train.epochs"]) == 6 * int(few_labels.alone("cnn-regressor", "small", 1)["train.epochs"])


def test_the_study(toy: Path, tmp_path: Path, tiny_chunked: dict[str, str]) -> None:
    """Its gains are those over the supervised row that is best on dev, on the scores that the records hold."""
    command = ["study", "few-labels", "--dataset", "table", "--root", str(toy), "--task", "arousal", "--trials", "2"]
    command += ["--model", "deepemocluster", "--labelled", "1", "--labelled", "3", "--threads", "1"]
    command += [part for key, value in tiny_chunked.items() for part in ("--set", f"{key}={value}")]
    command += ["--set", "model.clusters=3", "--set", "train.patience=0", "--device", "cpu", "--results", str(tmp_path)]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0
    table = pd.read_csv(tmp_path / "studies" / "few-labels_table.csv")
    assert list(table["labelled"]) == [0, 0, 1, 1, 1, 1, 3, 3, 3]  # with three, one pass is long enough
    scores = {made.run_id: made.scores().query("metric == 'CCC'")["value"].mean() for made in load_runs(tmp_path)}
    np.testing.assert_allclose(table["mean"], table["run"].map(scores), atol=1e-12)
    for n, rows in table.query("labelled > 0").groupby("labelled"):
        by_name = rows.set_index("row")
        rival = by_name.drop("deepemocluster")["dev"].idxmax()
        pooled = by_name.loc["deepemocluster"]
        assert pooled["rival"] == rival, n
        assert pooled["gain"] == pytest.approx(pooled["mean"] - by_name["mean"][rival], abs=1e-12)
        assert pooled["low"] < pooled["gain"] < pooled["high"]
    page = (tmp_path / "studies" / "few-labels_table.md").read_text()
    assert page.count("protocol:4x5+") == 9
    assert (tmp_path / "studies" / "few-labels_table.png").stat().st_size > 5_000
    assert (tmp_path / "studies" / "few-labels_table_arousal_3.csv").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--model", "linear"], "--model linear: it takes no unlabelled pool"),
        (["--labelled", "9"], "--labelled 9: fold 'official' of table has 4 training speakers. Expected 1 to 4"),
    ],
)
def test_bad_input(toy: Path, tmp_path: Path, more: list[str], said: str) -> None:
    command = ["study", "few-labels", "--dataset", "table", "--root", str(toy), "--task", "arousal"]
    done = CliRunner().invoke(app, [*command, *more, "--results", str(tmp_path)])
    assert said in str(done.exception)
