"""Whether encoders run as transformers wrote them, or as `encoders/fast/` rewrites them where that is faster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_plain = False


@contextmanager
def plain_networks() -> Iterator[None]:
    """Region in which encoders are loaded as transformers wrote them, to count their operations."""
    global _plain
    before, _plain = _plain, True
    try:
        yield
    finally:
        _plain = before


def accelerated(device: str, precision: str) -> bool:
    """Whether an encoder there is to be made faster."""
    return device == "cpu" and precision == "float32" and not _plain


def streams(device: torch.device) -> int:
    """How many batches an encoder there works on at a time: one for each thread of torch on a processor."""
    return torch.get_num_threads() if device.type == "cpu" and not _plain else 1
