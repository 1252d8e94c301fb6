"""Semantic fusion in training: delay, scales, unlabelled frames, word vectors, and bad settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from serbench.datasets.core.config import to_dict
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.corpus import make_table
from serbench.datasets.schema.task import Task
from serbench.features.core.feature_table import FeatureTable
from serbench.features.words.vectors import Vectors, write_vectors
from serbench.sermodels.core.sermodel import Data, Resources
from serbench.sermodels.semantic_fusion import words as semantic_words
from serbench.sermodels.semantic_fusion.frames import Frames, Words, utterance_batch
from serbench.sermodels.semantic_fusion.model import PRESETS, TINY, Config, Model
from serbench.sermodels.semantic_fusion.network import SemanticNetwork, reach_frames
from serbench.sermodels.training.losses import ccc_losses

HOP, RATE = 0.1, 2000
TRACE = Task(
    "traces",
    "continuous",
    ("arousal", "valence", "liking"),
    frame_seconds=HOP,
    scales=dict.fromkeys(("arousal", "valence", "liking"), (-1.0, 1.0)),
)
CLASSES = Task("emotion", "classification", ("emotion",), labels=("a", "b"))
RATED = Task("arousal", "regression", ("arousal",), scales={"arousal": (1.0, 5.0)})
NO_WORDS = pd.DataFrame({"word": [], "start": [], "end": []})


# Training and prediction.


def score(gold: Any, predicted: Any) -> float:
    """Mean over the targets of the CCC of all frames that have labels, or the share of right classes."""
    if isinstance(gold, list):
        gold, predicted = np.concatenate(gold), np.concatenate(predicted)
    if gold.ndim == 1:
        return float((predicted.argmax(1) == gold).mean())
    known = np.isfinite(gold).all(1)
    losses = ccc_losses(torch.from_numpy(predicted[known]), torch.from_numpy(gold[known]))
    return float(1 - losses.mean())


def short(**changes: Any) -> Config:
    """TINY for one epoch."""
    training = replace(TINY.train, epochs=changes.pop("epochs", 1))
    return replace(TINY, train=training, **changes)


def of_noise(task: Task, samples: dict[str, int], labels: Any, words: Any = None, **more: Any) -> Data:
    """Items of so many samples of noise."""
    generator = np.random.default_rng(8)
    arrays = {item: generator.normal(size=(n, 1)).astype(np.float32) for item, n in samples.items()}
    items = make_table([{"id": i, "path": f"{i}.wav", "speaker": "s", "dialogue": "d"} for i in arrays])
    return Data(task, items, {"input": FeatureTable.from_arrays(arrays, 1 / RATE, RATE)}, labels, words, **more)


def labelled(counts: list[int], seconds: list[float]) -> Data:
    """Recordings r0, r1 ... with smooth traces of so many frames."""
    generator = np.random.default_rng(5)
    labels = [np.tanh(generator.normal(size=(n, 3)).cumsum(0) / 5) for n in counts]
    samples = {f"r{i}": round(s * RATE) for i, s in enumerate(seconds)}
    return of_noise(TRACE, samples, labels, frames=dict(zip(samples, counts, strict=True)))


def spoken(count: int, task: Task = CLASSES, words: Any = None) -> Data:
    """Utterances u0, u1 ... of 0.3 s and more."""
    labels: Any = np.arange(count) % 2
    if task.kind == "regression":
        labels = np.random.default_rng(9).uniform(1, 5, size=(count, 1))
    return of_noise(task, {f"u{i}": 600 + 150 * i for i in range(count)}, labels, words)


def frames_of(data: Data, words: Words | None = None) -> Frames:
    return Frames(data, HOP, words or Words(None, 5), 2**20)


def vocabulary() -> Vectors:
    return Vectors(["yes", "no"], np.arange(10, dtype=np.float32).reshape(2, 5) + 1)


def fitted(config: Config, data: Data, task: Task = TRACE, seed: int = 1) -> tuple[Model, Any]:
    model = Model(config, task, Resources(seed=seed))
    return model, model.fit(data, data, score)


def test_utterances_are_followed_by_enough_silence() -> None:
    data = spoken(6)
    frames = frames_of(data)
    sound, words, lengths = utterance_batch(frames, range(6), TINY)
    assert lengths.tolist() == [int(np.ceil(len(data.array(i)) / 200 - 1e-9)) for i in range(6)]
    assert sound.shape[1] >= max(lengths) + reach_frames(400, TINY)
    assert sound.shape[1] * 400 % (5 * 4 * 2) == 0
    assert words.shape == (6, sound.shape[1], 5)


def test_weights_of_the_targets() -> None:
    generator = torch.Generator().manual_seed(1)
    outputs, targets = torch.randn(2, 2, 5, 3, generator=generator)
    found = {
        name: Model(replace(TINY, target_weights=name), TRACE).losses_of(outputs, targets)
        for name in ("equal", "harmonic")
    }
    each = ccc_losses(outputs.flatten(0, 1), targets.flatten(0, 1))
    assert float(found["equal"]["loss"]) == pytest.approx(float(each.mean()))
    assert float(found["harmonic"]["loss"]) == pytest.approx(float(each[0] + each[1] / 2 + each[2] / 3))


@pytest.mark.parametrize("masked", [True, False])
def test_what_stands_behind_a_recording_counts_only_as_released(masked: bool) -> None:
    data = labelled([30], [3.0])
    model, _ = fitted(short(masked=masked, delay_seconds=0.0), data)
    *_, targets = model._load_blocks(np.array([0, 1]))
    assert targets.shape == (2, 25, 3)
    torch.testing.assert_close(targets[1, :5].double(), torch.from_numpy(data.labels[0][25:]), rtol=0, atol=1e-6)
    assert torch.isnan(targets[1, 5:]).all() if masked else (targets[1, 5:] == 0).all()


def test_frames_without_labels_decide_nothing() -> None:
    """The loss is 1 - CCC (Lin 1989) over the frames that have labels, whatever is predicted for the others."""
    data = labelled([60], [6.0])
    data.labels[0][10:20] = np.nan
    model, _ = fitted(short(delay_seconds=0.0, target_weights="equal"), data)
    assert np.isfinite(model.predict(data)[0]).all(), "no missing label has reached the weights"
    *_, targets = model._load_blocks(np.array([0]))
    outputs = torch.randn(1, 25, 3, generator=torch.Generator().manual_seed(1))
    known = np.r_[0:10, 20:25]
    gold, predicted = data.labels[0][known], outputs[0].double().numpy()[known]
    covariance = ((gold - gold.mean(0)) * (predicted - predicted.mean(0))).mean(0)
    ccc = 2 * covariance / (gold.var(0) + predicted.var(0) + (gold.mean(0) - predicted.mean(0)) ** 2)
    assert float(model.losses_of(outputs, targets)["loss"]) == pytest.approx(1 - ccc.mean(), abs=1e-5)
    outputs[0, 10:20] = 5.0
    assert float(model.losses_of(outputs, targets)["loss"]) == pytest.approx(1 - ccc.mean(), abs=1e-5)


def test_a_recording_without_any_label_is_not_trained_on() -> None:
    data = labelled([30, 30], [3.0, 3.0])
    data.labels[1][:] = np.nan
    model, _ = fitted(short(delay_seconds=0.0), data)
    assert {position for position, _ in model._blocks} == {0}


@pytest.mark.parametrize("delay", [0.0, 0.5])
def test_predictions_have_as_many_frames_as_the_labels(delay: float) -> None:
    counts, seconds = [3, 26, 60, 40], [0.3, 2.0, 9.0, 0.05]
    data = labelled(counts, seconds)
    model, log = fitted(short(delay_seconds=delay), data)
    found = model.predict(Data(TRACE, data.items, dict(data.features), None, None, data.frames))
    assert [p.shape for p in found] == [(n, 3) for n in counts]
    assert all(np.isfinite(p).all() for p in found)
    assert log.facts["delay_seconds"] == pytest.approx(delay)
    shift = round(delay / HOP)
    for trace in found:
        assert (trace[: shift + 1] == trace[0]).all(), "before the delay the first prediction stands"


def test_predictions_stay_on_the_label_scale() -> None:
    data = spoken(6, RATED)
    model, _ = fitted(short(epochs=3), data, RATED)
    assert isinstance(model.network, SemanticNetwork)
    assert float(model.network.label_mean) == 3.0
    assert float(model.network.label_std) == 2.0
    found = np.asarray(model.predict(data))
    assert ((found > 1) & (found < 5)).all()


def test_the_delay_is_chosen_and_recorded() -> None:
    data = labelled([40, 40], [4.0, 4.0])
    _, log = fitted(short(), data)
    assert set(log.facts["delay_scores"]) == {"0.0", "0.2", "0.4", "0.6", "0.8", "1.0"}
    best = max(log.facts["delay_scores"], key=log.facts["delay_scores"].get)
    assert log.facts["delay_seconds"] == pytest.approx(float(best))


def test_sound_is_scaled_by_the_training_data() -> None:
    data = labelled([30], [3.0])
    model, _ = fitted(short(delay_seconds=0.0), data)
    assert isinstance(model.network, SemanticNetwork)
    root = np.sqrt(np.square(data.array(0), dtype=np.float64).mean())
    assert float(model.network.gain) == pytest.approx(1 / root, rel=1e-6)
    plain, _ = fitted(short(delay_seconds=0.0, scaled=False), data)
    assert isinstance(plain.network, SemanticNetwork)
    assert float(plain.network.gain) == 1.0


def test_adams_second_coefficient() -> None:
    network = SemanticNetwork(400, 25, 5, 3, TINY, bounded=True)
    found = Model(PRESETS["released"], TRACE).optimisers(network)["all"]
    assert found.param_groups[0]["betas"] == (0.9, 0.99)
    assert found.param_groups[0]["lr"] == 5e-4


def test_presets_hold_the_published_settings() -> None:
    released, paper, fixed = (PRESETS[name] for name in ("released", "paper", "fixed"))
    assert (released.train.batch_size, released.sequence, released.train.clip_norm) == (5, 100, 0)
    assert (paper.train.batch_size, paper.sequence, paper.train.learning_rate) == (25, 300, 1e-4)
    assert (paper.train.clip_norm, paper.dropout, paper.order) == (5.0, 0.5, "alv")
    assert fixed.masked
    assert fixed.target_weights == "equal"
    assert fixed.delay_seconds == -1
    assert PRESETS["default"] == fixed


# Word vectors.


def vector_file(folder: Path, vectors: Vectors | None = None) -> str:
    path = folder / "some.vec"
    write_vectors(path, vectors or vocabulary())
    return str(path)


def yes_and_no(item: str) -> pd.DataFrame:
    return pd.DataFrame({"word": ["yes", "no"], "start": [0.1, 0.4], "end": [0.2, 0.9]})


def test_words_matter_where_they_are_used(tmp_path: Path) -> None:
    path = vector_file(tmp_path)
    data, wordless = (spoken(6, words=w) for w in (yes_and_no, lambda item: NO_WORDS))
    for streams in ("both", "words", "audio"):
        config = short(vectors=path, streams=streams)
        model, log = fitted(config, data, CLASSES)
        with_words, without = model.predict(data), model.predict(wordless)
        assert np.array_equal(with_words, without) == (streams == "audio")
        assert log.facts["words"]["known_tokens"] == 12
    loud = Data(
        CLASSES,
        data.items,
        {"input": FeatureTable.from_arrays({i: 2 * data.array(k) for k, i in enumerate(data.ids)}, 1 / RATE, RATE)},
        None,
        data.words,
    )
    model, _ = fitted(short(vectors=path, streams="words"), data, CLASSES)
    np.testing.assert_array_equal(model.predict(data), model.predict(loud))


def test_a_score_says_which_vectors_it_used(tmp_path: Path) -> None:
    path = vector_file(tmp_path)
    assert Model.labels(short()) == ("words:none",)
    assert Model.labels(short(streams="audio")) == ()
    settings = [short(), short(vectors=path), short(vectors=path, streams="audio")]
    assert [Model.reads_text(config) for config in settings] == [False, True, False]
    (label,) = Model.labels(short(vectors=path))
    digest = Model.resolved(short(vectors=path)).words_digest
    assert len(digest) == 64
    assert label == f"words:some.vec:{digest[:8]}"
    assert to_dict(Model.resolved(short(vectors=path))) != to_dict(short(vectors=path))
    _, log = fitted(short(), spoken(4), CLASSES)
    assert log.facts["words"] == {"vectors": None}


def test_other_contents_under_the_same_name_are_noticed(tmp_path: Path) -> None:
    config = Model.resolved(short(vectors=vector_file(tmp_path)))
    write_vectors(tmp_path / "some.vec", Vectors(["yes", "no"], np.ones((2, 5), np.float32)))
    with pytest.raises(SerbenchError, match=r"some\.vec.*digest.*Expected the same files"):
        fitted(config, spoken(4, words=yes_and_no), CLASSES)


def test_the_length_of_vectors_is_the_files(tmp_path: Path) -> None:
    path = vector_file(tmp_path, Vectors(["yes"], np.ones((1, 7), np.float32)))
    model, _ = fitted(short(vectors=path), spoken(4, words=yes_and_no), CLASSES)
    assert isinstance(model.network, SemanticNetwork)
    assert model.network.fusion.words is not None
    assert model.network.fusion.words.in_features == 7


def test_a_vocabulary_without_overlap_is_refused(tmp_path: Path) -> None:
    path = vector_file(tmp_path, Vectors(["oui"], np.ones((1, 5), np.float32)))
    with pytest.raises(SerbenchError, match="none of the 2 words"):
        fitted(short(vectors=path), spoken(4, words=yes_and_no), CLASSES)


def test_a_missing_file_of_vectors_is_refused() -> None:
    with pytest.raises(SerbenchError, match=r"nowhere\.vec.*serbench words"):
        Model.resolved(short(vectors="nowhere.vec"))


def test_word_times_of_a_file_replace_those_of_the_corpus(tmp_path: Path) -> None:
    path, times = vector_file(tmp_path), tmp_path / "times.csv"
    rows = ["item,word,start,end,source", *(f"u{i},no,0.2,0.3,spread" for i in range(4))]
    times.write_text("\n".join(rows) + "\n", encoding="utf-8")
    config = Model.resolved(short(vectors=path, word_times=str(times)))
    frames = frames_of(spoken(4, words=yes_and_no), semantic_words.source(config))
    yes, no = vocabulary().matrix
    np.testing.assert_array_equal(frames.vectors(0), np.array([0 * yes, 0 * yes, no], dtype=np.float32))
    assert config.words_digest != Model.resolved(short(vectors=path)).words_digest
    times.write_text(rows[0] + "\nu0,yes,0.1,0.2,spread\n", encoding="utf-8")
    with pytest.raises(SerbenchError, match="Expected the same files"):
        semantic_words.source(config)


def test_missing_transcripts_are_counted(tmp_path: Path) -> None:
    def words(item: str) -> pd.DataFrame:
        if item == "u1":
            raise SerbenchError("u1 has no transcript.")
        return NO_WORDS if item == "u2" else yes_and_no(item)

    _, log = fitted(short(vectors=vector_file(tmp_path)), spoken(4, words=words), CLASSES)
    found = log.facts["words"]
    assert found["items"] == 4
    assert found["items_without_words"] == 2
    assert found["without_words"] == {"u1": "u1 has no transcript.", "u2": "no words"}
    assert semantic_words.coverage_facts(short(), Words(None, 5), spoken(4)) == {"vectors": None}


# Bad settings.


def test_blocks_that_are_not_described_in_full_are_refused() -> None:
    with pytest.raises(SerbenchError, match="2 filters, 3 kernels, 3 pools"):
        Model(replace(TINY, filters=(4, 4)), TRACE)


def test_another_feature_is_refused() -> None:
    data = spoken(4)
    table = FeatureTable.from_arrays({i: np.ones((30, 8), np.float32) for i in data.ids}, 0.01, RATE)
    with pytest.raises(SerbenchError, match=r"takes samples.*waveform"):
        fitted(short(), replace(data, features={"input": table}), CLASSES)


def test_bf16_is_close_to_float32() -> None:
    data = labelled([50, 50], [5.0, 5.0])
    exact, log = fitted(short(delay_seconds=0.0), data)
    rough = Model(replace(exact.config, train=replace(exact.config.train, amp="bf16")), TRACE, Resources(seed=1))
    assert rough.fit(data, data, score).epochs[0]["loss"] == pytest.approx(log.epochs[0]["loss"], abs=0.05)
