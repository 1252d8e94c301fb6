"""What a recogniser hears: texts and times against EMO-DB's, windows, the guard against invented words, the cache, the
command, and what a run's signature says of recognised words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from typer.testing import CliRunner, Result

from serbench.benchmarks.cli.app import app
from serbench.benchmarks.corpora.transcripts import texts_beside
from serbench.benchmarks.grid.training import plan_training
from serbench.benchmarks.protocol.request import Request
from serbench.benchmarks.protocol.setting import Corpora
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.reading.load import load_corpus
from serbench.datasets.schema.corpus import Corpus
from serbench.features.spoken.error_rate import error_rate
from serbench.features.spoken.recogniser import Config, Recogniser, loudest_db, read, repeats
from serbench.features.spoken.transcribe import text_of, transcribe
from serbench.features.words.agreement import agreement
from serbench.features.words.cross_attention import CrossAttentionAligner
from serbench.features.words.times import load
from serbench.features.words.vectors import Vectors, write_vectors
from serbench.features.words.whisper import Whisper

RATE = 16000
ITEMS = ["03a02Nc", "08a05Nb"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["words", "transcribe", *map(str, arguments)])


def refused(*arguments: object) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, SerbenchError), result.output
    assert "\n" not in str(result.exception)
    return str(result.exception)


# ---- without a model ------------------------------------------------------------------------------------------------


def test_the_level_of_the_loudest_ten_milliseconds() -> None:
    signal = np.zeros(RATE, np.float32)
    assert loudest_db(signal, RATE) == -np.inf
    assert loudest_db(signal[:0], RATE) == -np.inf
    signal[4000:8000] = 0.1 * np.sin(2 * np.pi * 500 * np.arange(4000) / RATE)
    assert loudest_db(signal, RATE) == pytest.approx(-20 - 10 * np.log10(2), abs=1e-3)


def test_a_text_that_repeats_itself() -> None:
    assert repeats("Vielen Dank. " * 20)
    assert not repeats("Das will sie am Mittwoch abgeben, und dann sehen wir, was daraus wird.")
    assert not repeats("")


def test_word_error_rate_is_that_of_an_alignment_by_hand() -> None:
    """Two substitutions, one deletion, two insertions over ten words; texts without a word do not count."""
    pytest.importorskip("jiwer")
    truth = {"a": "Das will sie am Mittwoch abgeben.", "b": "Eins, zwei, drei, vier!", "c": "", "d": "fehlt"}
    said = {"a": "das will ja am Mittwuch abgeben", "b": "eins drei vier fünf sechs", "c": "erfunden"}
    errors = error_rate(said, truth)
    assert errors is not None
    assert (errors.items, errors.words) == (2, 10)
    assert (errors.substituted, errors.deleted, errors.inserted) == (2, 1, 2)
    assert errors.rate == 0.5
    assert error_rate(said, {"c": "", "x": "y"}) is None


def test_words_of_two_sources_are_never_one_table(tmp_path: Path) -> None:
    rows = [("u", "ja", 0.0, 0.5, source) for source in ("asr(a)", "corpus", "asr(b)")]
    table = pd.DataFrame(rows, columns=["item", "word", "start", "end", "source"])
    table.iloc[[0, 0]].to_csv(tmp_path / "one.csv", index=False)
    table.iloc[[1]].to_csv(tmp_path / "own.csv", index=False)
    assert load(tmp_path / "one.csv").recognised == "asr(a)"
    assert load(tmp_path / "own.csv").recognised == ""
    for mixed in (table.iloc[:2], table.iloc[::2]):
        mixed.to_csv(tmp_path / "mixed.csv", index=False)
        with pytest.raises(SerbenchError, match=r"the word times mix asr\(a\) and (asr\(b\)|words of the corpus)\."):
            _ = load(tmp_path / "mixed.csv").recognised


# ---- signatures -----------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Vectors of the demo corpus's words, its own word times, and the same words as a recogniser's."""
    corpus = load_corpus("demo")
    items = [str(i) for i in corpus.utterances.index[:3]]
    table = pd.concat([corpus.words(i).assign(item=i) for i in items])[["item", "word", "start", "end"]]
    own, asr, vectors = (tmp_path / name for name in ("own.csv", "asr.csv", "few.vec"))
    table.to_csv(own, index=False)
    table.assign(source="asr(base)").to_csv(asr, index=False)
    words = sorted(set(table["word"]))
    write_vectors(vectors, Vectors(words, np.random.default_rng(0).standard_normal((len(words), 4)).astype(np.float32)))
    return vectors, own, asr


def signature(settings: dict[str, str], model: str) -> str:
    (part,) = plan_training([Request(model, "demo", settings=settings)], Corpora()).parts
    return ",".join(part.spec["labels"])


def test_a_signature_says_who_recognised_the_words(files: tuple[Path, Path, Path]) -> None:
    vectors, own, asr = map(str, files)
    fusion = {"model.vectors": vectors}
    assert "asr" not in signature(fusion, "semantic-fusion")
    assert "asr" not in signature({**fusion, "model.word_times": own}, "semantic-fusion")
    said = signature({**fusion, "model.word_times": asr}, "semantic-fusion")
    assert said.endswith("words:asr(base)")
    assert said.startswith("words:few.vec:")
    feature = {"model.feature": f"word-vectors:{vectors}"}
    assert "asr" not in signature({**feature, "feature.word_times": own}, "linear")
    assert signature({**feature, "feature.word_times": asr}, "linear") == "words:asr(base)"


def test_recognised_words_in_place_of_a_transcription(
    miniature: Callable[..., Path], files: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    """SEWA's option: the label, other words and so another corpus, and no transcription beside them."""
    root, folder = miniature("sewa"), tmp_path / "heard"
    plain = load_corpus("sewa", root)
    assert plain.recordings is not None
    names = [str(i) for i in plain.recordings.index if len(plain.words(str(i)))]
    folder.mkdir()
    for name in names[1:]:
        plain.words(name)[["word", "start", "end"]].assign(source="asr(base)").to_csv(
            folder / f"{name}.csv", index=False
        )
    heard = load_corpus("sewa", root, options={"alignment": str(folder)})
    assert (plain.recognised, heard.recognised) == ("", "asr(base)")
    assert heard.digest() != plain.digest()
    assert len(heard.words(names[1])) == len(plain.words(names[1]))
    assert heard.words(names[0]).empty
    words = sorted({w for name in names for w in plain.words(name)["word"]})
    write_vectors(tmp_path / "sewa.vec", Vectors(words, np.ones((len(words), 3), np.float32)))
    for settings, expected in (
        ({"model.vectors": str(tmp_path / "sewa.vec")}, True),
        ({"model.streams": "audio"}, False),
    ):
        request = Request(
            "semantic-fusion", "sewa", root=str(root), options={"alignment": str(folder)}, settings=settings
        )
        labels = plan_training([request], Corpora()).parts[0].spec["labels"]
        assert ("words:asr(base)" in labels) is expected
    first = next(iter(folder.glob("*.csv")))
    pd.read_csv(first).assign(source="corpus").to_csv(first, index=False)
    with pytest.raises(SerbenchError, match="the word times mix"):
        load_corpus("sewa", root, options={"alignment": str(folder)})


# ---- real speech ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(test_data: Path) -> str:
    return str(test_data / "whisper_base")


@pytest.fixture(scope="module")
def few(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings of EMO-DB, one that is no sound, one of silence, and one of noise."""
    root, of = tmp_path_factory.mktemp("emodb"), test_data / "emodb"
    (root / "wav").mkdir()
    for text in of.glob("*.txt"):
        shutil.copy(text, root)
    (root / "silb").mkdir()
    for item in ITEMS:
        shutil.copy(of / "wav" / f"{item}.wav", root / "wav")
        shutil.copy(of / "silb" / f"{item}.silb", root / "silb")
    (root / "wav" / "16a02Na.wav").write_text("no sound")
    soundfile.write(root / "wav" / "16a02Nb.wav", np.zeros(RATE, np.float32), RATE)
    soundfile.write(root / "wav" / "16a04Nb.wav", 0.01 * np.random.default_rng(0).standard_normal(3 * RATE), RATE)
    return root


@pytest.fixture(scope="module")
def heard(base: str, few: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """What the command wrote and said."""
    out = tmp_path_factory.mktemp("heard") / "words.csv"
    result = run("emodb", "--root", few, "--model", base, "--beside", "--out", out, "--device", "cpu")
    assert result.exit_code == 0, (result.output, result.exception)
    return out, result.output


def test_real_speech_is_heard_with_its_times(few: Path, heard: tuple[Path, str]) -> None:
    """Against the texts, by letters alone (the small model misspells some), and hand-made times of syllables."""
    out, said = heard
    corpus, times, texts = load_corpus("emodb", few), load(out), pd.read_csv(texts_beside(out)).set_index("item")
    assert times.recognised == "asr(whisper_base)"
    assert set(times.table["item"]) == set(ITEMS)
    assert texts.loc[ITEMS, "reference"].tolist() == [corpus.row(item)["text"] for item in ITEMS]
    assert (texts.loc[ITEMS, "confidence"] > 0.4).all()
    for item in ITEMS:
        assert texts.loc[item, "text"].split() == times.words(item)["word"].tolist()
    near = agreement(times, corpus.words, ITEMS)
    assert near.items == len(ITEMS)
    assert near.median < 0.05
    assert texts.loc["16a02Nb", "empty"] == "silence"
    assert "words of 2 items, heard by whisper_base" in said
    assert texts.loc["16a04Nb", "empty"] == "nothing is said"  # the decoder alone makes up a sentence
    assert "2 items without a word: 16a02Nb (silence), 16a04Nb (nothing is said)" in said
    assert "left out: 16a02Na: " in said
    assert "can't be decoded" in said
    pytest.importorskip("jiwer")
    assert "word error rate 0." in said


def test_what_was_heard_once_is_not_heard_again(
    base: str, few: Path, heard: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = load_corpus("emodb", few)

    def never(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(Whisper, "hear", never)
    again = transcribe(corpus, ITEMS, base)
    assert again.times().table["word"].tolist() == load(heard[0]).table["word"].tolist()


def test_bad_input_is_one_line(base: str, few: Path, tmp_path: Path, test_data: Path) -> None:
    out = tmp_path / "words.csv"
    asked = ("emodb", "--root", few, "--out", out)
    assert "all of 5 items of emodb have words of their own. Type --beside" in refused(*asked, "--model", base)
    assert "neither a folder" in refused(*asked, "--model", "/none", "--beside")
    assert "config.json" in refused(*asked, "--model", tmp_path, "--beside")
    broken = load_corpus("emodb", few)
    foreign = replace(broken, utterances=broken.utterances.assign(language="tlh").astype({"language": "string"}))
    given = transcribe(foreign, ITEMS, base)
    assert not given.heard
    assert all("'tlh' is unknown to the checkpoint" in reason for reason in given.failed.values())
    assert not out.exists()


def test_the_text_of_an_item_is_its_words_where_it_has_no_other(miniature: Callable[..., Path]) -> None:
    """Recordings of SEWA have words and no text."""
    corpus = load_corpus("sewa", miniature("sewa"))
    assert corpus.recordings is not None
    item = next(str(i) for i in corpus.recordings.index if len(corpus.words(str(i))))
    assert pd.isna(corpus.row(item)["text"])
    assert text_of(corpus, item).split() == corpus.words(item)["word"].tolist()
    assert not text_of(replace(corpus, word_source=None), item)
    assert not text_of(replace(corpus, recognised="asr(base)"), item)


class Scripted(Whisper):
    """Says what it is told, for each window that it hears."""

    said: list[str]
    nothing = 0.0

    def hear(self, signal: np.ndarray) -> torch.Tensor:
        return torch.zeros(1, 2, 3)

    def recognise(self, heard: torch.Tensor, language: str | None) -> str:
        return self.said.pop(0)

    def prompt(self, language: str | None) -> list[int]:
        return [0]

    def silence(self, heard: torch.Tensor) -> float:
        return self.nothing


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch, base: str) -> Callable[..., Recogniser]:
    """A recogniser whose windows have these texts, each word lasting `each` seconds and this likely."""

    def make(*texts: str, each: float = 4.0, likely: float = 0.9, nothing: float = 0.0) -> Recogniser:
        whisper = Scripted.__new__(Scripted)
        whisper.said, whisper.nothing, whisper.window_seconds, whisper.sampling_rate = [*texts], nothing, 30.0, RATE
        monkeypatch.setattr(Recogniser, "_whisper", property(lambda _: whisper))

        def times(aligner: object, words: list[str], *_: object, last: bool) -> tuple[list[tuple[float, float]], float]:
            spans = [(k * each, (k + 1) * each) for k in range(len(words))]
            return [span for span in spans if last or span[1] <= 28.0], likely

        monkeypatch.setattr(CrossAttentionAligner, "in_window", times)
        return Recogniser(Config(base, "de"))

    return make


def noise(seconds: float) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal(round(seconds * RATE)).astype(np.float32)


def test_long_recordings_are_heard_window_by_window(scripted: Callable[..., Recogniser]) -> None:
    """Forty seconds: words that end near the first window's cut at 30 s are heard in the next one, from 28 s on."""
    heard = scripted("a b c d e f g h", "h i").hear(noise(40.0))
    assert heard.text == "a b c d e f g h i"
    np.testing.assert_allclose([start for _, start, _ in heard.words], [0, 4, 8, 12, 16, 20, 24, 28, 32])
    assert heard.confidence == pytest.approx(0.9)


def test_words_that_nobody_said_are_left_out(scripted: Callable[..., Recogniser]) -> None:
    assert scripted("ja ja").hear(np.zeros(RATE, np.float32)).empty == "silence"
    assert scripted("ja " * 60).hear(noise(2.0)).empty == "the text repeats itself"
    assert scripted("Vielen Dank.", likely=0.2, nothing=0.9).hear(noise(2.0)).empty == "nothing is said"
    assert scripted("Vielen Dank.", likely=0.2, nothing=0.3).hear(noise(2.0)).text == "Vielen Dank."
    assert scripted("Vielen Dank.", likely=0.8, nothing=0.9).hear(noise(2.0)).text == "Vielen Dank."
    assert scripted("").hear(noise(2.0)).words == ()


def test_bytes_say_what_was_heard(scripted: Callable[..., Recogniser]) -> None:
    recogniser = scripted("Grüße, 語")
    array = recogniser.extract(noise(1.0))
    assert array.dtype == np.float32
    assert array.shape[1] == recogniser.dim
    assert read(array) == scripted("Grüße, 語").hear(noise(1.0))
    assert json.loads(bytes(array[:, 0].astype(np.uint8)))["text"] == "Grüße, 語"


def test_other_languages_and_checkpoints_have_other_keys(base: str, tmp_path: Path) -> None:
    one = Recogniser(Config(base, "de"))
    assert one.digest() != Recogniser(Config(base, "en")).digest()
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for file in Path(base).iterdir():
        (copy / file.name).symlink_to(file)
    assert Recogniser(Config(str(copy), "de")).extra_identity() == one.extra_identity()
    (copy / "generation_config.json").unlink()
    (copy / "generation_config.json").write_text("{}")
    assert Recogniser(Config(str(copy), "de")).extra_identity() != one.extra_identity()


def test_corpora_without_a_text_are_heard_without_asking(
    scripted: Callable[..., Recogniser], toy_corpus: Callable[..., Path], base: str, tmp_path: Path
) -> None:
    scripted(*["ein Wort"] * 12, each=0.2)
    corpus: Corpus = load_corpus("table", toy_corpus(count=12))
    out = tmp_path / "words"
    result = run("table", "--root", corpus.root / "toy.csv", "--model", base, "--out", out, "--language", "de")
    assert result.exit_code == 0, (result.output, result.exception)
    assert "24 words of 12 items, heard by whisper_base" in result.output
    assert "error rate" not in result.output
    assert len(load(out).table) == 24
    assert pd.read_csv(tmp_path / "words.texts.csv")["reference"].isna().all()
