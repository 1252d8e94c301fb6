"""Word times by pocketsphinx: sentences of our own voices with exact times, the dictionary, the command, Whisper."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from typer.testing import CliRunner

from serbench.benchmarks.cli.app import app
from serbench.benchmarks.corpora.words import open_aligner
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.core.libraries import LibraryError
from serbench.datasets.voice.phones import PAUSE
from serbench.datasets.voice.synthesis import Delivery, synthesise, timing, voice
from serbench.datasets.voice.vocal_tract import HOP
from serbench.features.spoken.phone_alignment import NAME, PhoneAligner

RATE = 16000
SPELT = {
    "kids": "kidz",
    "dogs": "dogz",
    "are": "ar",
    "talking": "tokin",
    "sitting": "sitin",
    "by": "baj",
    "the": "d@",
    "door": "dor",
}
"""The words of RAVDESS in the phones of the demo's voices."""
SENTENCES = ("kids are talking by the door", "dogs are sitting by the door")
OTHER = "the weather was very cold this morning"


def say(text: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A sentence (samples,) at 16 kHz, and where its words begin [s]."""
    rng, words = np.random.default_rng(seed), [SPELT[word] for word in text.split()]
    phones = [PAUSE] * 3 + [phone for word in words for phone in word] + [PAUSE] * 2
    score = timing(phones, [False] * len(phones), 0.8, rng)
    signal = synthesise(score, voice(("male", "female")[seed % 2], rng), Delivery(), rng)
    edges = np.cumsum([0, *score.frames]) * HOP / RATE
    return signal, edges[np.cumsum([3, *map(len, words[:-1])])]


@pytest.fixture(scope="module")
def phones() -> PhoneAligner:
    pytest.importorskip("pocketsphinx", reason="pocketsphinx has no release for this Python")
    return PhoneAligner()


def test_words_of_a_synthetic_voice_begin_where_they_were_put(phones: PhoneAligner) -> None:
    errors, evenly = [], []
    for text in SENTENCES:
        for seed in range(4):
            signal, onsets = say(text, seed)
            found = phones.align(text.split(), signal, "en")
            starts = np.array([span[0] for span in found.spans if span is not None])
            ends = np.array([span[1] for span in found.spans if span is not None])
            assert (ends > starts).all()
            assert (starts[1:] >= ends[:-1] - 1e-9).all()
            errors.append(starts - onsets)
            evenly.append(np.linspace(0, len(signal) / RATE, len(onsets), endpoint=False) - onsets)
            other = phones.align(OTHER.split(), signal, "en")
            assert other.confidence < phones.doubtful
            assert found.confidence > 5 * other.confidence
    assert np.median(np.abs(errors)) < 0.03
    assert np.mean(np.abs(errors) <= 0.1) > 0.9
    assert np.median(np.abs(evenly)) > 0.15, "words that share the time evenly lie far off"


def test_an_item_is_aligned_the_same_whatever_came_before(phones: PhoneAligner) -> None:
    signal, _ = say(SENTENCES[0], 0)
    first = phones.align(SENTENCES[0].split(), signal)
    phones.align(OTHER.split(), say(SENTENCES[1], 1)[0])
    phones.align(["a"] * 50, signal[:4000])
    for before in (say(SENTENCES[1], 1)[0], np.zeros(800, np.float32), np.ones(3200, np.float32)):
        phones.align(OTHER.split(), before)
        again = phones.align(SENTENCES[0].split(), signal)
        assert again.spans == first.spans
        assert again.confidence == pytest.approx(first.confidence, rel=1e-9)  # of logarithms of exponentials


def test_words_that_the_dictionary_lacks(phones: PhoneAligner) -> None:
    """An unknown name is said letter by letter and leaves the others where they are; tags and numbers have no sound."""
    signal, onsets = say(SENTENCES[0], 0)
    said = ["Kidz,", "<laughter>", "are", "TALKING", "by", "the", "5", "door!"]
    found = phones.align(said, signal)
    assert [span is None for span in found.spans] == [False, True, False, False, False, False, True, False]
    starts = [span[0] for span in found.spans if span is not None]
    np.testing.assert_allclose(starts, onsets, atol=0.12)
    assert phones.pronounceable("well-known") == ["well", "known"]
    assert phones.pronounceable("Don\u2019t") == ["don't"]
    assert phones.pronounceable("語") == []


@pytest.mark.parametrize("signal", [np.zeros(0), np.zeros(40), np.zeros(800), np.ones(3200)])
def test_what_is_too_short_for_its_words_has_no_times(phones: PhoneAligner, signal: np.ndarray) -> None:
    found = phones.align(SENTENCES[0].split() * 2, signal.astype(np.float32))
    assert found.spans == [None] * 12
    assert found.confidence == 0
    assert phones.align([], signal.astype(np.float32)).spans == []


@pytest.fixture
def spoken(tmp_path: Path) -> Path:
    """A corpus of two English sentences and one that is said to be German."""
    rows = []
    for k, (text, language) in enumerate([(SENTENCES[0], "en"), (SENTENCES[1], "en"), (SENTENCES[0], "de")]):
        soundfile.write(tmp_path / f"{k}.wav", say(text, k)[0], RATE)
        rows.append(
            {
                "path": f"{k}.wav",
                "label": ("happy", "sad")[k % 2],
                "speaker": f"s{k}",
                "text": text,
                "language": language,
            }
        )
    pd.DataFrame(rows).to_csv(tmp_path / "corpus.csv", index=False)
    return tmp_path


def test_the_command_takes_it_by_its_name(phones: PhoneAligner, spoken: Path) -> None:
    out = spoken / "words.csv"
    given = ["words", "align", "table", "--root", str(spoken / "corpus.csv"), "--model", NAME, "--out", str(out)]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, (done.output, done.exception)
    assert "12 words of 2 items (12 forced)" in done.output
    assert "a model of English alone, the text is in 'de'" in done.output
    assert set(pd.read_csv(out)["source"]) == {"forced"}


def test_without_the_library_the_command_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(LibraryError, match=r"pocketsphinx, which is not installed\. Type: pip install 'serbench\["):
        open_aligner(Path(NAME))


def test_a_folder_of_that_name_is_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "config.json").write_text("{}")
    with pytest.raises(SerbenchError, match="CTC model"):
        open_aligner(Path(NAME))


def test_two_aligners_agree(phones: PhoneAligner, test_data: Path) -> None:
    """Whisper's attention and phones, which have nothing in common but the sound."""
    whisper = open_aligner(test_data / "whisper_base")
    apart = []
    for k, text in enumerate(SENTENCES):
        signal, _ = say(text, k)
        one, other = (aligner.align(text.split(), signal, "en").spans for aligner in (phones, whisper))
        apart += [a[0] - b[0] for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    assert len(apart) == 12
    assert np.median(np.abs(apart)) < 0.06
