"""The feature `word-vectors`: words of a corpus on frames, from the corpus's or other word times, and its command."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from serbench.benchmarks import run
from serbench.benchmarks.cli.app import app
from serbench.datasets.core.errors import SerbenchError, SerbenchWarning
from serbench.datasets.reading.load import load_corpus
from serbench.datasets.schema.corpus import Corpus
from serbench.features import registry
from serbench.features.core.feature_extractor import FeatureRequest, build
from serbench.features.core.feature_table import FeatureTable
from serbench.features.extraction.extract import extract
from serbench.features.extraction.npz import write_npz
from serbench.features.words.times import align_words, save
from serbench.features.words.vectors import Vectors, frames_of_words, write_vectors


@pytest.fixture(scope="module")
def demo() -> Corpus:
    return load_corpus("demo")


@pytest.fixture(scope="module")
def file(demo: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vectors of half of the words of the demo corpus."""
    words = sorted({w for text in demo.utterances["text"] for w in text.split()})[::2]
    path = tmp_path_factory.mktemp("vectors") / "half.vec"
    write_vectors(path, Vectors(words, np.random.default_rng(0).standard_normal((len(words), 5)).astype(np.float32)))
    return path


def made(demo: Corpus, rows: pd.DataFrame, feature: FeatureRequest | str, **more: object) -> FeatureTable:
    return extract(rows, demo.root, build(feature), words=more.get("words", demo.words))  # type: ignore[arg-type]


def test_words_of_utterances_and_recordings(demo: Corpus, file: Path) -> None:
    assert demo.recordings is not None
    rows = pd.concat([demo.utterances.head(5), demo.recordings.head(2)])
    table = made(demo, rows, f"word-vectors:{file}")
    assert list(table) == list(rows.index)
    assert (table.dim, table.hop_seconds) == (5, 0.1)
    extractor = build(f"word-vectors:{file}")
    for item in rows.index[-2:]:
        assert table.frames(item) == len(demo.trace(item))  # the grid of the labels
    for item in table:
        array = table[item]
        assert array.shape == table.shapes[item]
        expected = frames_of_words(demo.words(item), len(array), 0.1, extractor.vectors)  # type: ignore[attr-defined]
        np.testing.assert_array_equal(array, expected)
        assert array.any()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(table))[rows.index[0]], table[rows.index[0]])


def test_settings(demo: Corpus, file: Path) -> None:
    rows = demo.utterances.head(3)
    item = rows.index[0]
    half = made(demo, rows, FeatureRequest(f"word-vectors:{file}", (("hop_seconds", "0.05"), ("unknown", "zero"))))
    whole = made(demo, rows, FeatureRequest(f"word-vectors:{file}", (("unknown", "zero"),)))
    assert half.frames(item) in (2 * whole.frames(item), 2 * whole.frames(item) - 1)
    assert (whole[item] == 0).all(1).sum() > (made(demo, rows, f"word-vectors:{file}")[item] == 0).all(1).sum()
    seeds = [made(demo, rows, FeatureRequest(f"word-vectors:{file}", (("seed", s),)))[item] for s in "01"]
    assert not np.array_equal(*seeds)


def test_other_word_times(demo: Corpus, file: Path, tmp_path: Path) -> None:
    rows = demo.utterances.head(2)
    times = align_words(replace(demo, word_source=None), [str(i) for i in rows.index])
    save(times, tmp_path / "words.csv")
    save(times, tmp_path / "words")
    plain = made(demo, rows, f"word-vectors:{file}")
    for place in ("words.csv", "words"):
        request = FeatureRequest(f"word-vectors:{file}", (("word_times", str(tmp_path / place)),))
        spread = made(demo, rows, request)
        item = rows.index[0]
        expected = frames_of_words(times.words(item), spread.frames(item), 0.1, build(request).vectors)  # type: ignore[attr-defined]
        np.testing.assert_array_equal(spread[item], expected)
        assert not np.array_equal(spread[item], plain[item])
        assert build(request).digest() != build(f"word-vectors:{file}").digest()


def test_the_identity_is_that_of_the_contents(file: Path, tmp_path: Path) -> None:
    (tmp_path / "half.vec").write_bytes(file.read_bytes())
    one, other = build(f"word-vectors:{file}"), build(f"word-vectors:{tmp_path / 'half.vec'}")
    assert one.digest() == other.digest()
    assert one.signature() == other.signature()
    assert str(file.parent) not in str(one.identity())
    (tmp_path / "half.vec").write_text("2 5\nmo 1 2 3 4 5\nka 1 2 3 4 5\n")
    assert build(f"word-vectors:{tmp_path / 'half.vec'}").digest() != one.digest()
    assert build(FeatureRequest(f"word-vectors:{file}", (("seed", "1"),))).digest() != one.digest()


def test_bad_items_are_listed_and_end_nothing(demo: Corpus, file: Path) -> None:
    rows = demo.utterances.head(4).copy()
    rows.loc[rows.index[0], "path"] = "none.wav"

    def words(item: str) -> pd.DataFrame:
        if item == rows.index[1]:
            return demo.words(item).assign(end=-1.0)
        if item == rows.index[2]:
            raise SerbenchError("its file is broken")
        return demo.words(item)

    table = made(demo, rows, f"word-vectors:{file}", words=words)
    assert list(table) == [rows.index[3]]
    assert list(table.failed) == list(rows.index[:3])
    for item, reason in zip(rows.index[:3], ("none.wav", "start <= end", "its file is broken"), strict=True):
        assert reason in table.failed[item]


def test_bad_input(demo: Corpus, file: Path, tmp_path: Path) -> None:
    rows = demo.utterances.head(2)
    with pytest.raises(SerbenchError, match="no file of word vectors is named"):
        build("word-vectors")
    with pytest.raises(SerbenchError, match="no file"):
        build("word-vectors:none.vec")
    with pytest.raises(SerbenchError, match="not at hand here"):
        made(demo, rows, f"word-vectors:{file}", words=None)
    with pytest.raises(SerbenchError, match="from words, not from sound"):
        build(f"word-vectors:{file}").extract(np.zeros(100, np.float32))
    with pytest.raises(SerbenchError, match="none of 2 items has words"):
        made(demo, rows, f"word-vectors:{file}", words=replace(demo, word_source=None).words)
    (tmp_path / "other.vec").write_text("2 2\nhund 1 2\nkatze 3 4\n")
    with pytest.raises(SerbenchError, match=r"none of the .* words of the corpus has a vector"):
        made(demo, rows, f"word-vectors:{tmp_path / 'other.vec'}")


def test_a_model_of_words_alone(file: Path, tmp_path: Path) -> None:
    """Any model of features takes it, its cost is measured, and its weights predict what the record says."""
    feature = f"word-vectors:{file}"
    (one,) = run("linear", "demo", trials=1, results=tmp_path, settings={"model.feature": feature}, save_models=True)
    (unit,) = (u for u in one.units() if u["status"] == "done")
    assert unit["cost"]["real_time_factor"] > 0
    assert "word-vectors:half.vec" in one.signature

    (written,) = one.path.glob("unit-*.safetensors")
    out = tmp_path / "predicted.csv"
    said = CliRunner().invoke(
        app, ["predict", "--weights", str(written), "--dataset", "demo", "--partition", "test", "--out", str(out)]
    )
    assert said.exit_code == 0, said.output
    table, record = pd.read_csv(out), pd.read_parquet(one.path / "unit-0-official.parquet").set_index("id")
    probabilities = [column for column in table if column.startswith("p_")]
    items = [Path(name).stem for name in table["file"]]
    np.testing.assert_allclose(table[probabilities], record.loc[items, probabilities], atol=1e-6)


def test_a_plan_has_no_files_to_make_of_it(file: Path, tmp_path: Path) -> None:
    asked = ["--model", "linear", "--dataset", "demo", "--trials", "1", "--set", f"model.feature=word-vectors:{file}"]
    said = CliRunner().invoke(app, ["plan", *asked, "--results", str(tmp_path)])
    assert said.exit_code == 0, said.output
    assert "linear on demo: 1 trainings to do" in said.output
    assert "files to make" not in said.output


def test_vectors_that_know_few_words_are_warned_of(demo: Corpus, tmp_path: Path) -> None:
    """One word alone has a vector; its share is counted here a second time."""
    rows = demo.utterances.head(20)
    spoken = [w for text in rows["text"] for w in text.lower().split()]
    known = spoken[:1]
    path = tmp_path / "few.vec"
    write_vectors(path, Vectors(known, np.ones((1, 3), np.float32)))
    share = f"{spoken.count(known[0])} of {len(spoken)} words"
    with pytest.warns(SerbenchWarning, match=f"few.vec knows few of the words: vectors for {share}"):
        made(demo, rows, f"word-vectors:{path}")


def test_it_is_registered() -> None:
    assert "word-vectors" in registry.names()


def test_the_command_writes_arrays(demo: Corpus, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "arrays.npz"
    result = CliRunner().invoke(app, ["extract", f"word-vectors:{file}", "--dataset", "demo", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "844 arrays are in" in result.output
    with np.load(out) as arrays:
        assert len(arrays.files) == 844
        item = str(demo.utterances.index[0])
        np.testing.assert_array_equal(arrays[item], made(demo, demo.utterances.head(1), f"word-vectors:{file}")[item])


def test_arrays_of_any_feature_are_written(tmp_path: Path) -> None:
    arrays = {"a/b": np.arange(6, dtype=np.float32).reshape(3, 2), "c": np.zeros((1, 2), np.float32)}
    write_npz(tmp_path / "x.npz", FeatureTable.from_arrays(arrays))
    with np.load(tmp_path / "x.npz") as found:
        assert set(found.files) == set(arrays)
        for item, array in arrays.items():
            np.testing.assert_array_equal(found[item], array)
