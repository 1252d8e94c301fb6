"""`serbench words`: every step as a command on the demo corpus, what it leaves, and how it fails."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from serbench.benchmarks.cli.app import app
from serbench.benchmarks.core.progress import Silent
from serbench.benchmarks.corpora import word_spaces, words as steps
from serbench.benchmarks.corpora.word_spaces import report_lines
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.reading.load import load_corpus
from serbench.features.spaces.mapping import MapReport
from serbench.features.words.times import WordTimes
from serbench.features.words.vectors import Vectors, read_vectors, write_vectors

SMALL = ("--set", "dim=8", "--set", "min_count=2")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["words", *map(str, arguments)])


def good(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def bad(*arguments: object) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, SerbenchError), result.output
    return str(result.exception)


def test_the_whole_way(tmp_path: Path) -> None:
    """Times, vectors of sound, vectors of text, one space; then the other way round with a dictionary."""
    pytest.importorskip("gensim")
    times, s2v, w2v, mapped = (tmp_path / name for name in ("words.csv", "s2v.vec", "w2v.bin", "mapped.vec"))
    said = good("align", "demo", "--items", "utterances", "--partition", "dev", "--out", times)
    assert "corpus)" in said
    table = pd.read_csv(times)
    assert list(table) == ["item", "word", "start", "end", "source"]
    dev = load_corpus("demo").utterances["partition"].eq("dev")
    assert set(table["item"]) == set(dev.index[dev])
    quick = ("--set", "epochs=1", "--set", "batch=512", "--partition", "dev", "--device", "cpu")
    said = good("speech2vec", "demo", "--out", s2v, "--words", times, *quick, *SMALL)
    assert "8 numbers each" in said
    assert "spoken words: --preset quick" in said
    assert not list(tmp_path.glob("*.training.safetensors"))
    facts = json.loads((tmp_path / "s2v.vec.json").read_text())
    assert facts["partitions"] == ["dev"]
    assert facts["config"]["dim"] == 8
    assert facts["config"]["optimiser"] == "adam"
    assert len(facts["losses"]) == 1
    assert facts["sha256"] == read_vectors(s2v).sha256
    good("word2vec", "demo", "--out", w2v, "--partition", "dev", *SMALL)
    found = read_vectors(w2v)
    counts = table["word"].value_counts()
    assert set(found.words) == set(counts.index[counts >= 2]) == set(read_vectors(s2v).words)
    said = good("align-spaces", s2v, w2v, "--out", mapped)
    assert "after refinement" in said
    assert "by chance" in said
    report = json.loads((tmp_path / "mapped.vec.json").read_text())["report"]
    assert report["accepted"]
    assert set(report["precision"]["csls"]) == {"1", "5", "10"}
    gram = [v.matrix @ v.matrix.T for v in (read_vectors(mapped), read_vectors(s2v))]
    np.testing.assert_allclose(*gram, atol=1e-5)  # an orthogonal map keeps all angles


def test_a_stopped_training_goes_on(tmp_path: Path) -> None:
    class Stopping(Silent):
        def message(self, text: str) -> None:
            if text.startswith("epoch 1"):
                raise KeyboardInterrupt

    class Listening(Silent):
        lines: ClassVar[list[str]] = []

        def message(self, text: str) -> None:
            self.lines.append(text)

    settings = {"dim": "8", "epochs": "2", "batch": "512", "min_count": "2"}
    corpus, state = load_corpus("demo"), tmp_path / "s2v.vec.training.safetensors"
    with pytest.raises(KeyboardInterrupt):
        steps.speech2vec(
            corpus, tmp_path / "s2v.vec", preset="quick", settings=settings, partitions=["dev"], display=Stopping()
        )
    assert state.exists()
    assert not (tmp_path / "s2v.vec").exists()
    steps.speech2vec(
        corpus, tmp_path / "s2v.vec", preset="quick", settings=settings, partitions=["dev"], display=Listening()
    )
    assert [line.split(":")[0] for line in Listening.lines] == ["epoch 2"]
    assert not state.exists()


def test_vectors_leave_the_test_partition_out(tmp_path: Path) -> None:
    pytest.importorskip("gensim")
    good("word2vec", "demo", "--out", tmp_path / "a.vec", *SMALL)
    facts = json.loads((tmp_path / "a.vec.json").read_text())
    assert facts["partitions"] == ["dev", "train", "unlabelled"]
    assert facts["sentences"] == 744 - 192
    again = tmp_path / "b.vec"
    good("word2vec", "demo", "--out", again, *SMALL)
    assert again.read_bytes() == (tmp_path / "a.vec").read_bytes()


def test_other_text_and_other_files(tmp_path: Path) -> None:
    pytest.importorskip("gensim")
    (tmp_path / "text.txt").write_text("eins zwei drei\nzwei drei\n")
    good("word2vec", "--text", tmp_path / "text.txt", "--out", tmp_path / "a.vec", *SMALL)
    assert read_vectors(tmp_path / "a.vec").words == ["drei", "zwei"]
    (tmp_path / "c.vec").write_text("eins 1 2\neins 3 4\nzwei 5 6\n")
    said = good("word2vec", "--vectors", tmp_path / "c.vec", "--out", tmp_path / "d.bin")
    assert "1 entries" in said
    assert read_vectors(tmp_path / "d.bin").words == ["eins", "zwei"]
    good("word2vec", "--vectors", tmp_path / "c.vec", "--limit", 1, "--out", tmp_path / "e.vec")
    assert read_vectors(tmp_path / "e.vec").words == ["eins"]


def test_a_failed_adversarial_mode_writes_its_report_and_no_vectors(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in "ab":
        words = [f"{name}{c}{d}" for c in "abcdefghij" for d in "abcdefghij"]
        write_vectors(tmp_path / f"{name}.vec", Vectors(words, rng.standard_normal((100, 6)).astype(np.float32)))
    game = ("--set", "game.hidden=8", "--set", "game.samples=320", "--set", "game.epochs=1", "--set", "seeds=2")
    files = (tmp_path / "a.vec", tmp_path / "b.vec", "--out", tmp_path / "m.vec")
    assert "adversarial mode failed" in bad("align-spaces", *files, "--mode", "adversarial", *game)
    assert not (tmp_path / "m.vec").exists()
    report = json.loads((tmp_path / "m.vec.json").read_text())["report"]
    assert not report["accepted"]
    assert len(report["games"]) == 2
    assert "FAILED" in report_lines(MapReport(**{**report, "precision": {}, "before": {}}))[0]
    assert "0 words that both vocabularies have" in bad("align-spaces", *files)
    (tmp_path / "pairs.txt").write_text("".join(f"a{c}a b{c}a\n" for c in "abcdefghij"))
    pairs = ("--dictionary", tmp_path / "pairs.txt")
    good("align-spaces", *files, *pairs)
    assert "--out-target" in bad("align-spaces", *files, *pairs, "--set", "prepare=unit")
    good("align-spaces", *files, *pairs, "--set", "prepare=unit", "--out-target", tmp_path / "t.vec")
    np.testing.assert_allclose(np.linalg.norm(read_vectors(tmp_path / "t.vec").matrix, axis=1), 1, rtol=1e-5)


def test_a_seeded_map_that_is_of_no_use_is_told() -> None:
    def lines(p10: float) -> str:
        found = {"csls": {1: 0.0, 5: 0.0, 10: p10}}
        return "\n".join(report_lines(MapReport("identical", True, "", 50, 0.9, found, {}, 100, 1000)))

    assert "no better than chance" in lines(0.01)
    assert "no better than chance" in lines(0.029)  # 0.01 + 2 x sqrt(0.01 x 0.99 / 100) = 0.0299
    assert "no better than chance" not in lines(0.03)
    assert "P@1   0.1%  P@5   0.5%  P@10   1.0%" in lines(0.5)


def page_commands() -> list[list[str]]:
    """The commands of docs/words.md that need nothing but the demo corpus, in order."""
    text = (Path(__file__).parents[1] / "docs" / "words.md").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = re.findall(r"^    serbench ((?:words|extract|run) .*)$", text, re.MULTILINE)
    return [shlex.split(line.partition("#")[0]) for line in lines if "/data" not in line]


@pytest.mark.slow
def test_the_commands_of_the_page_run_on_the_demo_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = page_commands()
    assert {words[1] for words in found if words[0] == "words"} == {
        "align",
        "speech2vec",
        "word2vec",
        "align-spaces",
        "judge",
    }
    chain = [words for words in found if words[0] == "words" and "adversarial" not in words]
    assert not [words for words in chain if "--set" in words or "--preset" in words]  # the defaults fit each other
    for words in found:
        quick = ["--set", "epochs=2"] if words[:2] == ["words", "speech2vec"] else []
        result = CliRunner().invoke(app, [*words, *quick])
        if "adversarial" in words:  # 96 words are too few, as the page says
            assert "adversarial mode failed" in str(result.exception)
        else:
            assert result.exit_code == 0, (words, result.output, result.exception)
    assert len(found) >= 8
    assert read_vectors(tmp_path / "mapped.vec").dim == read_vectors(tmp_path / "text.vec").dim == 100
    assert len(list((tmp_path / "results" / "runs").glob("demo_emotion_linear_*"))) == 2


def test_the_defaults_of_the_two_kinds_of_vectors_fit_each_other() -> None:
    from serbench.features.words import speech2vec, word2vec

    presets = dict(speech2vec.PRESETS)
    paper = presets.pop("paper")
    assert (paper.dim, paper.forcing, paper.objective, paper.own) == (50, 1.0, "write", False)
    assert {config.dim for config in presets.values()} == {word2vec.Config().dim} == {100}


def test_small_corpora_take_the_quick_preset() -> None:
    from serbench.features.words.speech2vec import preset_for

    assert [preset_for(n) for n in (1, 99_999, 100_000)] == ["quick", "quick", "default"]


def test_the_published_game_is_a_preset_and_another_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[object] = []

    def listen(source: object, target: object, config: object, game: object, **rest: object) -> None:
        given.append(game)
        raise SerbenchError("enough")

    monkeypatch.setattr(word_spaces, "align", listen)
    write_vectors(tmp_path / "a.vec", Vectors(["a", "b"], np.eye(2, dtype=np.float32)))
    files = (tmp_path / "a.vec", tmp_path / "a.vec", "--out", tmp_path / "m.vec", "--mode", "adversarial")
    assert bad("align-spaces", *files, "--preset", "published", "--set", "game.epochs=1") == "enough"
    assert (given[0].hidden, given[0].samples, given[0].epochs) == (2048, 1_000_000, 1)
    assert "unknown preset of the adversarial game" in bad("align-spaces", *files, "--preset", "publishd")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("align", "demo", "--out", "x.csv", "--items", "words"), "unknown kind of items"),
        (("align", "demo", "--out", "x.csv", "--partition", "devel"), "Did you mean 'dev'"),
        (("align", "demo", "--out", "x.csv", "--again"), "--model FOLDER"),
        (("align", "demo", "--out", "x.csv", "--model", "none"), "no folder of a checkpoint"),
        (("speech2vec", "demo", "--out", "x.vec", "--preset", "slow"), "unknown preset"),
        (("speech2vec", "demo", "--out", "x.vec", "--set", "cut.hops=3"), "cut.hops"),
        (("speech2vec", "demo", "--out", "x.vec", "--words", "none.csv"), "no word times"),
        (("word2vec", "--out", "x.vec"), "expected one of a dataset, --text FILE and --vectors FILE"),
        (("word2vec", "demo", "--out", "x.vec", "--set", "dims=3"), "dims"),
        (("align-spaces", "a.vec", "b.vec", "--out", "x.vec"), "no file 'a.vec'"),
        (("align-spaces", "a.vec", "b.vec", "--out", "x.vec", "--mode", "dictionary"), "--dictionary FILE"),
        (("align-spaces", "a.vec", "b.vec", "--out", "x.vec", "--mode", "muse"), "mode='muse'"),
    ],
)
def test_bad_input(arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in bad(*arguments)
    assert not list(tmp_path.iterdir())


def test_times_made_again_are_held_against_the_corpus_own() -> None:
    """All words 50 ms late; times that were only spread are no truth."""
    corpus = load_corpus("demo")
    item = str(corpus.utterances.index[0])
    own = corpus.words(item)
    late = own.assign(item=item, start=own["start"] + 0.05, source="forced")
    found = steps.against_own(WordTimes(late, {}), corpus)
    assert found is not None
    assert (found.items, len(found.errors)) == (1, len(own))
    np.testing.assert_allclose(found.errors, 0.05)
    shared = replace(corpus, word_source=lambda _: own.assign(source="spread"))
    assert steps.against_own(WordTimes(late, {}), shared) is None
