"""The allocator: memory that was freed is taken again, counted by the kernel's page faults."""

from __future__ import annotations

import subprocess
import sys

import pytest

ROUNDS = """
import resource, sys
import numpy as np
from serbench.features.core.process import keep_freed_memory

kept = keep_freed_memory() if sys.argv[1] == "kept" else False
faults = []
for _ in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty(100 << 20, np.uint8)[:: 4096] = 1
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(int(kept), sum(faults[1:]))
"""


def faults(mode: str) -> tuple[bool, int]:
    """Whether the allocator was told, and page faults of three later rounds over a hundred megabytes."""
    done = subprocess.run([sys.executable, "-c", ROUNDS, mode], capture_output=True, text=True, check=True)
    told, count = done.stdout.split()
    return told == "1", int(count)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the option is the GNU C library's")
def test_freed_memory_is_taken_again() -> None:
    told, kept = faults("kept")
    if not told:
        pytest.skip("this C library has no mallopt")
    _, fresh = faults("default")
    assert 10 * kept < fresh


GIVEN_BACK = """
import os
import numpy as np
from serbench.features.core.process import give_back_memory, keep_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20

kept, before = keep_freed_memory(), resident()
np.ones(200 << 20, np.uint8)
held = resident() - before
give_back_memory()
print(int(kept), held, resident() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the option is the GNU C library's")
def test_memory_is_given_back_when_asked() -> None:
    done = subprocess.run([sys.executable, "-c", GIVEN_BACK], capture_output=True, text=True, check=True)
    told, held, left = map(int, done.stdout.split())
    if not told:
        pytest.skip("this C library has no mallopt")
    assert held > 150
    assert left < 20
