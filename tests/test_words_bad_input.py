"""What the commands about words say to input that can't be right: languages, texts, lengths, and the wrong file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from typer.testing import CliRunner

from serbench.benchmarks.cli.app import app
from serbench.datasets.core.errors import SerbenchError
from serbench.features.words.vectors import Vectors, write_vectors

RATE = 16000
Said = Sequence[tuple[str | None, str | None, float]]
"""Text, language and seconds of each item."""


def given(*arguments: object) -> str:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def refused(*arguments: object) -> str:
    """The message of a command that was typed in vain: one line."""
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert isinstance(done.exception, SerbenchError), (done.output, done.exception)
    assert "\n" not in str(done.exception)
    return str(done.exception)


@pytest.fixture
def corpus(tmp_path: Path) -> Callable[[Said], Path]:
    """Make a corpus of noise."""

    def make(said: Said) -> Path:
        rows = []
        for k, (text, language, seconds) in enumerate(said):
            noise = 0.1 * np.random.default_rng(k).standard_normal(round(seconds * RATE))
            soundfile.write(tmp_path / f"{k}.wav", noise, RATE)
            rows.append({"path": f"{k}.wav", "label": ("happy", "sad")[k % 2], "speaker": f"s{k}", "text": text})
            rows[-1] |= {"language": language, "id": f"u{k}"}
        pd.DataFrame(rows).dropna(axis="columns", how="all").to_csv(tmp_path / "corpus.csv", index=False)
        return tmp_path / "corpus.csv"

    return make


@pytest.fixture
def english(tiny_whisper: Path, tmp_path: Path) -> Path:
    """The tiny checkpoint as one that knows English alone."""
    folder = tmp_path / "tiny.en"
    folder.mkdir()
    for file in tiny_whisper.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    generation = json.loads((folder / "generation_config.json").read_text())
    del generation["lang_to_id"]
    (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder


def align(root: Path, model: Path, *further: object) -> tuple[object, ...]:
    return ("words", "align", "table", "--root", root, "--model", model, "--out", root.parent / "out.csv", *further)


def hear(root: Path, model: Path, *further: object) -> tuple[object, ...]:
    given = ("words", "transcribe", "table", "--root", root, "--model", model, "--beside")
    return (*given, "--out", root.parent / "out.csv", "--device", "cpu", *further)


# ---- languages ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [align, hear])
def test_a_language_that_would_go_unheard_is_refused(
    corpus: Callable[[Said], Path], tiny_whisper: Path, command: Callable[..., tuple[object, ...]]
) -> None:
    root = corpus([("ja", "de", 0.3), ("yes", "en", 0.3), ("no", "en", 0.3)])
    message = refused(*command(root, tiny_whisper, "--language", "en"))
    assert "--language en was given, but table says the language of all 3 items (de, en)" in message
    assert "leave it out" in message
    assert not (root.parent / "out.csv").exists()


def test_a_language_is_taken_for_items_without_one(corpus: Callable[[Said], Path], tiny_whisper: Path) -> None:
    root = corpus([("ja", "de", 0.3), ("yes", None, 0.3), ("nein", "de", 0.3)])
    said = given(*align(root, tiny_whisper))
    assert "left out: u1: no language is known of the item" in said
    said = given(*align(root, tiny_whisper, "--language", "en"))
    assert "3 words of 3 items (3 attention)" in said
    assert re.search(r"0\.0 min of sound in \d.\d min: \d+\.\d x real time, at most [\d,]+ MiB of memory", said)


@pytest.mark.parametrize("command", [align, hear])
def test_a_language_that_the_checkpoint_does_not_know(
    corpus: Callable[[Said], Path], tiny_whisper: Path, command: Callable[..., tuple[object, ...]]
) -> None:
    message = refused(*command(corpus([("oui", "fr", 0.3)] * 3), tiny_whisper))
    assert "the language 'fr' is unknown to the checkpoint" in message
    assert "Expected one of de, en" in message


@pytest.mark.parametrize("command", [align, hear])
def test_an_english_checkpoint_on_german(
    corpus: Callable[[Said], Path], english: Path, command: Callable[..., tuple[object, ...]]
) -> None:
    message = refused(*command(corpus([("ja", "de", 0.3)] * 3), english))
    assert "'tiny.en' knows English alone, the text is in 'de'" in message
    assert "multilingual" in message


# ---- texts and lengths ----------------------------------------------------------------------------------------------


def test_another_text_than_was_said_is_named(corpus: Callable[[Said], Path], tiny_whisper: Path) -> None:
    """A checkpoint of random weights believes no text; real ones are tried in `test_words_attention`."""
    said = given(*align(corpus([("ja nein", "de", 0.5), ("ja", "de", 0.3), ("nein", "de", 0.3)]), tiny_whisper))
    assert "3 of 3 transcripts are likely not what was said, first of all u" in said
    assert "(0.0" in said


@pytest.mark.parametrize("empty", ["", "   ", None])
def test_empty_transcripts(corpus: Callable[[Said], Path], tiny_whisper: Path, empty: str | None) -> None:
    said = given(*align(corpus([("ja nein", "de", 0.5), (empty, "de", 0.3), ("ja", "de", 0.3)]), tiny_whisper))
    assert "3 words of 2 items" in said
    assert "1 items have neither word times nor a transcript, such as u1" in said
    message = refused(*align(corpus([(empty, "de", 0.3)] * 3), tiny_whisper))
    assert "no item of table has words: there are neither word times nor transcripts" in message


def test_recordings_longer_than_a_window_and_shorter_than_a_frame(
    corpus: Callable[[Said], Path], tiny_whisper: Path
) -> None:
    """31 s are two windows, and every word lies within them; a text on 10 ms of sound is spread, and doubted."""
    root = corpus([(" ".join(["ja"] * 6), "de", 31.0), ("ja nein", "de", 0.01), ("ja", "de", 0.5)])
    said = given(*align(root, tiny_whisper))
    assert "3 of 3 transcripts are likely not what was said" in said
    times = pd.read_csv(root.parent / "out.csv")
    long, short = times[times["item"].eq("u0")], times[times["item"].eq("u1")]
    assert len(long) == 6
    assert long["start"].is_monotonic_increasing
    assert long["end"].max() <= 31.0
    assert short["source"].tolist() == ["spread"] * 2
    assert short["end"].max() == pytest.approx(0.01)


@pytest.fixture
def once(corpus: Callable[[Said], Path]) -> tuple[Path, Path]:
    """A corpus in which no word is said twice, with a speaker for each word, and its word times."""
    words = ["eins", "zwei", "drei", "vier"]
    root = corpus([(word, "de", 0.4) for word in words])
    times = pd.DataFrame({"item": [f"u{k}" for k in range(4)], "word": words, "start": 0.1, "end": 0.3})
    times.to_csv(root.parent / "times.csv", index=False)
    return root, root.parent / "times.csv"


def test_a_corpus_in_which_no_word_repeats(once: tuple[Path, Path], tmp_path: Path) -> None:
    root, times = once
    source = ("table", "--root", root, "--out", tmp_path / "x.vec")
    message = refused("words", "speech2vec", *source, "--words", times, "--device", "cpu")
    assert "0 of 4 different words occur 4 times or more" in message
    assert "--set min_count=1" in message
    pytest.importorskip("gensim")
    assert "min_count" in refused("words", "word2vec", *source)
    assert not (tmp_path / "x.vec").exists()
    few = ("--set", "min_count=1", "--set", "dim=4", "--set", "epochs=1")
    assert "4 words, 4 numbers each" in given("words", "speech2vec", *source, "--words", times, *few, "--device", "cpu")
    said = given("words", "judge", tmp_path / "x.vec", "--dataset", "table", "--root", root, "--words", times)
    assert "no lexical precision: no word was said twice." in said


# ---- the wrong file -------------------------------------------------------------------------------------------------


def test_files_that_are_not_there_or_of_another_kind(tmp_path: Path) -> None:
    write_vectors(tmp_path / "text.vec", Vectors(["a", "b"], np.eye(2, dtype=np.float32)))
    nowhere = tmp_path / "nowhere"
    message = refused("words", "judge", f"{nowhere}.vec", "--dataset", "demo")
    assert "there is no file" in message
    assert "Expected a file of word vectors" in message
    typed = ("run", "--dataset", "demo", "--trials", "1", "--results", tmp_path / "results")
    for path in (nowhere, tmp_path / "text.vec"):
        feature = refused(*typed, "--model", "linear", "--set", f"model.feature=spoken-words:{path}")
        assert ("holds no encoder" if path.exists() else "there is no encoder of spoken words") in feature
        assert "Expected the file *.encoder.safetensors that 'serbench words speech2vec' writes" in feature
        model = refused(*typed, "--model", "semantic-fusion", "--set", f"model.encoder={path}")
        assert ("holds no encoder" if path.exists() else "can't be read: No such file") in model
        assert ("*.encoder.safetensors" if path.exists() else "model.encoder=FILE") in model
    assert not list((tmp_path / "results").glob("runs/*"))
