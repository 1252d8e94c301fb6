"""The state of an unfinished training in one safetensors file: tensors, and all else as JSON in its metadata.

The file is replaced at once or not at all, and is taken up only by a training of the same identity.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor, nn

from ...datasets.core.files import atomic_write, canonical_json


def save_state(
    path: Path,
    identity: str,
    facts: dict[str, Any],
    network: nn.Module,
    best: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
) -> None:
    """Write facts (JSON-able), weights, best weights and the optimiser's tensors."""
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()} | {f"best.{k}": v for k, v in best.items()}
    for index, values in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{k}": torch.as_tensor(v) for k, v in values.items() if v is not None}
    content = save(
        {k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()},
        metadata={"serbench": canonical_json({"identity": identity, "facts": facts})},
    )
    atomic_write(path, lambda stream: stream.write(content))


def load_state(
    path: Path, identity: str, network: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """Fill network and optimiser; returns facts and best weights, or None (nothing changed) where none fits."""
    try:
        with safetensors.safe_open(path, framework="pt") as content:
            head = json.loads((content.metadata() or {})["serbench"])
            if head["identity"] != identity:
                return None
            tensors = {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118 (not a mapping)
    except (OSError, safetensors.SafetensorError, KeyError, ValueError):
        return None
    network.load_state_dict(_under("network.", tensors))
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in _under("optimiser.", tensors).items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    return head["facts"], _under("best.", tensors)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
