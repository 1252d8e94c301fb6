"""The probe: its parts against plain writings of their equations, its presets, leak marks."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.task import Task
from serbench.features.core.feature_table import FeatureTable
from serbench.sermodels.core.sermodel import Data, Resources
from serbench.sermodels.inputs.sequences import Piece, Sequences
from serbench.sermodels.pretrained.known_corpora import corpora_seen, tuned_on_emotions
from serbench.sermodels.probe import PRESETS, TINY, Config, Model, ProbeNetwork, pools_first
from serbench.sermodels.training.objective import LabelScale, Objective
from serbench.sermodels.training.pooling import AttentiveStatistics, LayerSum, PoolingHead, RowMean, frame_mask

CLASSES = Task("emotion", "classification", ("emotion",), labels=("a", "b", "c"))
SCALES = {"arousal": (1.0, 7.0), "valence": (1.0, 7.0)}
ATTRIBUTES = Task("attributes", "regression", ("arousal", "valence"), scales=SCALES)
TRACES = Task("trace", "continuous", ("arousal", "valence"), scales=SCALES, frame_seconds=0.1)
LENGTHS = torch.tensor([7, 1, 4])


def frames(width: int = 6, seed: int = 0) -> torch.Tensor:
    """Three utterances of 7, 1 and 4 frames; behind their ends stands what must not be seen."""
    found = torch.randn(3, 7, width, generator=torch.Generator().manual_seed(seed))
    found[1, 1:], found[2, 4:] = torch.nan, torch.inf
    return found


def each(values: torch.Tensor) -> list[torch.Tensor]:
    return [row[:n] for row, n in zip(values, LENGTHS, strict=True)]


def test_the_mean_of_rows_sees_each_utterances_own() -> None:
    truth = torch.stack([row.mean(0) for row in each(frames())])
    rows = frames()[frame_mask(LENGTHS, 7)]
    assert len(rows) == 12
    torch.testing.assert_close(RowMean()(rows, LENGTHS), truth)


def test_attentive_statistics_equal_a_plain_writing() -> None:
    """Okabe et al. 2018: e = v tanh(W h + b), a = softmax(e), mean = sum a h, sd = sqrt(sum a h h - mean mean)."""
    torch.manual_seed(1)
    pool = AttentiveStatistics(6)
    truth = []
    for h in each(frames()):
        e = torch.stack([torch.tanh(pool.hidden.weight @ row + pool.hidden.bias) @ pool.score for row in h])
        a = torch.exp(e) / torch.exp(e).sum()
        mean = sum(w * row for w, row in zip(a, h, strict=True))
        square = sum(w * row * row for w, row in zip(a, h, strict=True))
        truth.append(torch.cat([mean, torch.sqrt(torch.clamp(square - mean * mean, min=1e-5))]))
    torch.testing.assert_close(pool(frames(), LENGTHS), torch.stack(truth), rtol=1e-5, atol=1e-5)


def test_padding_gives_attentive_statistics_no_gradient() -> None:
    torch.manual_seed(1)
    pool, values = AttentiveStatistics(6), torch.nan_to_num(frames(), posinf=0.0).requires_grad_()
    pool(values, LENGTHS).sum().backward()
    assert values.grad is not None
    assert torch.isfinite(values.grad).all()
    assert (values.grad[1, 1:] == 0).all()
    assert (values.grad[2, 4:] == 0).all()
    assert (values.grad[0] != 0).any(dim=1).all()


def test_layers_are_summed_with_softmax_weights_that_begin_equal() -> None:
    layers = LayerSum(3)
    values = torch.randn(2, 5, 12)
    torch.testing.assert_close(layers(values), (values[..., :4] + values[..., 4:8] + values[..., 8:]) / 3)
    with torch.no_grad():
        layers.scores.copy_(torch.tensor([0.0, 1.0, 2.0]))
    w = np.exp([0, 1, 2]) / np.exp([0, 1, 2]).sum()
    truth = w[0] * values[..., :4] + w[1] * values[..., 4:8] + w[2] * values[..., 8:]
    torch.testing.assert_close(layers(values), truth.float())


def test_the_emobox_head_is_relu_masked_mean_linear() -> None:
    torch.manual_seed(2)
    head = PoolingHead(6, 3, projection=5, activation="relu", pooling="mean", hidden=0, dropout=0.0).eval()
    w, b = head.project.weight, head.project.bias
    out = head.out[-1]
    truth = torch.stack([out.weight @ torch.relu(row @ w.T + b).mean(0) + out.bias for row in each(frames())])
    torch.testing.assert_close(head(torch.nan_to_num(frames(), posinf=0.0), LENGTHS), truth)


def test_the_attentive_head_is_linear_norm_relu_linear() -> None:
    torch.manual_seed(3)
    head = PoolingHead(6, 3, projection=0, activation="none", pooling="attentive", hidden=8, dropout=0.5).eval()
    pooled = head.pool(frames(), LENGTHS)
    linear, norm, out = head.out[1], head.out[2], head.out[-1]
    truth = out(torch.relu(functional.layer_norm(linear(pooled), (8,), norm.weight, norm.bias)))
    torch.testing.assert_close(head(frames(), LENGTHS), truth)


@pytest.mark.parametrize("name", ["default", "superb"])
def test_pooling_first_is_the_same_function(name: str) -> None:
    config = PRESETS[name]
    assert pools_first(config)
    torch.manual_seed(4)
    network = ProbeNetwork(3, 4, 2, "mean", config).eval()
    network.normaliser.set(np.linspace(-1, 1, 12), np.linspace(0.5, 2, 12))
    with torch.no_grad():
        network.layers.scores.copy_(torch.tensor([0.3, -1.0, 2.0]))
    clean = torch.nan_to_num(frames(12), posinf=0.0)
    pooled = torch.stack([row.mean(0) for row in each(clean)])[:, None]
    torch.testing.assert_close(network(pooled, torch.ones(3, dtype=torch.long)), network(clean, LENGTHS))


def test_what_each_preset_asks_of_the_encoder() -> None:
    asked = {
        name: dict(Model.requests(dataclasses.replace(c, encoder="random:wavlm-tiny"), CLASSES)["input"].settings)
        for name, c in PRESETS.items()
    }
    assert asked["superb"] == {"layers": "all", "revision": "main", "pooling": "mean"}
    assert asked["emobox"] == {"layers": "last", "revision": "main"}
    assert "pooling" not in asked["attentive"]
    traces = Model.requests(TINY, TRACES)["input"]
    assert traces.name == "transformers:random:wav2vec2-tiny"
    assert dict(traces.settings)["average_seconds"] == "0.1"
    fine = dataclasses.replace(TRACES, frame_seconds=0.01)  # finer than the encoder's frames
    assert "average_seconds" not in dict(Model.requests(TINY, fine)["input"].settings)


# Objective.


def test_the_loss_of_traces_is_one_minus_ccc_over_labelled_frames() -> None:
    generator = np.random.default_rng(0)
    labels = [generator.uniform(1, 7, (n, 2)) for n in (5, 9)]
    labels[0][2], labels[1][4, 1] = np.nan, np.nan
    objective, network = Objective(TRACES), LabelScale(2)
    objective.calibrate(network, labels)
    rows = np.concatenate(labels)
    np.testing.assert_allclose(network.label_mean.numpy(), np.nanmean(rows, axis=0), rtol=1e-6)
    targets = [objective.targets(network, trace) for trace in labels]
    outputs = torch.randn(2, 9, 2, generator=torch.Generator().manual_seed(1))
    padded = torch.full((2, 9, 2), torch.nan)
    padded[0, :5], padded[1] = targets[0], targets[1]
    found = objective.losses(outputs, padded)
    truth = []
    for k in range(2):
        g = np.concatenate([t[:, k] for t in labels])
        p = torch.cat([outputs[0, :5, k], outputs[1, :, k]]).numpy() * network.label_std.numpy()[k]
        p = p + network.label_mean.numpy()[k]
        g, p = g[~np.isnan(g)], p[~np.isnan(g)]
        ccc = 2 * np.mean((g - g.mean()) * (p - p.mean())) / (g.var() + p.var() + (g.mean() - p.mean()) ** 2)
        truth.append(1 - ccc)
    assert found["loss"].item() == pytest.approx(np.mean(truth), abs=1e-5)
    assert found["loss_valence"].item() == pytest.approx(truth[1], abs=1e-5)


def test_predictions_come_back_on_the_label_scale() -> None:
    objective, network = Objective(ATTRIBUTES), LabelScale(2)
    labels = np.array([[1.0, 2.0], [3.0, 6.0], [5.0, 4.0]])
    objective.calibrate(network, labels)
    back = objective.predictions(network, objective.targets(network, labels).double().numpy())
    np.testing.assert_allclose(back, labels, atol=1e-6)
    scores = Objective(CLASSES).predictions(LabelScale(3), np.array([[0.0, np.log(2), np.log(3)]]))
    np.testing.assert_allclose(scores, [[1 / 6, 1 / 3, 1 / 2]])


def test_balanced_classes_weigh_the_same() -> None:
    labels = np.array([0, 0, 0, 1])
    objective = Objective(CLASSES, "balanced")
    objective.begin(labels)
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    entropy = -torch.log_softmax(logits, 1)[torch.arange(4), torch.tensor(labels)]
    truth = (entropy[:3].mean() + entropy[3]) / 2
    assert objective.losses(logits, torch.tensor(labels))["loss"].item() == pytest.approx(truth.item(), abs=1e-6)


# Sequences.


def data(task: Task, arrays: dict[str, np.ndarray], labels: Any, hop: float | None, counts: Any = None) -> Data:
    items = pd.DataFrame({"speaker": "s"}, index=list(arrays))
    return Data(task, items, {"input": FeatureTable.from_arrays(arrays, hop)}, labels, frames=counts or {})


def test_recordings_are_cut_into_pieces_that_tile_them() -> None:
    arrays = {"r0": np.arange(50, dtype=np.float32)[:, None], "r1": np.arange(7, dtype=np.float32)[:, None]}
    found = Sequences(data(TRACES, arrays, None, 0.1, {"r0": 52, "r1": 7}), 0)
    pieces = found.pieces(2.0)
    assert pieces == [Piece(0, 0, 20), Piece(0, 20, 40), Piece(0, 40, 52), Piece(1, 0, 7)]
    values, lengths = found.padded(pieces[2:])
    assert lengths.tolist() == [12, 7]
    assert values[0, :, 0].tolist() == [*range(40, 50), 49, 49]  # the audio ends before the trace
    assert values[1, 7:].abs().sum() == 0


def test_label_frames_take_the_feature_frame_of_their_time() -> None:
    arrays = {"r0": np.arange(10, dtype=np.float32)[:, None]}
    fine = dataclasses.replace(TRACES, frame_seconds=0.04)
    found = Sequences(data(fine, arrays, None, 0.1, {"r0": 20}), 0)[0][:, 0]
    assert found.tolist() == [round(k * 0.4) for k in range(20)]


def test_whole_utterances_are_normalised_as_a_layer_norm_does() -> None:
    arrays = {"u": np.random.default_rng(0).normal(3, 2, (5, 4)).astype(np.float32)}
    found = Sequences(data(CLASSES, arrays, None, 0.02), 0, normalise=True)[0]
    np.testing.assert_allclose(found, functional.layer_norm(torch.from_numpy(arrays["u"]), (5, 4)).numpy(), atol=1e-5)


def test_memory_is_bounded_and_arrays_are_read_again() -> None:
    arrays = {f"u{i}": np.full((10, 2), i, np.float32) for i in range(5)}
    held = Sequences(data(CLASSES, arrays, None, 0.02), keep_bytes=200)
    assert [held[i][0, 0] for i in (0, 1, 2, 3, 4, 0)] == [0, 1, 2, 3, 4, 0]
    assert len(held._kept) == 2


# The model.


def score(gold: Any, predicted: Any) -> float:
    return float((predicted.argmax(1) == gold).mean())


def test_the_informative_layer_gets_the_weight() -> None:
    """Three layers of noise, the class shows in the second alone."""
    generator = np.random.default_rng(5)
    labels = np.arange(60) % 3
    arrays = {}
    for i, label in enumerate(labels):
        values = generator.normal(size=(12, 3, 24))
        values[:, 1, :3] += 3.0 * np.eye(3)[label]
        arrays[f"u{i}"] = values.reshape(12, 72).astype(np.float32)
    config = dataclasses.replace(TINY, pooling="mean", train=dataclasses.replace(TINY.train, epochs=15))
    model = Model(config, CLASSES, Resources(seed=1))
    train = data(CLASSES, {k: v.mean(0, keepdims=True) for k, v in arrays.items()}, labels, None)
    log = model.fit(train, train, score)
    weights = log.facts["layer_weights"]
    assert np.argmax(weights) == 1
    assert sum(weights) == pytest.approx(1, abs=1e-4)
    assert log.facts["encoder"]["hop_seconds"] == 0.02
    assert log.facts["encoder"]["receptive_field_seconds"] == pytest.approx(345 / 16000)
    json.dumps(log.facts)


def test_features_that_do_not_fit_are_refused() -> None:
    labels = np.arange(4) % 3
    frames_of = {f"u{i}": np.zeros((3, 70), np.float32) for i in range(4)}
    model = Model(TINY, CLASSES)
    wrong = data(CLASSES, frames_of, labels, 0.02)
    with pytest.raises(SerbenchError, match=r"70 dimensions.*random:wav2vec2-tiny \(24 each\)"):
        model.fit(wrong, wrong, score)
    pooled = data(CLASSES, {k: np.zeros((1, 72), np.float32) for k in frames_of}, labels, None)
    with pytest.raises(SerbenchError, match=r"one row per utterance.*leave feature.pooling out"):
        model.fit(pooled, pooled, score)
    with pytest.raises(SerbenchError, match="no encoder is named"):
        Model.requests(Config(), TRACES)
    recordings = {"r0": np.zeros((1, 72), np.float32)}
    flat = data(TRACES, recordings, [np.zeros((9, 2))], None)
    with pytest.raises(SerbenchError, match=r"feature\.pooling"):
        Model(dataclasses.replace(TINY, pooling="mean"), TRACES).fit(flat, flat, score)


# What encoders have seen.


def test_known_encoders_are_known() -> None:
    assert corpora_seen("superb/hubert-large-superb-er") == {"iemocap"}
    assert corpora_seen("audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim") == {"msp-podcast"}
    assert corpora_seen("3loi/SER-Odyssey-Baseline-WavLM-Categorical") == {"msp-podcast"}
    assert corpora_seen("/models/wav2vec2-large-emotion-detection-german") == {"emodb"}
    assert corpora_seen("/hub/models--superb--wav2vec2-base-superb-er/snapshots/abc") == {"iemocap"}
    assert corpora_seen("somewhere/wav2vec2-base-finetuned-ravdess-crema") == {"ravdess", "crema-d"}
    assert corpora_seen("copy", {"_name_or_path": "superb/wav2vec2-base-superb-er"}) == {"iemocap"}
    for clean in ("facebook/wav2vec2-base", "microsoft/wavlm-large", "openai/whisper-large-v3", "random:wavlm-tiny"):
        assert corpora_seen(clean) == frozenset()
    assert corpora_seen("/data/iemocap/models/wavlm-base") == frozenset()  # the corpus's folder says nothing


def test_a_checkpoint_with_emotions_for_classes_says_so(tmp_path: Path) -> None:
    from transformers import HubertConfig, HubertForSequenceClassification, Wav2Vec2FeatureExtractor

    sizes = {
        "hidden_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "conv_dim": (8,) * 7,
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 2,
    }
    tuned = HubertConfig(**sizes, id2label={0: "Angry", 1: "calm"}, label2id={"Angry": 0, "calm": 1})
    HubertForSequenceClassification(tuned).save_pretrained(tmp_path / "hubert-iemocap")
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "hubert-iemocap")
    config = Config(encoder=str(tmp_path / "hubert-iemocap"))
    assert Model.labels(config) == ("encoder:tuned on emotions",)
    assert Model.seen(config) == {"iemocap"}
    assert Model.labels(TINY) == ()
    assert Model.seen(TINY) == frozenset()
    assert not tuned_on_emotions({"id2label": {0: "LABEL_0"}})
