"""Precisions of word vectors: against scikit-learn and librosa, where classes are planted, and the command."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from typer.testing import CliRunner

from serbench.benchmarks.cli.app import app
from serbench.benchmarks.corpora import judging, words as steps
from serbench.benchmarks.planted.words import SETTINGS, class_precision, ideal_speech, untrained
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.demo.babble import lexicon
from serbench.datasets.reading.load import load_corpus
from serbench.features.judging.classes import Meaning, misleading, read_classes
from serbench.features.judging.precision import average_precision, cosines, percentile
from serbench.features.judging.warped import warped_distances
from serbench.features.words.speech2vec import train
from serbench.features.words.vectors import Vectors, write_vectors

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_is_scikit_learns(ties: bool) -> None:
    same, similarity = RNG.random(300) < 0.2, RNG.standard_normal(300)
    similarity = np.round(similarity) if ties else similarity
    assert average_precision(same, similarity) == pytest.approx(average_precision_score(same, similarity))
    assert math.isnan(average_precision(np.zeros(3, bool), similarity[:3]))


def test_percentiles() -> None:
    similarity = np.array([0.1, 0.9, 0.5, 0.2])
    assert percentile(similarity, np.array([False, True, False, False])) == pytest.approx(3.5 / 4)
    assert percentile(similarity, np.ones(4, bool)) == pytest.approx(0.5)
    assert math.isnan(percentile(similarity, np.zeros(4, bool)))


def test_warped_distances_are_librosas() -> None:
    lengths = np.array([3, 7, 5, 1, 7])
    sound = RNG.standard_normal((5, 7, 4)).astype(np.float32)
    sound[np.arange(7) >= lengths[:, None]] = 0
    first, second = np.triu_indices(5, 1)
    found = warped_distances(sound, lengths, first, second)
    for value, a, b in zip(found, first, second, strict=True):
        cost, _ = librosa.sequence.dtw(sound[a, : lengths[a]].T, sound[b, : lengths[b]].T)
        assert value == pytest.approx(cost[-1, -1] / (lengths[a] + lengths[b]), rel=1e-5)


def test_pairs_that_mislead() -> None:
    known = {"sea": ("a", "si"), "see": ("b", "si"), "tide": ("a", "taid"), "ride": ("b", "raid"), "rid": ("b", "rid")}
    classes = {word: Meaning(*meaning) for word, meaning in known.items()}
    words = list(classes)
    homophones, minimal = (
        [(words[i], words[j]) for i, j in np.argwhere(np.triu(m))] for m in misleading(words, classes)
    )
    assert homophones == [("sea", "see")]
    assert minimal == [("tide", "ride")]


def test_where_meaning_is_planted_a_trained_encoder_finds_it_and_an_untrained_one_does_not() -> None:
    cuts = ideal_speech(800, seed=1)
    assert class_precision(untrained(cuts, SETTINGS)) < 0.25
    told, untold = (class_precision(train(cuts, replace(SETTINGS, forcing=share)).vectors) for share in (1.0, 0.0))
    assert untold > 0.45
    assert untold > told + 0.15, "a decoder that is told every frame needs no word to write another"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Vectors of the demo corpus with their encoder, and the classes of its words."""
    folder, words = tmp_path_factory.mktemp("judged"), lexicon()
    kinds = {"function": words.function, "pleasant": words.pleasant, "unpleasant": words.unpleasant}
    with (folder / "classes.csv").open("w", newline="") as stream:
        rows = [(word.text, kind, word.phones) for kind, some in kinds.items() for word in some]
        csv.writer(stream).writerows([("word", "class", "sound"), *rows])
    settings = {"dim": "8", "epochs": "1", "cut.hop": "512"}
    steps.speech2vec(load_corpus("demo"), folder / "sound.vec", settings=settings, partitions=["dev"])
    return folder / "sound.vec", folder / "classes.csv"


def test_the_command_on_the_demo_corpus(made: tuple[Path, Path]) -> None:
    pytest.importorskip("gensim")
    given = [str(made[0]), "--dataset", "demo", "--classes", str(made[1]), "--occurrences", "300", "--partition", "dev"]
    done = CliRunner().invoke(app, ["words", "judge", *given], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    table = {line[:28].strip(): line[28:].split() for line in done.output.splitlines() if line[:28].strip()}
    rows = ["chance", "encoder, trained", "its vectors in the file", "encoder, untrained", "MFCCs, time-warped"]
    assert set(rows) <= set(table)
    values = {name: [float(v) if v != "-" else math.nan for v in table[name]] for name in rows}
    assert values["MFCCs, time-warped"][0] > 2 * values["chance"][0], "a word sounds like itself"
    assert 0.2 < values["chance"][1] < 0.6
    assert all(math.isnan(v) is (name == "its vectors in the file") for name, (v, *_) in values.items())
    assert "300 occurrences by" in done.output
    assert max(map(len, done.output.splitlines()[1:8])) <= 80


def test_vectors_without_an_encoder_and_bad_input(made: tuple[Path, Path], tmp_path: Path) -> None:
    words = [word.text for word in lexicon().words]
    write_vectors(tmp_path / "text.vec", Vectors(words, RNG.standard_normal((len(words), 4)).astype(np.float32)))
    corpus = load_corpus("demo")
    found = judging.judge(tmp_path / "text.vec", corpus, partitions=["dev"], occurrences=60)
    assert "vectors of the file" in [row.name for row in found.rows]
    assert any("no encoder beside" in note for note in found.notes)
    assert any("type --classes FILE" in note for note in found.notes)
    (tmp_path / "wrong.csv").write_text("token,kind\na,b\n")
    with pytest.raises(SerbenchError, match=r"token, kind\. Expected a CSV file with the columns word, class"):
        read_classes(tmp_path / "wrong.csv")
    with pytest.raises(SerbenchError, match="can't be read"):
        read_classes(tmp_path / "none.csv")


def test_cosines_are_of_what_differs_from_the_mean() -> None:
    vectors = RNG.standard_normal((4, 3)) + 5
    centred = vectors - vectors.mean(0)
    expected = centred[0] @ centred[1] / np.linalg.norm(centred[0]) / np.linalg.norm(centred[1])
    assert cosines(vectors)[0, 1] == pytest.approx(expected)
