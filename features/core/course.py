"""The course of a training: epochs until nothing gets better, the best weights, a state on disk to go on from.

The state is one safetensors file: tensors of the network, of the best weights and of the optimisers, all else as JSON
in its metadata. It is replaced at once or not at all, so whenever a process dies the last saved epoch is there. It is
taken up only by a training of the same identity (configuration, data, seed, device, library version ...), and only if
its checksum is right (those of older versions have none); any other starts anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from ...datasets.core.files import atomic_write, canonical_json, checksum, discard, intact

SCHEMA = 1


class EpochLimits(Protocol):
    """Settings that end a training: the most epochs, and those without anything better (0 = any number)."""

    @property
    def epochs(self) -> int: ...  # noqa: D102

    @property
    def patience(self) -> int: ...  # noqa: D102


class Course:
    """Base of trainings in progress.

    Attributes
    ----------
    network, settings : what is trained, and how long
    optimisers : name -> optimiser; a single one may go without a name ("")
    epoch : epochs begun so far, which is the number of the running one
    best, best_epoch : weights (on the CPU) and number of the best epoch
    """

    network: nn.Module
    settings: EpochLimits
    optimisers: dict[str, Optimizer]
    epoch: int
    best: dict[str, Tensor]
    best_epoch: int

    @property
    def finished(self) -> bool:
        """Whether all epochs ran, or `patience` of them brought nothing better."""
        stale = self.epoch - self.best_epoch
        return self.epoch >= self.settings.epochs or (0 < self.settings.patience <= stale and self.epoch > 0)

    def keep_best(self) -> None:
        """Keep the weights of this epoch as the best so far."""
        self.best_epoch = self.epoch
        self.best = {name: value.detach().to("cpu", copy=True) for name, value in self.network.state_dict().items()}

    def save_state(self, path: Path, identity: str, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Write the state after an epoch, with further facts (JSON-able) and tensors."""
        every = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        every |= {f"best.{k}": v for k, v in self.best.items()} | dict(tensors)
        numbers: dict[str, Any] = {}
        for name, optimiser in self.optimisers.items():
            averages, numbers[name] = _optimiser_state(optimiser)
            every |= {_of_optimiser(name) + k: v for k, v in averages.items()}
        head = {"schema": SCHEMA, "identity": identity, "epoch": self.epoch, "best_epoch": self.best_epoch}
        contiguous = {k: v.detach().to("cpu", copy=True).contiguous() for k, v in every.items()}
        head |= {"optimisers": numbers, **facts}
        metadata = {"serbench": canonical_json({**head, "checksum": checksum(head, _bytes(contiguous))})}
        content = save(contiguous, metadata=metadata)  # save_file puts another file in the place of the locked one
        atomic_write(path, lambda stream: stream.write(content))

    def take_up(self, path: Path, identity: str) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """Go on from a saved state: its facts and tensors, or None, and nothing changed, where none fits."""
        try:
            with safetensors.safe_open(path, framework="pt") as content:
                head = json.loads((content.metadata() or {})["serbench"])
                if head.get("schema", SCHEMA) != SCHEMA or head["identity"] != identity:
                    return None
                tensors = {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118 (not a mapping)
            if not intact(head, _bytes(tensors)):
                return None
        except (OSError, safetensors.SafetensorError, KeyError, ValueError):
            return None
        head |= head.pop("facts", {})  # where Speech2Vec's states had theirs
        self.network.load_state_dict(under("network.", tensors))
        self.best = under("best.", tensors)
        for name, optimiser in self.optimisers.items():
            numbers = head.get("optimisers", {}).get(name, {})
            _restore_optimiser(optimiser, under(_of_optimiser(name), tensors), numbers)
        self.epoch, self.best_epoch = head["epoch"], head["best_epoch"]
        return head, tensors


def remove_state(path: Path) -> None:
    """Delete a state, and its folder when nothing else is in it."""
    discard(path)
    with suppress(OSError):  # not there, or another process at the same training still needs it
        path.parent.rmdir()


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _bytes(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What a checksum is made of: the bytes of tensors (contiguous, on the CPU)."""
    return {key: value.flatten().view(torch.uint8).numpy() for key, value in tensors.items()}


def _of_optimiser(name: str) -> str:
    return f"optimiser.{name}." if name else "optimiser."


def _optimiser_state(optimiser: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Running averages as tensors ("3.exp_avg" of parameter 3), step counts that are plain numbers beside them."""
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {}
    for index, state in optimiser.state_dict()["state"].items():
        for key, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{key}"] = value
            elif value is not None:
                numbers[f"{index}.{key}"] = value
    return tensors, numbers


def _restore_optimiser(optimiser: Optimizer, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for name, value in {**numbers, **tensors}.items():
        index, _, key = name.partition(".")
        like = parameters[int(index)]
        if isinstance(value, Tensor) and value.shape == like.shape and value.dim():
            value = torch.empty_like(like, dtype=value.dtype).copy_(value)  # in the parameter's own memory layout
        state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
