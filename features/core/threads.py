"""How many threads linear algebra takes: one for small matrices.

On matrices of a few hundred rows the threads of a BLAS library wait for each other for longer than they compute: fits
take no less time and several times the processor time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SMALL = 10_000_000
"""Matrices of fewer elements are treated by one thread."""


@contextmanager
def threads_for(elements: int) -> Iterator[None]:
    """Within the block, BLAS uses one thread if the largest matrix there has fewer than `SMALL` elements."""
    if elements >= SMALL:
        yield
        return
    import threadpoolctl  # comes with scikit-learn

    with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
        yield


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """On a CPU one thread of PyTorch: for operations so small that threads would wait longer than they compute."""
    import torch

    threads = torch.get_num_threads()
    try:
        if device.type == "cpu":
            torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(threads)
