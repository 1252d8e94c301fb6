"""Batches: which items go together, and their way to the device.

Orders come from generators that are handed in. On the CPU a batch is made when it is asked for; for an accelerator a
thread makes the next ones (reading cached features, pinning memory) while the device computes, in the same order.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Indices = npt.NDArray[np.int64]
Batch = tuple[Tensor, ...]
AHEAD = 2
"""Batches made ahead for an accelerator."""


def shuffled(n: int, generator: torch.Generator) -> Indices:
    """A random order of 0 .. n-1."""
    return np.asarray(torch.randperm(n, generator=generator).numpy(), dtype=np.int64)


def even_batches(order: Indices, size: int) -> list[Indices]:
    """Cut an order into ceil(n / size) batches whose sizes differ by at most one: no tiny last batch.

    A last batch of one or two items would make batch statistics and a batch-wise CCC meaningless.
    """
    if not len(order):
        return []
    return [np.asarray(part) for part in np.array_split(order, math.ceil(len(order) / size))]


class Batches:
    """Batches on the device, made on demand.

    Parameters
    ----------
    indices : the items of each batch, in the order in which the batches are drawn
    load : items of a batch -> its tensors on the CPU
    device : where they go
    """

    def __init__(self, indices: Sequence[Indices], load: Callable[[Indices], Batch], device: torch.device) -> None:
        self._indices, self._load, self._device = indices, load, device

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[Batch]:
        if self._device.type == "cpu":
            yield from map(self._load, self._indices)
            return
        for batch in ahead(map(self._pinned, self._indices), AHEAD):
            yield tuple(tensor.to(self._device, non_blocking=True) for tensor in batch)

    def _pinned(self, items: Indices) -> Batch:
        batch = self._load(items)
        return tuple(tensor.pin_memory() for tensor in batch) if self._device.type == "cuda" else batch


def micro_batches(count: int, size: int) -> list[Indices]:
    """Items 0 .. count-1 in order, `size` at a time."""
    return [np.arange(i, min(i + size, count), dtype=np.int64) for i in range(0, count, size)]


def map_batches(batches: Batches, outputs: Callable[[Batch], Tensor]) -> Tensor:
    """What `outputs` gives for every batch, (item, ...) one under the other, float32, left on the device."""
    return torch.cat([outputs(batch).float() for batch in batches])


def ahead(source: Iterable[Any], depth: int) -> Iterator[Any]:
    """The elements of `source` in order, up to `depth` of them made ahead by a thread.

    An exception in the source is raised here; when the consumer stops early, the thread ends.
    """
    waiting: queue.Queue[tuple[Any, BaseException | None, bool]] = queue.Queue(depth)
    stopped = threading.Event()

    def put(entry: tuple[Any, BaseException | None, bool]) -> bool:
        while not stopped.is_set():
            try:
                waiting.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for element in source:
                if not put((element, None, False)):
                    return
            put((None, None, True))
        except BaseException as error:
            put((None, error, True))

    thread = threading.Thread(target=work, name="batches", daemon=True)
    thread.start()
    try:
        while True:
            element, error, last = waiting.get()
            if error is not None:
                raise error
            if last:
                return
            yield element
    finally:
        stopped.set()
        thread.join()
