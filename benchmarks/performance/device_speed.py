"""Speed on a device: seconds of work there, a training step in mixed precision, and a large matrix product."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def mean_seconds(work: Callable[[], object], device: str, repeats: int = 1, warm: int = 0) -> float:
    """Mean wall seconds of work, with what it leaves to do on a card, after some calls that warm up."""
    for _ in range(warm):
        work()
    _wait(device)
    begun = time.perf_counter()
    for _ in range(repeats):
        work()
    _wait(device)
    return (time.perf_counter() - begun) / repeats


def matrix_speed(device: str, dtype: torch.dtype, repeats: int = 10) -> float:
    """Operations each second of a large matrix product."""
    side = 8192 if device.startswith("cuda") else 512
    left = torch.randn(side, side, device=device, dtype=dtype)
    return 2 * side**3 / mean_seconds(lambda: left @ left, device, repeats, warm=3)


def with_peak(work: Callable[[], Any], device: str) -> tuple[Any, float]:
    """What work gives, and the most memory of the card in MiB that was taken meanwhile (not a number elsewhere)."""
    if not device.startswith("cuda"):
        return work(), float("nan")
    torch.cuda.reset_peak_memory_stats(device)
    return work(), torch.cuda.max_memory_allocated(device) / 2**20


def precision(amp: bool) -> torch.dtype:
    """What products are computed in, with and without automatic mixed precision."""
    return torch.bfloat16 if amp else torch.float32


def training_step(
    loss_of: Callable[[], Tensor], optimiser: torch.optim.Optimizer, device: str, *, amp: bool
) -> Callable[[], None]:
    """A step of training: loss, its gradients, the optimiser."""

    def step() -> None:
        with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=amp):
            loss = loss_of()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
