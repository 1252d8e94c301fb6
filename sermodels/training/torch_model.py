"""The base of all torch models: one training loop, early stopping, best weights, resume, prediction, state.

A model says what its network is (`sizes`, `build`, `calibrate`), how a batch is made and what its losses are
(`batches`, `losses`), and how it predicts (`infer`). A paper with an unusual epoch (a clustering pass, an adversarial
phase) overrides `epoch` and calls `Training.sweep` once per stage; it never writes a second loop.

Everything that prediction needs, normalisation included, is a parameter or a buffer of the network.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Generic

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ...datasets.core.config import to_dict
from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import digest
from ...features.core.course import remove_state
from ..core.sermodel import Data, FitLog, Predictions, Score, SERModel
from ..inputs.batches import Batch, Batches
from .device import autocast, controlled, derived_seed, explained, torch_device
from .settings import TrainConfig, make_optimiser
from .training import STATE, N, Training, not_finite


class TorchModel(SERModel, Generic[N]):
    """A model with a torch network; its `Config` has a field `train: TrainConfig`."""

    uses_device: ClassVar[bool] = True
    network: N | None = None
    """The trained network, after `fit` or `restore`."""
    _sizes: Mapping[str, Any]
    _restored: bool = False
    """Whether `build` makes a network whose weights will be those of a saved one."""

    # What a model defines.

    def sizes(self, train: Data) -> dict[str, Any]:
        """JSON-able facts that `build` needs beside the config and the task: by default the feature's width."""
        return {"dim": train.features["input"].dim}

    @abstractmethod
    def build(self, sizes: Mapping[str, Any], generator: torch.Generator) -> N:
        """A fresh network on the CPU, its weights drawn from `generator`."""

    def calibrate(self, network: N, train: Data) -> None:
        """Fill the network's buffers (feature and label moments) from the training data; by default nothing."""

    def optimisers(self, network: N) -> dict[str, Optimizer]:
        """The optimisers that live through the training: by default one over all parameters."""
        return {"all": self.optimiser(network.parameters())}

    def begin(self, training: Training[N]) -> None:
        """Called once before the first epoch of this process, also when a training is taken up again."""

    def batches(self, training: Training[N]) -> Batches:
        """The labelled batches of an epoch; for the default `epoch`."""
        raise NotImplementedError

    def losses(self, training: Training[N], batch: Batch) -> Mapping[str, Tensor]:
        """Named losses of a batch, "loss" being the one to minimise; for the default `epoch`."""
        raise NotImplementedError

    def epoch(self, training: Training[N]) -> Mapping[str, float]:
        """One epoch; returns the numbers to log. By default one pass over the labelled batches."""
        return training.sweep("train", self.batches(training), lambda batch: self.losses(training, batch))

    def rank(self, training: Training[N], score: float) -> float:
        """What the best epoch is chosen by, higher is better: by default the dev score. Called in evaluation mode."""
        return score

    @abstractmethod
    def infer(self, network: N, data: Data) -> Predictions:
        """Predictions in row order, in micro-batches; called in evaluation mode without gradients."""

    # What every model shares.

    @property
    def train_config(self) -> TrainConfig:
        """The training settings."""
        assert isinstance(self.config.train, TrainConfig)
        return self.config.train

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return torch_device(self.resources.device)

    def optimiser(
        self, parameters: Iterable[nn.Parameter], kind: str | None = None, rate: float | None = None
    ) -> Optimizer:
        """One over some parameters; what is not said is as in the training settings."""
        t, step = self.train_config, self.train_config.learning_rate if rate is None else rate
        return make_optimiser(kind or t.optimiser, parameters, step, t.weight_decay, t.momentum)

    def micro_batch(self, cpu: int, card: int) -> int:
        """Items at once in passes without training: the setting, else what suits the device."""
        return self.train_config.micro_batch or (cpu if self.device.type == "cpu" else card)

    def fit(self, train: Data, dev: Data, score: Score, unlabelled: Data | None = None) -> FitLog:
        """Train until the dev score stops rising, and keep the weights of the best epoch.

        With `resources.checkpoint` an interrupted training is taken up after its last saved epoch and ends with the
        same weights as an unbroken one, bit for bit on the same machine.

        Raises
        ------
        SerbenchError
            When a loss or a dev prediction is not finite, and for a device that is not there or is out of memory.
        """
        for role, data in (("training", train), ("dev", dev)):
            if not len(data) or data.labels is None:
                raise SerbenchError(f"the {role} data has {len(data)} items with labels. Expected at least one.")
        with controlled(self.device, self.train_config.deterministic, self.resources.seed), explained():
            training, identity = self._start(train, dev, unlabelled)
            while not training.finished:
                self._one_epoch(training, score, identity)
            self._end(training)
        return training.log

    def predict(self, data: Data) -> Predictions:
        """Predictions in the row order of `data`, from the weights of the best epoch."""
        if self.network is None:
            raise SerbenchError(f"the model {self.name!r} is not trained. Call fit, or load trained weights.")
        if not len(data):
            return [] if self.task.kind == "continuous" else np.empty((0, self.task.n_outputs))
        with controlled(self.device, self.train_config.deterministic, self.resources.seed), explained():
            return self._evaluate(self.network, data)

    def state(self) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """Parameters and buffers of the network by name, and its sizes."""
        if self.network is None:
            raise SerbenchError(f"the model {self.name!r} is not trained, so there is nothing to save. Call fit first.")
        weights = self.network.state_dict()
        arrays = {k: v.detach().cpu().contiguous().numpy().copy() for k, v in weights.items()}
        return arrays, {"sizes": dict(self._sizes)}

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]], facts: Mapping[str, Any]) -> None:
        """Rebuild the trained network from `state()`; a checkpoint that it was begun with need not be there."""
        self._restored, self._sizes = True, dict(facts["sizes"])
        network = self._fresh_network()
        network.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in arrays.items()})
        self.network = network.to(self.device).eval()

    @property
    def parameters(self) -> int:
        """Number of trained scalars, 0 before training; what is frozen does not count."""
        trained = self.network.parameters() if self.network is not None else ()
        return sum(p.numel() for p in trained if p.requires_grad)

    def _fresh_network(self) -> N:
        """A network from the sizes and the seed; module constructors draw from a random state that is put back."""
        seed = derived_seed(self.resources.seed, "weights")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.build(self._sizes, torch.Generator().manual_seed(seed))

    def _start(self, train: Data, dev: Data, unlabelled: Data | None) -> tuple[Training[N], str]:
        self._sizes = self.sizes(train)
        network = self._fresh_network().to(self.device)
        training = Training(
            self.name,
            network,
            self.train_config,
            self.device,
            self.resources.seed,
            train,
            dev,
            unlabelled,
            self.optimisers(network),
            self.resources.progress,
        )
        identity = self._identity(training)
        folder = self.resources.checkpoint
        if folder is not None and training.resume(folder, identity):
            training.log.facts["resumed_after_epoch"] = training.epoch
        else:
            self.calibrate(network, train)
        self.begin(training)
        return training, identity

    def _identity(self, training: Training[N]) -> str:
        """What an unfinished training must agree in to be taken up."""
        data = [_fingerprint(d) for d in (training.train, training.dev, training.unlabelled)]
        return digest(
            [
                self.name,
                to_dict(self.config),
                self.task.to_dict(),
                dict(self._sizes),
                data,
                training.seed,
                str(training.device),
                torch.__version__,
                torch.get_num_threads(),
            ]
        )

    def _one_epoch(self, training: Training[N], score: Score, identity: str) -> None:
        training.begin_epoch()
        losses = self.epoch(training)
        training.report("dev", 1.0)
        predictions = self._evaluate(training.network, training.dev)
        blocks = predictions if isinstance(predictions, list) else [predictions]
        if not all(np.isfinite(block).all() for block in blocks):
            raise not_finite(training, "predictions of the dev data are not finite")
        value = float(score(training.dev.labels, predictions))
        training.end_epoch(losses, value, self.rank(training, value))
        if self.resources.each_epoch is not None:
            self.resources.each_epoch(training.log.epochs[-1])
        every = training.settings.checkpoint_epochs
        if self.resources.checkpoint is not None and every and training.epoch % every == 0 and not training.finished:
            training.save(self.resources.checkpoint, identity)

    def _evaluate(self, network: N, data: Data) -> Predictions:
        network.eval()
        with torch.inference_mode(), autocast(self.device, self.train_config.amp):
            return self.infer(network, data)

    def _end(self, training: Training[N]) -> None:
        training.network.load_state_dict(training.best)
        self.network = training.network.eval()
        training.log.facts |= {
            "device": str(training.device),
            "amp": training.settings.amp,
            "deterministic": training.settings.deterministic,
            "stopped_early": training.epoch < training.settings.epochs,
        }
        if self.resources.checkpoint is not None:
            remove_state(self.resources.checkpoint / STATE)


def _fingerprint(data: Data | None) -> str:
    """Ids and labels of a data set."""
    if data is None:
        return ""
    blocks = data.labels if isinstance(data.labels, list) else [] if data.labels is None else [data.labels]
    return digest([data.ids, [digest(np.ascontiguousarray(block).tobytes()) for block in blocks]])
