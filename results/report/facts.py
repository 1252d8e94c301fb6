"""Facts of one run that the report and the site show: what it cost, its learning curves, what it left out, its day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ...datasets.core.errors import SerbenchError
from ..record.folder import Run, run_row


def day(run: Run) -> str:
    """The day on which the run's last unit was finished (UTC), as 2026-01-31; empty where no unit says so."""
    return max((str(unit.get("finished") or "") for unit in run.units()), default="")[:10]


def items_of(run: Run) -> pd.DataFrame | None:
    """What is known of the test items; None where it is not recorded or damaged."""
    try:
        return run.items()
    except SerbenchError:
        return None


def audio_seconds(run: Run) -> float:
    """Duration of the run's test items in seconds; NaN where it is not recorded."""
    items = items_of(run)
    if items is None or "duration_seconds" not in items:
        return float("nan")
    return float(items["duration_seconds"].sum(skipna=False))


def cost(run: Run) -> dict[str, float]:
    """What a run cost: trained parameters, multiply-accumulates and computing time for a second of audio, seconds and
    CPU seconds of all units, peak memory [MiB] of the process of any unit. NaN where a record does not say.

    Where the computing time from file to prediction was not measured, the real-time factor is that of prediction from
    cached features. A process keeps its peak, so a unit counts what earlier units of its process needed.
    """
    row = run_row(run)
    units = [u for u in run.units() if u["status"] == "done"]
    trials = max(len(run.complete_trials()), 1)
    predicting = _sum(units, "seconds_predict")
    cached = predicting / trials / audio_seconds(run) if audio_seconds(run) else float("nan")
    memory = [float(u["peak_mib"]) for u in units if u.get("peak_mib") is not None]
    return {
        **{key: float("nan") if row[key] is None else float(row[key]) for key in ("parameters", "macs_per_second")},
        "real_time_factor": cached if row["real_time_factor"] is None else float(row["real_time_factor"]),
        "seconds": _sum(units, "seconds"),
        "cpu_seconds": _sum(units, "cpu_seconds"),
        "peak_mib": max(memory, default=float("nan")),
    }


def epochs(run: Run) -> pd.DataFrame:
    """Learning curves: trial, fold, epoch, best (the epoch that was kept) and the columns that the model logged."""
    rows = []
    for unit in run.units():
        for i, row in enumerate(unit.get("epochs") or ()):
            epoch = row.get("epoch", i + 1)
            rows.append(
                {
                    "trial": unit["trial"],
                    "fold": unit["fold"],
                    **row,
                    "epoch": epoch,
                    "best": epoch == unit.get("best_epoch"),
                }
            )
    return pd.DataFrame(rows)


def excluded(run: Run) -> dict[str, str]:
    """Files that a run had to leave out, with the reason."""
    return {str(item): str(why) for u in run.units() for item, why in (u.get("excluded") or {}).items()}


def failed(run: Run) -> list[tuple[int, str, str]]:
    """(trial, fold, error) of the failed units."""
    return [(u["trial"], u["fold"], str(u.get("error") or "")) for u in run.units() if u["status"] == "failed"]


def _sum(units: Sequence[Mapping[str, Any]], key: str) -> float:
    values = [float(u[key]) for u in units if u.get(key) is not None]
    return sum(values) if values else float("nan")
