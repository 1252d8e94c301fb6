"""The state of an unfinished training: one safetensors file, arrays as tensors, all else as JSON in its metadata.

The file is replaced at once or not at all, so whenever a process dies the last saved epoch is there. It is taken up
only by a training of the same identity (configuration, data, seed, device, library version); any other starts anew.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer

from ...datasets.core.files import canonical_json
from .training import Training

FILE_NAME = "training.safetensors"
SCHEMA = 1


def save(folder: Path, training: Training, identity: str) -> None:
    """Write the state after an epoch."""
    tensors = {f"network.{k}": v for k, v in training.network.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in training.best.items()}
    tensors |= {f"kept.{k}": torch.from_numpy(np.array(v)) for k, v in training.kept.items()}
    numbers: dict[str, Any] = {}
    for name, optimiser in training.optimisers.items():
        found, numbers[name] = _optimiser_state(optimiser)
        tensors |= {f"optimiser.{name}.{k}": v for k, v in found.items()}
    head = {
        "schema": SCHEMA,
        "identity": identity,
        "epoch": training.epoch,
        "best_epoch": training.best_epoch,
        "best_score": _json_number(training.best_score),
        "scaler": training.scaler.state_dict(),
        "optimisers": numbers,
        "rows": [{k: _json_number(v) for k, v in row.items()} for row in training.log.epochs],
    }
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{FILE_NAME}.part"
    contiguous = {k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()}
    save_file(contiguous, temporary, metadata={"serbench": canonical_json(head)})
    os.replace(temporary, folder / FILE_NAME)


def load(folder: Path, training: Training, identity: str) -> bool:
    """Take up a saved state into a fresh `training`; False, and nothing changed, when there is none that fits."""
    try:
        with safetensors.safe_open(folder / FILE_NAME, framework="pt") as content:
            head = json.loads((content.metadata() or {})["serbench"])
            if head["schema"] != SCHEMA or head["identity"] != identity:
                return False
            tensors = {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118 (not a mapping)
    except (OSError, safetensors.SafetensorError, KeyError, ValueError):
        return False
    training.network.load_state_dict(_under("network.", tensors))
    training.best = _under("best.", tensors)
    training.kept = {k: v.numpy() for k, v in _under("kept.", tensors).items()}
    for name, optimiser in training.optimisers.items():
        _restore_optimiser(optimiser, _under(f"optimiser.{name}.", tensors), head["optimisers"][name])
    if head["scaler"]:
        training.scaler.load_state_dict(head["scaler"])
    training.epoch, training.best_epoch = head["epoch"], head["best_epoch"]
    training.best_score = _number(head["best_score"])
    training.log.epochs = [{k: _number(v) for k, v in row.items()} for row in head["rows"]]
    training.log.best_epoch = training.best_epoch
    return True


def remove(folder: Path) -> None:
    """Delete the state, and the folder when nothing else is in it."""
    for name in (FILE_NAME, f".{FILE_NAME}.part"):
        (folder / name).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


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


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _json_number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _number(value: float | str) -> float:
    return float(value) if isinstance(value, str) else value
