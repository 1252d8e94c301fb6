"""Writing a table of features to one file that numpy reads."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from ...datasets.core.files import atomic_write
from ...datasets.core.stages import track
from ..core.feature_table import FeatureTable


def write_npz(path: Path, table: FeatureTable) -> None:
    """Write every array (frames, dim) under its id, one after the other; `numpy.load(path)[id]` reads it back."""
    atomic_write(path, lambda stream: _write(stream, table))


def _write(stream: IO[bytes], table: FeatureTable) -> None:
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for item in track(table, "writing arrays"):
            with archive.open(f"{item}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, table[item], allow_pickle=False)
