"""Word times by a Whisper checkpoint: the path of time warping, matching of letters, a tiny model, real speech."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from serbench.benchmarks.corpora.words import open_aligner
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.reading.load import load_corpus
from serbench.features.core.audio import read_audio
from serbench.features.judging.hearing import hear_words
from serbench.features.words.agreement import agreement
from serbench.features.words.cross_attention import CrossAttentionAligner, token_frames, without_silence
from serbench.features.words.matching import distance, groups, letters, said_words
from serbench.features.words.spoken_words import cut_words
from serbench.features.words.times import WordTimes, align_words
from serbench.features.words.warping import first_frames, warping_path
from serbench.features.words.whisper import Whisper, standardised

RATE = 16000


def every_path(tokens: int, frames: int) -> list[list[tuple[int, int]]]:
    """All paths from the first token and frame to the last ones by the three steps."""
    if tokens == frames == 1:
        return [[(0, 0)]]
    found = []
    for a, b in ((1, 1), (1, 0), (0, 1)):
        if (tokens > a and frames > b) or (tokens - a >= 1 and frames - b >= 1):
            found += [[*path, (tokens - 1, frames - 1)] for path in every_path(tokens - a, frames - b)]
    return found


@pytest.mark.parametrize(("tokens", "frames"), [(1, 1), (1, 4), (4, 1), (3, 5), (4, 4)])
def test_the_path_is_the_best_of_all(tokens: int, frames: int) -> None:
    cost = np.random.default_rng(tokens * 10 + frames).standard_normal((tokens, frames))
    best = min(every_path(tokens, frames), key=lambda path: sum(cost[cell] for cell in path))
    assert list(zip(*warping_path(cost), strict=True)) == best


@pytest.mark.parametrize(("tokens", "frames"), [(2, 9), (20, 150), (60, 700)])
def test_the_path_is_that_of_transformers(tokens: int, frames: int) -> None:
    module = pytest.importorskip("transformers.models.whisper.generation_whisper")
    theirs = getattr(module, "_dynamic_time_warping", None)
    if theirs is None:
        pytest.skip("this release of transformers has no such function")
    cost = np.random.default_rng(frames).standard_normal((tokens, frames))
    for one, other in zip(warping_path(cost), theirs(cost), strict=True):
        np.testing.assert_array_equal(one, other)


def test_tokens_begin_where_their_attention_lies() -> None:
    """Three tokens that look at frames 0-19, 20-44 and 45-79, seen by two noisy heads."""
    rng, edges = np.random.default_rng(0), [0, 20, 45, 80]
    attention = rng.random((2, 3, 80)).astype(np.float32) * 0.3
    for token, (first, behind) in enumerate(itertools.pairwise(edges)):
        attention[:, token, first:behind] += 1
    found = token_frames(standardised(torch.from_numpy(attention)).numpy())
    np.testing.assert_allclose(found, edges[:3], atol=2)
    assert first_frames(warping_path(np.zeros((1, 5)))).tolist() == [0]


def test_silence_is_no_part_of_the_first_and_the_last_word() -> None:
    signal = np.zeros(RATE, np.float32)
    signal[3200:12800] = np.sin(np.arange(9600)).astype(np.float32)
    signal[:3200] = 1e-4
    spans = without_silence(np.array([0.0, 0.4, 1.0]), signal, RATE)
    np.testing.assert_allclose(spans, [(0.2, 0.4), (0.4, 0.8)])
    late = without_silence(
        np.array([0.0, 0.1, 0.9, 1.0]), signal, RATE
    )  # words that lie in the silence keep their times
    np.testing.assert_allclose(late, [(0.0, 0.1), (0.1, 0.9), (0.9, 1.0)])
    assert without_silence(np.array([0.0, 1.0]), np.zeros(RATE, np.float32), RATE) == [(0.0, 1.0)]


@pytest.mark.parametrize("milliseconds", [1, 10])
def test_a_click_is_not_the_beginning_of_a_word(milliseconds: int) -> None:
    """However loud; a sound that is all there is, and one behind the last word, count however short they are."""
    signal = np.zeros(RATE, np.float32)
    signal[1600 : 1600 + 16 * milliseconds] = 0.9
    click = without_silence(np.array([0.0, 1.0]), signal, RATE)
    np.testing.assert_allclose(click, [(0.1, 0.11)])
    signal[8000:9600] = 0.1 * np.sin(np.arange(1600)).astype(np.float32)
    np.testing.assert_allclose(without_silence(np.array([0.0, 0.55, 0.8]), signal, RATE), [(0.5, 0.55), (0.55, 0.6)])
    late = np.roll(signal, 4000)
    late[15200:15360] = 0.1
    np.testing.assert_allclose(without_silence(np.array([0.0, 1.0]), late, RATE), [(0.75, 0.96)])


def plain_distance(one: str, other: str) -> int:
    if not one or not other:
        return len(one) + len(other)
    return min(
        plain_distance(one[1:], other) + 1,
        plain_distance(one, other[1:]) + 1,
        plain_distance(one[1:], other[1:]) + (one[0] != other[0]),
    )


def test_matching_by_letters() -> None:
    for one, other in [("", "ab"), ("abc", "abc"), ("kitten", "sitten"), ("flaw", "lawn"), ("abcd", "")]:
        assert distance(one, other) == plain_distance(one, other)
    assert letters("Straße,") == "strasse"
    assert letters("é!") == "e"
    words = ["in", "sieben", "Stunden", "wird", "es", "soweit", "sein"]
    assert groups(words, ["in", "sie", "bm", "stun", "den", "wird", "es", "s", "weit", "sein"]) == [0, 1, 3, 5, 6, 7, 9]
    assert groups(["a", "b"], ["ab"]) == []
    assert said_words(words, "In sieben Stunden, wird") == 4
    assert said_words(words, "in siehm Stunden") == 3
    assert said_words(words, "") == 0


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(round(seconds * RATE)).astype(np.float32) * 0.1


def test_a_tiny_model_gives_times_in_order(tiny_whisper: Path) -> None:
    aligner = open_aligner(tiny_whisper)
    assert isinstance(aligner, CrossAttentionAligner)
    assert aligner.whisper.languages == ["de", "en"]
    assert aligner.whisper.heads == [(1, 0), (1, 1)]  # the checkpoint names none
    aligned = aligner.align(["eins", "zwei", "drei"], noise(2.0), "de")
    spans = [span for span in aligned.spans if span is not None]
    assert len(spans) == 3
    flat = [time for span in spans for time in span]
    assert flat == sorted(flat)
    assert flat[0] >= 0
    assert flat[-1] <= 2.0
    assert 0 < aligned.confidence < aligner.doubtful  # random weights believe in nothing
    assert aligner.align([], noise(1.0), "de").spans == []
    short = aligner.align(["eins"], noise(0.01), "de")  # shorter than a frame
    assert short.spans == [None]
    assert short.confidence == 0
    many = aligner.align(["wort"] * 40, noise(3.0), "de").spans  # more than the decoder takes
    assert many[0] is not None
    assert many[-1] is None


def test_probabilities_are_those_of_the_plain_call(tiny_whisper: Path) -> None:
    """Token by token, as the decoder is called in generation."""
    whisper = Whisper(tiny_whisper)
    heard, tokens = whisper.hear(noise(1.0)), whisper.pieces("ja")
    forced = whisper.force(heard, tokens, 50, "en")
    assert forced.attention.shape == (2, len(tokens) + 1, 50)
    said, expected = whisper.prompt("en"), []
    for token in [*tokens, whisper.tokenizer.eos_token_id]:
        with torch.inference_mode():
            out = whisper.model(decoder_input_ids=torch.tensor([said]), encoder_outputs=(heard,))
        expected.append(float(out.logits[0, -1].log_softmax(-1)[token]))
        said = [*said, token]
    np.testing.assert_allclose(forced.log_probabilities, expected, atol=1e-5)
    assert forced.confidence == pytest.approx(np.exp(np.mean(expected[:-1])), rel=1e-5)


def test_long_signals_are_heard_window_by_window(tiny_whisper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty seconds; the model recognises six of eight words in the first window."""
    words = ["a", "b", "c", "d", "e", "f", "g", "h"]
    monkeypatch.setattr(Whisper, "recognise", lambda self, heard, language: "a b c d e f")
    aligner, asked = CrossAttentionAligner(Whisper(tiny_whisper)), []
    true_window = aligner._window

    def window(rest: list[str], signal: np.ndarray, language: str, *, last: bool) -> object:
        asked.append((list(rest), len(signal) / RATE, last))
        return true_window(rest, signal, language, last=last)

    monkeypatch.setattr(aligner, "_window", window)
    aligned = aligner.align(words, noise(40.0), "en")
    assert asked[0] == (words, 30.0, False)
    assert asked[1][0] == words[len(words) - len(asked[1][0]) :]
    assert 1 < len(asked[1][0]) < 8
    assert asked[-1][2]
    spans = [span for span in aligned.spans if span is not None]
    assert len(spans) == 8
    assert [a for a, _ in spans] == sorted(a for a, _ in spans)
    assert spans[-1][1] <= 40.0


def test_languages_that_the_checkpoint_does_not_know(tiny_whisper: Path, tmp_path: Path) -> None:
    aligner = CrossAttentionAligner(Whisper(tiny_whisper))
    with pytest.raises(SerbenchError, match=r"'fr' is unknown to the checkpoint .* Expected one of de, en"):
        aligner.align(["un"], noise(1.0), "fr")
    with pytest.raises(SerbenchError, match="--language de"):
        aligner.align(["un"], noise(1.0))
    for file in tiny_whisper.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    generation = json.loads((tmp_path / "generation_config.json").read_text())
    del generation["lang_to_id"]
    (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    english = CrossAttentionAligner(Whisper(tmp_path))
    assert english.align(["one"], noise(1.0)).spans[0] is not None
    with pytest.raises(SerbenchError, match="knows English alone, the text is in 'de'"):
        english.align(["eins"], noise(1.0), "de")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(SerbenchError, match="Expected a Whisper model"):
        open_aligner(tmp_path)


def test_agreement_gathers_syllables_into_words() -> None:
    table = pd.DataFrame(
        {"item": "x", "word": ["sieben", "da"], "start": [0.05, 0.7], "end": [0.7, 1.0], "source": "attention"}
    )
    true = pd.DataFrame({"word": ["sie", "ben", "da"], "start": [0.0, 0.3, 0.5], "end": [0.3, 0.5, 1.0]})
    found = agreement(WordTimes(table, {}), lambda _: true, ["x"])
    np.testing.assert_allclose(found.errors, [0.05, 0.2])
    assert (found.items, found.median, found.near) == (1, pytest.approx(0.125), 0.5)
    assert agreement(WordTimes(table, {}), lambda _: true.head(1), ["x"]).unmatched == ("x",)


@pytest.fixture(scope="module")
def base(test_data: Path) -> CrossAttentionAligner:
    """Whisper base."""
    return CrossAttentionAligner(Whisper(test_data / "whisper_base"))


def test_real_speech_is_aligned_and_another_text_is_doubted(test_data: Path, base: CrossAttentionAligner) -> None:
    """Five sentences of EMO-DB against hand-made times of syllables, and against words that share the time."""
    corpus = load_corpus("emodb", test_data / "emodb")
    items = ["03a02Nc", "08a05Nb", "09b03Nb", "11a07Wc", "13b02Nb"]
    times = align_words(corpus, items, base, again=True)
    assert set(times.table["source"]) == {"attention"}
    assert not times.doubted
    found = agreement(times, corpus.words, items)
    assert found.items == len(items)
    assert found.median < 0.04
    assert found.near > 0.9
    signal = read_audio(corpus.audio_path(items[0]), RATE)[0]
    other = base.align(["Gestern", "hat", "es", "in", "ganz", "Bayern", "geschneit"], signal, "de")
    assert other.confidence < base.doubtful < 0.3 < times.confidence[items[0]]


def test_speech_is_recognised_and_a_long_recording_is_aligned(test_data: Path, base: CrossAttentionAligner) -> None:
    """Thirteen sentences of EMO-DB one behind the other, more than one window."""
    corpus = load_corpus("emodb", test_data / "emodb")
    items = [item for item in corpus.utterances.index if item.startswith("03")][::4]
    signals = [read_audio(corpus.audio_path(item), RATE)[0] for item in items]
    assert base.whisper.recognise(base.whisper.hear(signals[0]), "de") == corpus.row(items[0])["text"]
    words, onsets = [], []
    for item, offset in zip(items, np.cumsum([0, *map(len, signals)]) / RATE, strict=False):
        said, true = str(corpus.row(item)["text"]).split(), corpus.words(item)
        words += said
        onsets += (offset + true["start"].to_numpy()[groups(said, true["word"].tolist())]).tolist()
    signal = np.concatenate(signals)
    assert len(signal) > 31 * RATE
    aligned = base.align(words, signal, "de")
    starts = np.array([np.nan if span is None else span[0] for span in aligned.spans])
    errors = np.abs(starts - onsets)
    assert np.median(errors) < 0.04
    assert errors.max() < 0.5
    assert aligned.confidence > 0.5


def test_what_an_encoder_hears_of_a_word_is_the_mean_of_its_frames(tiny_whisper: Path) -> None:
    corpus, whisper = load_corpus("demo"), Whisper(tiny_whisper)
    item = str(corpus.utterances.index[0])
    cuts = cut_words(corpus, [item])
    heard = hear_words(whisper, corpus, cuts)
    signal, _ = read_audio(corpus.audio_path(item), RATE)
    states = whisper.hear(signal)[0].numpy()
    words = corpus.words(item)
    assert len(heard) == len(words)
    for row, start, end in zip(heard, words["start"], words["end"], strict=True):
        expected = states[int(start / whisper.frame_seconds) : round(end / whisper.frame_seconds)].mean(0)
        np.testing.assert_allclose(row, expected, atol=1e-6)
