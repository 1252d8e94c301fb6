"""Fine-tuning: gradients of steps in parts, what is frozen, step sizes, masks, cuts, families, saving, bad input."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from serbench.datasets.core.config import to_dict
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.task import Task
from serbench.features.core.feature_table import FeatureTable
from serbench.features.encoders.checkpoint import locate
from serbench.features.encoders.encoder import Inputs
from serbench.features.encoders.families import RANDOM
from serbench.features.encoders.loading import load
from serbench.sermodels.core.persist import load_model, save_model
from serbench.sermodels.core.sermodel import Data, Resources
from serbench.sermodels.inputs.waveforms import Cut, Waves, cuts, time_masks
from serbench.sermodels.pretrained.finetuning import FineTuned, StepPart, by_depth, freeze, save_memory, step_losses
from serbench.sermodels.training.objective import Objective
from serbench.sermodels.training.pooling import PoolingHead
from serbench.sermodels.training.settings import TrainConfig
from serbench.sermodels.training.training import Training
from serbench.sermodels.transformer.model import PRESETS, TINY, Config, Model

RATE = 16000
CLASSES = Task("emotion", "classification", ("emotion",), labels=("a", "b"))
SCALES = {"arousal": (1.0, 7.0), "valence": (1.0, 7.0)}
ATTRIBUTES = Task("attributes", "regression", ("arousal", "valence"), scales=SCALES)
TRACES = Task("trace", "continuous", ("arousal", "valence"), scales=SCALES, frame_seconds=0.1)
LENGTHS = (9000, 16000, 5000, 12000, 7000, 14000)


def signals(lengths: tuple[int, ...] = LENGTHS) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [(generator.standard_normal(n) * 0.1 * (1 + i)).astype(np.float32) for i, n in enumerate(lengths)]


def network(task: Task, name: str = "wav2vec2-tiny", dropout: float = 0.0) -> FineTuned:
    torch.manual_seed(1)
    changes = dict.fromkeys(("hidden_dropout", "attention_dropout", "activation_dropout", "layerdrop"), dropout)
    encoder = load(locate(f"random:{name}"), masks=True, changes=changes)
    freeze(encoder, True, 0)
    traces = task.kind == "continuous"
    head = PoolingHead(24, task.n_outputs, 0, "none", "none" if traces else "attentive", 8, dropout)
    return FineTuned(encoder, head, task.n_outputs, task.frame_seconds if traces else None).train()


def parts(made: FineTuned, rows: list[list[int]], counts: tuple[int, ...] = (0,) * 6) -> list[StepPart]:
    whole = made.encoder.inputs(signals(), normalise=True)
    found = []
    for own in rows:
        longest = max(whole.samples[i] for i in own)
        inputs = Inputs(whole.values[own, :longest], tuple(whole.samples[i] for i in own))
        found.append(StepPart(tuple(own), inputs, None, tuple(counts[i] for i in own)))
    return found


def training(made: FineTuned) -> Training:
    empty = Data(CLASSES, pd.DataFrame(), {})
    return Training("transformer", made, TrainConfig(), torch.device("cpu"), 0, empty, empty, None, {})


def gradients(
    made: FineTuned, found: list[StepPart], targets: Tensor, objective: Objective
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    made.zero_grad()
    run = training(made)
    losses = step_losses(run, made, found, targets, objective)
    run.backward(losses["loss"])
    held = {name: p.grad.clone() for name, p in made.named_parameters() if p.grad is not None}
    return losses, held


FRONT = ("model.feature_extractor", "model.conv1", "model.conv2", "model.embeddings.")
SPLIT = [[1, 5], [3, 0], [4, 2]]


def regression_targets() -> Tensor:
    return torch.randn(6, 2, generator=torch.Generator().manual_seed(3))


def trace_targets() -> tuple[Tensor, tuple[int, ...]]:
    counts = tuple(n // 1600 for n in LENGTHS)
    targets = torch.full((6, max(counts), 2), torch.nan)
    for row, count in zip(targets, counts, strict=True):
        row[:count] = torch.randn(count, 2, generator=torch.Generator().manual_seed(count))
    targets[1, 3] = torch.nan
    return targets, counts


@pytest.mark.parametrize("kind", ["regression", "continuous", "classification", "balanced"])
def test_steps_in_parts_have_the_gradient_of_the_whole_batch(kind: str) -> None:
    task = {"regression": ATTRIBUTES, "continuous": TRACES}.get(kind, CLASSES)
    made, counts = network(task), (0,) * 6
    objective = Objective(task, "balanced" if kind == "balanced" else "none")
    targets = torch.tensor([0, 0, 1, 0, 0, 1])
    objective.begin(targets.numpy())
    if kind == "regression":
        targets = regression_targets()
    elif kind == "continuous":
        targets, counts = trace_targets()
    whole = gradients(made, parts(made, [[0, 1, 2, 3, 4, 5]], counts), targets, objective)
    apart = gradients(made, parts(made, SPLIT, counts), targets, objective)
    assert apart[0]["loss"].item() == pytest.approx(whole[0]["loss"].item(), abs=1e-5)
    assert apart[1].keys() == whole[1].keys()
    for name, gradient in whole[1].items():
        torch.testing.assert_close(apart[1][name], gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_a_mean_over_parts_would_be_another_gradient() -> None:
    """What accumulation by backward calls alone does to a batch-wise CCC."""
    made, objective, targets = network(ATTRIBUTES), Objective(ATTRIBUTES), regression_targets()
    _, whole = gradients(made, parts(made, [[0, 1, 2, 3, 4, 5]]), targets, objective)
    made.zero_grad()
    for part in parts(made, SPLIT):
        (objective.losses(made(part), targets[list(part.rows)])["loss"] / 3).backward()
    name = f"head.out.{len(made.head.out) - 1}.weight"
    naive = dict(made.named_parameters())[name].grad
    assert naive is not None
    assert (naive - whole[name]).norm() > 0.05 * whole[name].norm()


def test_both_passes_of_a_step_see_the_same_dropout() -> None:
    made, objective = network(ATTRIBUTES, dropout=0.3), Objective(ATTRIBUTES)
    seen: list[Tensor] = []
    made.register_forward_hook(lambda _m, _a, output: seen.append(output.detach().clone()))
    torch.manual_seed(5)
    losses, _ = gradients(made, parts(made, SPLIT), regression_targets(), objective)
    assert len(seen) == 6
    for first, second in zip(seen[:3], seen[3:], strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=1e-6)
    assert (seen[0] - made(parts(made, SPLIT)[0])).abs().max() > 1e-3  # the next draw is another one
    assert torch.isfinite(losses["loss"])


def test_gradient_checkpointing_changes_no_gradient() -> None:
    made, objective, targets = network(ATTRIBUTES), Objective(ATTRIBUTES), regression_targets()
    _, plain = gradients(made, parts(made, [[0, 1, 2, 3, 4, 5]]), targets, objective)
    save_memory(made.encoder)
    _, saved = gradients(made, parts(made, [[0, 1, 2, 3, 4, 5]]), targets, objective)
    for name, gradient in plain.items():
        torch.testing.assert_close(saved[name], gradient, rtol=1e-4, atol=1e-7, msg=name)


def test_company_changes_no_output() -> None:
    made = network(ATTRIBUTES).eval()
    with torch.no_grad():
        together = made(parts(made, [[0, 1, 2, 3, 4, 5]])[0])
        alone = torch.cat([made(part) for part in parts(made, [[i] for i in range(6)])])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_label_frames_take_the_mean_of_the_encoders_frames_around_them() -> None:
    made = network(TRACES)
    frames = torch.arange(49.0)[:, None].expand(49, 24)
    centres = (np.arange(49) * 320 + 172.5) / RATE
    nearest = np.abs(centres[:, None] - np.arange(11) * 0.1).argmin(axis=1)
    truth = [np.flatnonzero(nearest == min(k, nearest[-1])).mean() for k in range(12)]
    np.testing.assert_allclose(made.on_grid(frames, 12)[:, 0].numpy(), truth, rtol=1e-6)
    made._frame_seconds = 0.01  # finer than the encoder's frames
    assert made.on_grid(frames, 5)[:, 0].tolist() == [0.0, 0.0, 1.0, 2.0, 2.0]


# What is trained, and how fast.


@pytest.mark.parametrize("name", [n for n in sorted(RANDOM) if n.endswith("tiny")])
def test_the_front_end_and_low_blocks_can_be_frozen_in_every_family(name: str) -> None:
    encoder = load(locate(f"random:{name}"))
    for frozen in (0, 1):
        encoder.requires_grad_(True)
        freeze(encoder, True, frozen)
        trained = {n for n, p in encoder.named_parameters() if p.requires_grad}
        assert not any(n.startswith(FRONT) for n in trained)
        blocks = {n for n in trained if re.search(r"layers?\.0\.", n) and "pos_conv" not in n}
        assert bool(blocks) == (frozen == 0)
        assert any(re.search(r"layers?\.1\.", n) for n in trained)
        groups = by_depth(encoder)
        assert len(groups) == 3
        counted = [id(p) for group in groups for p in group]
        assert sorted(counted) == sorted(id(p) for p in encoder.parameters() if p.requires_grad)
        assert groups[1] or frozen


def test_step_sizes_fall_from_block_to_block() -> None:
    config = dataclasses.replace(TINY, encoder_rate=1e-4, layer_decay=0.5)
    found = Model(config, CLASSES).optimisers(network(CLASSES))
    rates = {name: optimiser.param_groups[0]["lr"] for name, optimiser in found.items()}
    assert rates == {"head": 2e-2, "encoder.0": 2.5e-5, "encoder.1": 5e-5, "encoder.2": 1e-4}
    plain = Model(dataclasses.replace(config, layer_decay=1.0), CLASSES).optimisers(network(CLASSES))
    assert {name: o.param_groups[0]["lr"] for name, o in plain.items()} == {"head": 2e-2, "encoder.0": 1e-4}


# Waves.


def data(task: Task, arrays: list[np.ndarray], labels: Any, rate: int = RATE) -> Data:
    table = {f"u{i}": a[:, None] for i, a in enumerate(arrays)}
    items = pd.DataFrame({"speaker": "s"}, index=list(table))
    counts = {k: len(t) for k, t in zip(table, labels, strict=True)} if task.kind == "continuous" else {}
    return Data(task, items, {"input": FeatureTable.from_arrays(table, 1 / rate, rate)}, labels, frames=counts)


def test_masks_are_spans_inside_utterances_that_are_long_enough() -> None:
    masks = time_masks([200, 9, 10, 60], 0.3, 10, torch.Generator().manual_seed(1))
    assert masks.shape == (4, 200)
    assert not masks[1].any()
    assert masks[2].sum() == 10
    assert not masks[2, 10:].any()
    assert not masks[3, 60:].any()
    runs = np.flatnonzero(np.diff(np.r_[0, masks[0].int().numpy(), 0])).reshape(-1, 2)
    assert ((runs[:, 1] - runs[:, 0]) >= 10).all()
    assert 10 <= masks[0].sum() <= 70
    again = time_masks([200, 9, 10, 60], 0.3, 10, torch.Generator().manual_seed(1))
    assert torch.equal(masks, again)
    assert not time_masks([200], 0.0, 10, torch.Generator()).any()


def test_masked_frames_are_replaced_by_the_encoders_own_vector() -> None:
    encoder = load(locate("random:wavlm-tiny"), masks=True).train()
    inputs = encoder.inputs(signals((16000,)))
    masked = torch.zeros(1, 49, dtype=torch.bool)
    masked[0, 10:20] = True
    with torch.no_grad():
        seen: list[Tensor] = []
        encoder.model.encoder.register_forward_pre_hook(lambda _m, a, k: seen.append(a[0].clone()), with_kwargs=True)
        encoder(inputs, masked, layers=(2,))
    own = encoder.model.masked_spec_embed
    torch.testing.assert_close(seen[0][0, 10:20], own.expand(10, -1).detach())
    assert (seen[0][0, 20:] - own).abs().max() > 1e-3


def test_waves_are_normalised_by_the_rule_that_is_asked_for() -> None:
    held = data(CLASSES, signals(), np.zeros(6, np.int64))
    mean, std = Waves(held, 0).moments()
    together = np.concatenate(signals()).astype(np.float64)
    assert (mean, std) == (pytest.approx(together.mean(), abs=1e-9), pytest.approx(together.std(), rel=1e-9))
    scaled = Waves(held, 0, moments=(mean, std))[2]
    np.testing.assert_allclose(scaled, (signals()[2] - mean) / std, rtol=1e-5, atol=1e-6)
    assert Waves(held, 0, utterance=True)[3].std() == pytest.approx(1, abs=1e-4)
    np.testing.assert_array_equal(Waves(held, 0)[4], signals()[4])
    assert len(Waves(held, 0, most=1000)[1]) == 1000


def test_long_utterances_are_cut_at_random_or_at_their_beginning() -> None:
    held = data(CLASSES, [np.arange(8000, dtype=np.float32), np.arange(1000, dtype=np.float32)], np.array([0, 1]))
    waves = Waves(held, 1 << 20)
    found = cuts(held, waves, 0.25, 10)
    assert found == [Cut(0, 0, 4000, 4000), Cut(1, 0, 1000, 0)]
    assert waves.cut(found[0], None)[0] == 0
    places = {int(waves.cut(found[0], torch.Generator().manual_seed(i))[0]) for i in range(20)}
    assert len(places) > 10
    assert max(places) <= 4000
    assert len(waves.cut(found[0], torch.Generator())) == 4000


def test_recordings_are_cut_into_pieces_with_their_labels() -> None:
    labels = [np.arange(25.0)[:, None].repeat(2, 1), np.full((10, 2), np.nan)]
    held = data(TRACES, [np.arange(40000, dtype=np.float32), np.zeros(16000, np.float32)], labels)
    found = cuts(held, Waves(held, 0), 10, 1.0)
    assert found == [Cut(0, 0, 16000, 0, 0, 10), Cut(0, 16000, 16000, 0, 10, 10), Cut(0, 32000, 8000, 0, 20, 5)]


# The model.


def score(gold: Any, predicted: Any) -> float:
    if isinstance(gold, list):
        return -float(np.nanmean((np.concatenate(gold) - np.concatenate(predicted)) ** 2))
    return float((predicted.argmax(1) == gold).mean()) if gold.ndim == 1 else -float(((gold - predicted) ** 2).mean())


def tiny(name: str = "wav2vec2-tiny", epochs: int = 1, **changes: Any) -> Config:
    train = dataclasses.replace(TINY.train, epochs=epochs, batch_size=3)
    return dataclasses.replace(TINY, encoder=f"random:{name}", train=train, **changes)


def fitted(config: Config, task: Task = CLASSES, labels: Any = None, lengths: tuple[int, ...] = LENGTHS) -> Any:
    labels = np.arange(len(lengths)) % 2 if labels is None else labels
    model, held = Model(config, task, Resources(seed=3)), data(task, signals(lengths), labels)
    return model, model.fit(held, held, score), held


@pytest.mark.parametrize("name", [n for n in sorted(RANDOM) if n.endswith("tiny")])
def test_every_family_is_fine_tuned(name: str) -> None:
    before = load(locate(f"random:{name}"), masks=True).state_dict()
    model, log, held = fitted(tiny(name, parts=2))
    assert np.isfinite(log.epochs[0]["loss"])
    after = model.network.encoder.state_dict()
    moved = {key for key in before if before[key].is_floating_point() and not torch.equal(before[key], after[key])}
    assert any(re.search(r"layers?\.0\.", key) for key in moved)
    assert not any(key.startswith(FRONT) for key in moved)
    assert model.parameters == sum(p.numel() for p in model.network.parameters() if p.requires_grad)
    assert log.facts["frozen_parameters"] > 0
    predictions = model.predict(dataclasses.replace(held, labels=None))
    np.testing.assert_allclose(predictions.sum(axis=1), 1, atol=1e-6)
    alone = model.predict(held.take([4]))
    np.testing.assert_allclose(alone[0], predictions[4], atol=1e-5)


def test_very_short_utterances_are_trained_with_masks_and_predicted() -> None:
    """Clips shorter than a mask, or than the front end's field, crash the library's own masking."""
    model, log, _ = fitted(tiny(mask_time=0.5), lengths=(200, 1500, 9000, 345, 16000, 700))
    assert np.isfinite(log.epochs[0]["loss"])
    assert model.predict(data(CLASSES, signals((100,)), np.array([0]))).shape == (1, 2)


def test_attributes_and_traces_are_trained_in_parts_with_every_option() -> None:
    labels = np.random.default_rng(1).uniform(1, 7, (6, 2))
    config = tiny(
        parts=2,
        normalise="corpus",
        crop="start",
        max_seconds=0.5,
        gradient_checkpointing=True,
        hidden=0,
        pooling="mean",
        mask_time=None,
        layerdrop=None,
        encoder_dropout=None,
    )
    model, log, held = fitted(config, ATTRIBUTES, labels)
    assert log.facts["cut_in_training"] == 4
    whole = model.predict(held)
    start = data(ATTRIBUTES, [s[:8000] for s in signals()], labels)
    np.testing.assert_allclose(model.predict(start), whole, atol=1e-5)  # crop=start sees no more in prediction either
    traces = [np.random.default_rng(i).uniform(1, 7, (n // 1600, 2)) for i, n in enumerate(LENGTHS)]
    model, log, held = fitted(tiny(parts=3, piece_seconds=1.0), TRACES, traces)
    assert [p.shape for p in model.predict(held)] == [t.shape for t in traces]


def test_longer_utterances_are_predicted_from_all_of_their_windows() -> None:
    """With mean pooling and no cut, changing the end of a long utterance changes its prediction."""
    model, _, _ = fitted(tiny(pooling="mean", max_seconds=1.0))
    long = signals((60000,))[0]
    other = np.concatenate([long[:50000], signals((16000,))[0][:10000] * 3])
    a, b = (model.predict(data(CLASSES, [s.astype(np.float32)], np.array([0]))) for s in (long, other))
    assert np.abs(a - b).max() > 1e-4


def test_a_saved_model_needs_no_checkpoint(tmp_path: Path) -> None:
    from transformers import Wav2Vec2FeatureExtractor

    folder = tmp_path / "encoder"
    load(locate("random:hubert-tiny")).model.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    model, _, held = fitted(dataclasses.replace(tiny(), encoder=str(folder)))
    save_model(model, tmp_path / "kept")
    shutil.rmtree(folder)
    loaded = load_model(tmp_path / "kept")
    np.testing.assert_array_equal(loaded.predict(held), model.predict(held))
    assert loaded.parameters == model.parameters


def test_whisper_is_fine_tuned_and_saved_with_a_shorter_window(tmp_path: Path) -> None:
    """Training and prediction go through the first positions alone; the window of its own changes nothing."""
    long = (9000, 16000, 5000, 12000, 7000, 40000)
    whole, _, held = fitted(tiny("whisper-tiny"), lengths=long)
    own, _, _ = fitted(tiny("whisper-tiny", window_seconds=4.0), lengths=long)
    np.testing.assert_array_equal(own.predict(held), whole.predict(held))
    short, log, _ = fitted(tiny("whisper-tiny", window_seconds=1.0, overlap_seconds=0.2), lengths=long)
    assert log.facts["cut_in_training"] == 1
    assert len(short.network.encoder.model.embed_positions.weight) == 50
    assert np.abs(short.predict(held) - whole.predict(held)).max() > 1e-4
    save_model(short, tmp_path / "kept")
    np.testing.assert_array_equal(load_model(tmp_path / "kept").predict(held), short.predict(held))
    assert "window_seconds" not in to_dict(tiny())
    with pytest.raises(SerbenchError, match=r"model.window_seconds=1: .*wav2vec2 encoder, and only Whisper"):
        fitted(tiny(window_seconds=1.0))


def test_an_interrupted_training_ends_in_the_same_weights(tmp_path: Path) -> None:
    config = tiny(epochs=3, parts=2, mask_time=0.2, layerdrop=0.2, encoder_dropout=0.1)
    whole, _, held = fitted(config)
    steps: list[str] = []

    def stop(text: str, _share: float) -> None:
        steps.append(text)
        if text.startswith("epoch 3/3"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Model(config, CLASSES, Resources(3, progress=stop, checkpoint=tmp_path)).fit(held, held, score)
    again = Model(config, CLASSES, Resources(3, checkpoint=tmp_path))
    log = again.fit(held, held, score)
    assert log.facts["resumed_after_epoch"] == 2
    for key, value in whole.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[key]), key


def test_bfloat16_trains_on_a_processor() -> None:
    config = tiny(epochs=2)
    model, log, held = fitted(dataclasses.replace(config, train=dataclasses.replace(config.train, amp="bf16")))
    assert all(np.isfinite(row["loss"]) for row in log.epochs)
    assert all(p.dtype == torch.float32 for p in model.network.parameters())
    np.testing.assert_allclose(model.predict(held).sum(axis=1), 1, atol=1e-6)


def test_presets_and_requests() -> None:
    assert Model.requests(TINY, CLASSES)["input"].name == "waveform"
    assert dict(Model.requests(TINY, CLASSES)["input"].settings) == {"sampling_rate": "16000"}
    assert PRESETS["msp-podcast"].encoder == "microsoft/wavlm-large"
    assert Model.seen(dataclasses.replace(TINY, encoder="superb/hubert-base-superb-er")) == {"iemocap"}


def test_what_does_not_fit_is_refused() -> None:
    labels = np.arange(6) % 2
    wrong = data(CLASSES, signals(), labels, rate=8000)
    with pytest.raises(SerbenchError, match=r"8000 Hz.*Expected the waveform at 16000 Hz.*random:wav2vec2-tiny"):
        Model(tiny(), CLASSES).fit(wrong, wrong, score)
    held = data(CLASSES, signals(), labels)
    with pytest.raises(SerbenchError, match=r"frozen_layers=3.*has 2 blocks"):
        Model(tiny(frozen_layers=3), CLASSES).fit(held, held, score)
    with pytest.raises(SerbenchError, match=r"mask_time=0.1: frames of whisper"):
        Model(tiny("whisper-tiny", mask_time=0.1), CLASSES).fit(held, held, score)
    with pytest.raises(SerbenchError, match=r"no encoder is named"):
        Model.requests(Config(), CLASSES)
