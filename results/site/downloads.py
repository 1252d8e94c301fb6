"""What can be downloaded of a run: its record as `serbench export` packs it, predictions, scores, configuration.

Gold labels are left out unless they are asked for, as in exports: a corpus's licence may forbid to pass them on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ...datasets.core.files import digest, write_json
from ..record.packing import export_run
from ..record.pairing import Scored
from ..record.storage import plain, write_csv, write_parquet
from ..scores.scoring import gold_columns

RECORD, PREDICTIONS, SCORES, CONFIGURATION = "record.zip", "predictions.parquet", "scores.csv", "run.json"
WHAT = {
    RECORD: "the whole record, which serbench merge takes",
    PREDICTIONS: "every test prediction of the complete trials",
    SCORES: "the scores of trials and subsets",
    CONFIGURATION: "the configuration, which serbench run --from-record takes",
}
"""File of a run -> what it is."""


def content_digest(spec: Mapping[str, Any], units: Sequence[Mapping[str, Any]], *, labels: bool) -> str:
    """What decides the bytes of a run's downloads, as a digest: predictions count by theirs."""
    return digest([version("serbench"), labels, plain(spec, finite=True), plain(units, finite=True)])


def write_downloads(scored: Scored, spec: Mapping[str, Any], folder: Path, *, labels: bool) -> list[Path]:
    """Write the files of a run into a folder; `spec` is its specification without paths of a machine."""
    predictions, hidden = scored.predictions, [] if labels else gold_columns(scored.run.task)
    export_run(scored.run, folder / RECORD, labels=labels, scores=scored.scores)
    write_parquet(folder / PREDICTIONS, predictions.drop(columns=hidden, errors="ignore"))
    write_csv(folder / SCORES, scored.scores)
    write_json(folder / CONFIGURATION, dict(spec))
    return downloads(folder)


def downloads(folder: Path) -> list[Path]:
    """The files of a run in its folder."""
    return [folder / name for name in WHAT]
