"""The training loop of all torch models: selection, determinism, resume, bad numbers."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors
import torch
from torch import Tensor, nn

from serbench.datasets.core.config import from_dict, override, to_dict
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.task import Task
from serbench.features.core.feature_extractor import FeatureRequest
from serbench.features.core.feature_table import FeatureTable
from serbench.sermodels.core.sermodel import Data, FitLog, Predictions, Resources
from serbench.sermodels.inputs.batches import Batch, Batches, even_batches, map_batches, micro_batches, shuffled
from serbench.sermodels.training.device import autocast, controlled, derived_seed, torch_device
from serbench.sermodels.training.losses import ccc_losses
from serbench.sermodels.training.settings import TrainConfig, make_optimiser
from serbench.sermodels.training.torch_model import TorchModel
from serbench.sermodels.training.training import STATE, Meter, Training

TASK = Task("attributes", "regression", ("arousal", "valence"), scales={"arousal": (1, 7), "valence": (1, 7)})
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Config:
    train: TrainConfig = field(default=TrainConfig(epochs=6, patience=0, batch_size=8, learning_rate=1e-2))
    poison: tuple[int, ...] = ()
    """(epoch, step) at which the second loss is not a number."""


class Net(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(dim, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3))
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x))
        return out


class Model(TorchModel):
    """The mean frame of an utterance, through a net with dropout and batch normalisation."""

    name = "mean-net"
    kinds = frozenset({"regression"})
    steps = 0
    last: Training

    @classmethod
    def requests(cls, config: Config, task: Task) -> dict[str, FeatureRequest]:
        return {"input": FeatureRequest("mel")}

    def build(self, sizes: Mapping[str, Any], generator: torch.Generator) -> nn.Module:
        return Net(sizes["dim"])

    def optimisers(self, network: nn.Module) -> dict[str, torch.optim.Optimizer]:
        assert isinstance(network, Net)
        t = self.train_config
        return {
            "body": make_optimiser(t.optimiser, network.body.parameters(), t.learning_rate, 0.0, t.momentum),
            "head": make_optimiser("sgd", network.head.parameters(), t.learning_rate, 0.0, 0.9),
        }

    def _rows(self, data: Data, items: np.ndarray) -> Tensor:
        return torch.from_numpy(np.stack([data.array(int(i)).mean(0) for i in items]))

    def batches(self, training: Training) -> Batches:
        self.last, self.steps = training, 0
        data = training.train
        order = shuffled(len(data), training.generator("order"))

        def load(items: np.ndarray) -> Batch:
            return self._rows(data, items), torch.tensor(data.labels[items], dtype=torch.float32)

        return Batches(even_batches(order, training.settings.batch_size), load, training.device)

    def losses(self, training: Training, batch: Batch) -> dict[str, Tensor]:
        self.steps += 1
        loss = ccc_losses(training.network(batch[0]), batch[1]).mean()
        bad = self.config.poison == (training.epoch, self.steps)
        return {"loss": loss, "other": loss * (math.nan if bad else 2.0)}

    def epoch(self, training: Training) -> Mapping[str, float]:
        training.kept["count"] = training.kept.get("count", np.zeros(1)) + 1
        return super().epoch(training)

    def infer(self, network: nn.Module, data: Data) -> Predictions:
        some = micro_batches(len(data), self.micro_batch(5, 64))
        batches = Batches(some, lambda items: (self._rows(data, items),), self.device)
        return np.asarray(map_batches(batches, lambda b: network(b[0])).cpu().double().numpy())


def make(n: int = 40, seed: int = 0, dim: int = 6) -> Data:
    generator = np.random.default_rng(seed)
    labels = generator.uniform(1, 7, size=(n, 2))
    mix = np.random.default_rng(99).normal(size=(2, dim))
    arrays = {
        f"u{i}": (labels[i] @ mix + generator.normal(size=(int(generator.integers(3, 9)), dim))).astype(np.float32)
        for i in range(n)
    }
    items = pd.DataFrame(index=pd.Index(list(arrays), name="id"))
    return Data(TASK, items, {"input": FeatureTable.from_arrays(arrays, 0.01)}, labels)


TRAIN, DEV = make(40, 0), make(15, 1)


def ccc(gold: Any, predicted: Any) -> float:
    covariance = ((gold - gold.mean(0)) * (predicted - predicted.mean(0))).mean(0)
    return float((2 * covariance / (gold.var(0) + predicted.var(0) + (gold.mean(0) - predicted.mean(0)) ** 2)).mean())


def settings(**changes: Any) -> Config:
    return Config(train=replace(Config().train, **changes))


def fit(config: Config | None = None, seed: int = 3, score: Callable[..., float] = ccc, **resources: Any) -> Model:
    model = Model(config or Config(), TASK, Resources(seed=seed, **resources))
    model.log = model.fit(TRAIN, DEV, score)  # type: ignore[attr-defined]
    return model


def log_of(model: Model) -> FitLog:
    return model.log  # type: ignore[attr-defined, no-any-return]


def predictions(model: Model) -> np.ndarray:
    return np.asarray(model.predict(DEV))


# Selection


def scripted(values: list[float]) -> Callable[..., float]:
    left = list(values)
    return lambda gold, predicted: left.pop(0)


def test_training_stops_after_patience_and_keeps_the_best_weights() -> None:
    model = fit(settings(epochs=20, patience=2), score=scripted([0.1, 0.5, 0.3, 0.5, 9.0]))
    assert [row["epoch"] for row in log_of(model).epochs] == [1, 2, 3, 4], "an equal score is no improvement"
    assert [row["dev_score"] for row in log_of(model).epochs] == [0.1, 0.5, 0.3, 0.5]
    assert log_of(model).best_epoch == 2
    assert log_of(model).facts["stopped_early"] is True
    two = fit(settings(epochs=20, patience=0), score=scripted([0.1, 0.5] + [0.0] * 18))
    short = fit(settings(epochs=2))
    np.testing.assert_array_equal(predictions(model), predictions(two))
    np.testing.assert_array_equal(predictions(model), predictions(short))
    assert len(log_of(two).epochs) == 20, "patience 0 runs all epochs"


def test_an_undefined_dev_score_loses_to_any_number() -> None:
    model = fit(settings(epochs=4), score=scripted([math.nan, -0.9, math.nan, -0.95]))
    assert log_of(model).best_epoch == 2
    alone = fit(settings(epochs=2), score=scripted([math.nan, math.nan]))
    assert log_of(alone).best_epoch == 1
    assert np.isfinite(predictions(alone)).all()


def test_dev_scores_are_taken_of_predictions_per_item() -> None:
    seen = []

    def score(gold: Any, predicted: Any) -> float:
        seen.append((gold is DEV.labels, predicted.shape, predicted.dtype))
        return 0.0

    fit(settings(epochs=2), score=score)
    assert seen == [(True, (15, 2), np.dtype(np.float64))] * 2


def test_training_improves_and_the_log_says_so() -> None:
    model = fit(settings(epochs=30))
    rows = log_of(model).epochs
    assert ccc(DEV.labels, predictions(model)) > 0.5
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[0]["other"] == pytest.approx(2 * rows[0]["loss"], rel=1e-6)
    assert model.parameters == 6 * 8 + 8 + 16 + 8 * 2 + 2
    assert log_of(model).facts["device"] == "cpu"


# Determinism


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    first, again, other = fit(seed=1), fit(seed=1), fit(seed=2)
    np.testing.assert_array_equal(predictions(first), predictions(again))
    assert np.abs(predictions(first) - predictions(other)).max() > 1e-3


def test_the_state_of_the_process_neither_matters_nor_changes() -> None:
    reference = predictions(fit())
    torch.manual_seed(77)
    np.random.seed(77)  # noqa: NPY002 (the global state is what this test is about)
    before, numbers = torch.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
    filling = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    model = fit()
    np.testing.assert_array_equal(predictions(model), reference)
    with pytest.raises(SerbenchError, match="is nan at step 1"):
        fit(replace(Config(), poison=(1, 1)))
    model.restore(*model.state())
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], numbers)  # noqa: NPY002
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory == filling  # type: ignore[attr-defined]


def test_controlled_sets_and_puts_back_deterministic_algorithms() -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with controlled(CPU, False, 0):
            assert not torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        with pytest.raises(ZeroDivisionError), controlled(CPU, True, 0):
            assert 1 / (torch.get_deterministic_debug_mode() - 2), "2 is the strict mode"
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_seeds_of_different_purposes_differ() -> None:
    parts = [(s, e, p) for s in range(3) for e in range(3) for p in ("order", "layers")]
    assert len({derived_seed(*p) for p in parts}) == len(parts)
    assert derived_seed(1, 23) != derived_seed(12, 3)


def test_micro_batches_change_no_prediction() -> None:
    model = fit()
    reference = predictions(model)
    for size in (1, 4, 100):
        model.config = settings(micro_batch=size)
        np.testing.assert_allclose(predictions(model), reference, atol=1e-6)
    assert model.predict(DEV.take([])).shape == (0, 2)  # type: ignore[union-attr]


# Resume


def interrupted(config: Config, folder: Path, epoch: int) -> None:
    """Train until something is reported from the given epoch, then press Ctrl-C."""

    def progress(text: str, share: float) -> None:
        if text.startswith(f"epoch {epoch}/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(config, progress=progress, checkpoint=folder)


def numbers(model: Model) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in log_of(model).epochs]


SGD = {"optimiser": "sgd", "momentum": 0.9, "schedule": "cosine", "warmup_epochs": 1.5}


@pytest.mark.parametrize("changes", [{}, SGD])
def test_an_interrupted_training_ends_in_the_same_bits(tmp_path: Path, changes: dict[str, Any]) -> None:
    config = settings(**changes)
    unbroken = fit(config)
    interrupted(config, tmp_path / "a", 4)
    interrupted(config, tmp_path / "a", 6)
    resumed = fit(config, checkpoint=tmp_path / "a")
    assert log_of(resumed).facts["resumed_after_epoch"] == 5
    np.testing.assert_array_equal(predictions(resumed), predictions(unbroken))
    assert numbers(resumed) == numbers(unbroken)
    assert log_of(resumed).best_epoch == log_of(unbroken).best_epoch
    assert resumed.last.kept["count"].tolist() == [6]
    assert not (tmp_path / "a").exists(), "the state is removed at the end"


def test_best_weights_and_patience_survive_an_interruption(tmp_path: Path) -> None:
    config = settings(epochs=20, patience=3)
    values = [0.1, 0.9, 0.3, 0.2, 0.1]
    unbroken = fit(config, score=scripted(values))
    with pytest.raises(IndexError, match="pop from empty list"):  # the script of scores ends
        fit(config, score=scripted(values[:3]), checkpoint=tmp_path)
    resumed = fit(config, score=scripted(values[3:]), checkpoint=tmp_path)
    assert log_of(resumed).best_epoch == 2
    assert numbers(resumed) == numbers(unbroken)
    np.testing.assert_array_equal(predictions(resumed), predictions(unbroken))


def test_the_state_is_safetensors_and_replaced_at_once_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(Config(), tmp_path, 3)
    file = tmp_path / STATE
    with safetensors.safe_open(file, framework="np") as content:
        assert {k.split(".")[0] for k in content.keys()} == {"network", "best", "optimiser", "kept"}  # noqa: SIM118
    kept = file.read_bytes()

    def broken(source: Any, target: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", broken)
        with pytest.raises(KeyboardInterrupt):
            fit(checkpoint=tmp_path)
    assert file.read_bytes() == kept
    resumed = fit(checkpoint=tmp_path)
    assert log_of(resumed).facts["resumed_after_epoch"] == 2
    np.testing.assert_array_equal(predictions(resumed), predictions(fit()))


@pytest.mark.parametrize("damage", ["seed", "config", "labels", "cut", "empty", "text"])
def test_a_state_that_does_not_fit_is_not_taken_up(tmp_path: Path, damage: str) -> None:
    interrupted(Config(), tmp_path, 4)
    file, config, seed, train = tmp_path / STATE, Config(), 3, TRAIN
    if damage == "seed":
        seed = 4
    elif damage == "config":
        config = settings(learning_rate=2e-2)
    elif damage == "labels":
        train = replace(TRAIN, labels=TRAIN.labels[::-1].copy())
    else:
        file.write_bytes({"cut": file.read_bytes()[:-9], "empty": b"", "text": b"not a tensor file"}[damage])
    model = Model(config, TASK, Resources(seed=seed, checkpoint=tmp_path))
    log = model.fit(train, DEV, ccc)
    fresh = Model(config, TASK, Resources(seed=seed))
    fresh.fit(train, DEV, ccc)
    assert "resumed_after_epoch" not in log.facts
    assert len(log.epochs) == 6
    np.testing.assert_array_equal(predictions(model), predictions(fresh))


def test_states_are_saved_as_often_as_asked(tmp_path: Path) -> None:
    interrupted(settings(checkpoint_epochs=2), tmp_path, 4)
    resumed = fit(settings(checkpoint_epochs=2), checkpoint=tmp_path)
    assert log_of(resumed).facts["resumed_after_epoch"] == 2
    interrupted(settings(checkpoint_epochs=0), tmp_path / "none", 4)
    assert not (tmp_path / "none").exists()


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(int(sys.argv[2]))
import test_torch_base as t
from pathlib import Path

def progress(text, share):
    if text.startswith("epoch 4/6 dev"):
        os.kill(os.getpid(), signal.SIGKILL)

t.fit(progress=progress, checkpoint=Path(sys.argv[3]))
"""


def test_a_killed_training_ends_in_the_same_bits(tmp_path: Path) -> None:
    threads = str(torch.get_num_threads())
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(Path(__file__).parent), threads, str(tmp_path / "a")]
    done = subprocess.run(command, capture_output=True, timeout=120, env={**os.environ, "PYTHONSAFEPATH": "1"})
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    resumed = fit(checkpoint=tmp_path / "a")
    assert log_of(resumed).facts["resumed_after_epoch"] == 3
    np.testing.assert_array_equal(predictions(resumed), predictions(fit()))


# Bad numbers, bad devices


def test_a_loss_that_is_not_finite_stops_the_training_in_words() -> None:
    where = r"epoch 2.*'other' is nan at step 3 of the pass 'train'.*learning_rate=0\.001"
    with pytest.raises(SerbenchError, match=where):
        fit(replace(Config(), poison=(2, 3)))


def test_on_an_accelerator_losses_are_looked_at_now_and_then() -> None:
    settings = TrainConfig(amp="bf16")
    training: Any = SimpleNamespace(device=torch.device("cuda"), settings=settings, model="m", epoch=7)
    meter = Meter(training, "stage 1")
    for step in range(49):
        meter.add({"loss": torch.tensor(1.0 if step != 30 else math.inf)})  # nobody looks yet
    with pytest.raises(SerbenchError, match=r"epoch 7: the loss 'loss' is inf at step 31 of .*train\.amp=off"):
        meter.add({"loss": torch.tensor(1.0)})
    few = Meter(training, "stage 1")
    few.add({"a": torch.tensor(1.0), "b": torch.tensor(3.0)})
    few.add({"a": torch.tensor(2.0), "b": torch.tensor(5.0)})
    assert few.means() == {"a": 1.5, "b": 4.0}


def test_dev_predictions_that_are_not_finite_stop_the_training() -> None:
    class Broken(Model):
        def infer(self, network: nn.Module, data: Data) -> Predictions:
            return np.full((len(data), 2), np.nan)

    with pytest.raises(SerbenchError, match="epoch 1: predictions of the dev data"):
        Broken(Config(), TASK).fit(TRAIN, DEV, ccc)


def test_data_without_labels_and_untrained_models_are_refused() -> None:
    model = Model(Config(), TASK)
    with pytest.raises(SerbenchError, match="training data"):
        model.fit(replace(TRAIN, labels=None), DEV, ccc)
    with pytest.raises(SerbenchError, match="dev data"):
        model.fit(TRAIN, DEV.take([]), ccc)
    with pytest.raises(SerbenchError, match="not trained"):
        model.predict(DEV)
    with pytest.raises(SerbenchError, match="not trained"):
        model.state()
    assert model.parameters == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA card")
def test_a_device_that_is_not_there_is_refused_in_words() -> None:
    with pytest.raises(SerbenchError, match=r"'cuda' can't be used here.*auto or one of: cpu"):
        fit(device="cuda")
    assert torch_device("auto").type in ("cpu", "mps")


def test_half_precision() -> None:
    full, half = fit(), fit(settings(amp="bf16"))
    assert log_of(half).facts["amp"] == "bf16"
    difference = np.abs(predictions(half) - predictions(full)).max()
    assert 0 < difference < 0.5
    with pytest.raises(SerbenchError, match=r"train\.amp=fp16 needs a CUDA card"):
        fit(settings(amp="fp16"))
    with autocast(CPU, "bf16"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


def test_progress_rises_from_0_to_1() -> None:
    seen: list[tuple[str, float]] = []
    fit(settings(epochs=3), progress=lambda text, share: seen.append((text, share)))
    shares = [share for _, share in seen]
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.2
    assert shares[-1] == 1.0
    assert seen[0][0] == "epoch 1/3 train"


def test_training_settings_are_a_config_like_any_other() -> None:
    changed = override(TrainConfig(), {"epochs": "3", "amp": "bf16", "deterministic": "no"}, "train.")
    assert (changed.epochs, changed.amp, changed.deterministic) == (3, "bf16", False)
    assert from_dict(Config, to_dict(settings(epochs=4))) == settings(epochs=4)
    with pytest.raises(SerbenchError, match=r"train\.amp"):
        override(TrainConfig(), {"amp": "int8"}, "train.")
