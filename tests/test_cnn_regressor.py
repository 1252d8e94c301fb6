"""The CNN regressor: the paper's network counted and computed a second way, and what training and prediction do."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from serbench.benchmarks.performance.parts.training import measure_layout, plain_layers
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.task import Task
from serbench.features.core.feature_table import FeatureTable
from serbench.sermodels.chunked.network import ChunkNetwork, EncoderConfig, Normaliser, initialise, map_sizes
from serbench.sermodels.cnn_regressor import PRESETS, TINY, Config, Model
from serbench.sermodels.core.sermodel import Data, Resources
from serbench.sermodels.training.settings import TrainConfig
from serbench.sermodels.training.training import Training

JOINT = Task("attributes", "regression", ("arousal", "valence"), scales={"arousal": (1, 7), "valence": (1, 7)})
SINGLE = Task("arousal", "regression", ("arousal",), scales={"arousal": (1, 7)})
CLASSES = Task("emotion", "classification", ("emotion",), labels=("low", "middle", "high"))
PAPER = EncoderConfig()
HOP = 256 / 16000


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def paper_network(outputs: int = 1, seed: int = 0) -> ChunkNetwork:
    network = ChunkNetwork(62, 128, outputs, PAPER)
    initialise(network, generator(seed))
    return network


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# The network


def test_parameters_are_those_of_the_release() -> None:
    network = paper_network()
    ins, outs = (1, 32, 32, 64, 64, 128, 128), (32, 32, 64, 64, 128, 128, 128)
    convolutions = sum(9 * i * o + o + 2 * o for i, o in zip(ins, outs, strict=True))  # kernel, bias, scale and shift
    assert convolutions == 435_168
    assert count(network.encoder.convolutions) + count(network.encoder.norms) == 435_168
    assert count(network.encoder.latent) == 1024 * 256 + 256 == 262_400
    assert count(network.emotion) == 65_792 + 257
    classifier, top = 65_792, 256 * 10 + 10
    assert count(network) + classifier + top == 831_979, "the whole of DeepEmoCluster with ten clusters"


def output_size(n: int, stride: int, kernel: int = 3, padding: int = 1) -> int:
    """Number of places where a kernel fits, counted."""
    return len([start for start in range(0, n + 2 * padding, stride) if start + kernel <= n + 2 * padding])


def test_maps_have_the_sizes_of_the_release() -> None:
    table = [(62, 128), (62, 128), (31, 64), (16, 32), (8, 16), (4, 8), (2, 4)]
    assert map_sizes(62, 128, PAPER.strides) == table
    maps = torch.zeros(1, 1, 62, 128)
    for convolution, size in zip(paper_network().encoder.convolutions, table, strict=True):
        maps = convolution(maps)
        assert tuple(maps.shape[2:]) == size


@pytest.mark.parametrize("strides", [(1, 2), (3, 1, 2), (4, 4)])
@pytest.mark.parametrize("size", [(7, 9), (15, 128), (1, 1), (125, 40)])
def test_any_size_and_stride(size: tuple[int, int], strides: tuple[int, ...]) -> None:
    time, mel = size
    expected = []
    for stride in strides:
        time, mel = output_size(time, stride), output_size(mel, stride)
        expected.append((time, mel))
    assert map_sizes(*size, strides) == expected
    config = Config(channels=(2,) * len(strides), strides=strides, width=5)
    network = ChunkNetwork(*size, 1, config)
    assert network(torch.randn(3, *size, generator=generator())).shape == (3, 1)


@pytest.mark.parametrize("training", [True, False])
def test_the_network_equals_a_plain_writing(training: bool) -> None:
    """The plain one is an nn.Sequential in the usual memory order, with nothing fused; both in double precision."""
    network = paper_network(outputs=2, seed=4).double()
    network.encoder.dropout.p = 0.0
    random = generator(3)
    for norm in network.encoder.norms:
        assert isinstance(norm, nn.BatchNorm2d)
        nn.init.uniform_(norm.weight, 0.5, 1.5, generator=random)
        nn.init.normal_(norm.running_mean, 0, 0.1, generator=random)
        nn.init.uniform_(norm.running_var, 0.5, 1.5, generator=random)
    plain = nn.Sequential(*plain_layers(network.encoder), *copy.deepcopy(network.emotion))
    assert [type(m) for m in plain][:4] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Conv2d]
    chunks = torch.randn(5, 62, 128, generator=generator(1), dtype=torch.float64).clamp(-3, 3)
    ours, theirs = network.train(training)(chunks), plain.train(training)(chunks[:, None])
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    ours.square().sum().backward()
    theirs.square().sum().backward()
    for (name, mine), other in zip(network.encoder.named_parameters(), plain_order(plain), strict=True):
        if not (training and name.startswith("convolutions") and name.endswith("bias")):  # has no effect in training
            torch.testing.assert_close(mine.grad, other.grad, rtol=1e-7, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")


def plain_order(plain: nn.Sequential) -> list[nn.Parameter]:
    """The plain parameters in the order of the encoder's: convolutions, norms, fully connected layer."""
    kinds: tuple[type[nn.Module], ...] = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
    modules = [[m for m in list(plain)[:-3] if isinstance(m, kind)] for kind in kinds]
    return [p for same in modules for m in same for p in m.parameters()]


def test_initial_weights_are_the_release_s() -> None:
    network = paper_network(seed=1)
    for convolution in network.encoder.convolutions:
        assert isinstance(convolution, nn.Conv2d)
        expected = np.sqrt(2 / (9 * convolution.out_channels))
        values = convolution.weight.detach().numpy().ravel()
        assert values.std() == pytest.approx(expected, rel=4 / np.sqrt(2 * len(values)))
        assert abs(values.mean()) < 4 * expected / np.sqrt(len(values))
        assert convolution.bias is not None
        assert not convolution.bias.any()
    for layer in (network.encoder.latent, *list(network.emotion)[::2]):
        assert isinstance(layer, nn.Linear)
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.15)
        assert not layer.bias.any()
    for norm in network.encoder.norms:
        assert isinstance(norm, nn.BatchNorm2d)
        assert (norm.weight == 1).all()
        assert not norm.bias.any()
    same, other = paper_network(seed=1), paper_network(seed=2)
    key = "emotion.0.weight"
    assert torch.equal(same.state_dict()[key], network.state_dict()[key])
    assert not torch.equal(other.state_dict()[key], network.state_dict()[key])


def test_normaliser_follows_its_equation() -> None:
    normaliser = Normaliser(3, 3.0)
    normaliser.set(np.array([1.0, -2.0, 5.0]), np.array([2.0, 0.5, 0.0]))
    frames = torch.tensor([[[1.5, 0.0, 9.0], [9.0, -99.0, np.nan], [np.inf, np.nan, 1.0]]])
    expected = [[[1.0, 1.0, 0.0], [3.0, -3.0, 0.0], [3.0, 0.0, 0.0]]]
    assert normaliser(frames).tolist() == expected


# Training and prediction


def corpus(task: Task, n: int, seed: int, bands: int = 16, low: int = 40, high: int = 90) -> Data:
    """Utterances whose energy tells the label: arousal raises the even bands, valence the odd ones."""
    numbers = np.random.default_rng(seed)
    values = numbers.uniform(1, 7, size=(n, 2))
    gain = np.stack([values[:, k % 2] for k in range(bands)], axis=1)
    arrays = {}
    for i in range(n):
        noise = numbers.normal(size=(int(numbers.integers(low, high)), bands))
        arrays[f"u{i:03d}"] = np.exp(0.2 * gain[i] + 0.3 * noise).astype(np.float32)
    labels: Any = values[:, : len(task.targets)]
    if task.kind == "classification":
        labels = np.digitize(values[:, 0], [3, 5]).astype(np.int64)
    items = pd.DataFrame(index=pd.Index(list(arrays), name="id"))
    return Data(task, items, {"input": FeatureTable.from_arrays(arrays, HOP)}, labels)


def ccc(gold: Any, predicted: Any) -> float:
    covariance = ((gold - gold.mean(0)) * (predicted - predicted.mean(0))).mean(0)
    return float((2 * covariance / (gold.var(0) + predicted.var(0) + (gold.mean(0) - predicted.mean(0)) ** 2)).mean())


def uar(gold: Any, scores: Any) -> float:
    return float(np.mean([(scores.argmax(1)[gold == k] == k).mean() for k in np.unique(gold)]))


def trained(task: Task, config: Config = TINY, n: int = 48, seed: int = 0) -> Model:
    model = Model(config, task, Resources(seed=seed))
    score = uar if task.kind == "classification" else ccc
    model.log = model.fit(corpus(task, n, 1), corpus(task, 16, 2), score)  # type: ignore[attr-defined]
    return model


QUICK = replace(TINY, train=replace(TINY.train, epochs=30, batch_size=8))


@pytest.mark.parametrize("task", [JOINT, SINGLE])
def test_attributes_are_learnt_from_energy(task: Task) -> None:
    test = corpus(task, 40, 3)
    reached = ccc(test.labels, trained(task, QUICK).predict(replace(test, labels=None)))
    assert reached > 0.8, "a constant scores 0"


def test_classes_are_learnt_from_energy() -> None:
    test = corpus(CLASSES, 40, 3)
    for weights in ("none", "balanced"):
        scores = trained(CLASSES, replace(QUICK, class_weights=weights)).predict(replace(test, labels=None))
        assert uar(test.labels, scores) > 0.7, "chance is 1/3"


def test_buffers_are_the_training_set_s_moments() -> None:
    model, train = trained(JOINT, QUICK), corpus(JOINT, 48, 1)
    arrays, _ = model.state()
    frames = np.concatenate([train.array(i) for i in range(48)]).astype(np.float64)
    np.testing.assert_allclose(arrays["normaliser.mean"], frames.mean(0), rtol=1e-6)
    np.testing.assert_allclose(arrays["normaliser.inverse"], 1 / frames.std(0), rtol=1e-6)
    np.testing.assert_allclose(arrays["label_mean"], train.labels.mean(0), rtol=1e-6)
    np.testing.assert_allclose(arrays["label_std"], train.labels.std(0), rtol=1e-6)
    assert model.log.facts["chunks_per_sentence"] == 2  # type: ignore[attr-defined]
    assert model.log.facts["frames_per_chunk"] == 15  # type: ignore[attr-defined]


def outputs_by_hand(model: Model, frames: np.ndarray) -> np.ndarray:
    """Outputs of each chunk of a sentence on its own, (chunk, output), for TINY's two chunks of 15 frames."""
    assert isinstance(model.network, ChunkNetwork)
    with torch.inference_mode():
        parts = [model.network(torch.from_numpy(frames[None, s : s + 15])) for s in (0, len(frames) - 15)]
    return torch.cat(parts).double().numpy()


def test_a_sentence_score_is_the_mean_of_its_chunks_on_the_label_scale() -> None:
    model, test = trained(JOINT, QUICK), corpus(JOINT, 6, 5)
    found = np.asarray(model.predict(test))
    train = corpus(JOINT, 48, 1).labels
    for i in range(6):
        by_hand = outputs_by_hand(model, test.array(i)).mean(0) * train.std(0) + train.mean(0)
        np.testing.assert_allclose(found[i], by_hand, atol=1e-5)


def test_class_scores_are_the_softmax_of_the_mean_logits() -> None:
    model, test = trained(CLASSES, QUICK), corpus(CLASSES, 6, 5)
    found = np.asarray(model.predict(test))
    for i in range(6):
        logits = outputs_by_hand(model, test.array(i)).mean(0)
        np.testing.assert_allclose(found[i], np.exp(logits) / np.exp(logits).sum(), atol=1e-5)


def test_padding_and_batching_change_no_score() -> None:
    model = trained(JOINT, QUICK)
    mixed = corpus(JOINT, 20, 6, low=5, high=120)  # some shorter than a chunk, some longer than Tmax
    assert min(mixed.features["input"].frames(i) for i in mixed.ids) < 15
    together = np.asarray(model.predict(mixed))
    for i in range(20):
        np.testing.assert_allclose(np.asarray(model.predict(mixed.take([i])))[0], together[i], atol=1e-5)
    model.config = replace(QUICK, train=replace(QUICK.train, micro_batch=4))
    np.testing.assert_allclose(np.asarray(model.predict(mixed)), together, atol=1e-5)


def test_equal_seeds_give_equal_bits() -> None:
    test = corpus(JOINT, 8, 7)
    first, again, other = (trained(JOINT, QUICK, seed=s).predict(test) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(np.asarray(first) - np.asarray(other)).max() > 1e-3


def training_of(model: Model, data: Data) -> Training:
    model._sizes = model.sizes(data)
    network = model.build(model._sizes, generator())
    cpu, optimisers = torch.device("cpu"), model.optimisers(network)
    training = Training("m", network, model.train_config, cpu, 0, data, data, None, optimisers)
    training.begin_epoch()
    model.begin(training)
    return training


@pytest.mark.parametrize("draw", ["chunks", "sentences"])
def test_an_epoch_draws_every_chunk_once(draw: str) -> None:
    data = corpus(SINGLE, 21, 8)
    model = Model(replace(QUICK, draw=draw), SINGLE)
    training = training_of(model, data)
    drawn = model.draws(model.train_chunks, training.generator("order"))
    assert [len(d) for d in drawn] == [14, 14, 14], "batches of 8 sentences of 2 chunks, evened out"
    assert sorted(np.concatenate(drawn)) == list(range(42))
    whole = [set(d // 2) for d in drawn]
    assert all((len(s) == 7) == (draw == "sentences") for s in whole)
    again = model.draws(model.train_chunks, training.generator("order"))
    training.begin_epoch()
    later = model.draws(model.train_chunks, training.generator("order"))
    assert all(np.array_equal(a, b) for a, b in zip(drawn, again, strict=True))
    assert not np.array_equal(np.concatenate(drawn), np.concatenate(later))


def test_a_batch_holds_raw_chunks_and_their_sentences_targets() -> None:
    data = corpus(SINGLE, 8, 9)
    model = Model(QUICK, SINGLE)
    training = training_of(model, data)
    drawn = model.draws(model.train_chunks, training.generator("order"))
    for numbers, (chunks, targets) in zip(drawn, model.batches(training), strict=True):
        for number, chunk, target in zip(numbers, chunks, targets, strict=True):
            frames = data.array(int(number) // 2)
            start = 0 if number % 2 == 0 else len(frames) - 15
            np.testing.assert_array_equal(chunk.numpy(), frames[start : start + 15])
            assert target.item() == pytest.approx(data.labels[number // 2, 0], rel=1e-6)  # label moments still 0 and 1


def test_presets_have_the_optimisers_that_they_state() -> None:
    def rules(name: str) -> dict[str, tuple[type, float, int]]:
        model = Model(PRESETS[name], SINGLE)
        network = model.build({"frames": 62, "bands": 128, "chunks": 11}, generator())
        groups = {k: (o, o.param_groups[0]) for k, o in model.optimisers(network).items()}
        return {k: (type(o), g["lr"], sum(p.numel() for p in g["params"])) for k, (o, g) in groups.items()}

    encoder, head = 435_168 + 262_400, 65_792 + 257
    assert rules("paper") == {"encoder": (torch.optim.SGD, 1e-3, encoder), "heads": (torch.optim.Adam, 5e-4, head)}
    assert rules("default") == {"encoder": (torch.optim.Adam, 5e-4, encoder), "heads": (torch.optim.Adam, 5e-4, head)}
    assert PRESETS["paper"].train.batch_size == 64
    assert sum(n for _, _, n in rules("small").values()) < 400_000
    follows = replace(PRESETS["default"], train=TrainConfig(learning_rate=1e-4))
    network = Model(follows, SINGLE).build({"frames": 62, "bands": 128, "chunks": 11}, generator())
    assert Model(follows, SINGLE).optimisers(network)["encoder"].param_groups[0]["lr"] == 1e-4


# Bad input


def test_lists_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(SerbenchError, match=r"model\.channels has 2 layers, model\.strides 7"):
        Config(channels=(8, 16))


def test_features_that_do_not_fit_are_refused() -> None:
    model = trained(SINGLE, QUICK)
    with pytest.raises(SerbenchError, match=r"8 bands\. Expected 16"):
        model.predict(corpus(SINGLE, 3, 1, bands=8))
    data = corpus(SINGLE, 8, 1)
    rows = FeatureTable.from_arrays({i: data.features["input"][i][:1] for i in data.ids}, None)
    with pytest.raises(SerbenchError, match="one row per utterance"):
        Model(QUICK, SINGLE).fit(replace(data, features={"input": rows}), data, ccc)


@pytest.mark.parametrize("short", ["tile", "edge", "zero"])
def test_silent_and_very_short_utterances_and_constant_labels_train(short: str) -> None:
    data = corpus(JOINT, 12, 4)
    arrays = {i: data.array(k) for k, i in enumerate(data.ids)}
    arrays["u000"], arrays["u001"] = np.zeros_like(arrays["u000"]), arrays["u001"][:3]
    labels = data.labels.copy()
    labels[:, 1] = 4.0
    data = replace(data, features={"input": FeatureTable.from_arrays(arrays, HOP)}, labels=labels)
    model = Model(replace(QUICK, short=short, train=replace(QUICK.train, epochs=2)), JOINT)
    log = model.fit(data, data, lambda gold, predicted: 0.0)
    assert log.facts["extended_sentences"] == 1
    found = np.asarray(model.predict(data))
    assert np.isfinite(found).all()
    assert np.abs(found[:, 1] - 4).max() < 3


# The authors' own networks


def released(folder: Path, attribute: str) -> ChunkNetwork:
    """A released network in ours: their layers in order, their names mapped by position."""
    from scipy.io import loadmat

    file = next((folder / "weights").glob(f"*_{attribute}.pth.tar"))
    theirs = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
    theirs = {re.sub(r"\.module", "", k): v for k, v in theirs.items()}
    network = ChunkNetwork(62, 128, 1, PAPER)
    state = network.state_dict()
    pairs = {"encoder.latent": "cnn_out.0", "emotion.0": "emo_regressor.0", "emotion.2": "top_layer_attri"}
    for layer in range(7):
        pairs[f"encoder.convolutions.{layer}"] = f"cnn_features.{3 * layer}"
        pairs[f"encoder.norms.{layer}"] = f"cnn_features.{3 * layer + 1}"
    for key in state:
        module, _, name = key.rpartition(".")
        if module in pairs:
            state[key] = theirs[f"{pairs[module]}.{name}"]
    norms = {p.stem: loadmat(p)["normal_para"] for p in (folder / "norm").glob("*.mat")}
    network.load_state_dict(state)
    network.normaliser.set(norms["feat_norm_means"].ravel(), 1 / norms["feat_norm_stds"].ravel())
    network.label_mean.fill_(float(norms[f"{attribute.lower()}_norm_means"].item()))
    network.label_std.fill_(float(norms[f"{attribute.lower()}_norm_stds"].item()))
    return network


@pytest.mark.parametrize(("attribute", "column"), [("Act", "arousal"), ("Dom", "dominance"), ("Val", "valence")])
def test_released_networks_predict_what_their_authors_program_predicts(
    test_data: Path, attribute: str, column: str
) -> None:
    librosa = pytest.importorskip("librosa")
    import soundfile

    folder = test_data / "deepemoclusters_official"
    expected = pd.read_csv(folder / "expected_emodb.csv", index_col=0)
    chosen = expected.iloc[::67]
    arrays = {}
    for name in chosen.index:
        signal, rate = soundfile.read(next((test_data / "emodb").rglob(str(name))), dtype="float32")
        assert rate == 16000
        mel = librosa.feature.melspectrogram(
            y=signal / np.abs(signal).max(), sr=16000, n_fft=512, hop_length=256, n_mels=128, pad_mode="reflect"
        )
        arrays[str(name)] = mel.T.astype(np.float32)
    data = Data(SINGLE, chosen, {"input": FeatureTable.from_arrays(arrays, HOP)})
    model = Model(PRESETS["paper"], SINGLE)
    weights = {k: v.numpy() for k, v in released(folder, attribute).state_dict().items()}
    model.restore(weights, {"sizes": {"bands": 128, "frames": 62, "chunks": 11}})
    np.testing.assert_allclose(np.asarray(model.predict(data))[:, 0], chosen[column], atol=1e-3)


# The measurement


def test_both_layouts_of_the_speed_measurement_compute_the_same() -> None:
    ours, plain = measure_layout("channels_last", sentences=2), measure_layout("plain", sentences=2)
    assert ours["train_loss"] == pytest.approx(plain["train_loss"], abs=1e-5)
    assert ours["dev_loss"] == pytest.approx(plain["dev_loss"], abs=1e-5)
    assert ours["cpu_seconds"] > 0
