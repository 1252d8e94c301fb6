"""What is tracked: each training while it works, in whatever process, and each record with its scores at the end."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ...datasets.core.errors import SerbenchError
from ...results.record.folder import Run
from ...results.record.packing import export_run
from .tracker import About, Careful, Place, attempt, flat, open_tracker, prepare


class Training(Protocol):
    """A unit of work that trains a model, as plain data."""

    trial: int
    seed: int
    device: str
    division: Any

    def run(self, sources: Sequence[Any], progress: Any, each_epoch: Callable[..., None]) -> list[dict[str, Any]]:
        """Work through it; returns the facts of each record, as written."""


@dataclass(frozen=True)
class TrackedJob:
    """A unit of work that tells a tracker of its epochs; its records are those of the unit alone."""

    job: Training
    place: Place
    about: About

    def run(self, sources: Sequence[Any], progress: Any = None) -> list[dict[str, Any]]:
        """Work through the unit, and track it."""
        tracker, seen = open_tracker(self.place, self.about), set()

        def each_epoch(row: Mapping[str, float]) -> None:
            seen.add(row["epoch"])
            _epoch(tracker, row)

        try:
            written = self.job.run(sources, progress, each_epoch)
        except BaseException:
            tracker.end(failed=True)
            raise
        facts = written[0]
        for row in facts.get("epochs") or ():  # of a search, or of before an interruption
            if row.get("epoch") not in seen:
                _epoch(tracker, row)
        tracker.values({key: facts[key] for key in FINAL if facts.get(key) is not None})
        tracker.end(failed=facts["status"] != "done")
        return written


FINAL = ("dev_score", "best_epoch", "parameters", "seconds", "seconds_fit", "peak_mib")
"""Facts of a unit that are tracked at its end."""


def tracked(job: Any, run: Run, place: Place) -> TrackedJob:
    """A `Training` of a run that tells a tracker of its epochs."""
    unit = {"trial": job.trial + 1, "fold": job.division.fold, "seed": job.seed, "device": job.device}
    about = About(f"{run.name} trial {job.trial + 1} {job.division.fold}", run.run_id, unit | _settings(run.spec))
    return TrackedJob(job, place, about)


def _settings(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says of its run, flat."""
    model, protocol = spec["model"], spec["protocol"]
    return flat(
        {
            "model": model["name"],
            "preset": model["preset"],
            "dataset": spec["dataset"]["name"],
            "task": spec["task"]["name"],
            "protocol": {key: protocol.get(key) for key in ("name", "split", "subsets")},
            "features": {role: feature["signature"] for role, feature in spec["features"].items()},
            "signature": spec["signature"],
            "config": model["config"],
        }
    )


def _epoch(tracker: Careful, row: Mapping[str, Any]) -> None:
    tracker.values({key: value for key, value in row.items() if key != "epoch"}, int(row["epoch"]))


def begin(kind: str, results: Path, *, elsewhere: bool) -> Place:
    """Where a run is tracked, with the tracker's library loaded.

    Parameters
    ----------
    elsewhere : whether a launcher works on the trials

    Raises
    ------
    SerbenchError
        For a tracker that there is not, that is not installed or can't begin, and for trials on a cluster.
    """
    if elsewhere:
        raise SerbenchError(f"--track {kind} is for local processes. Leave it out, or --launcher.")
    place = Place(kind, results)
    prepare(place)
    return place


def conclude(run: Run, place: Place) -> None:
    """Track a record: the mean of each score, and the record as `serbench export` packs it, without gold labels."""
    if run.complete_trials():
        attempt(place.kind, lambda: _conclude(run, place))


def _conclude(run: Run, place: Place) -> None:
    scores = run.scores()
    means = scores.groupby(["target", "metric"], sort=False)["value"].mean().reset_index().to_dict("records")
    with tempfile.TemporaryDirectory() as folder:
        packed = export_run(run, Path(folder) / f"{run.run_id}.zip", scores=scores)
        tracker = open_tracker(place, About(run.name, run.run_id, _settings(run.spec)))
        tracker.values({f"test/{row['target']}/{row['metric']}": row["value"] for row in means})
        tracker.file(packed)
        tracker.end()
