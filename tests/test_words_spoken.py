"""Vectors of spoken words: the map in its file, words on frames, the cache, and semantic fusion without any text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from serbench.benchmarks.conformance import features as checks
from serbench.benchmarks.corpora.word_spaces import align_spaces
from serbench.benchmarks.grid.cost import running_cost
from serbench.benchmarks.grid.grid import run
from serbench.benchmarks.grid.training import configure, plan_training
from serbench.benchmarks.protocol.request import Request
from serbench.benchmarks.protocol.setting import Corpora
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.reading.load import load_corpus
from serbench.datasets.schema.corpus import Corpus
from serbench.datasets.schema.task import Task
from serbench.features.cache.cache import FeatureCache
from serbench.features.core.audio import read_audio
from serbench.features.core.feature_extractor import build
from serbench.features.core.feature_request import FeatureRequest
from serbench.features.core.feature_table import FeatureTable
from serbench.features.extraction.extract import extract, extract_from
from serbench.features.spaces.map_file import SpaceMap, load_map, map_of, save_map
from serbench.features.spaces.mapping import PREPARE, Config as SpaceConfig, align
from serbench.features.spoken.encoder import WordEncoder, beside, load_encoder, save_encoder
from serbench.features.words.speech2vec import Config
from serbench.features.words.speech2vec_network import Network
from serbench.features.words.spoken_words import CutConfig
from serbench.features.words.vectors import Vectors, read_vectors, write_vectors
from serbench.sermodels import registry
from serbench.sermodels.core.sermodel import Data
from serbench.sermodels.semantic_fusion.model import Config as SemanticConfig, Model

DIM = 6
TASK = Task("emotion", "classification", ("emotion",), labels=("anger", "sadness"))


def three_words(item: str) -> pd.DataFrame:
    """Words of an utterance of half a second; they follow from its name."""
    first = 0.01 * (1 + sum(map(ord, item)) % 7)
    return pd.DataFrame({"word": ["ba", "<filler>", "da"], "start": [first, 0.2, 0.25], "end": [0.2, 0.25, 0.5]})


@pytest.fixture(scope="module")
def toy(toy_corpus: Callable[..., Path]) -> Corpus:
    """Twenty utterances without any text."""
    return load_corpus("table", toy_corpus(count=20))


@pytest.fixture(scope="module")
def demo(toy: Corpus) -> Corpus:
    return replace(toy, utterances=toy.utterances.iloc[:4], word_source=three_words)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder that was not trained: what it hears matters not here."""
    import torch

    torch.manual_seed(0)
    config = Config(dim=DIM, padding="masked")
    lstm = Network(13, DIM, masked=True).encoder
    path = beside(tmp_path_factory.mktemp("encoder") / "sound.vec")
    save_encoder(path, WordEncoder(lstm, config, CutConfig(hop=320), np.zeros(13), np.full(13, 10.0)))
    return path


def some_vectors(count: int = 40, seed: int = 0) -> Vectors:
    rng = np.random.default_rng(seed)
    return Vectors([f"w{k}" for k in range(count)], (rng.standard_normal((count, DIM)) + 0.3).astype(np.float32))


def by_hand(corpus: Corpus, item: str, encoder: Path, frames: int, hop: float, word_map: SpaceMap | None) -> np.ndarray:
    """Frames of an item: each word's sound cut out, through the encoder and the map, on the frames it lasts."""
    heard, words = load_encoder(encoder), corpus.words(item)
    signal, rate = read_audio(corpus.audio_path(item), 16000)
    out = np.zeros((frames, DIM), np.float32)
    for start, end in zip(words["start"].drop(1), words["end"].drop(1), strict=True):  # the filler is no word
        vector = heard.vectors([signal[round(start * rate) : round(end * rate)]])
        vector = vector if word_map is None else vector @ word_map.matrix
        out[round(start / hop) : round(end / hop) + 1] = vector
    return out


# ---- maps -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prepare", PREPARE)
def test_a_saved_map_does_to_new_vectors_what_was_done_to_its_own(tmp_path: Path, prepare: str) -> None:
    source, target = some_vectors(), some_vectors(seed=1)
    aligned = align(source, target, SpaceConfig(prepare=prepare, rounds=1))
    save_map(tmp_path / "x.map.safetensors", map_of(source, prepare, aligned.map))
    again = load_map(tmp_path / "x.map.safetensors")
    np.testing.assert_allclose(again(source.matrix), aligned.source.matrix, atol=1e-5)
    np.testing.assert_allclose(again.matrix @ again.matrix.T, np.eye(DIM), atol=1e-4)
    assert not again(np.zeros((2, DIM), np.float32)).any()  # what was not said stays silent


def test_align_spaces_leaves_the_map_beside_its_vectors(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        write_vectors(tmp_path / f"{name}.vec", some_vectors(seed=seed))
    align_spaces(tmp_path / "a.vec", tmp_path / "b.vec", tmp_path / "m.vec", settings={"rounds": "1"})
    mapped = load_map(tmp_path / "m.vec.map.safetensors")(some_vectors().matrix)
    np.testing.assert_allclose(mapped, read_vectors(tmp_path / "m.vec").matrix, atol=1e-5)
    (tmp_path / "m.vec.map.safetensors").write_text("text")
    with pytest.raises(SerbenchError, match=r"holds no map of word vectors: .* 'serbench words align-spaces'"):
        load_map(tmp_path / "m.vec.map.safetensors")


# ---- the feature ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hop", [0.1, 0.05])
def test_each_occurrence_has_the_vector_of_its_own_sound(
    demo: Corpus, encoder: Path, tmp_path: Path, hop: float
) -> None:
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((DIM, DIM)))[0].astype(np.float32)
    word_map = SpaceMap("none", np.zeros(DIM, np.float32), rotation)
    save_map(tmp_path / "m.map.safetensors", word_map)
    settings = (("hop_seconds", str(hop)), ("map", str(tmp_path / "m.map.safetensors")))
    table = extract_from(demo, demo.utterances, build(FeatureRequest(f"spoken-words:{encoder}", settings)))
    assert list(table) == [str(i) for i in demo.utterances.index]
    for item in table:
        expected = by_hand(demo, item, encoder, table.frames(item), hop, word_map)
        np.testing.assert_allclose(table[item], expected, atol=1e-5)
        assert expected.any()


def test_vectors_are_cached_by_sound_and_bounds(
    demo: Corpus, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other frames and another map take the same vectors; other sound, and other bounds, do not."""
    cache, item = FeatureCache(tmp_path / "cache" / "features"), str(demo.utterances.index[0])
    said, heard = demo.words(item), list[int]()
    wav = tmp_path / "x.wav"
    wav.write_bytes(demo.audio_path(item).read_bytes())
    rows = pd.DataFrame({"path": ["x.wav"], "start": np.nan, "end": np.nan}, index=["x"])
    whole = WordEncoder.vectors
    monkeypatch.setattr(WordEncoder, "vectors", lambda self, sounds: heard.append(len(sounds)) or whole(self, sounds))

    def made(words: pd.DataFrame, *settings: tuple[str, str]) -> FeatureTable:
        extractor = build(FeatureRequest(f"spoken-words:{encoder}", settings))
        return extract(rows, tmp_path, extractor, cache, words=lambda _: words)

    first = made(said)["x"]
    assert len(heard) == len(said)
    np.testing.assert_array_equal(made(said)["x"], first)
    assert len(made(said, ("hop_seconds", "0.05"))["x"]) == pytest.approx(2 * len(first), abs=1)
    assert len(heard) == len(said)
    moved = said.assign(start=said["start"] + 0.01)
    made(moved)
    assert len(heard) == 2 * len(said)
    signal, rate = soundfile.read(wav)
    soundfile.write(wav, signal[::-1], rate)
    assert not np.array_equal(made(said)["x"], first)
    assert len(heard) == 3 * len(said)


def test_what_can_not_be_heard_is_zero_or_listed(demo: Corpus, encoder: Path) -> None:
    table = demo.utterances.copy()
    table.loc[table.index[0], "path"] = "none.wav"
    broken, item = replace(demo, utterances=table), str(table.index[1])
    words = demo.words(item)
    odd = pd.DataFrame({"word": ["<filler>", "ba", "da"], "start": [0.0, 0.5, 900.0], "end": [0.3, 0.502, 901.0]})
    given = {item: odd, str(table.index[2]): words.iloc[:0]}
    heard = replace(broken, word_source=lambda i: given.get(i, words))
    made = extract_from(heard, table, build(f"spoken-words:{encoder}"))
    assert list(made.failed) == [str(table.index[0])]
    assert not made[item].any()
    assert not made[str(table.index[2])].any()
    assert made[str(table.index[3])].any()
    with pytest.raises(SerbenchError, match=r"none of 3 items has words\..*words transcribe"):
        extract_from(replace(broken, word_source=None), table, build(f"spoken-words:{encoder}"))
    with pytest.raises(SerbenchError, match=r"no encoder of spoken words is named.*speech2vec"):
        build("spoken-words")
    with pytest.raises(SerbenchError, match="there is no encoder"):
        build("spoken-words:none.encoder.safetensors")


@pytest.mark.parametrize("check", [*checks.OF_A_FEATURE, *checks.OF_WORDS], ids=lambda check: check.__name__)
def test_the_feature_keeps_its_contract(encoder: Path, check: Callable[[str], object]) -> None:
    assert list(check(f"spoken-words:{encoder}")) == []


def test_names_follow_contents_and_not_places(encoder: Path, tmp_path: Path) -> None:
    one, copy = build(f"spoken-words:{encoder}"), tmp_path / encoder.name
    copy.write_bytes(encoder.read_bytes())
    assert build(f"spoken-words:{copy}").digest() == one.digest()
    assert build(f"spoken-words:{copy}").signature() == one.signature()
    wrong = SpaceMap("none", np.zeros(4, np.float32), np.eye(4, dtype=np.float32))
    save_map(tmp_path / "w.map.safetensors", wrong)
    with pytest.raises(SerbenchError, match=r"takes vectors of 4 numbers, those of .* have 6"):
        build(FeatureRequest(f"spoken-words:{encoder}", (("map", str(tmp_path / "w.map.safetensors")),)))


class Idle:
    """A model that computes nothing."""

    parameters = 0

    def predict(self, data: Data) -> None:
        """Read no feature."""

    def multiply_accumulates(self, rows: int) -> None:
        """Nothing to state."""


@pytest.mark.parametrize("padding", ["masked", "zero"])
def test_the_encoder_stands_in_the_cost(demo: Corpus, encoder: Path, tmp_path: Path, padding: str) -> None:
    """Two directions, four gates of three units each, for every frame of every word that is read."""
    known, path = load_encoder(encoder), tmp_path / "x.encoder.safetensors"
    save_encoder(path, replace(known, config=replace(known.config, padding=padding)))
    feature = build(f"spoken-words:{path}")
    data = Data(TASK, demo.utterances, {"words": extract_from(demo, demo.utterances, feature)})
    found = running_cost(Idle(), demo, data, {"words": feature})  # type: ignore[arg-type]
    frames = 0
    for item in data.ids:
        signal, rate = read_audio(demo.audio_path(item), 16000)
        for start, end in demo.words(item)[["start", "end"]].itertuples(index=False):
            read = 1 + len(signal[round(start * rate) : round(end * rate)]) // 320
            frames += min(20, read) if padding == "masked" else 20
    assert found.items == len(demo.utterances)
    assert found.feature_parameters == 2 * 4 * 3 * (13 + 3 + 2)
    assert found.macs_per_second == pytest.approx(frames * 2 * 4 * 3 * (13 + 3) / found.seconds_of_audio)


# ---- in a model -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def heard_words(toy: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bounds of words as a recogniser might give them."""
    path = tmp_path_factory.mktemp("heard") / "heard.csv"
    parts = [three_words(str(i)).assign(item=str(i), source="asr(base)") for i in toy.utterances.index]
    pd.concat(parts)[["item", "word", "start", "end", "source"]].to_csv(path, index=False)
    return path


def test_semantic_fusion_needs_no_transcript(
    toy: Corpus, encoder: Path, heard_words: Path, tiny_fusion: dict[str, str], tmp_path: Path
) -> None:
    """Trained and tested on a corpus that has neither text nor words."""
    assert toy.utterances["text"].isna().all()
    assert toy.word_source is None
    settings = {
        **tiny_fusion,
        "model.encoder": str(encoder),
        "model.word_times": str(heard_words),
        "model.streams": "words",
    }
    request = Request("semantic-fusion", "table", root=str(toy.root / "toy.csv"), settings=settings)
    (part,) = plan_training([request], Corpora()).parts
    assert part.spec["labels"][-1] == "words:asr(base)"
    assert part.spec["labels"][0].startswith("words:sound.vec.encoder.safetensors:")
    assert "words=spoken-words:sound.vec.encoder.safetensors.v1+" in "".join(
        f"{role}={f['signature']}" for role, f in part.spec["features"].items()
    )
    assert not Model.reads_text(_config(settings))
    (one,) = run("semantic-fusion", "table", root=toy.root / "toy.csv", settings=settings, trials=1, results=tmp_path)
    assert len(one.predictions()) == 8
    (unit,) = one.units()
    assert unit["facts"]["words"]["items_without_words"] == 0
    assert unit["cost"]["feature_parameters"] == 2 * 4 * 3 * (13 + 3 + 2)  # directions, gates, units, what each reads


def _config(settings: dict[str, str]) -> SemanticConfig:
    return configure(registry.load("semantic-fusion"), Request("semantic-fusion", "demo", settings=settings))


def test_settings_that_do_not_go_together(encoder: Path, tmp_path: Path) -> None:
    write_vectors(tmp_path / "v.vec", some_vectors())
    with pytest.raises(SerbenchError, match=r"model\.vectors and model\.encoder were both given"):
        _config({"model.encoder": str(encoder), "model.vectors": str(tmp_path / "v.vec")})
    with pytest.raises(SerbenchError, match=r"model\.map was given without model\.encoder"):
        _config({"model.map": "m.map.safetensors"})
