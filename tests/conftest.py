"""Shared fixtures. The checkout is taken off sys.path, so that tests see serbench as users do: installed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != CHECKOUT]


@pytest.fixture(scope="session")
def checkout() -> Path:
    return CHECKOUT


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of real test data (EMO-DB, MELD's annotation files, reference outputs), from SERBENCH_TEST_DATA."""
    given = os.environ.get("SERBENCH_TEST_DATA")
    if not given or not Path(given).is_dir():
        pytest.skip("SERBENCH_TEST_DATA does not name a folder with the real test data")
    return Path(given)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the tests out of the user's cache; the workers of one run share theirs, as users' processes do.

    A set SERBENCH_TEST_CACHE is shared between runs.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    os.environ["SERBENCH_CACHE"] = os.environ.get("SERBENCH_TEST_CACHE") or str(shared / "cache")
