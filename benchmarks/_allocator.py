"""The C library's allocator, told that a training takes the same memory again in every step."""

from __future__ import annotations

import sys

# Numbers of the options in the GNU C library's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_NEVER, _GROWTH = 2**31 - 1, 64 << 20


def keep_freed_memory() -> bool:
    """Let this process keep what it frees for its next request; True where the C library can be told so.

    By default the GNU C library returns every freed block above some 32 MiB to the kernel, so each step of a training
    pays for fresh pages again. The largest memory of the process grows by little, but it does not shrink before the
    process ends. Numbers are the same to the bit. Other C libraries are left as they are.
    """
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER), (_TOP_PAD, _GROWTH))
    taken = [mallopt(option, value) for option, value in settings]
    return all(taken)
