"""Word times: the best path against brute force, a tiny CTC model, the sources of the demo corpus, SEWA's alignment."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from serbench.benchmarks.corpora.words import AlignmentCost, open_aligner
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.reading.load import load_corpus
from serbench.datasets.schema.corpus import Corpus
from serbench.features.core.audio import read_audio
from serbench.features.words.forced_alignment import CTCAligner, best_path
from serbench.features.words.times import align_words, load, placed, save, spread, word_source

LETTERS = "abcdefghijklmnoprstuvyz"


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wav2vec 2.0 of random weights with an alphabet, as transformers saves it."""
    from transformers import (
        Wav2Vec2Config,
        Wav2Vec2CTCTokenizer,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForCTC,
        Wav2Vec2Processor,
    )

    folder = tmp_path_factory.mktemp("ctc")
    vocabulary = {t: i for i, t in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *LETTERS])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    Wav2Vec2Processor(Wav2Vec2FeatureExtractor(do_normalize=True), tokenizer).save_pretrained(folder)
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        pad_token_id=0,
    )
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def aligner(checkpoint: Path) -> CTCAligner:
    return CTCAligner(checkpoint)


@pytest.fixture(scope="module")
def demo() -> Corpus:
    return load_corpus("demo")


def collapse(path: tuple[int, ...], blank: int) -> list[int]:
    return [token for token, _ in itertools.groupby(path) if token != blank]


def brute_force(emissions: np.ndarray, tokens: list[int], blank: int) -> list[tuple[int, int]]:
    """Of all sequences of characters that collapse to the tokens the likeliest, as first and end frame of each."""
    frames, size = emissions.shape
    paths = [p for p in itertools.product(range(size), repeat=frames) if collapse(p, blank) == tokens]
    best = max(paths, key=lambda path: sum(emissions[t, c] for t, c in enumerate(path)))
    spans, t = [], 0
    for token, run in itertools.groupby(best):
        length = len(list(run))
        if token != blank:
            spans.append((t, t + length))
        t += length
    return spans


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("tokens", [[1], [1, 2], [2, 2], [1, 2, 1], [2, 2, 1]])
def test_best_path_is_the_best_of_all(seed: int, tokens: list[int]) -> None:
    logits = torch.from_numpy(np.random.default_rng(seed).standard_normal((7, 3)).astype(np.float32))
    emissions = logits.log_softmax(-1)
    assert best_path(emissions, tokens, 0) == brute_force(emissions.double().numpy(), tokens, 0)


@pytest.mark.parametrize(("frames", "letters"), [(40, 8), (200, 60), (1500, 400)])
def test_best_path_is_that_of_torchaudio(frames: int, letters: int) -> None:
    """Where torchaudio can be loaded: its own forced alignment, on lengths that no exhaustive search reaches."""
    functional = pytest.importorskip("torchaudio.functional", exc_type=Exception, reason="torchaudio can't be loaded")
    draws = np.random.default_rng(frames)
    emissions = torch.from_numpy(draws.standard_normal((frames, 30)).astype(np.float32) * 3).log_softmax(-1)
    tokens = draws.integers(1, 6, letters).tolist()
    path, scores = functional.forced_align(emissions[None], torch.tensor([tokens], dtype=torch.int32), blank=0)
    spans = functional.merge_tokens(path[0], scores[0], blank=0)
    assert best_path(emissions, tokens, 0) == [(span.start, span.end) for span in spans]


def test_a_text_that_does_not_fit() -> None:
    emissions = torch.zeros(3, 3).log_softmax(-1)
    assert best_path(emissions, [1, 2, 1], 0) == [(0, 1), (1, 2), (2, 3)]
    assert best_path(emissions, [1, 2, 2], 0) is None  # needs a blank between
    assert best_path(emissions, [1, 2, 1, 2], 0) is None


def test_spelling(aligner: CTCAligner) -> None:
    letters = {c: aligner.alphabet[c] for c in LETTERS}
    assert aligner.spell("Cab!") == [letters["c"], letters["a"], letters["b"]]
    assert aligner.spell("été") == [letters["e"], letters["t"], letters["e"]]  # without accents where it must be
    assert aligner.spell("42") == []
    assert aligner.spell("a|b") == [letters["a"], letters["b"]]


def test_words_are_where_their_letters_are(aligner: CTCAligner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Emissions that are certain: a at frames 3 and 4, b at 5, c at 9 to 11."""
    said = {3: "a", 4: "a", 5: "b", 7: "|", 9: "c", 10: "c", 11: "c"}
    emissions = torch.full((14, 5 + len(LETTERS)), -20.0)
    for t in range(14):
        token = aligner.separator if said.get(t) == "|" else aligner.alphabet[said[t]] if t in said else aligner.blank
        emissions[t, token] = 0.0
    monkeypatch.setattr(CTCAligner, "emissions", lambda self, signal: emissions)
    assert aligner.frame_seconds == 0.02
    signal = np.zeros(14 * 320 + 80, np.float32)
    spans = aligner.align(["Ab", "123", "c"], signal).spans
    np.testing.assert_allclose([spans[0], spans[2]], [(0.06, 0.12), (0.18, 0.24)])
    assert spans[1] is None
    seven = ["7", "Ab", "123", "4", "c", "5"]
    aligned = aligner.align(seven, signal)
    assert aligned.confidence == pytest.approx(1.0)
    words = placed(seven, aligned, 10.0, 10.0 + len(signal) / 16000, "forced")
    assert [w[3] for w in words] == ["spread", "forced", "spread", "spread", "forced", "spread"]
    times = [t for _, a, b, _ in words for t in (a, b)]
    expected = [10.0, 10.06, 10.06, 10.12, 10.12, 10.15, 10.15, 10.18, 10.18, 10.24, 10.24, 10.285]
    np.testing.assert_allclose(times, expected)


def test_emissions_of_a_long_signal_are_those_of_the_whole(
    aligner: CTCAligner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A front end without normalisation and attention over everything would differ; the grid of frames must not."""
    signal = np.random.default_rng(0).standard_normal(16000 * 7).astype(np.float32)
    whole = aligner.emissions(signal)
    monkeypatch.setattr("serbench.features.words.forced_alignment.WINDOW_SECONDS", 3.0)
    monkeypatch.setattr("serbench.features.words.forced_alignment.MARGIN_SECONDS", 0.5)
    starts: list[int] = []
    frames = torch.arange(len(whole), dtype=torch.float32)[:, None]

    def emit(self: CTCAligner, part: np.ndarray) -> torch.Tensor:
        first = int(np.flatnonzero(signal[: len(signal) - len(part) + 1] == part[0])[0])
        starts.append(first)
        count = (len(part) - 400) // 320 + 1
        return frames[first // 320 : first // 320 + count]

    monkeypatch.setattr(CTCAligner, "_emit", emit)
    torch.testing.assert_close(aligner.emissions(signal), frames)
    assert len(starts) == 3


def test_the_demo_corpus_has_its_own_times(demo: Corpus, tmp_path: Path) -> None:
    items = [str(i) for i in demo.utterances.index[:4]]
    found = align_words(demo, items)
    assert set(found.table["source"]) == {"corpus"}
    assert not found.failed
    for item in items:
        pd.testing.assert_frame_equal(
            found.words(item)[["start", "end"]], demo.words(item)[["start", "end"]], check_dtype=False
        )
    for place in (tmp_path / "words.csv", tmp_path / "folder"):
        save(found, place)
        again = load(place)
        pd.testing.assert_frame_equal(again.table, found.table)
        pd.testing.assert_frame_equal(word_source(demo, place)(items[2]), found.words(items[2]))
    assert word_source(demo, None)(items[0]).equals(demo.words(items[0]))
    assert "corpus)" in found.line()


def test_forced_and_spread_times_lie_in_the_utterance(demo: Corpus, aligner: CTCAligner) -> None:
    silent = replace(demo, word_source=None)
    items = [str(i) for i in demo.utterances.index[:3]]
    for found, source in ((align_words(silent, items), "spread"), (align_words(silent, items, aligner), "forced")):
        assert set(found.table["source"]) == {source}
        for item in items:
            words = found.words(item)
            signal, rate = read_audio(demo.audio_path(item))
            assert words["word"].tolist() == demo.words(item)["word"].tolist()
            assert (words["start"] < words["end"]).all()
            assert (words["start"].to_numpy()[1:] >= words["end"].to_numpy()[:-1] - 1e-9).all()
            assert words["start"].iloc[0] >= 0
            assert words["end"].iloc[-1] <= len(signal) / rate + 1e-9
    even = align_words(silent, items[:1]).words(items[0])
    lengths = (even["end"] - even["start"]).to_numpy()
    np.testing.assert_allclose(lengths, lengths[0])
    again = align_words(demo, items, aligner, again=True)
    assert set(again.table["source"]) == {"forced"}


def test_seconds_of_sound_are_counted_where_an_aligner_hears_them(demo: Corpus, aligner: CTCAligner) -> None:
    items = [str(i) for i in demo.utterances.index[:3]]
    lengths = [len(signal) / rate for signal, rate in (read_audio(demo.audio_path(item)) for item in items)]
    told: list[tuple[int, int, float]] = []
    found = align_words(demo, items, aligner, again=True, progress=lambda *step: told.append(step))
    assert [step[:2] for step in told] == [(1, 3), (2, 3), (3, 3)]
    np.testing.assert_allclose([step[2] for step in told], np.cumsum(lengths), rtol=1e-3)
    assert found.heard_seconds == told[-1][2]
    assert align_words(demo, items).heard_seconds == 0, "the corpus's own times take no hearing"
    line = AlignmentCost(found.heard_seconds, 2 * found.heard_seconds, 1234.5).line()
    assert line.endswith("0.5 x real time, at most 1,234 MiB of memory")


def test_times_within_segments_are_aligned_within_them(demo: Corpus, aligner: CTCAligner) -> None:
    """A table that says its times are spread within transcribed segments, such as SEWA's."""
    item = str(demo.recordings.index[0])
    rows = [*spread(["le", "hirmes"], 1.0, 2.0), *spread(["ka"], 2.5, 3.0)]
    words = pd.DataFrame(rows, columns=["word", "start", "end", "source"])
    segmented = replace(demo, word_source=lambda _: words)
    kept = align_words(segmented, [item])
    assert set(kept.table["source"]) == {"spread"}
    found = align_words(segmented, [item], aligner).words(item)
    assert set(found["source"]) == {"forced"}
    assert found["start"].iloc[0] >= 1.0
    assert found["end"].iloc[1] <= 2.0
    assert found["start"].iloc[2] >= 2.5
    assert found["end"].iloc[2] <= 3.0


def test_items_without_a_transcript_or_audio(demo: Corpus, tmp_path: Path) -> None:
    table = demo.utterances.copy()
    table.loc[table.index[0], "text"] = pd.NA
    table.loc[table.index[1], "path"] = "utterances/none.wav"
    broken = replace(demo, utterances=table, word_source=None)
    items = [str(i) for i in table.index[:3]]
    found = align_words(broken, items)
    assert set(found.table["item"]) == {items[2]}
    assert list(found.failed) == [items[1]]
    assert "none.wav" in found.failed[items[1]]
    assert not len(found.words(items[0]))
    assert found.silent == (items[0],)


def test_bad_files(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(SerbenchError, match="no word times at"):
        load(tmp_path / "none.csv")
    (tmp_path / "a.csv").write_text("item,word,start\nx,le,0.1\n")
    with pytest.raises(SerbenchError, match=r"lacks the column\(s\) end"):
        load(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("item,word,start,end\nx,le,0.1,soon\n")
    with pytest.raises(SerbenchError, match="'soon'"):
        load(tmp_path / "b.csv")
    (tmp_path / "c.csv").write_text("item,word,start,end\nx,le,0.1,0.2\n")
    assert load(tmp_path / "c.csv").table["source"].tolist() == ["corpus"]
    with pytest.raises(SerbenchError, match="no folder of a checkpoint"):
        CTCAligner(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(SerbenchError, match=r"is of the kind bert, which is no CTC model\. Expected a CTC model with"):
        open_aligner(tmp_path)
    (tmp_path / "config.json").write_text((checkpoint / "config.json").read_text())
    with pytest.raises(SerbenchError, match="can't be used"):
        CTCAligner(tmp_path)


def test_sewa_reads_what_was_aligned(tmp_path: Path, aligner: CTCAligner) -> None:
    from serbench.benchmarks.corpora.mock import write_mock

    write_mock("sewa", tmp_path / "sewa", release="2017", utterances=None, traps=False, seed=0)
    corpus = load_corpus("sewa", tmp_path / "sewa")
    items = [i for i in map(str, corpus.recordings.index) if len(corpus.words(i))][:2]
    plain = align_words(corpus, items)
    assert set(plain.table["source"]) == {"spread"}
    found = align_words(corpus, items, aligner)
    assert "forced" in set(found.table["source"])
    assert found.table["word"].tolist() == plain.table["word"].tolist()
    assert not np.allclose(found.table["start"], plain.table["start"])
    save(found, tmp_path / "words")
    aligned = load_corpus("sewa", tmp_path / "sewa", options={"alignment": str(tmp_path / "words")})
    for item in items:
        np.testing.assert_allclose(aligned.words(item)["start"], found.words(item)["start"], atol=1e-4)
        assert aligned.words(item)["word"].tolist() == found.words(item)["word"].tolist()
