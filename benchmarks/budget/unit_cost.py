"""What one training takes: from finished trials of a record, or carried over from a pilot.

The run's own trials are taken first, else those of the same model, settings and features on another corpus or protocol,
in proportion to the number of training items. What a pilot takes is carried over in proportion to items and epochs, as
if no training stopped early, and so tends to be too much. Sentences of an unlabelled pool that is used count as items
(of a record, its fact `unlabelled_sentences`). Each cost says where it comes from.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...datasets.core.errors import SerbenchError
from ...results.record.folder import Run
from ...results.record.storage import plain, read_json, record_files

if TYPE_CHECKING:
    from ..grid.plan import Plan
    from ..grid.training import TrainingPlan
    from .pilot import Pilot


@dataclass(frozen=True)
class UnitCost:
    """What one training takes. Seconds are those that pass; `bytes` what its record takes on disk."""

    seconds: float
    cpu_seconds: float
    peak_mib: float | None
    bytes: float
    parameters: float
    source: str


def recorded(plan: Plan, results: Path) -> UnitCost | None:
    """What a training took in the records: the run's own, else runs of the same model, settings and features."""
    for run in (part.record(results) for part in plan.parts):
        if run and (own := _trained(run)):
            return _mean(run, own, 1.0, "its own trials")
    wanted, items = plain(plan.parts[0].spec), _items(plan)
    for file in sorted(results.glob("runs/*/run.json")):
        try:
            spec = read_json(file)
            same = all(
                spec["model"].get(key) == wanted["model"].get(key)
                for key in ("name", "config", "search", "refit", "labels", "train_with")
            )
            if not same or _signatures(spec) != _signatures(wanted):
                continue
            run = Run.open(file)
            units = [u for u in _trained(run) if (u.get("counts") or {}).get("train")]
        except (SerbenchError, ValueError, KeyError, OSError):
            continue  # a damaged record is no measure
        if units:
            share = items / statistics.mean(_heard(u) for u in units)
            return _mean(run, units, share, f"trials on {spec['dataset']['name']}, in proportion to training items")
    return None


def _trained(run: Run) -> list[dict[str, Any]]:
    """Facts of the finished units that are no copies of another trial."""
    return [u for u in run.units() if u["status"] == "done" and "same_as" not in u]


def carried(tried: Pilot, plan: TrainingPlan) -> UnitCost:
    """The cost of a whole training from the two of a pilot: a constant, and what grows with items and epochs."""
    small, large = tried.trainings
    epochs = int(plan.config.train.epochs) if hasattr(plan.config, "train") else 1
    epochs *= int((plan.request.search or {}).get("budget", 1))
    few, more = small.items + small.unlabelled, large.items + large.unlabelled
    items, grown = _items(plan), max(more - few, 1)

    def whole(first: float, second: float) -> float:
        slope = max(second - first, 0.0) / grown
        return max(second, max(first - slope * few, 0.0) + slope * items * epochs)

    tested = statistics.mean(len(d.test) for d in plan.setting.divisions)
    pool = f" with {large.unlabelled} unlabelled ones" if large.unlabelled else ""
    source = f"a pilot of {large.items} training items{pool}" + (" and one epoch" if epochs > 1 else "")
    return UnitCost(
        whole(small.seconds, large.seconds),
        whole(small.cpu_seconds, large.cpu_seconds),
        tried.peak_mib,
        large.bytes * max(1.0, tested / max(large.items / 3, 1)),
        tried.parameters,
        source,
    )


def _mean(run: Run, units: Sequence[Mapping[str, Any]], share: float, source: str) -> UnitCost:
    files = [path for u in units for path in record_files(run.unit_files(u["trial"], u["fold"])[0])]
    return UnitCost(
        statistics.mean(float(u["seconds"]) for u in units) * share,
        statistics.mean(float(u.get("cpu_seconds") or u["seconds"]) for u in units) * share,
        max((float(u["peak_mib"]) for u in units if u.get("peak_mib")), default=None),
        sum(path.stat().st_size for path in files) / len(units) * share,
        max(float(u.get("parameters") or 0) for u in units),
        source,
    )


def _items(plan: Plan) -> float:
    """Training items of a fold and the unlabelled sentences beside them, on average."""
    return statistics.mean(len(d.train) + len(plan.pool(d)) for d in plan.setting.divisions)


def _heard(unit: Mapping[str, Any]) -> float:
    """Training items and unlabelled sentences of a recorded training."""
    return float(unit["counts"]["train"] + ((unit.get("facts") or {}).get("unlabelled_sentences") or 0))


def _signatures(spec: Mapping[str, Any]) -> dict[str, str]:
    return {role: feature["signature"] for role, feature in spec["features"].items()}
