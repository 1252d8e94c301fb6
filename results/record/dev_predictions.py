"""What a unit predicted of its dev part, beside its test predictions: `unit-<trial>-<fold>.dev.parquet`.

The columns are those of test predictions; every item is in subset 0. The unit's JSON holds the digest as
`dev_predictions`. Records from before there were dev predictions lack both, and are read as they are; so do units
without a dev part (`--dev nested`), those of given weights, and exported ones. Dev predictions choose the weights of a
fusion; they are part of no score.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ...datasets.core.errors import SerbenchError
from .storage import join_parquet, read_verified, write_parquet

ENTRY = "dev_predictions"
"""Key of the unit's JSON that holds rows and digest."""
SUFFIX = ".dev.parquet"


def dev_file(facts_file: Path) -> Path:
    """Where the dev predictions of the unit with that JSON file lie."""
    return facts_file.with_suffix(SUFFIX)


def leave_dev(facts_file: Path, predictions: pd.DataFrame | None) -> dict[str, Any]:
    """Write dev predictions, or take away those that are there; returns what stands of them in the unit's JSON."""
    file = dev_file(facts_file)
    if predictions is None or not len(predictions):
        file.unlink(missing_ok=True)
        return {}
    return {ENTRY: write_parquet(file, predictions)}


def read_dev(facts_file: Path, facts: Mapping[str, Any]) -> pd.DataFrame | None:
    """The dev predictions of a unit; None where it holds none. A damaged file is a `SerbenchError`."""
    if not facts.get(ENTRY):
        return None
    file = dev_file(facts_file)
    try:
        return join_parquet([(read_verified(file, facts[ENTRY]), {})], None)
    except (ValueError, OSError) as error:
        raise SerbenchError(
            f"{file} is damaged: {error}. Delete {facts_file.stem}.* there and repeat the line that made the run."
        ) from error


def record_files(facts_file: Path) -> list[Path]:
    """The files that the record of a unit is made of, as far as they are there: facts, predictions of test and dev."""
    return [path for path in (facts_file, facts_file.with_suffix(".parquet"), dev_file(facts_file)) if path.exists()]
