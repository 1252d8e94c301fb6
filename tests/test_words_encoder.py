"""The saved encoder of spoken words: what it says of a word's sound is what the training's network said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.reading.load import load_corpus
from serbench.datasets.schema.corpus import Corpus
from serbench.features.core.audio import read_audio
from serbench.features.spoken.encoder import WordEncoder, encoder_of, load_encoder, save_encoder
from serbench.features.words.speech2vec import Config, average, embed, train
from serbench.features.words.spoken_words import CutConfig, Cuts, cut_words

CUT = CutConfig(hop=320)


@pytest.fixture(scope="module")
def demo() -> Corpus:
    return load_corpus("demo")


@pytest.fixture(scope="module")
def spoken(demo: Corpus) -> Cuts:
    return cut_words(demo, [str(i) for i in demo.utterances.index[:30]], config=CUT)


@pytest.fixture(scope="module", params=["masked", "zero"])
def trained(request: pytest.FixtureRequest, spoken: Cuts) -> tuple[WordEncoder, np.ndarray, np.ndarray]:
    """The encoder, the states that the training's network gives to the cuts, and the vectors of the words."""
    config = Config(dim=8, optimiser="adam", lr=0.01, batch=64, epochs=2, min_count=1, padding=request.param)
    found = train(spoken, config)
    states = embed(found.network, torch.from_numpy(spoken.mfcc), torch.from_numpy(spoken.lengths))
    return encoder_of(found, spoken, config, CUT), states, found.vectors.matrix


def sounds(corpus: Corpus, items: list[str]) -> list[np.ndarray]:
    """Stretches of sound of the words, cut here by hand."""
    out = []
    for item in items:
        signal, rate = read_audio(corpus.audio_path(item), CUT.sampling_rate)
        words = corpus.words(item)
        out += [signal[round(a * rate) : round(b * rate)] for a, b in zip(words["start"], words["end"], strict=True)]
    return out


def test_a_saved_encoder_gives_each_occurrence_its_vector(
    demo: Corpus, spoken: Cuts, trained: tuple[WordEncoder, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    encoder, states, matrix = trained
    save_encoder(tmp_path / "sound.vec.encoder.safetensors", encoder)
    again = load_encoder(tmp_path / "sound.vec.encoder.safetensors")
    assert again.sha256 == encoder.sha256
    assert (again.config, again.cuts, again.dim) == (encoder.config, CUT, 8)
    found = again.vectors(sounds(demo, list(dict.fromkeys(spoken.items))))
    assert found.shape == (len(spoken), 8)
    np.testing.assert_allclose(found, states / np.linalg.norm(states, axis=1, keepdims=True), atol=1e-5)
    np.testing.assert_allclose(average(spoken.words, found).matrix, matrix, atol=1e-5)


def test_a_words_vector_follows_from_its_own_sound_alone(
    demo: Corpus, spoken: Cuts, trained: tuple[WordEncoder, np.ndarray, np.ndarray]
) -> None:
    parts = sounds(demo, [spoken.items[0]])
    every = trained[0].vectors(parts)
    assert len(parts) > 2
    for k, part in enumerate(parts):
        np.testing.assert_array_equal(trained[0].vectors([part])[0], every[k])


def test_what_is_no_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SerbenchError, match=r"there is no encoder .*words speech2vec"):
        load_encoder(tmp_path / "none.encoder.safetensors")
    other = tmp_path / "other.safetensors"
    for content, metadata in (
        ({"a": np.zeros(2)}, None),
        ({"a": np.zeros(2)}, {"serbench": '{"kind":"x","schema":1}'}),
    ):
        safetensors.numpy.save_file(content, other, metadata=metadata)
        with pytest.raises(SerbenchError, match=r"holds no encoder of spoken words: .*words speech2vec"):
            load_encoder(other)
    other.write_text("text")
    with pytest.raises(SerbenchError, match="holds no encoder of spoken words"):
        load_encoder(other)
