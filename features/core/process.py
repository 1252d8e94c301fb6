"""What this process takes of the machine: threads for matrices, and memory that it keeps.

One thread for small matrices: on those of a few hundred rows the threads of a BLAS library wait for each other longer
than they compute, so fits take no less time and several times the processor time. And the C library's allocator can be
told that networks take the same memory again for every batch.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

SMALL = 10_000_000
"""Matrices of fewer elements are treated by one thread."""
# Numbers of the options in the GNU C library's malloc.h, and the values that it begins with.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_KEEP = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 64 << 20))
_OWN = ((_MMAP_MAX, 65536), (_TRIM_THRESHOLD, 128 << 10), (_TOP_PAD, 128 << 10))


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


def keep_freed_memory() -> bool:
    """Let this process keep what it frees for its next request; True where the C library can be told so.

    By default the GNU C library returns every freed block above some 32 MiB to the kernel, so each step of a training
    pays for fresh pages again. The largest memory of the process grows, since free blocks of the wrong size
    are kept too, and it does not shrink before `give_back_memory`. What is computed does not depend on it. Other C
    libraries are left as they are.
    """
    library = _library()
    taken = [bool(library.mallopt(*option)) for option in _KEEP] if library is not None else [False]
    return all(taken)


def give_back_memory() -> None:
    """End `keep_freed_memory`, and return to the kernel what is free."""
    library = _library()
    if library is not None:
        for option in _OWN:
            library.mallopt(*option)
        library.malloc_trim(0)


@lru_cache(maxsize=1)
def _library() -> Any:
    """The C library of this process, if it is GNU's."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
