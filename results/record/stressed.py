"""Records of perturbed test audio: runs like any other, under RESULTS/stress, which name the run that they are of.

Their specification is that of the clean run with an entry `stress`: `of` (the clean run's id), `name` ("white:10"),
`kind`, `level` (text), `unit`, `says`, `falling` (harder the lower the level is), `clean` (the level that changes
nothing, or null) and `digest` of all that decides the samples. The protocol digest is the clean run's, so they pair.
"""

from __future__ import annotations

import glob
from pathlib import Path

from ...datasets.core.errors import SerbenchError
from .folder import Run

FOLDER = "stress"


def folder(results: Path) -> Path:
    """Where records of perturbed audio lie, beside those of a results folder."""
    return Path(results) / FOLDER


def stressed(run: Run) -> list[Run]:
    """The sound records of a run's test audio perturbed that have a complete trial; of two of one name the newer."""
    found: dict[str, Run] = {}
    stem = run.run_id.rpartition("_")[0]
    files = folder(run.results).glob(f"runs/{glob.escape(stem)}_*/run.json")
    for file in sorted(files, key=lambda path: (path.stat().st_mtime_ns, path)):
        try:
            one = Run.open(file)
        except SerbenchError:
            continue  # the command makes it again
        about = one.spec.get("stress") or {}
        if about.get("of") == run.run_id and one.complete_trials():
            found[str(about["name"])] = one
    return list(found.values())
