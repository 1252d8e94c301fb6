"""What one training run is made of: its settings, its optimisers, one pass over batches, and the best weights so far.

All randomness of an epoch is a function of (seed, epoch, purpose), so an epoch runs the same whether or not the process
was started anew before it. Losses stay on the device; they are looked at now and then, and reported once per pass.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from ...datasets.core.errors import SerbenchError
from ...features.core.course import Course, under
from ..core.sermodel import Data, FitLog
from ..inputs.batches import Batch, Batches
from .device import autocast, derived_seed
from .settings import TrainConfig, rate_factor

N = TypeVar("N", bound=nn.Module)
"""The network of a model."""
STATE = "training.safetensors"
"""File of an unfinished training's state."""
LOOK_EVERY = 50
"""Steps between two looks at the losses on an accelerator; each look waits for the device."""


@dataclass
class Training(Course, Generic[N]):
    """A training run in progress, handed to `TorchModel.epoch`.

    Attributes
    ----------
    network : on the device; `network.train()` is set when an epoch begins
    optimisers : name -> optimiser; they live through all epochs and are saved with the state
    kept : arrays that a model carries from epoch to epoch (the last cluster of each chunk, say); saved with the state
    epoch : number of the running epoch, from 1
    best, best_epoch, best_score : weights (on the CPU), number and dev score of the best epoch
    """

    model: str
    network: N
    settings: TrainConfig
    device: torch.device
    seed: int
    train: Data
    dev: Data
    unlabelled: Data | None
    optimisers: dict[str, Optimizer]
    progress: Callable[[str, float], None] | None = None
    log: FitLog = field(default_factory=FitLog)
    kept: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    epoch: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    best_score: float = -math.inf

    def __post_init__(self) -> None:
        """Set up loss scaling, which only half precision needs."""
        self.scaler = GradScaler(self.device.type, enabled=self.settings.amp == "fp16")
        self._begun = time.perf_counter()

    def generator(self, purpose: str) -> torch.Generator:
        """A CPU generator for one purpose in this epoch ("order", "clusters" ...)."""
        return torch.Generator().manual_seed(derived_seed(self.seed, self.epoch, purpose))

    def begin_epoch(self) -> None:
        """Count on, and seed what layers such as dropout draw from."""
        self.epoch += 1
        self._begun = time.perf_counter()
        torch.manual_seed(derived_seed(self.seed, self.epoch, "layers"))
        self.network.train()

    def sweep(
        self,
        name: str,
        batches: Batches | Sequence[Batch],
        losses: Callable[[Batch], Mapping[str, Tensor]],
        optimisers: Sequence[Optimizer] | None = None,
        span: tuple[float, float] = (0.0, 1.0),
    ) -> dict[str, float]:
        """One pass with a step per batch.

        Parameters
        ----------
        name : of the pass, for messages ("train", "stage 1")
        batches : on the device
        losses : batch -> named scalars; the one called "loss" is minimised, the others are reported
        optimisers : those that step; None = all of `self.optimisers`. Nothing else moves
        span : which part of the epoch this pass is, for progress and for the schedule of step sizes

        Returns
        -------
        mean of each loss over the steps

        Raises
        ------
        SerbenchError
            When a loss is not finite.
        """
        meter = Meter(self, name)
        for step, batch in enumerate(batches):
            share = span[0] + (span[1] - span[0]) * (step + 0.5) / len(batches)
            with autocast(self.device, self.settings.amp):
                named = losses(batch)
            self.backward(named["loss"])
            self.update(optimisers, share)
            meter.add(named)
            self.report(name, share)
        return meter.means()

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a loss (scaled, in half precision) to the parameters' gradients."""
        torch.autograd.backward(self.scaler.scale(loss))

    def update(self, optimisers: Sequence[Optimizer] | None = None, share: float = 0.5) -> None:
        """Let optimisers step on the gradients gathered so far, and clear all gradients.

        `share` is the part of the epoch done, for the schedule.
        """
        chosen = list(self.optimisers.values()) if optimisers is None else list(optimisers)
        factor = rate_factor(self.settings, self.epoch - 1 + share)
        for optimiser in chosen:
            for group in optimiser.param_groups:
                group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
        if self.settings.clip_norm:
            for optimiser in chosen:
                self.scaler.unscale_(optimiser)
            held = {id(p): p for o in chosen for g in o.param_groups for p in g["params"]}  # optimisers may share some
            nn.utils.clip_grad_norm_(list(held.values()), self.settings.clip_norm)
        for optimiser in chosen:
            self.scaler.step(optimiser)
        for optimiser in chosen:
            optimiser.zero_grad(set_to_none=True)
        self.scaler.update()
        self.network.zero_grad(set_to_none=True)
        torch.clear_autocast_cache()  # a loss that lets others step inside its region is to meet their new weights

    def report(self, what: str, share: float) -> None:
        """Show how far the whole training is; `share` is the part of this epoch done."""
        if self.progress is not None:
            text = f"epoch {self.epoch}/{self.settings.epochs} {what}"
            self.progress(text, min(1.0, (self.epoch - 1 + share) / self.settings.epochs))

    def end_epoch(self, losses: Mapping[str, float], score: float, rank: float | None = None) -> None:
        """Log the epoch and keep its weights if its dev score (or `rank`, where that is given) is the best so far.

        An undefined score (NaN) is worse than any number, but better than no epoch at all.
        """
        rank = score if rank is None else rank
        value = -math.inf if math.isnan(rank) else rank
        if value > self.best_score or not self.best:
            self.best_score = value
            self.keep_best()
        seconds = round(time.perf_counter() - self._begun, 3)
        self.log.epochs.append({"epoch": self.epoch, **losses, "dev_score": score, "seconds": seconds})
        self.log.best_epoch = self.best_epoch

    def save(self, folder: Path, identity: str) -> None:
        """Write the state after an epoch."""
        facts = {
            "best_score": _json_number(self.best_score),
            "scaler": self.scaler.state_dict(),
            "rows": [{k: _json_number(v) for k, v in row.items()} for row in self.log.epochs],
        }
        kept = {f"kept.{k}": torch.from_numpy(np.array(v)) for k, v in self.kept.items()}
        self.save_state(folder / STATE, identity, facts, kept)

    def resume(self, folder: Path, identity: str) -> bool:
        """Go on from a saved state; False, and nothing changed, when there is none that fits."""
        held = self.take_up(folder / STATE, identity)
        if held is None:
            return False
        facts, tensors = held
        self.kept = {k: v.numpy() for k, v in under("kept.", tensors).items()}
        if facts["scaler"]:
            self.scaler.load_state_dict(facts["scaler"])
        self.best_score = float(facts["best_score"])
        self.log.epochs = [{k: float(v) if isinstance(v, str) else v for k, v in row.items()} for row in facts["rows"]]
        self.log.best_epoch = self.best_epoch
        return True


def _json_number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


class Meter:
    """Losses of one pass, kept on the device; raises when one of them is not finite.

    They stand in one buffer: a small tensor per step, left between large ones, would keep the heap from being reused.
    """

    def __init__(self, training: Training[Any], name: str) -> None:
        self._training, self._name = training, name
        self._every = 1 if training.device.type == "cpu" else LOOK_EVERY
        self._steps = torch.empty(0, 0)
        self._keys: list[str] = []
        self._count = self._seen = 0

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Take the losses of one step."""
        self._keys = list(losses)
        new = torch.stack([v.detach().float() for v in losses.values()])
        if self._count == len(self._steps):
            room = new.new_empty(max(256, self._count), len(new))
            self._steps = torch.cat([self._steps, room]) if self._count else room
        self._steps[self._count] = new
        self._count += 1
        if self._count - self._seen >= self._every:
            self._look()

    def means(self) -> dict[str, float]:
        """Mean of each loss over the steps so far."""
        if not self._count:
            return {}
        self._look()
        means = self._steps[: self._count].double().mean(0).tolist()
        return dict(zip(self._keys, means, strict=True))

    def _look(self) -> None:
        if self._seen == self._count:
            return
        new = self._steps[self._seen : self._count].cpu().numpy()
        self._seen, first = self._count, self._seen
        bad = np.argwhere(~np.isfinite(new))
        if not len(bad):
            return
        step, which = bad[0]
        raise not_finite(
            self._training,
            f"the loss {self._keys[which]!r} is {new[step, which]} at step {first + step + 1} "
            f"of the pass {self._name!r}",
        )


def not_finite(training: Training[Any], what: str) -> SerbenchError:
    """The error for a number that is not finite, with what to try."""
    settings = training.settings
    tries = [f"--set train.learning_rate={settings.learning_rate / 10:g}"]
    if not settings.clip_norm:
        tries.append("--set train.clip_norm=1")
    if settings.amp != "off":
        tries.append("--set train.amp=off")
    return SerbenchError(
        f"training of {training.model!r} stopped in epoch {training.epoch}: {what}. Expected a finite number. "
        f"Try {' or '.join(tries)}, and 'serbench check' for silent or broken audio."
    )
